"""Digests that identify images by content; that of a file is kept until the file changes."""

import os
import time
from collections.abc import Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skface._rows import FileSignature, ImageSequence, stat_signature
from skface._utils.digests import digest_bytes
from skface.cache._store import Store
from skface.exceptions import StoreFullError

# A file that was changed so shortly before it was read may change again without a trace: the
# clocks of file systems tick every few milliseconds, those of FAT every two seconds.
_CLOCK_NS = 2_000_000_000
_MOST_FILES = 2**18  # in memory

#: Signature of a file when it was read, and the digest of its content.
FileDigest = tuple[FileSignature, bytes]


class ImageDigests:
    """Digests of images. Those of files are kept in memory and in a store.

    Parameters
    ----------
    store : Store
        Where other processes find the digests of files.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, FileDigest] = {}

    def __call__(
        self, images: ImageSequence, indices: NDArray[np.intp]
    ) -> tuple[list[bytes | None], frozenset[str]]:
        """Digest some images.

        Parameters
        ----------
        images : ImageSequence
            From :func:`skface._rows.check_images`, with the signatures of files.
        indices : ndarray of shape (n,)
            Which images.

        Returns
        -------
        digests : list of n bytes or None
            Equal for equal content; None for a file or image that cannot be read.
        kinds : frozenset of str
            "file", and the dtypes of images that were given as pixels.
        """
        signatures = images.signatures
        keys = [images.key(i) for i in indices.tolist()]
        paths = [key for key in keys if isinstance(key, str)]
        if len(paths) == len(keys):  # the usual case, for thousands of files
            return self._digest_files(paths, signatures), frozenset(["file"])
        of_files = iter(self._digest_files(paths, signatures))
        digests: list[bytes | None] = []
        kinds = {"file"} if paths else set()
        for key in keys:
            if isinstance(key, str):
                digests.append(next(of_files))
            elif isinstance(key, tuple):
                digests.append(digest_bytes(repr(key).encode(), b"pixels"))
                kinds.add(key[2])
            else:  # an image that cannot be decoded
                digests.append(None)
        return digests, frozenset(kinds)

    def are_unchanged(
        self, images: ImageSequence, indices: NDArray[np.intp], digests: list[bytes | None]
    ) -> NDArray[np.bool_]:
        """Return which images still have the content that was digested.

        Parameters
        ----------
        images : ImageSequence
            From :func:`skface._rows.check_images`.
        indices : ndarray of shape (n,)
            Which images.
        digests : list of n bytes or None
            Their digests.

        Returns
        -------
        ndarray of shape (n,), dtype bool
            False for files that have changed since; True for pixels.
        """
        keys: list[Hashable] = [images.key(i) for i in indices.tolist()]
        unchanged = np.ones(len(keys), dtype=bool)
        if not images.signatures:
            return unchanged
        paths = [key for key in keys if isinstance(key, str)]
        now = {path: signature for path in paths if (signature := stat_signature(path)) is not None}
        of_files = iter(self._digest_files(paths, now))
        for i, key in enumerate(keys):
            if isinstance(key, str):
                digest = next(of_files)
                unchanged[i] = digest is not None and digest == digests[i]
        return unchanged

    def clear(self) -> None:
        """Drop the digests in memory."""
        self._known.clear()

    def _digest_files(
        self, paths: list[str], signatures: dict[str, FileSignature]
    ) -> list[bytes | None]:
        """Return the digests of files that have a signature, and None for others."""
        known: list[Any] = list(map(self._known.get, paths))
        # the usual case, for thousands of files: all are known by these paths
        if None not in known and [e[0] for e in known] == list(map(signatures.get, paths)):
            return [digest for _, digest in known]
        directory = os.getcwd()
        # not abspath: it drops "link/..", which leads elsewhere if "link" is a symbolic link
        places = {path: os.path.join(directory, path) for path in paths if path in signatures}
        found, unknown = {}, {}
        for path, place in places.items():
            entry = self._known.get(place)
            if entry is not None and entry[0] == signatures[path]:
                found[place] = entry[1]
            else:
                unknown[place] = signatures[path]
        found |= self._from_store(unknown)
        found |= self._read({p: s for p, s in unknown.items() if p not in found})
        return [found.get(places[path]) if path in places else None for path in paths]

    def _from_store(self, signatures: dict[str, FileSignature]) -> dict[str, bytes]:
        """Return the digests of files that another process has read."""
        stored = self._store.read_files([os.fsencode(place) for place in signatures])
        entries = {os.fsdecode(name): entry for name, entry in stored.items()}
        current = {p: entry for p, entry in entries.items() if entry[0] == signatures[p]}
        self._remember(current)
        return {place: digest for place, (_, digest) in current.items()}

    def _read(self, signatures: dict[str, FileSignature]) -> dict[str, bytes]:
        """Read files, and remember the digests of those that have not changed for a while."""
        digests, settled = {}, {}
        for place, signature in signatures.items():
            mtime_ns, ctime_ns, *_ = signature
            now = time.time_ns()
            try:
                with open(place, "rb") as file:
                    digests[place] = digest_bytes(file.read(), b"file")
            except OSError:
                continue  # decoding it will raise the error
            # the signature may have been taken long before
            is_settled = max(mtime_ns, ctime_ns) + _CLOCK_NS < now
            if is_settled and stat_signature(place) == signature:
                settled[place] = signature, digests[place]
        if settled:
            self._remember(settled)
            try:
                self._store.write_files({os.fsencode(p): entry for p, entry in settled.items()})
            except StoreFullError:
                pass  # other processes will read these files again
        return digests

    def _remember(self, entries: dict[str, FileDigest]) -> None:
        if len(self._known) + len(entries) > _MOST_FILES:
            self._known.clear()
        self._known |= entries
