"""A lock that a forked process finds open."""

import os
import threading


class ProcessLock:
    """A re-entrant lock of the threads of one process.

    A child that is forked while a thread of its parent holds a lock inherits it locked, and nobody
    is there to release it. This lock is replaced by an open one in every forked child. It is meant
    for module level: the interpreter keeps every instance until it ends.

    Examples
    --------
    >>> from skface.nn._locks import ProcessLock
    >>> lock = ProcessLock()
    >>> with lock, lock:
    ...     pass
    """

    def __init__(self) -> None:
        self._open()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._open)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()

    def _open(self) -> None:
        self._lock = threading.RLock()
