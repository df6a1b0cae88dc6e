"""What a photo is known by: a digest of its content, which for files is kept until they change."""

import hashlib
import os
import stat
import time
from collections.abc import Iterable

from skface.cache._store import Stamp, Store, StoreFullError
from skface.images import ImageSequence, missing_files_error

_DIGEST_BYTES = 16
# A file that was changed so shortly before it was read may change again without a trace: the
# clocks of file systems tick every few milliseconds, those of FAT every two seconds.
_CLOCK_NS = 2_000_000_000


class PhotoDigests:
    """Digests of photos, remembered in memory and in a store for files that did not change.

    Parameters
    ----------
    store : Store
        Where the digests of files are kept for other processes.
    """

    def __init__(self, store: Store):
        self._store = store
        self._known: dict[str, tuple[Stamp, bytes]] = {}

    def __call__(
        self, images: ImageSequence, indices: Iterable[int]
    ) -> tuple[list[bytes | None], frozenset[str]]:
        """Digest some images.

        Parameters
        ----------
        images : ImageSequence
            From :func:`skface.images.check_images`.
        indices : iterable of int
            Which of them.

        Returns
        -------
        digests : list of bytes or None
            Equal for equal content; None for what cannot be read.
        kinds : frozenset of str
            "file", and the types of the pixels that were given as such.

        Raises
        ------
        FileNotFoundError
            If files do not exist (all of them are named).
        """
        keys = [images.key(i) for i in indices]
        paths = list(dict.fromkeys(key for key in keys if isinstance(key, str)))
        digest_of = dict(zip(paths, self._files(paths), strict=True))
        kinds = {"file"} if paths else set()
        digests = []
        for key in keys:
            if isinstance(key, str):
                digests.append(digest_of[key])
            elif isinstance(key, tuple):
                digests.append(_blake2b(repr(key).encode(), b"pixels"))
                kinds.add(key[2])
            else:
                digests.append(None)
        return digests, frozenset(kinds)

    def clear(self) -> None:
        """Forget all files."""
        self._known.clear()

    def _files(self, paths: list[str]) -> list[bytes | None]:
        here = os.getcwd() if any(not os.path.isabs(path) for path in paths) else ""
        places, stamps, missing = [], [], []
        for path in paths:
            place = path if path[0] == os.sep else os.path.join(here, path)
            try:
                status = os.stat(path)
            except OSError:
                missing.append(path)
                continue
            if not stat.S_ISREG(status.st_mode):
                missing.append(path)
            places.append(place)
            stamps.append((status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino))
        if missing:
            raise missing_files_error(missing, len(paths))

        known = self._known
        digests = []
        unknown = []
        for place, stamp in zip(places, stamps, strict=True):
            entry = known.get(place)
            if entry is not None and entry[0] == stamp:
                digests.append(entry[1])
            else:
                unknown.append(len(digests))
                digests.append(None)
        if unknown:
            todo = {places[i]: Stamp(*stamps[i]) for i in unknown}
            read = self._from_store(todo) | self._read(todo)
            for i in unknown:
                digests[i] = read[places[i]]
        return digests

    def _from_store(self, todo: dict[str, Stamp]) -> dict[str, bytes]:
        """Take out of `todo` what another process has read."""
        found = {}
        stored = self._store.read_files([os.fsencode(place) for place in todo])
        for name, (stamp, digest) in stored.items():
            place = os.fsdecode(name)
            if todo[place] == stamp:
                del todo[place]
                self._known[place] = stamp, digest
                found[place] = digest
        return found

    def _read(self, todo: dict[str, Stamp]) -> dict[str, bytes | None]:
        read, settled = {}, {}
        for place, stamp in todo.items():
            now = time.time_ns()
            try:
                with open(place, "rb") as file:
                    read[place] = _blake2b(file.read(), b"file")
            except OSError:
                read[place] = None  # which whoever decodes it will report
                continue
            if max(stamp.mtime_ns, stamp.ctime_ns) + _CLOCK_NS < now:
                settled[place] = stamp, read[place]
        self._known |= settled
        if settled:
            try:
                self._store.write_files({os.fsencode(p): entry for p, entry in settled.items()})
            except StoreFullError:
                pass  # another process will read these files again
        return read


def _blake2b(content: bytes, kind: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES, person=kind).digest()
