"""Seed torch's global random state temporarily."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from skface.nn._locks import ProcessLock

__all__ = ["layer_rng_state", "private_global_rng", "restore_layer_rng"]

# All threads share the global state, so only one may use it between seeding and restoring.
_GLOBAL_RNG = ProcessLock()


@contextmanager
def private_global_rng(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed the global generators that layers use, and restore their states afterwards.

    Weight initialization and dropout take no generator: they use the global one of their device.
    Threads wait for each other here, so that each gets the random numbers of its seed.

    Parameters
    ----------
    seed : int
        Seed of the global generators of the CPU and of `device`.
    device : torch.device or str, default="cpu"
        Device of the layers.

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
    with _GLOBAL_RNG, torch.random.fork_rng(devices=[index] if on_cuda else []):
        torch.random.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        if on_cuda:
            with torch.cuda.device(index):
                torch.cuda.manual_seed(seed)
        yield


def layer_rng_state(device: torch.device | str) -> list[torch.Tensor]:
    """Return the states of the generators that layers on a device use.

    Parameters
    ----------
    device : torch.device or str
        Device of the layers.

    Returns
    -------
    list of Tensor
        To be passed to :func:`restore_layer_rng`.
    """
    states = [torch.random.get_rng_state()]
    if torch.device(device).type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def restore_layer_rng(states: list[torch.Tensor], device: torch.device | str) -> None:
    """Restore the states of the generators, to repeat dropout masks.

    Parameters
    ----------
    states : list of Tensor
        What :func:`layer_rng_state` returned.
    device : torch.device or str
        Device of the layers.

    Examples
    --------
    >>> with private_global_rng(0):
    ...     states = layer_rng_state("cpu")
    ...     first = torch.rand(3)
    ...     restore_layer_rng(states, "cpu")
    ...     print(bool((torch.rand(3) == first).all()))
    True
    """
    torch.random.set_rng_state(states[0])
    if torch.device(device).type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
