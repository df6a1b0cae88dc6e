"""Order, overlap, errors and the end of the thread."""

import threading

import joblib
import pytest
import sklearn
from joblib import Parallel, delayed, parallel_config

from skface._utils.prefetch import prefetch


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("skface")]


def test_items_come_in_order_and_the_thread_ends():
    assert list(prefetch(range(50))) == list(range(50))
    assert list(prefetch([])) == []
    assert not threads()


def test_one_item_is_made_while_another_is_used_and_never_more():
    made = []
    reached = threading.Event()

    def items():
        for n in range(9):
            made.append(n)
            if n == 1:
                reached.set()
            yield n

    coming = prefetch(items())
    assert made == []
    assert next(coming) == 0
    assert reached.wait(10)  # the second is made before it is asked for
    for n in range(1, 9):
        assert len(made) <= n + 1
        assert next(coming) == n
    assert next(coming, None) is None


def test_errors_come_after_the_items_before_them():
    def items():
        yield 1
        yield 2
        raise KeyError("broken")

    seen = []
    with pytest.raises(KeyError, match="broken"):
        for item in prefetch(items()):
            seen.append(item)
    assert seen == [1, 2]
    assert not threads()


@pytest.mark.parametrize("stop", ["break", "error", "forgotten"])
def test_a_consumer_that_stops_early_closes_the_iterable(stop):
    closed = []

    def items():
        try:
            yield from range(100)
        finally:
            closed.append(threading.current_thread())

    def consume():
        for item in prefetch(items()):
            if item == 3 and stop == "error":
                raise RuntimeError
            if item == 3 and stop == "break":
                break

    if stop == "forgotten":
        coming = prefetch(items())
        next(coming)
        del coming
    elif stop == "error":
        with pytest.raises(RuntimeError):
            consume()
    else:
        consume()
    assert len(closed) == 1
    assert not threads()


def test_settings_of_the_calling_thread_hold():
    def settings():
        for _ in range(2):
            yield sklearn.get_config()["transform_output"], joblib.effective_n_jobs(None)

    with (
        sklearn.config_context(transform_output="pandas"),
        parallel_config("threading", n_jobs=3),
    ):
        assert list(prefetch(settings())) == [("pandas", 3)] * 2
    assert list(prefetch(settings())) == [("default", 1)] * 2


def total(n):
    return sum(prefetch(range(n)))


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_it_works_in_workers(backend):
    assert Parallel(n_jobs=2, backend=backend)(delayed(total)(n) for n in (5, 9)) == [10, 36]
