"""The one store of what a process keeps between calls: networks that run, open caches, weights."""

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

MOST_KEPT = 16

_Place = tuple[str, Hashable]


@dataclass
class _Entry:
    """A value, its owners, and the lock under which it is built."""

    owners: list["weakref.ref[Any]"] = field(default_factory=list)
    building: threading.RLock = field(default_factory=threading.RLock)
    is_built: bool = False
    value: Any = None


class PerProcess:
    """Values by kind and key. Each process builds its own, and drops those without an owner.

    Estimators hold data only, so that they can be copied and pickled. What runs a network is built
    from that data and kept here. A value stays while one of its owners is alive. Of each kind, the
    value that was used last stays without an owner, for the next clone that a search makes. There
    are `MOST_KEPT` values at most; the least recently used goes first. A value that is dropped
    lives on as long as a caller uses it.

    A forked process starts with an empty store: threads, devices and database connections do not
    survive a fork. The inherited values are not torn down, since that could wait for such a thread.

    Examples
    --------
    >>> from skface._utils.per_process import PerProcess
    >>> store = PerProcess()
    >>> store.get("square", 3, lambda: 9), store.get("square", 3, lambda: 10)
    (9, 9)
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[_Place, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._is_stale = False
        self._inherited: list[Any] = []
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._start_in_child)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, kind: str, key: Hashable, factory: Callable[[], T], owner: object = None) -> T:
        """Return the value of a key, built by `factory` unless this process has it.

        Parameters
        ----------
        kind : str
            What the value is, such as "engine".
        key : hashable
            All that the value depends on. Equal keys share a value.
        factory : callable
            Builds the value. Threads that ask for the same key wait for one of them to build it.
            If it raises, nothing is kept. It may use the store, for values of other kinds.
        owner : object, default=None
            What the value is kept for. The store refers to it weakly.

        Returns
        -------
        object
            The value.
        """
        place = kind, key
        with self._lock:
            entry = self._entries.setdefault(place, _Entry())
            self._entries.move_to_end(place)
            if owner is not None and all(ref() is not owner for ref in entry.owners):
                entry.owners.append(weakref.ref(owner, self._drop_unused))
        self._drop_unused()
        with entry.building:
            if not entry.is_built:
                try:
                    entry.value = factory()
                except BaseException:
                    self._discard(place, entry)
                    raise
                entry.is_built = True
            return entry.value

    def clear(self) -> None:
        """Drop all values."""
        with self._lock:
            dropped, self._entries = self._entries, OrderedDict()
        del dropped  # see `_drop_unused`

    def _discard(self, place: _Place, entry: _Entry) -> None:
        with self._lock:
            if self._entries.get(place) is entry:
                del self._entries[place]
        self._drop_unused()

    def _drop_unused(self, _: object = None) -> None:
        """Drop what is not to be kept.

        The garbage collector may call this at any moment, in a thread that holds the lock. So it
        never waits: if the lock is taken, its holder comes back here after releasing it.
        """
        self._is_stale = True
        while self._is_stale and self._lock.acquire(blocking=False):
            try:
                self._is_stale = False
                dropped = self._take_unused()
            finally:
                self._lock.release()
            del dropped  # not under the lock: closing a file or a network takes time

    def _take_unused(self) -> list[_Entry]:
        last_of_kind = {kind: (kind, key) for kind, key in self._entries}
        unused = []
        for place, entry in self._entries.items():
            entry.owners = [ref for ref in entry.owners if ref() is not None]
            if not entry.owners and place != last_of_kind[place[0]]:
                unused.append(place)
        taken = [self._entries.pop(place) for place in unused]
        while len(self._entries) > MOST_KEPT:
            taken.append(self._entries.popitem(last=False)[1])
        return taken

    def _start_in_child(self) -> None:
        self._inherited.append(self._entries)
        self._entries = OrderedDict()
        self._lock = threading.Lock()
        self._is_stale = False


#: The store of this process.
STORE = PerProcess()


def load_once(
    kind: str,
    paths: Iterable[str | os.PathLike[str]],
    more: Hashable,
    factory: Callable[[], T],
    owner: object,
) -> T:
    """Return what `factory` makes of files, from :data:`STORE` while they are unchanged.

    Parameters
    ----------
    kind : str
        What the value is.
    paths : iterable of path
        The files. If one is missing, nothing is kept: `factory` may download it, or raise.
    more : hashable
        What else the value depends on.
    factory : callable
        Reads the files. Its value is shared, so it must not be changed.
    owner : object
        What the value is kept for.

    Returns
    -------
    object
        The value.
    """
    signatures = []
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            return factory()
        times = status.st_mtime_ns, status.st_ctime_ns
        signatures.append((os.path.abspath(path), *times, status.st_size, status.st_ino))
    return STORE.get(kind, (tuple(signatures), more), factory, owner)
