"""EmbeddingCache: values of photos on disk, so that none is computed twice."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_scalar

from skface.cache._fingerprint import fingerprint, fingerprint_params
from skface.cache._lookup import CacheWarning, Desk, desk_at
from skface.cache._store import CacheError
from skface.images import ImageSequence

__all__ = [
    "CacheError",
    "CacheInfo",
    "CacheWarning",
    "EmbeddingCache",
    "as_cache",
    "fingerprint_params",
]

_FILENAME = "embeddings.sqlite"


@dataclass(frozen=True)
class CacheInfo:
    """What a cache holds, and what it was good for.

    Attributes
    ----------
    n_values : int
        Photos whose values are stored, once for each transformer.
    n_transformers : int
        Fitted transformers that have computed them.
    n_bytes : int
        Bytes of the file that are in use.
    max_bytes : int or None
        Their bound.
    hits, misses : int
        How many distinct photos this process was asked for that were stored, and that it had to
        compute.
    """

    n_values: int
    n_transformers: int
    n_bytes: int
    max_bytes: int | None
    hits: int
    misses: int


class EmbeddingCache:
    """Values of photos on disk, for :class:`skface.PerFace`.

    A value is looked up by what computed it (class, parameters and fitted state of the transformer,
    versions of the packages that compute) and by the content of the photo, so neither another
    network nor another photo of the same name is ever mistaken for it. Threads, processes and
    estimators may share a cache at the same time, and share the work. It is one SQLite database: a
    process that is killed loses the batch that it was at, and nothing else.

    Parameters
    ----------
    folder : str or path
        Where the file ``embeddings.sqlite`` is or shall be. It is created when it is first used.
        Choose a local disk: SQLite does not work reliably over a network.
    max_bytes : int, default=None
        Bound of the bytes in use, for the stores of this object. What was not used for longest is
        dropped first. A short log lies beside the file while it is in use.

    Notes
    -----
    A file is read again when its size, its number on the disk or one of its times (modification,
    or change of anything) is another one, and for two seconds after it was changed.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skface import EmbeddingCache, PerFace
    >>> faces = np.random.default_rng(0).random((20, 8, 8, 3))
    >>> folder = tempfile.TemporaryDirectory()
    >>> cache = EmbeddingCache(folder.name)
    >>> per_face = PerFace(PCA(n_components=5, random_state=0), cache=cache).fit(faces)
    >>> np.array_equal(per_face.transform(faces), per_face.transform(faces[::-1])[::-1])
    True
    >>> info = cache.info()
    >>> info.n_values, info.misses, info.hits
    (20, 20, 20)
    >>> cache.clear()
    """

    def __init__(self, folder: str | os.PathLike, *, max_bytes: int | None = None):
        if not isinstance(folder, str | os.PathLike):
            raise TypeError(f"folder={folder!r} is not a path.")
        if max_bytes is not None:
            check_scalar(max_bytes, "max_bytes", Integral, min_val=1)
        self.folder = folder
        self.max_bytes = max_bytes

    def __repr__(self):
        bound = "" if self.max_bytes is None else f", max_bytes={self.max_bytes}"
        return f"EmbeddingCache({os.fspath(self.folder)!r}{bound})"

    def __eq__(self, other):
        if not isinstance(other, EmbeddingCache):
            return NotImplemented
        return vars(self) == vars(other)

    def __hash__(self):
        return hash((os.fspath(self.folder), self.max_bytes))

    def info(self) -> CacheInfo:
        """Count what is stored, and what this process found or missed.

        Returns
        -------
        CacheInfo
            The counts.

        Raises
        ------
        CacheError
            If the file cannot be used.
        """
        desk = self._desk()
        desk.store.refresh()
        n_values, n_transformers, n_bytes = desk.store.count()
        return CacheInfo(n_values, n_transformers, n_bytes, self.max_bytes, desk.hits, desk.misses)

    def clear(self) -> None:
        """Drop all values, on disk and in the memory of this process, and count anew.

        Raises
        ------
        CacheError
            If the file cannot be used.
        """
        desk = self._desk()
        desk.forget()
        desk.store.refresh()
        desk.store.clear()

    def look_up(
        self,
        transformer: BaseEstimator,
        images: ImageSequence,
        indices: np.ndarray,
        compute: Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]],
        batch_size: int,
        shape: tuple[int, ...],
        *,
        order: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the values of images, and compute those that are not there.

        Parameters
        ----------
        transformer : estimator
            The fitted transformer that computes them.
        images : ImageSequence
            From :func:`skface.images.check_images`.
        indices : ndarray of shape (n,)
            Which of them.
        compute : callable
            Yields the values, (b, ...), of batch after batch of images, given by b indices each.
        batch_size : int
            Images computed at a time. Each batch is stored before the next.
        shape : tuple of int
            Shape of one value, which may follow that of the images.
        order : ndarray of shape (m,), default=None
            Places in `indices` whose values to return, in this order; None for all of them.

        Returns
        -------
        ndarray of shape (n, ...) or (m, ...)
            As `compute` returned them.

        Raises
        ------
        CacheError
            If the file cannot be used.
        FileNotFoundError
            If image files do not exist (all of them are named).
        ValueError
            If the transformer cannot be told from others.

        Warns
        -----
        CacheWarning
            If the disk is full.
        """
        desk = self._desk()
        photos, kinds = desk.digests(images, indices)

        def are_same(places: np.ndarray) -> np.ndarray:
            return desk.digests.are_same(images, indices[places], [photos[i] for i in places])

        return desk.look_up(
            fingerprint(transformer, kinds, shape),
            photos,
            lambda batches: compute(indices[places] for places in batches),
            are_same,
            batch_size,
            self.max_bytes,
            order,
        )

    def _desk(self) -> Desk:
        return desk_at(Path(self.folder).expanduser() / _FILENAME)


def as_cache(cache: Any) -> EmbeddingCache | None:
    """Return the cache that a parameter means: None, the path of a folder, or a cache."""
    if cache is None or isinstance(cache, EmbeddingCache):
        return cache
    if isinstance(cache, str | os.PathLike):
        return EmbeddingCache(cache)
    raise TypeError(f"cache={cache!r} is neither None, nor a path, nor an EmbeddingCache.")
