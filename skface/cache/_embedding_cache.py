"""EmbeddingCache: the folder of stored values, its limit, and how files are checked."""

import os
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Self

from sklearn.utils import check_scalar

from skface._utils.validation import check_option
from skface.cache._session import open_session


@dataclass(frozen=True)
class CacheInfo:
    """Contents of a cache, and how often it was used.

    Parameters
    ----------
    n_values : int
        Number of stored values: one per photo and transformer.
    n_transformers : int
        Number of fitted transformers that computed them.
    n_bytes : int
        Bytes of the file that are in use.
    max_bytes : int or None
        Bound of `n_bytes`.
    hits, misses : int
        Over all calls of this process, the number of distinct photos whose values were found
        (`hits`), or had to be computed (`misses`).
    """

    n_values: int
    n_transformers: int
    n_bytes: int
    max_bytes: int | None
    hits: int
    misses: int


class EmbeddingCache:
    """Store on disk the values that :class:`skface.PerFace` computes for photos.

    A value is found by the transformer that computed it (its class, parameters and fitted
    attributes, and the versions of the packages that compute) and by the content of the photo.
    Another network, or another photo of the same name, therefore has values of its own. Threads,
    processes and estimators may use one cache at the same time, and share the work. The cache is
    one SQLite database. A process that is killed loses the batch that it was computing, and nothing
    else.

    Parameters
    ----------
    folder : str or path
        Folder of the file ``embeddings.sqlite``. Both are created when the cache is first used.
        Choose a local disk: SQLite does not work reliably over a network.
    max_bytes : int, default=None
        Bound of the bytes in use, None for no bound. When this object stores values, it drops the
        least recently used ones beyond the bound. While the file is in use, a log of a few MB lies
        beside it.
    check_files : {"always", "once"}, default="always"
        When to ask the file system whether image files have changed: in every call ("always"), or
        once per process and working directory ("once"). "once" suits a search over whole pipelines,
        which uses the same thousands of files in every fold. With "once", a later change is not
        noticed until the process ends or :meth:`clear` is called. A file that is missing at the
        first check is an error in either case.

    Notes
    -----
    A file is read again if its size, its inode, its time of modification or its time of change
    differs. It is also read again in the first two seconds after a change. With "once", these are
    still compared when the file is read and after its value was computed.

    Functions and classes of your own are identified by their name and the version of their
    package. If you edit one, its old values are still found: call
    ``EmbeddingCache(folder).clear()``. Lambdas, local functions, and functions of the main program
    or a notebook are refused, because their name does not identify them.

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
        folder: str | os.PathLike[str],
        *,
        max_bytes: int | None = None,
        check_files: str = "always",
    ) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise TypeError(f"folder={folder!r} is not a path.")
        if max_bytes is not None:
            check_scalar(max_bytes, "max_bytes", Integral, min_val=1)
        self.folder = folder
        self.max_bytes = max_bytes
        self.check_files = check_option(check_files, "check_files", ("always", "once"))

    def __repr__(self) -> str:
        bound = "" if self.max_bytes is None else f", max_bytes={self.max_bytes}"
        check = "" if self.check_files == "always" else f", check_files={self.check_files!r}"
        return f"EmbeddingCache({os.fspath(self.folder)!r}{bound}{check})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # clones share the object, so that the cache stays open between the fits of a search
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EmbeddingCache):
            return NotImplemented
        return vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((os.fspath(self.folder), self.max_bytes, self.check_files))

    def info(self) -> CacheInfo:
        """Count the stored values, and how many were found and computed in this process.

        Returns
        -------
        CacheInfo
            The counts.

        Raises
        ------
        CacheError
            If the file cannot be used.
        """
        session = open_session(self.folder, self)
        session.refresh()
        counts = session.store.count()
        return CacheInfo(*counts, self.max_bytes, session.hits, session.misses)

    def clear(self) -> None:
        """Delete all values, on disk and in the memory of this process, and reset the counts.

        Raises
        ------
        CacheError
            If the file cannot be used.
        """
        open_session(self.folder, self).clear()


def as_cache(cache: Any) -> EmbeddingCache | None:
    """Return the cache that a parameter means: None, the path of a folder, or a cache."""
    if cache is None or isinstance(cache, EmbeddingCache):
        return cache
    if isinstance(cache, str | os.PathLike):
        return EmbeddingCache(cache)
    raise TypeError(f"cache={cache!r} is neither None, nor a path, nor an EmbeddingCache.")
