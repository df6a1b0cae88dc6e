"""Values of images: from memory, else from the store, else computed."""

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from skface._rows import FileSignature, ImageSequence
from skface.cache._embedding_cache import EmbeddingCache
from skface.cache._fingerprint import fingerprint
from skface.cache._memory import MemoryCache
from skface.cache._session import CacheSession, open_session

#: Yields the values, (b, ...), of batch after batch of images, given by b indices each.
Compute = Callable[[Iterable[NDArray[np.intp]]], Iterator[NDArray[Any]]]


def known_signatures(cache: EmbeddingCache, owner: object) -> dict[str, FileSignature] | None:
    """Return the signatures of files that need not be checked again, or None to check all.

    :func:`skface._rows.check_images` takes them, and adds to them.
    """
    return open_session(cache.folder, owner).signatures() if cache.check_files == "once" else None


def find_value(
    cache: EmbeddingCache,
    owner: object,
    transformer: BaseEstimator,
    images: ImageSequence,
    index: int,
) -> NDArray[Any] | None:
    """Return the value of one image, or None if it is not in the cache."""
    session = open_session(cache.folder, owner)
    (digest,), kinds = session.image_digests(images, np.array([index]))
    return None if digest is None else session.find(fingerprint(transformer, kinds), digest)


def look_up_values(
    cache: EmbeddingCache,
    owner: object,
    transformer: BaseEstimator,
    images: ImageSequence,
    indices: NDArray[np.intp],
    compute: Compute,
    batch_size: int,
    shape: tuple[int, ...],
    *,
    order: NDArray[np.intp] | None = None,
) -> NDArray[Any]:
    """Return the values of images, and compute those that are not in the cache.

    Parameters
    ----------
    cache : EmbeddingCache
        The cache.
    owner : object
        The cache stays open in this process while this object exists.
    transformer : estimator
        The fitted transformer that computes them.
    images : ImageSequence
        From :func:`skface._rows.check_images`.
    indices : ndarray of shape (n,)
        Which images.
    compute : callable
        Yields the values, (b, ...), of batch after batch of images, given by b indices each.
    batch_size : int
        Images computed at a time. Each batch is stored before the next one is computed.
    shape : tuple of int
        Expected shape of one value.
    order : ndarray of shape (m,), default=None
        Places in `indices` whose values to return, in this order. None means all of them.

    Returns
    -------
    ndarray of shape (n, ...) or (m, ...)
        The values, as `compute` yielded them.

    Raises
    ------
    CacheError
        If the file cannot be used.
    ValueError
        If the transformer cannot be identified, or gave values of two shapes or types.
    TypeError
        If the values are objects.

    Warns
    -----
    CacheWarning
        If the disk is full.
    """
    session = open_session(cache.folder, owner)
    digests, kinds = session.image_digests(images, indices)
    key = fingerprint(transformer, kinds)
    memory = session.memory(key, shape)
    places = memory.find(digests)
    uncached: dict[int, NDArray[Any]] = {}
    if (places < 0).any():
        filling = _Filling(session, key, memory, images, indices, digests, cache.max_bytes)
        uncached = filling.run(compute, batch_size)
        n_distinct = len(set(digests) - {None}) + digests.count(None)
        session.misses += filling.n_computed
        session.hits += n_distinct - filling.n_computed
        places = memory.find(digests)
    else:
        session.hits += int(np.count_nonzero(np.bincount(places)))
    is_cached = places >= 0
    memory.mark_used(places[is_cached])
    session.bound_memory()
    if not uncached:  # one gather, since copying takes most of the time
        return memory.take(places if order is None else places[order])
    values = _merge(memory.take(places[is_cached]), is_cached, uncached)
    return values if order is None else values[order]


def _merge(
    cached: NDArray[Any], is_cached: NDArray[np.bool_], uncached: dict[int, NDArray[Any]]
) -> NDArray[Any]:
    """Return cached and uncached values in one array."""
    some = next(iter(uncached.values()))
    dtype = np.result_type(some, cached) if len(cached) else some.dtype
    values = np.empty((len(is_cached), *some.shape), dtype)
    if len(cached):
        values[is_cached] = cached
    for place, value in uncached.items():
        values[place] = value
    return values


class _Filling:
    """Gets the values that are not in memory, for one call of `look_up_values`.

    Threads and processes that need the same images share the work without waiting for each other.
    Each starts at a random batch, and before it computes a batch it reads what others have stored.
    Where it meets the work of another, it turns round and takes its remaining batches from the
    other end. So two workers meet once, and only compute twice what both are at. In a simulation
    with 30 batches, two workers compute 1.08 times what one does; without turning round 1.57 times,
    since they continue side by side after they have met.
    """

    def __init__(
        self,
        session: CacheSession,
        transformer: bytes,
        memory: MemoryCache,
        images: ImageSequence,
        indices: NDArray[np.intp],
        digests: list[bytes | None],
        max_bytes: int | None,
    ) -> None:
        self._session = session
        self._transformer = transformer
        self._memory = memory
        self._images = images
        self._indices = indices
        self._digests = digests
        self._max_bytes = max_bytes
        # batches of places in `indices`: to compute, and being computed
        self._batches: deque[list[int]] = deque()
        self._computing: deque[list[int]] = deque()
        self._uncached: dict[int, NDArray[Any]] = {}
        self.n_computed = 0

    def run(self, compute: Compute, batch_size: int) -> dict[int, NDArray[Any]]:
        """Get all missing values; return those that must not be cached, by place."""
        missing = self._missing(range(len(self._digests)))
        # one place of each distinct image; those without a digest are all distinct
        first = {self._digests[place] or place: place for place in reversed(missing)}
        left = self._read(sorted(first.values()))
        # the same batches wherever it starts: the last bits of a value may depend on its batch
        batches = [left[i : i + batch_size] for i in range(0, len(left), batch_size)]
        self._batches.extend(batches)
        if batches:
            self._batches.rotate(secrets.randbelow(len(batches)))  # not from a seeded generator
            for values in compute(self._take_batches()):
                self._keep(values, self._computing.popleft())
        return {
            place: self._uncached[first[self._digests[place] or place]]
            for place in self._missing(missing)
        }

    def _missing(self, places: Iterable[int]) -> list[int]:
        return [place for place in places if self._digests[place] not in self._memory]

    def _read(self, places: list[int]) -> list[int]:
        """Read stored values into memory, and return the places that are still missing."""
        wanted = [digest for place in self._missing(places) if (digest := self._digests[place])]
        self._memory.add(self._session.store.read(self._transformer, wanted))
        return self._missing(places)

    def _take_batches(self) -> Iterator[NDArray[np.intp]]:
        """Yield the indices of the images of each batch that are still missing."""
        while self._batches:
            batch = self._batches.popleft()
            left = self._read(batch)
            if len(left) < len(batch):
                self._batches.reverse()
            if left:
                self._computing.append(left)
                yield self._indices[left]

    def _keep(self, values: NDArray[Any], places: list[int]) -> None:
        """Cache the values of a batch, except failures and those of files that have changed."""
        self.n_computed += len(values)
        if values.dtype.hasobject:
            raise TypeError(
                f"The transformer gave values of dtype {values.dtype}, which cannot be cached: "
                "let it return numbers or strings, or set cache=None."
            )
        digests = [self._digests[place] for place in places]
        unchanged = self._session.image_digests.are_unchanged(
            self._images, self._indices[places], digests
        )
        # a failure is computed again, so that its warning is seen again
        keeps = unchanged & ~_are_nan(values)
        kept = {}
        for place, digest, value, keep in zip(places, digests, values, keeps, strict=True):
            if keep and digest is not None:
                kept[digest] = value
            else:
                self._uncached[place] = value
        self._memory.add(kept)
        if not self._session.write(self._transformer, kept, self._max_bytes):
            self._batches.reverse()  # another worker has just stored some of them


def _are_nan(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values are all NaN."""
    if values.dtype.kind not in "fc":
        return np.zeros(len(values), dtype=bool)
    return np.isnan(values.reshape(len(values), -1)).all(axis=1)
