"""Embedders: from an aligned face to a vector of length 1.

Importing this module does not import torch; that happens when a network is built.
"""

from skface.embedding._distilled import DistilledEmbedder
from skface.embedding._facenet import FaceNetEmbedder
from skface.embedding._onnx import OnnxEmbedder
from skface.embedding._siamese import SiameseEmbedder

__all__ = ["DistilledEmbedder", "FaceNetEmbedder", "OnnxEmbedder", "SiameseEmbedder"]
