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

from skface._rows import FileSignature, ImageSequence
from skface._utils.validation import check_option
from skface.cache._fingerprint import fingerprint
from skface.cache._lookup import CacheSession, session_of
from skface.exceptions import CacheError, CacheWarning

__all__ = [
    "CacheError",
    "CacheInfo",
    "CacheWarning",
    "EmbeddingCache",
    "as_cache",
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
    estimators may use a cache at the same time, and share the work. It is one SQLite database: a
    process that is killed loses the batch that it was at, and nothing else.

    Parameters
    ----------
    folder : str or path
        Where the file ``embeddings.sqlite`` is or shall be. It is created when it is first used.
        Choose a local disk: SQLite does not work reliably over a network.
    max_bytes : int, default=None
        Bound of the bytes in use, for the stores of this object. What was not used for longest is
        dropped first. A short log lies beside the file while it is in use.
    check_files : {"always", "once"}, default="always"
        When to ask the file system whether files of photos have changed: in every call, or once per
        process and folder. "once" suits a search over whole pipelines, which sees the same
        thousands of files in every fold. A file that changes later is not noticed until the process
        ends or :meth:`clear` is called; a missing file is an error in either case.

    Notes
    -----
    A file is read again when its size, its number on the disk or one of its times (modification,
    or change of anything) is another one, and for two seconds after it was changed. With "once",
    a file is still compared with what it was when it is read, and after its value was computed.

    Functions and classes of your own are known by their name and the version of their package. If
    you edit one, its old values are found: call ``EmbeddingCache(folder).clear()``. Lambdas, local
    functions, and what the main program or a notebook defines are refused, because the name does
    not tell one from another.

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

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        max_bytes: int | None = None,
        check_files: str = "always",
    ):
        if not isinstance(folder, str | os.PathLike):
            raise TypeError(f"folder={folder!r} is not a path.")
        if max_bytes is not None:
            check_scalar(max_bytes, "max_bytes", Integral, min_val=1)
        self.folder = folder
        self.max_bytes = max_bytes
        self.check_files = check_option(check_files, "check_files", ("always", "once"))

    def __repr__(self):
        bound = "" if self.max_bytes is None else f", max_bytes={self.max_bytes}"
        check = "" if self.check_files == "always" else f", check_files={self.check_files!r}"
        return f"EmbeddingCache({os.fspath(self.folder)!r}{bound}{check})"

    def __eq__(self, other):
        if not isinstance(other, EmbeddingCache):
            return NotImplemented
        return vars(self) == vars(other)

    def __hash__(self):
        return hash((os.fspath(self.folder), self.max_bytes, self.check_files))

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
        session = self._session()
        session.store.refresh()
        counts = session.store.count()
        return CacheInfo(*counts, self.max_bytes, session.hits, session.misses)

    def clear(self) -> None:
        """Drop all values, on disk and in the memory of this process, and count anew.

        Raises
        ------
        CacheError
            If the file cannot be used.
        """
        session = self._session()
        session.forget()
        session.store.refresh()
        session.store.clear()

    def known_files(self, owner: object = None) -> dict[str, FileSignature] | None:
        """Return what is known of files that need not be looked at again.

        Parameters
        ----------
        owner : object, default=None
            Who uses the cache, which stays open in this process meanwhile. None means the cache
            object itself.

        Returns
        -------
        dict or None
            What :func:`skface._rows.check_images` takes.
        """
        return None if self.check_files == "always" else self._session(owner).known_files()

    def find(
        self,
        transformer: BaseEstimator,
        images: ImageSequence,
        index: int,
        *,
        owner: object = None,
    ) -> np.ndarray | None:
        """Return the value of one image, or None if it is not there.

        Parameters
        ----------
        transformer, images, owner
            As of :meth:`look_up`.
        index : int
            Which image.

        Returns
        -------
        ndarray or None
            The value.
        """
        session = self._session(owner)
        (photo,), kinds = session.digests(images, np.array([index]))
        return session.find(fingerprint(transformer, kinds), photo)

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
        owner: object = None,
    ) -> np.ndarray:
        """Return the values of images, and compute those that are not there.

        Parameters
        ----------
        transformer : estimator
            The fitted transformer that computes them.
        images : ImageSequence
            From :func:`skface._rows.check_images`.
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
        owner : object, default=None
            Who uses the cache, which stays open in this process meanwhile. None means the cache
            object itself.

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
        session = self._session(owner)
        photos, kinds = session.digests(images, indices)

        def are_same(places: np.ndarray) -> np.ndarray:
            return session.digests.are_same(images, indices[places], [photos[i] for i in places])

        return session.look_up(
            fingerprint(transformer, kinds),
            photos,
            lambda batches: compute(indices[places] for places in batches),
            are_same,
            batch_size,
            shape,
            self.max_bytes,
            order,
        )

    def _session(self, owner: object = None) -> CacheSession:
        path = Path(self.folder).expanduser() / _FILENAME
        return session_of(path, self if owner is None else owner)


def as_cache(cache: Any) -> EmbeddingCache | None:
    """Return the cache that a parameter means: None, the path of a folder, or a cache."""
    if cache is None or isinstance(cache, EmbeddingCache):
        return cache
    if isinstance(cache, str | os.PathLike):
        return EmbeddingCache(cache)
    raise TypeError(f"cache={cache!r} is neither None, nor a path, nor an EmbeddingCache.")
