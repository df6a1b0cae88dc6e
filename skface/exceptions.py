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
    """An image that cannot be read, decoded or understood; the message names the file or row."""


class FaceNotFoundError(ValueError):
    """No face, or several where a single one is wanted; the message names every such photo."""


class WeightsError(OSError):
    """Weights that are not available, not what was published, or cannot be downloaded."""


class CacheError(OSError):
    """A cache whose file cannot be used; the message names the file and the way out."""


class StoreFullError(CacheError):
    """A cache whose disk is full."""


class CacheWarning(UserWarning):
    """Embeddings are computed and returned, but cannot be stored."""


class FewImpostorsWarning(UserWarning):
    """Too few impostor pairs to measure, or to promise, so small a rate."""
