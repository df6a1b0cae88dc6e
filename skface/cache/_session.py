"""The open cache of a process: values in memory, digests of images, and the store."""

import os
import threading
import warnings
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from skface._rows import FileSignature
from skface._utils.per_process import STORE
from skface.cache._image_digests import ImageDigests
from skface.cache._memory import MemoryCache
from skface.cache._store import Store
from skface.exceptions import CacheWarning, StoreFullError

_MEMORY_BYTES = 2**28  # values of one cache in memory
_MOST_FILES = 2**18  # signatures of one cache in memory


class CacheSession:
    """An open cache: its store, values and digests of images in memory, and counts.

    Parameters
    ----------
    path : Path
        The database.

    Attributes
    ----------
    store : Store
        The values on disk.
    image_digests : ImageDigests
        Digests of images.
    hits, misses : int
        Images that were found, and that were computed.
    """

    def __init__(self, path: Path) -> None:
        self.store = Store(path)
        self.image_digests = ImageDigests(self.store)
        self.hits = 0
        self.misses = 0
        # by fingerprint of the transformer and shape of a value, the most recently used last
        self._memory: dict[tuple[bytes, tuple[int, ...]], MemoryCache] = {}
        self._signatures: dict[str, FileSignature] = {}
        self._working_directory = ""  # where the relative paths of these start
        self._has_warned = False
        self._lock = threading.RLock()

    def clear(self) -> None:
        """Drop everything in memory and on disk, and reset the counts."""
        with self._lock:
            self._memory.clear()
            self._signatures = {}
            self.image_digests.clear()
            self.hits = self.misses = 0
        self.refresh()
        self.store.clear()

    def refresh(self) -> None:
        """Open the file if it is not open, and drop the values in memory if it was deleted."""
        with self._lock:
            if self.store.refresh():
                self._memory.clear()

    def signatures(self) -> dict[str, FileSignature]:
        """Return the signatures of files that are checked once; the caller adds to them."""
        directory = os.getcwd()
        with self._lock:
            if directory != self._working_directory or len(self._signatures) > _MOST_FILES:
                self._working_directory, self._signatures = directory, {}
            return self._signatures

    def memory(self, transformer: bytes, shape: tuple[int, ...]) -> MemoryCache:
        """Return the values of one transformer in memory; `shape` is that of one value."""
        with self._lock:
            self.refresh()
            key = transformer, shape
            memory = self._memory.pop(key, None) or MemoryCache()
            self._memory[key] = memory
            return memory

    def find(self, transformer: bytes, image: bytes) -> NDArray[Any] | None:
        """Return the value of one image, or None if it is neither in memory nor stored."""
        with self._lock:
            self.refresh()
            for (other, _), memory in self._memory.items():
                if other == transformer and image in memory:
                    return memory.take(memory.find([image]))[0]
        return self.store.read(transformer, [image]).get(image)

    def write(
        self, transformer: bytes, values: dict[bytes, NDArray[Any]], max_bytes: int | None
    ) -> bool:
        """Store values, and return whether all were new.

        A full disk gives a warning, but only once.
        """
        try:
            if max_bytes is not None:
                self._write_uses()
            return self.store.write(transformer, values, max_bytes)
        except StoreFullError as error:
            if not self._has_warned:
                self._has_warned = True
                warnings.warn(
                    f"{error} Until then values are computed and kept in memory, but not stored.",
                    CacheWarning,
                    stacklevel=2,
                )
            return True

    def bound_memory(self) -> None:
        """Drop the values of the least recently used transformers beyond the bound."""
        with self._lock:
            excess = sum(memory.nbytes for memory in self._memory.values()) - _MEMORY_BYTES
            for key, memory in list(self._memory.items()):
                if excess <= 0:
                    break
                del self._memory[key]
                excess -= memory.nbytes

    def _write_uses(self) -> None:
        """Record in the store which values were used: it drops the least recently used ones."""
        for (transformer, _), memory in list(self._memory.items()):
            for milliseconds, images in memory.pop_uses().items():
                self.store.touch(transformer, images, milliseconds)


def open_session(folder: str | os.PathLike[str], owner: object) -> CacheSession:
    """Return the session of this process with a cache, the same one while an owner is alive."""
    path = os.path.realpath(Path(folder).expanduser() / "embeddings.sqlite")
    return STORE.get("cache session", path, lambda: CacheSession(Path(path)), owner)
