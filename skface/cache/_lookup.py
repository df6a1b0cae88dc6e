"""Looking vectors up: in memory, in the store, and, if they are in neither, by computing them."""

import os
import secrets
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from pathlib import Path

import numpy as np

from skface._rows import FileSignature
from skface._utils.per_process import STORE
from skface.cache._photos import PhotoDigests
from skface.cache._store import Store
from skface.exceptions import CacheWarning, StoreFullError

_MEMORY_BYTES = 2**28  # vectors of one store that a process keeps in memory
_MOST_FILES = 2**18  # that a session remembers to have looked at


class MemoryCache:
    """Vectors of one transformer in memory, in one array."""

    def __init__(self) -> None:
        self.place_of: dict[bytes, int] = {}
        self.values: np.ndarray | None = None
        self._used = np.empty(0, dtype=np.int64)
        self._noted = 0

    def find(self, photos: list[bytes | None]) -> np.ndarray:
        """Return the places of photos in `values`, -1 for those that are not here."""
        return np.fromiter(map(self.place_of.get, photos, repeat(-1)), np.intp, len(photos))

    def add(self, vectors: dict[bytes, np.ndarray]) -> None:
        """Add vectors by photo.

        Raises
        ------
        ValueError
            If a vector has another shape or type than the others.
        """
        new = [photo for photo in vectors if photo not in self.place_of]
        if not new:
            return
        expected = vectors[new[0]] if self.values is None else self.values[:1][0]
        for photo in new:
            value = vectors[photo]
            if (value.shape, value.dtype) != (expected.shape, expected.dtype):
                raise ValueError(
                    f"The transformer gave {value.dtype} of shape {value.shape} for a face, but "
                    f"{expected.dtype} of shape {expected.shape} for others; such values cannot "
                    "be cached: set cache=None."
                )
        block = np.stack([vectors[photo] for photo in new])
        n_before = len(self.place_of)
        n_after = n_before + len(new)
        if self.values is None:
            self.values = np.empty((0, *block.shape[1:]), block.dtype)
        if n_after > len(self.values):
            larger = np.empty((max(n_after, 2 * n_before), *block.shape[1:]), self.values.dtype)
            larger[:n_before] = self.values[:n_before]
            self.values = larger
            # another array, for other threads may be writing to this one
            used = np.zeros(len(larger), dtype=np.int64)
            used[:n_before] = self._used[:n_before]
            self._used = used
        self.values[n_before:n_after] = block
        self._used[n_before:n_after] = 0
        # last, so that another thread never finds a place without its vector
        self.place_of.update(zip(new, range(n_before, n_after), strict=True))

    def note_use(self, places: np.ndarray) -> None:
        """Remember that vectors were used now."""
        self._used[places] = time.time_ns() // 1_000_000

    def used_since_last_asked(self) -> dict[int, list[bytes]]:
        """Return the photos that were used, by time."""
        photos = list(self.place_of)
        recent: dict[int, list[bytes]] = {}
        for place in np.flatnonzero(self._used[: len(photos)] > self._noted):
            recent.setdefault(int(self._used[place]), []).append(photos[place])
        self._noted = max(recent, default=self._noted)
        return recent


class CacheSession:
    """What one process knows of one store: its vectors and digests in memory, and its counts.

    Parameters
    ----------
    path : Path
        The database.
    """

    def __init__(self, path: Path):
        self.store = Store(path)
        self.digests = PhotoDigests(self.store)
        self.hits = 0
        self.misses = 0
        # By transformer and shape of a vector; the last is the one that was used last.
        self._memory: dict[tuple[bytes, tuple[int, ...]], MemoryCache] = {}
        self._files: dict[str, FileSignature] = {}
        self._folder = ""  # where the relative paths of these start
        self._lock = threading.RLock()
        self._warned = False

    def forget(self) -> None:
        """Drop what is in memory, and start counting anew."""
        with self._lock:
            self._memory.clear()
            self._files = {}
            self.digests.clear()
            self.hits = self.misses = 0

    def known_files(self) -> dict[str, FileSignature]:
        """Return what is known of the files that are looked at once, to be added to."""
        folder = os.getcwd()
        with self._lock:
            if folder != self._folder or len(self._files) > _MOST_FILES:
                self._folder, self._files = folder, {}
            return self._files

    def find(self, transformer: bytes, photo: bytes | None) -> np.ndarray | None:
        """Return the vector of one photo, or None if it is neither in memory nor stored."""
        if photo is None:
            return None
        self._open()
        with self._lock:
            for (other, _), memory in self._memory.items():
                place = memory.place_of.get(photo) if other == transformer else None
                if place is not None:
                    return memory.values[place]
        return self.store.read(transformer, [photo]).get(photo)

    def look_up(
        self,
        transformer: bytes,
        photos: list[bytes | None],
        compute: Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]],
        are_same: Callable[[np.ndarray], np.ndarray],
        batch_size: int,
        shape: tuple[int, ...],
        max_bytes: int | None,
        order: np.ndarray | None,
    ) -> np.ndarray:
        """Return one vector per photo, or those of some places.

        Parameters
        ----------
        transformer : bytes
            Fingerprint of what computes the vectors.
        photos : list of bytes or None
            Digests of the photos; None for one that is not to be looked up.
        compute : callable
            Yields the vectors of batch after batch of photos, given by their places in `photos`.
        are_same : callable
            Tells which photos at such places are still what their digests say.
        batch_size : int
            Most photos to compute at a time. They are stored before the next are computed.
        shape : tuple of int
            Shape of a vector.
        max_bytes : int or None
            Bound of the store.
        order : ndarray of shape (m,) or None
            Places in `photos` whose vectors to return, in this order; None for all of them.

        Returns
        -------
        ndarray of shape (len(photos), ...) or (m, ...)
            Read as `compute` returned them.
        """
        memory = self._memory_of(transformer, shape)
        places = memory.find(photos)
        missing = np.flatnonzero(places < 0).tolist()
        uncached: dict[int, np.ndarray] = {}  # vectors that must not be kept, by place in `photos`
        if missing:
            first_at: dict[bytes, int] = {}
            unknown = []
            for at in missing:
                if photos[at] is None:
                    unknown.append(at)
                else:
                    first_at.setdefault(photos[at], at)
            fill = _Fill(self, memory, transformer, are_same, max_bytes, uncached)
            fill.run(first_at, compute, batch_size)
            batches = [unknown[i : i + batch_size] for i in range(0, len(unknown), batch_size)]
            for batch, values in zip(batches, compute(map(np.array, batches)), strict=True):
                uncached.update(zip(batch, values, strict=True))
            for at in missing:
                photo = photos[at]
                places[at] = memory.place_of.get(photo, -1)
                if places[at] < 0 and at not in uncached:
                    uncached[at] = uncached[first_at[photo]]
            self.misses += fill.n_computed + len(unknown)
            self.hits += len(set(photos)) - fill.n_computed - (None in photos)
        else:
            self.hits += int(np.count_nonzero(np.bincount(places)))
        kept = places >= 0
        memory.note_use(places[kept])
        self._bound_memory()
        if not uncached:  # gathered once, for that takes the time
            return memory.values[places if order is None else places[order]]
        some = next(iter(uncached.values()))
        dtype = some.dtype if memory.values is None else np.result_type(some, memory.values)
        values = np.empty((len(photos), *some.shape), dtype)
        if kept.any():
            values[kept] = memory.values[places[kept]]
        for at, value in uncached.items():
            values[at] = value
        return values if order is None else values[order]

    def add(self, memory: MemoryCache, vectors: dict[bytes, np.ndarray]) -> None:
        """Keep vectors in memory."""
        with self._lock:
            memory.add(vectors)

    def write(
        self, transformer: bytes, vectors: dict[bytes, np.ndarray], max_bytes: int | None
    ) -> bool:
        """Store vectors, and tell whether all were new. A full disk is a warning, once."""
        try:
            if max_bytes is not None:
                for (fingerprint, _), other in list(self._memory.items()):
                    for used, photos in other.used_since_last_asked().items():
                        self.store.touch(fingerprint, photos, used)
            return self.store.write(transformer, vectors, max_bytes)
        except StoreFullError as error:
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"{error} Until then vectors are computed and kept in memory, but not stored.",
                    CacheWarning,
                    stacklevel=2,
                )
            return True

    def _open(self) -> None:
        with self._lock:
            if self.store.refresh():  # the file was deleted, and what was stored with it
                self._memory.clear()

    def _memory_of(self, transformer: bytes, shape: tuple[int, ...]) -> MemoryCache:
        with self._lock:
            self._open()
            key = transformer, shape
            memory = self._memory.pop(key, None) or MemoryCache()
            self._memory[key] = memory
            return memory

    def _bound_memory(self) -> None:
        with self._lock:
            sizes = {
                key: 0 if memory.values is None else memory.values.nbytes
                for key, memory in self._memory.items()
            }
            n_bytes = sum(sizes.values())
            for key, size in sizes.items():
                if n_bytes <= _MEMORY_BYTES:
                    break
                del self._memory[key]
                n_bytes -= size


class _Fill:
    """Getting vectors that are not in memory, for one call of `CacheSession.look_up`.

    Threads and processes that need the same photos share the work without waiting for each other.
    Each begins at a random batch, and before it computes one it looks in the store for what others
    have stored meanwhile. Where it meets their work it turns round, and goes on from the other end
    of what it has left. So two of them meet once, and compute what they were at twice at most.
    """

    def __init__(self, session, memory, transformer, are_same, max_bytes, uncached):
        self._session = session
        self._memory = memory
        self._transformer = transformer
        self._are_same = are_same
        self._max_bytes = max_bytes
        self._uncached = uncached
        self._batches: list[list[bytes]] = []
        self.n_computed = 0

    def run(
        self,
        first_at: dict[bytes, int],
        compute: Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]],
        batch_size: int,
    ) -> None:
        """Get the vectors of photos, which are given with a place of each."""
        self._read(list(first_at))
        left = [photo for photo in first_at if photo not in self._memory.place_of]
        if not left:
            return
        # The same batches wherever it begins, for values may depend on them in the last bits.
        batches = [left[i : i + batch_size] for i in range(0, len(left), batch_size)]
        start = secrets.randbelow(len(batches))  # not from a generator that the user has seeded
        self._batches = batches[start:] + batches[:start]
        computing: list[list[bytes]] = []

        def places() -> Iterator[np.ndarray]:
            for batch in self._next_batches():
                computing.append(batch)
                yield np.array([first_at[photo] for photo in batch])

        for values in compute(places()):
            batch = computing.pop(0)
            self._keep(values, batch, np.array([first_at[photo] for photo in batch]))

    def _next_batches(self) -> Iterator[list[bytes]]:
        """Yield what is still to be computed of each batch."""
        while self._batches:
            batch = self._batches.pop(0)
            found = self._read(batch)
            if found:
                self._batches.reverse()
            left = [photo for photo in batch if photo not in found]
            if left:
                yield left

    def _read(self, photos: list[bytes]) -> dict[bytes, np.ndarray]:
        found = self._session.store.read(self._transformer, photos)
        self._session.add(self._memory, found)
        return found

    def _keep(self, values: np.ndarray, photos: list[bytes], at: np.ndarray) -> None:
        self.n_computed += len(values)
        if values.dtype.hasobject:
            raise TypeError(
                f"The transformer gave values of dtype {values.dtype}, which cannot be cached: "
                "let it return numbers or strings, or set cache=None."
            )
        failed = np.zeros(len(values), dtype=bool)
        if values.dtype.kind in "fc":
            failed = np.isnan(values.reshape(len(values), -1)).all(axis=1)
        keeps = ~failed & self._are_same(at)
        vectors = {photos[i]: values[i] for i in np.flatnonzero(keeps)}
        # of a failure its warning would be lost, and a photo that changed is known by another name
        self._uncached.update((int(at[i]), values[i]) for i in np.flatnonzero(~keeps))
        self._session.add(self._memory, vectors)
        if not self._session.write(self._transformer, vectors, self._max_bytes):
            self._batches.reverse()  # another one is at the same place


def session_of(path: Path, owner: object) -> CacheSession:
    """Return this process's session with a database, always the same while it has an owner."""
    place = os.path.realpath(path)
    return STORE.get("cache session", place, lambda: CacheSession(Path(place)), owner)
