"""The one store of what a process keeps between calls: networks that run, open caches, weights."""

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from skface.nn._locks import ProcessLock

T = TypeVar("T")

MOST_KEPT = 16


@dataclass
class _Entry:
    """A value, who uses it, and the lock under which it is built."""

    owners: list[weakref.ref] = field(default_factory=list)
    building: threading.RLock = field(default_factory=threading.RLock)
    is_built: bool = False
    value: Any = None


class PerProcess:
    """Values by kind and key, built once in every process, and dropped when nobody uses them.

    Estimators hold data only, so that they can be copied and pickled. What runs a network is built
    from that data and kept here. A value stays while one of its owners is alive. Beyond that, the
    value of each kind that was used last stays, for the next clone that a search makes. There are
    `MOST_KEPT` values at most; the one that was not used for longest goes first.

    A forked process starts with an empty store: threads, devices and database connections do not
    survive a fork. What it inherited is not torn down, since that may wait for such a thread.

    Examples
    --------
    >>> from skface._utils.per_process import PerProcess
    >>> store = PerProcess()
    >>> store.get("square", 3, lambda: 9), store.get("square", 3, lambda: 10)
    (9, 9)
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, Hashable], _Entry] = OrderedDict()
        self._inherited: list[Any] = []
        self._lock = ProcessLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget_inherited)

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
        owner : object, default=None
            Who uses the value. The store holds it weakly.

        Returns
        -------
        object
            The value.
        """
        place = kind, key
        with self._lock:
            # by single steps: the collector may run, and call `_release`, between any two
            entry = self._entries.pop(place, None) or _Entry()
            self._entries[place] = entry
            if owner is not None and all(ref() is not owner for ref in entry.owners):
                entry.owners.append(weakref.ref(owner, lambda ref: self._release(place, ref)))
            self._drop_unused()
        with entry.building:
            if not entry.is_built:
                entry.value = factory()
                entry.is_built = True
            return entry.value

    def clear(self) -> None:
        """Drop all values."""
        with self._lock:
            self._entries.clear()

    def _release(self, place: tuple[str, Hashable], ref: weakref.ref) -> None:
        with self._lock:
            entry = self._entries.get(place)
            if entry is not None and ref in entry.owners:
                entry.owners.remove(ref)
            self._drop_unused()

    def _drop_unused(self) -> None:
        last_of_kind = {kind: (kind, key) for kind, key in self._entries}
        for place, entry in list(self._entries.items()):
            if not entry.owners and last_of_kind[place[0]] != place:
                self._entries.pop(place, None)
        while len(self._entries) > MOST_KEPT:
            self._entries.popitem(last=False)

    def _forget_inherited(self) -> None:
        self._inherited.append(self._entries)
        self._entries = OrderedDict()


#: The store of this process.
STORE = PerProcess()


def load_once(
    kind: str,
    paths: Iterable[str | os.PathLike],
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
        Who uses the value.

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
        signatures.append((os.fspath(path), *times, status.st_size, status.st_ino))
    return STORE.get(kind, (tuple(signatures), more), factory, owner)
