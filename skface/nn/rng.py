"""Torch's global random state, borrowed and put back."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# The state is one for the whole process: who seeds it must be alone until it is put back.
_BORROWED = threading.RLock()


@contextmanager
def private_global_rng(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed what layers draw from, and put it back afterwards.

    Initial weights and dropout take no generator: they draw from the global one of their device.
    Threads that ask for it take turns, so that each gets the numbers of its seed.

    Parameters
    ----------
    seed : int
        Seed of the global generators of the CPU and of `device`.
    device : torch.device or str, default="cpu"
        Where the layers are.

    Examples
    --------
    >>> with private_global_rng(0):
    ...     first = torch.rand(3)
    >>> with private_global_rng(0):
    ...     print(bool((torch.rand(3) == first).all()))
    True
    """
    device = torch.device(device)
    on_cuda = device.type == "cuda"
    index = torch.cuda.current_device() if on_cuda and device.index is None else device.index
    with _BORROWED, torch.random.fork_rng(devices=[index] if on_cuda else []):
        torch.random.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        if on_cuda:
            with torch.cuda.device(index):
                torch.cuda.manual_seed(seed)
        yield
