"""Errors and warnings of skface."""

from skface.nn.exceptions import TrainingCollapseWarning

__all__ = [
    "CacheError",
    "CacheWarning",
    "FaceNotFoundError",
    "FewImpostorsWarning",
    "ImageError",
    "StoreFullError",
    "TrainingCollapseWarning",
    "WeightsError",
]


class ImageError(ValueError):
    """An image that cannot be read or decoded; the message names the file or row."""


class FaceNotFoundError(ValueError):
    """A photo has no face, or several if a single one is required; the message names all photos."""


class WeightsError(OSError):
    """Weights that are not available, differ from the published file, or cannot be downloaded."""


class CacheError(OSError):
    """A cache whose file cannot be used; the message names the file and the remedy."""


class StoreFullError(CacheError):
    """A cache whose disk is full."""


class CacheWarning(UserWarning):
    """Embeddings cannot be stored in a cache; they are computed and returned all the same."""


class FewImpostorsWarning(UserWarning):
    """Too few impostor pairs for the false acceptance or false match rate that was asked for."""
