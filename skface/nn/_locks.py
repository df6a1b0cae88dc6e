"""A lock that is released in forked processes."""

import os
import threading


class ProcessLock:
    """A re-entrant lock of the threads of one process.

    A child process that is forked while a thread of its parent holds an ordinary lock inherits it
    locked, without the thread that would release it. This lock is replaced by a new one in every
    forked child. It is meant for module level: the interpreter keeps every instance until it ends.

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
