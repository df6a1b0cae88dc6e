"""What a photo is known by: a digest of its content, which for files is kept until they change."""

import hashlib
import os
import time

import numpy as np

from skface._rows import FileSignature, ImageSequence, stat_signature
from skface.cache._store import Store
from skface.exceptions import StoreFullError

_DIGEST_BYTES = 16
# A file that was changed so shortly before it was read may change again without a trace: the
# clocks of file systems tick every few milliseconds, those of FAT every two seconds.
_CLOCK_NS = 2_000_000_000
_N_KNOWN = 2**18  # files that a process remembers


class PhotoDigests:
    """Digests of photos, remembered in memory and in a store for files that did not change.

    Parameters
    ----------
    store : Store
        Where the digests of files are kept for other processes.
    """

    def __init__(self, store: Store):
        self._store = store
        self._known: dict[str, tuple[FileSignature, bytes]] = {}

    def __call__(
        self, images: ImageSequence, indices: np.ndarray
    ) -> tuple[list[bytes | None], frozenset[str]]:
        """Digest some images.

        Parameters
        ----------
        images : ImageSequence
            From :func:`skface._rows.check_images`, which has looked at the files.
        indices : ndarray of shape (n,)
            Which of them.

        Returns
        -------
        digests : list of n bytes or None
            Equal for equal content; None for what cannot be read.
        kinds : frozenset of str
            "file", and the types of the pixels that were given as such.
        """
        stamps = images.stamps
        if stamps:
            every = images.keys()
            keys = [every[i] for i in indices.tolist()]
            if set(map(type, keys)) == {str}:
                return self._files(keys, stamps), frozenset(["file"])
        else:
            keys = [images.key(i) for i in indices.tolist()]
        digests, kinds = [], set()
        for key in keys:
            if isinstance(key, str):
                digests += self._files([key], stamps)
                kinds.add("file")
            elif isinstance(key, tuple):
                digests.append(_blake2b(repr(key).encode(), b"pixels"))
                kinds.add(key[2])
            else:  # an image that cannot be decoded
                digests.append(None)
        return digests, frozenset(kinds)

    def are_same(
        self, images: ImageSequence, indices: np.ndarray, digests: list[bytes | None]
    ) -> np.ndarray:
        """Tell which images still are what their digests say: files may have changed meanwhile.

        Parameters
        ----------
        images : ImageSequence
            From :func:`skface._rows.check_images`.
        indices : ndarray of shape (n,)
            Which of them.
        digests : list of n bytes or None
            What they were.

        Returns
        -------
        ndarray of shape (n,), dtype bool
            True for pixels.
        """
        keys = [images.key(i) for i in indices.tolist()] if images.stamps else []
        places = [i for i, key in enumerate(keys) if isinstance(key, str)]
        paths = [keys[i] for i in places]
        stamps = {path: stamp for path in paths if (stamp := stat_signature(path)) is not None}
        same = np.ones(len(indices), dtype=bool)
        for i, now in zip(places, self._files(paths, stamps), strict=True):
            same[i] = now is not None and now == digests[i]
        return same

    def clear(self) -> None:
        """Forget all files."""
        self._known.clear()

    def _files(self, paths: list, stamps: dict[str, FileSignature]) -> list[bytes | None]:
        """Return digests of the files that have a stamp, and None for all else."""
        known = self._known
        entries = list(map(known.get, paths))
        # the usual case, for thousands of files: nothing is new
        if None not in entries and [e[0] for e in entries] == list(map(stamps.get, paths)):
            return [digest for _, digest in entries]
        digests, unknown = [], {}
        folder = os.getcwd()
        for path in paths:
            stamp = stamps.get(path)
            # not abspath, for which link/../photo.jpg lies beside the link
            place = path if stamp is None else os.path.join(folder, path)
            entry = known.get(place)
            if stamp is not None and entry is not None and entry[0] == stamp:
                digests.append(entry[1])
            else:
                if stamp is not None:
                    unknown[len(digests)] = place, stamp
                digests.append(None)
        if unknown:
            todo = dict(unknown.values())
            read = self._from_store(todo) | self._read(todo)
            for at, (place, _) in unknown.items():
                digests[at] = read[place]
        return digests

    def _from_store(self, todo: dict[str, FileSignature]) -> dict[str, bytes]:
        """Take out of `todo` what another process has read."""
        stored = self._store.read_files([os.fsencode(place) for place in todo])
        found = {}
        for name, entry in stored.items():
            place = os.fsdecode(name)
            if todo[place] == entry[0]:
                del todo[place]
                found[place] = entry
        self._remember(found)
        return {place: digest for place, (_, digest) in found.items()}

    def _read(self, todo: dict[str, FileSignature]) -> dict[str, bytes | None]:
        read, settled = {}, {}
        for place, stamp in todo.items():
            mtime_ns, ctime_ns, *_ = stamp
            now = time.time_ns()
            try:
                with open(place, "rb") as file:
                    read[place] = _blake2b(file.read(), b"file")
            except OSError:
                read[place] = None  # which whoever decodes it will report
                continue
            # its rows may have been looked at long ago
            if max(mtime_ns, ctime_ns) + _CLOCK_NS < now and stat_signature(place) == stamp:
                settled[place] = stamp, read[place]
        if settled:
            self._remember(settled)
            try:
                self._store.write_files({os.fsencode(p): entry for p, entry in settled.items()})
            except StoreFullError:
                pass  # another process will read these files again
        return read

    def _remember(self, entries: dict[str, tuple[FileSignature, bytes]]) -> None:
        if len(self._known) + len(entries) > _N_KNOWN:
            self._known.clear()
        self._known |= entries


def _blake2b(content: bytes, kind: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES, person=kind).digest()
