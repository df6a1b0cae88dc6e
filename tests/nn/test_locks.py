"""Locks that a forked process finds open."""

import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_all_start_methods, get_context

import pytest

from skface.nn._locks import ProcessLock


def test_one_thread_at_a_time_which_may_come_again():
    lock, n, seen = ProcessLock(), 0, []

    def work(_):
        nonlocal n
        for _ in range(2000):
            with lock, lock:
                n += 1
                seen.append(n)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert seen == list(range(1, 8001))


@pytest.mark.skipif("fork" not in get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_finds_it_open():
    lock, taken, done = ProcessLock(), threading.Event(), threading.Event()

    def hold():
        with lock:
            taken.set()
            done.wait(60)

    def take():
        with lock:
            pass

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert taken.wait(60)
        child = get_context("fork").Process(target=take)
        child.start()
        child.join(30)
        hangs = child.is_alive()
        if hangs:
            child.kill()
        assert not hangs and child.exitcode == 0
    finally:
        done.set()
        thread.join()
