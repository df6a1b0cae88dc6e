"""Locks that a forked process finds open."""

import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_all_start_methods, get_context

import pytest
import torch

from skface._locks import ProcessLock
from skface._network import build_network
from skface.nn.rng import private_global_rng


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


def test_given_weights_are_not_kept_waiting_by_a_training():
    state = build_network("small-resnet", (3, 32, 32), None).state()
    state.pop(next(name for name in state if name.endswith("num_batches_tracked")))
    with ThreadPoolExecutor(1) as pool, private_global_rng(0):  # as training does, for an epoch
        before = torch.get_rng_state()
        building = pool.submit(build_network, "small-resnet", (3, 32, 32), None, state=state)
        built = building.result(timeout=60)
        assert torch.equal(torch.get_rng_state(), before)
    for name, values in built.state().items():
        assert name.endswith("num_batches_tracked") or (values == state[name]).all()
    assert all((values == 0).all() for name, values in built.state().items() if name not in state)


def test_networks_are_built_on_the_cpu_whatever_the_default():
    torch.set_default_device("meta")
    try:
        network = build_network("small-resnet", (3, 32, 32), None)
        again = build_network("small-resnet", (3, 32, 32), None, state=network.state())
    finally:
        torch.set_default_device(None)
    for built in (network, again):
        assert {tensor.device.type for tensor in built.module.state_dict().values()} == {"cpu"}
