"""The store of what a process keeps between calls."""

import gc
import os
import shutil
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_all_start_methods, get_context

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.preprocessing import FunctionTransformer

from skface import FaceNetEmbedder, PerFace
from skface._utils.per_process import MOST_KEPT, STORE, PerProcess


class Thing:
    """An object that can have weak references."""


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


def test_a_factory_that_fails_leaves_nothing_and_may_use_the_store():
    store, owner = PerProcess(), Thing()

    def fail():
        raise ValueError("not today")

    with pytest.raises(ValueError, match="not today"):
        store.get("kind", 0, fail, owner)
    assert len(store) == 0
    assert store.get("kind", 0, lambda: store.get("inner", 0, lambda: 7), owner) == 7


def test_threads_ask_again_when_the_factory_of_another_fails():
    store, begun, asked = PerProcess(), threading.Event(), threading.Event()

    def fail():
        begun.set()
        asked.wait(30)
        raise ValueError("not today")

    def ask():
        begun.wait(30)
        asked.set()
        return store.get("kind", 0, lambda: 7)

    with ThreadPoolExecutor(2) as pool:
        failing, asking = pool.submit(store.get, "kind", 0, fail), pool.submit(ask)
        with pytest.raises(ValueError, match="not today"):
            failing.result(60)
        assert asking.result(60) == 7


def test_owners_may_be_collected_at_any_moment():
    store, alive = PerProcess(), weakref.WeakSet()

    def build():
        value = Thing()
        alive.add(value)
        return value

    def use(kind):
        for key in range(300):
            owner = Thing()
            owner.itself = owner  # so that only the collector ends it
            store.get(kind, key % 7, build, owner)

    threshold = gc.get_threshold()
    gc.set_threshold(3)
    try:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(use, "abc"))
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert len(store) == len(alive) == 3  # the last of each kind


def test_a_value_may_use_the_store_when_it_ends():
    store, ended = PerProcess(), []

    class Ending:
        def __del__(self):
            ended.append(store.get("other", len(ended), object))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(store.get, "kind", 0, Ending).result(60)
        pool.submit(store.get, "kind", 1, Ending).result(60)
        assert len(ended) == 1
        pool.submit(store.clear).result(60)
    assert len(ended) == 2


def open_files():
    return len(os.listdir("/proc/self/fd"))


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux")
def test_caches_that_are_used_one_after_another_leave_nothing(tmp_path):
    vectors = np.random.default_rng(0).random((500, 512))  # 2 MB
    for i in range(60):
        folder = tmp_path / str(i)
        per_face = PerFace(FunctionTransformer(), cache=folder, batch_size=500).fit(vectors)
        per_face.transform(vectors)
        del per_face
        shutil.rmtree(folder)
        if i == 9:
            before = open_files(), resident_bytes()
    assert open_files() <= before[0]
    assert resident_bytes() <= before[1] + 20e6  # of 100 MB


def large_network():
    layers = torch.nn.Linear(3, 500_000, bias=False), torch.nn.AdaptiveAvgPool1d(8)
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), *layers)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux")
def test_networks_that_are_used_one_after_another_leave_nothing():
    faces = np.random.default_rng(0).random((2, 16, 16, 3))
    embedder = FaceNetEmbedder(large_network, None, trainable="none", max_epochs=1)
    for i in range(50):
        fitted = clone(embedder).set_params(random_state=i).fit(faces, [0, 1])
        fitted.transform(faces)
        del fitted
        if i == 9:
            before = open_files(), resident_bytes()
    assert open_files() <= before[0]
    assert resident_bytes() <= before[1] + 120e6  # 40 networks have 240 MB of weights


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
