"""Data-parallel training: the processes that `torchrun` starts work on one batch together."""

import atexit
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass(frozen=True)
class Team:
    """The processes that train one network, and which of them this is.

    A team of one, the default, needs no communication: every method returns at once.

    Parameters
    ----------
    rank : int, default=0
        Number of this process.
    size : int, default=1
        Number of processes.

    Examples
    --------
    >>> Team().share(10)
    slice(0, 10, None)
    >>> Team(rank=1, size=3).share(10)
    slice(4, 7, None)
    """

    rank: int = 0
    size: int = 1

    def share(self, n: int) -> slice:
        """Return which of `n` consecutive rows are for this process to work on."""
        least, n_larger = divmod(n, self.size)
        start = self.rank * least + min(self.rank, n_larger)
        return slice(start, start + least + (self.rank < n_larger))

    def gather(self, rows: Tensor, n: int) -> Tensor:
        """Put the shares of all processes together, without a gradient.

        Parameters
        ----------
        rows : Tensor of shape (n_own, d)
            The rows of this process, as many as `share` gives it.
        n : int
            Number of rows of all processes.

        Returns
        -------
        Tensor of shape (n, d)
            All rows in their order, the same in every process.
        """
        if self.size == 1:
            return rows
        # collectives take tensors of one shape, and shares differ by one row at most
        most = -(-n // self.size)
        padded = rows.new_zeros(most, *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        counts = [Team(rank, self.size).share(n) for rank in range(self.size)]
        sizes = [share.stop - share.start for share in counts]
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def agree(self, value: Any) -> Any:
        """Return what the first process passes here."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def check_equal(self, value: Any, message: str) -> None:
        """Raise a ValueError in every process unless all of them pass the same value."""
        if self.size == 1:
            return
        values = [None] * self.size
        dist.all_gather_object(values, value)
        if any(other != values[0] for other in values):
            raise ValueError(message)


def join_team(device: torch.device | str = "cpu") -> Team:
    """Join the other processes if `torchrun` started this one, or if a group exists already.

    Parameters
    ----------
    device : torch.device or str, default="cpu"
        Where the network is: processes talk through NCCL on a GPU, and through Gloo elsewhere.

    Returns
    -------
    Team
        A team of one outside `torchrun`. The process group stays until the process ends.

    Examples
    --------
    >>> join_team()
    Team(rank=0, size=1)
    """
    # joblib's workers inherit the environment of torchrun, but are no part of its group
    is_main = multiprocessing.current_process().name == "MainProcess"
    if not (dist.is_available() and is_main):
        return Team()
    if not dist.is_initialized():
        if not dist.is_torchelastic_launched() or int(os.environ.get("WORLD_SIZE", 1)) == 1:
            return Team()
        device = torch.device(device)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return Team(dist.get_rank(), dist.get_world_size())


def local_rank() -> int:
    """Return the number of this process among those of its machine, which share its GPUs."""
    return int(os.environ.get("LOCAL_RANK", 0)) if dist.is_torchelastic_launched() else 0


@contextmanager
def global_batch_norm(module: nn.Module, team: Team) -> Iterator[None]:
    """Let batch normalisation use the batch of all processes, as one process would.

    PyTorch's SyncBatchNorm does the same on GPUs only, and by other modules with other types.

    Parameters
    ----------
    module : nn.Module
        Network whose layers are changed for the duration of the context.
    team : Team
        The processes.
    """
    layers = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    if team.size == 1:
        layers = []
    for layer in layers:
        layer.forward = partial(_normalize_globally, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _normalize_globally(layer: _BatchNorm, images: Tensor) -> Tensor:
    if not layer.training:
        return type(layer).forward(layer, images)
    axes = [axis for axis in range(images.ndim) if axis != 1]
    shape = [1, -1] + [1] * (images.ndim - 2)
    values = images.float()
    own_count = values.new_full((1,), values.numel() / values.shape[1])
    sums = _Total.apply(torch.cat([values.sum(axes), own_count]))
    count = sums[-1].detach()
    mean = sums[:-1] / count
    # a second pass: the difference of two large sums would lose the variance
    centred = values - mean.view(shape)
    variance = _Total.apply(centred.square().sum(axes)) / count
    _track(layer, mean.detach(), variance.detach() * count / (count - 1))
    normed = centred * torch.rsqrt(variance + layer.eps).view(shape)
    if layer.affine:
        normed = normed * layer.weight.view(shape) + layer.bias.view(shape)
    return normed.to(images.dtype)


class _Total(torch.autograd.Function):
    """Sum over the processes; each of them has a share in the loss of all, and so in its gradient.

    ``torch.distributed.nn`` has one, which is deprecated from torch 2.13 on.
    """

    @staticmethod
    def forward(ctx, own):
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient):
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _track(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Update running statistics as torch does."""
    if not layer.track_running_stats:
        return
    layer.num_batches_tracked += 1
    momentum = 1 / layer.num_batches_tracked if layer.momentum is None else layer.momentum
    layer.running_mean.lerp_(mean.to(layer.running_mean), momentum)
    layer.running_var.lerp_(variance.to(layer.running_var), momentum)


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch normalisation as they are, in training mode too.

    Parameters
    ----------
    module : nn.Module
        Network, changed for the duration of the context.
    """
    layers = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    before = [(layer.momentum, layer.num_batches_tracked) for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked = layer.num_batches_tracked.clone()
    try:
        yield
    finally:
        for layer, (momentum, n_batches) in zip(layers, before, strict=True):
            layer.momentum, layer.num_batches_tracked = momentum, n_batches


def in_one_team(module: nn.Module, team: Team) -> Callable[[Tensor], Tensor]:
    """Wrap a network so that its gradients are the mean over the processes.

    Parameters
    ----------
    module : nn.Module
        Network; every process gets the parameters of the first one.
    team : Team
        The processes.

    Returns
    -------
    callable
        The network itself for a team of one, and where it has nothing to train.
    """
    if team.size == 1 or not any(p.requires_grad for p in module.parameters()):
        return module
    with warnings.catch_warnings():
        # torch 2.13 has another name for the option, which torch 2.6 lacks
        warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
        # running statistics need no broadcast: `global_batch_norm` keeps them equal
        return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)


def exchange_gradients(network: Callable[[Tensor], Tensor], now: bool) -> AbstractContextManager:
    """Let the backward pass in this context exchange gradients now, or leave it to a later one.

    Parameters
    ----------
    network : callable
        From :func:`in_one_team`.
    now : bool
        False adds gradients up in this process.

    Returns
    -------
    context manager
        To surround a forward and a backward pass.
    """
    if now or not isinstance(network, nn.parallel.DistributedDataParallel):
        return nullcontext()
    return network.no_sync()
