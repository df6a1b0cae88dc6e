"""Prepare the next item in a thread while the current one is used."""

import contextvars
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

from joblib import parallel_config
from joblib.parallel import get_active_backend
from sklearn import config_context, get_config

T = TypeVar("T")


def prefetch(items: Iterable[T]) -> Iterator[T]:
    """Yield items in order, while a thread prepares the next one.

    At most two items exist at a time, apart from those that the consumer keeps. The two threads
    overlap while one of them has released Python's global interpreter lock, as decoders, networks
    and waiting for a GPU do.

    Parameters
    ----------
    items : iterable
        Advanced by one thread only. Its errors are raised here, after the items before them.

    Yields
    ------
    item : object
        The items. If the consumer stops early, the item in preparation is finished, the iterable
        is closed if it is a generator, and the thread ends.

    Examples
    --------
    >>> from skface._utils.prefetch import prefetch
    >>> list(prefetch(n * n for n in range(4)))
    [0, 1, 4, 9]
    """
    end = cast(T, object())
    iterator = iter(items)
    # settings that scikit-learn and joblib keep per thread, and Python per context
    config, (backend, n_jobs) = get_config(), get_active_backend()
    context = contextvars.copy_context()

    def advance() -> T:
        with config_context(**config), parallel_config(backend, n_jobs=n_jobs):
            return next(iterator, end)

    with ThreadPoolExecutor(1, thread_name_prefix="skface-prefetch") as thread:
        try:
            coming = thread.submit(context.run, advance)
            while (item := coming.result()) is not end:
                coming = thread.submit(context.run, advance)
                yield item
        finally:
            thread.shutdown()
            if hasattr(iterator, "close"):
                iterator.close()
