"""Looking vectors up: in memory, in the store, and, if they are in neither, by computing them.

Processes that need the same photos share the work. Each claims a batch before it computes it, and
leaves what others have claimed to the last; by then it is stored, or its claim has run out.
"""

import os
import secrets
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from pathlib import Path

import numpy as np

from skface.cache._photos import PhotoDigests
from skface.cache._store import Store, StoreFullError

_MEMORY_BYTES = 2**28  # vectors of one store that a process keeps in memory
# Lists of photos whose places are remembered, as those of the folds of a search: least length of
# one, and most photos of all.
_LEAST_FOUND = 100
_MOST_FOUND = 2**18
_RENEW_SECONDS = 2.0
_WAIT_SECONDS = 0.02


class CacheWarning(UserWarning):
    """Vectors are computed and returned, but cannot be stored."""


class Shelf:
    """Vectors of one transformer in memory, in one array."""

    def __init__(self) -> None:
        self.place_of: dict[bytes, int] = {}
        self.values: np.ndarray | None = None
        self._used = np.empty(0, dtype=np.int64)
        self._noted = 0
        # with the list, so that no other gets its id
        self._found: dict[int, tuple[list, np.ndarray]] = {}
        self._n_found = 0

    def find(self, photos: list[bytes | None]) -> np.ndarray:
        """Return the places of photos in `values`, -1 for those that are not here.

        Where all are here, a long list has the same places from now on: it must not be changed.
        """
        kept = self._found.get(id(photos))
        if kept is not None:
            return kept[1]
        places = np.fromiter(map(self.place_of.get, photos, repeat(-1)), np.intp, len(photos))
        if len(places) >= _LEAST_FOUND and places.min() >= 0:
            self._n_found += len(places)
            if self._n_found > _MOST_FOUND:
                self._found.clear()
                self._n_found = len(places)
            self._found[id(photos)] = photos, places
        return places

    def add(self, vectors: dict[bytes, np.ndarray]) -> None:
        """Put vectors of one shape and type, by photo, on the shelf."""
        new = [photo for photo in vectors if photo not in self.place_of]
        if not new:
            return
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

    def fits(self, value: np.ndarray) -> bool:
        """Tell whether a vector has the shape and type of those that are here."""
        return self.values is None or (value.shape, value.dtype) == (
            self.values.shape[1:],
            self.values.dtype,
        )

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


class Desk:
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
        self._shelves: dict[bytes, Shelf] = {}  # the last is the one that was used last
        self._lock = threading.RLock()
        self._warned = False

    def forget(self) -> None:
        """Drop what is in memory, and start counting anew."""
        with self._lock:
            self._shelves.clear()
            self.digests.clear()
            self.hits = self.misses = 0

    def look_up(
        self,
        transformer: bytes,
        photos: list[bytes | None],
        compute: Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]],
        are_same: Callable[[np.ndarray], np.ndarray],
        batch_size: int,
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
        max_bytes : int or None
            Bound of the store.
        order : ndarray of shape (m,) or None
            Places in `photos` whose vectors to return, in this order; None for all of them.

        Returns
        -------
        ndarray of shape (len(photos), ...) or (m, ...)
            Read as `compute` returned them.
        """
        shelf = self._shelf(transformer)
        places = shelf.find(photos)
        missing = np.flatnonzero(places < 0).tolist()
        loose: dict[int, np.ndarray] = {}  # vectors that must not be kept, by place in `photos`
        if missing:
            first_at: dict[bytes, int] = {}
            unknown = []
            for at in missing:
                if photos[at] is None:
                    unknown.append(at)
                else:
                    first_at.setdefault(photos[at], at)
            work = _Work(self, shelf, transformer, compute, are_same, batch_size, max_bytes, loose)
            work.fill(first_at)
            batches = [unknown[i : i + batch_size] for i in range(0, len(unknown), batch_size)]
            for batch, values in zip(batches, compute(map(np.array, batches)), strict=True):
                loose.update(zip(batch, values, strict=True))
            for at in missing:
                photo = photos[at]
                places[at] = shelf.place_of.get(photo, -1)
                if places[at] < 0 and at not in loose:
                    loose[at] = loose[first_at[photo]]
            self.misses += work.n_computed + len(unknown)
            self.hits += len(set(photos)) - work.n_computed - (None in photos)
        else:
            self.hits += int(np.count_nonzero(np.bincount(places)))
        kept = places >= 0
        shelf.note_use(places[kept])
        self._bound_memory()
        if not loose:  # gathered once, for that takes the time
            return shelf.values[places if order is None else places[order]]
        some = next(iter(loose.values()))
        dtype = some.dtype if shelf.values is None else np.result_type(some, shelf.values)
        values = np.empty((len(photos), *some.shape), dtype)
        if kept.any():
            values[kept] = shelf.values[places[kept]]
        for at, value in loose.items():
            values[at] = value
        return values if order is None else values[order]

    def keep(
        self,
        shelf: Shelf,
        transformer: bytes,
        vectors: dict[bytes, np.ndarray],
        claimed: list[bytes],
        max_bytes: int | None,
    ) -> None:
        """Keep vectors that were computed, in memory and in the store, and give up claims."""
        with self._lock:
            shelf.add(vectors)
        if max_bytes is not None:
            for fingerprint, other in list(self._shelves.items()):
                for used, photos in other.used_since_last_asked().items():
                    self.store.touch(fingerprint, photos, used)
        self.store.write(transformer, vectors, claimed, max_bytes)

    def warn(self, error: StoreFullError) -> None:
        """Say, once, that the store takes nothing more."""
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{error} Until then vectors are computed and kept in memory, but not stored.",
                CacheWarning,
                stacklevel=2,
            )

    def _shelf(self, transformer: bytes) -> Shelf:
        with self._lock:
            if self.store.refresh():  # the file was deleted, and what was stored with it
                self._shelves.clear()
            shelf = self._shelves.pop(transformer, None) or Shelf()
            self._shelves[transformer] = shelf
            return shelf

    def _bound_memory(self) -> None:
        with self._lock:
            sizes = {
                key: 0 if shelf.values is None else shelf.values.nbytes
                for key, shelf in self._shelves.items()
            }
            n_bytes = sum(sizes.values())
            for key, size in sizes.items():
                if n_bytes <= _MEMORY_BYTES:
                    break
                del self._shelves[key]
                n_bytes -= size


class _Work:
    """Getting vectors that are not in memory, for one call of `Desk.look_up`."""

    def __init__(self, desk, shelf, transformer, compute, are_same, batch_size, max_bytes, loose):
        self._desk = desk
        self._shelf = shelf
        self._transformer = transformer
        self._compute = compute
        self._are_same = are_same
        self._batch_size = batch_size
        self._max_bytes = max_bytes
        self._loose = loose
        self._owner = secrets.token_bytes(8)
        self._shares = True  # with others, through claims
        self.n_computed = 0

    def fill(self, first_at: dict[bytes, int]) -> None:
        """Get the vectors of photos, which are given with a place of each."""
        store = self._desk.store
        self._take(store.read(self._transformer, list(first_at)))
        left = [photo for photo in first_at if photo not in self._shelf.place_of]
        if not left:
            return
        claimed: deque[list[bytes]] = deque()

        def batches():
            nonlocal left
            while left:
                photos, left = self._claim(left)
                if not photos:
                    return  # others are at what is left
                claimed.append(photos)
                yield np.array([first_at[photo] for photo in photos])

        with _Lease(store, self._owner):
            while left:
                for values in self._compute(batches()):
                    photos = claimed.popleft()
                    self._keep(values, photos, np.array([first_at[photo] for photo in photos]))
                if left:  # waiting here, not in the thread that makes batches, can be interrupted
                    time.sleep(_WAIT_SECONDS)

    def _claim(self, pending: list[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Return photos to compute now, and those that are left for later."""
        if self._shares:
            try:
                found, claimed, busy, rest = self._desk.store.claim(
                    self._transformer, pending, self._owner, self._batch_size
                )
                self._take(found)
                return claimed, rest + busy
            except StoreFullError as error:
                self._desk.warn(error)
                self._shares = False
        return pending[: self._batch_size], pending[self._batch_size :]

    def _take(self, found: dict[bytes, np.ndarray]) -> None:
        with self._desk._lock:
            self._shelf.add(found)

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
        if vectors and not self._shelf.fits(values[0]):
            raise ValueError(
                f"The transformer gave {values.dtype} of shape {values.shape[1:]} per face, but "
                f"{self._shelf.values.dtype} of shape {self._shelf.values.shape[1:]} for others; "
                "such values cannot be cached: set cache=None."
            )
        # of a failure its warning would be lost, and a photo that changed is known by another name
        self._loose.update((int(at[i]), values[i]) for i in np.flatnonzero(~keeps))
        try:
            self._desk.keep(self._shelf, self._transformer, vectors, photos, self._max_bytes)
        except StoreFullError as error:
            self._desk.warn(error)


class _Lease:
    """Keeps the claims of an owner alive while it computes, and gives them up at the end."""

    def __init__(self, store: Store, owner: bytes):
        self._store = store
        self._owner = owner
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="skface-cache", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._ended.set()
        self._thread.join()
        try:
            self._store.release(self._owner)
        except OSError:
            pass  # they run out by themselves

    def _renew(self) -> None:
        while not self._ended.wait(_RENEW_SECONDS):
            try:
                self._store.renew(self._owner)
            except OSError:
                pass  # a claim that is lost costs work, not results


_DESKS: dict[tuple[int, str], Desk] = {}
_DESKS_LOCK = threading.RLock()


def desk_at(path: Path) -> Desk:
    """Return this process's desk for a database, always the same."""
    key = os.getpid(), os.path.realpath(path)
    with _DESKS_LOCK:
        if key not in _DESKS:
            _DESKS[key] = Desk(Path(key[1]))
        return _DESKS[key]
