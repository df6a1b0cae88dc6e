"""Alignment: from a photo to the crop of a face that a network was trained with."""

from skface.alignment._aligner import FaceAligner
from skface.alignment._geometry import GEOMETRIES, Geometry, fit_similarity, resolve_geometry

__all__ = ["GEOMETRIES", "FaceAligner", "Geometry", "fit_similarity", "resolve_geometry"]
