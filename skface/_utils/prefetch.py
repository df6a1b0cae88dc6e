"""Make the next item in a thread while the current one is used."""

import contextvars
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from joblib import parallel_config
from joblib.parallel import get_active_backend
from sklearn import config_context, get_config

T = TypeVar("T")


def prefetch(items: Iterable[T]) -> Iterator[T]:
    """Yield items in order, while a thread makes the one after.

    At most two items exist at a time, beside those that the consumer keeps. Both sides overlap as
    far as they leave Python's lock alone, as decoders, networks and waiting for a GPU do.

    Parameters
    ----------
    items : iterable
        Advanced by one thread only. What it raises is raised here, after the items before.

    Yields
    ------
    item : object
        The items. When the consumer stops early, the item that is being made is waited for, the
        iterable is closed if it is a generator, and no thread is left.

    Examples
    --------
    >>> from skface._utils.prefetch import prefetch
    >>> list(prefetch(n * n for n in range(4)))
    [0, 1, 4, 9]
    """
    end = object()
    iterator = iter(items)
    # what scikit-learn and joblib keep per thread, and Python per context
    config, (backend, n_jobs) = get_config(), get_active_backend()
    context = contextvars.copy_context()

    def advance():
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
