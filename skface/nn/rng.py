"""Torch's global random state, borrowed and put back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from skface.nn._locks import ProcessLock

# The state is one for the whole process: who seeds it must be alone until it is put back.
_BORROWED = ProcessLock()


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


def layer_rng_state(device: torch.device | str) -> list[torch.Tensor]:
    """Return the state of what layers on `device` draw from.

    Parameters
    ----------
    device : torch.device or str
        Where the layers are.

    Returns
    -------
    list of Tensor
        For :func:`restore_layer_rng`.
    """
    states = [torch.random.get_rng_state()]
    if torch.device(device).type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def restore_layer_rng(states: list[torch.Tensor], device: torch.device | str) -> None:
    """Go back to a state, so that dropout falls as it fell then.

    Parameters
    ----------
    states : list of Tensor
        From :func:`layer_rng_state`.
    device : torch.device or str
        Where the layers are.

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
