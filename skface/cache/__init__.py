"""EmbeddingCache: values of images on disk, so that none is computed twice."""

from skface.cache._embedding_cache import CacheInfo, EmbeddingCache
from skface.exceptions import CacheError, CacheWarning

__all__ = ["CacheError", "CacheInfo", "CacheWarning", "EmbeddingCache"]
