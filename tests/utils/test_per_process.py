"""The store of what a process keeps between calls."""

import gc
import os
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_all_start_methods, get_context

import pytest

from skface._utils.per_process import MOST_KEPT, STORE, PerProcess


class Thing:
    """Something that can be looked at weakly."""


def test_equal_keys_share_a_value_and_others_do_not():
    store = PerProcess()
    first = store.get("kind", (1, "a"), Thing)
    assert store.get("kind", (1, "a"), Thing) is first
    assert store.get("kind", (1, "b"), Thing) is not first
    assert store.get("other", (1, "a"), Thing) is not first


def test_a_value_lives_as_long_as_an_owner_and_the_last_of_a_kind_longer():
    store, owners = PerProcess(), [Thing(), Thing()]
    seen = weakref.ref(store.get("kind", 1, Thing, owners[0]))
    store.get("kind", 1, Thing, owners[1])
    store.get("kind", 2, Thing, owners[0])
    owners.pop(0)
    gc.collect()
    assert seen() is not None and len(store) == 2  # 2 has no owner, but was used last
    owners.clear()
    gc.collect()
    assert seen() is None and len(store) == 1
    store.get("kind", 3, Thing)
    assert len(store) == 1


def test_it_is_bounded_and_drops_what_was_not_used_for_longest():
    store, owner = PerProcess(), Thing()
    first = weakref.ref(store.get("kind", 0, Thing, owner))
    second = weakref.ref(store.get("kind", 1, Thing, owner))
    store.get("kind", 0, Thing, owner)
    for key in range(2, MOST_KEPT + 1):
        store.get("kind", key, Thing, owner)
    assert len(store) == MOST_KEPT
    assert first() is not None and second() is None


def test_threads_build_a_value_once():
    store, barrier, built = PerProcess(), threading.Barrier(4), []

    def build():
        built.append(1)
        return Thing()

    def ask(_):
        barrier.wait(30)
        return store.get("kind", 0, build)

    with ThreadPoolExecutor(4) as pool:
        assert len({id(value) for value in pool.map(ask, range(4))}) == 1
    assert len(built) == 1


def test_a_factory_that_fails_is_asked_again_and_may_use_the_store():
    store = PerProcess()

    def fail():
        raise ValueError("not today")

    with pytest.raises(ValueError, match="not today"):
        store.get("kind", 0, fail)
    assert store.get("kind", 0, lambda: store.get("inner", 0, lambda: 7)) == 7


@pytest.mark.skipif("fork" not in get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_builds_its_own():
    owner = Thing()
    assert STORE.get("test", "fork", os.getpid, owner) == os.getpid()

    def child():
        assert STORE.get("test", "fork", os.getpid, owner) == os.getpid()

    process = get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 0
