"""EmbeddingCache: stores on disk what a transformer computes for each image."""

from skface.cache._embedding_cache import CacheInfo, EmbeddingCache
from skface.exceptions import CacheError, CacheWarning

__all__ = ["CacheError", "CacheInfo", "CacheWarning", "EmbeddingCache"]
