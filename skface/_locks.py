"""A lock that a forked process finds open."""

import os
import threading


class ProcessLock:
    """A re-entrant lock of the threads of one process.

    A child that is forked while a thread of its parent holds a lock inherits it locked, and nobody
    is there to release it. Here every process has a lock of its own.

    Examples
    --------
    >>> from skface._locks import ProcessLock
    >>> lock = ProcessLock()
    >>> with lock, lock:
    ...     pass
    """

    def __init__(self) -> None:
        self._by_process: dict[int, threading.RLock] = {}

    def __enter__(self) -> None:
        self._own().acquire()

    def __exit__(self, *exc_info) -> None:
        self._own().release()

    def _own(self) -> threading.RLock:
        # one call, so that two threads cannot both come first
        return self._by_process.setdefault(os.getpid(), threading.RLock())
