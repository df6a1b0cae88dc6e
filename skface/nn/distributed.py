"""Data-parallel training: processes that `torchrun` starts train one network together.

Every process embeds its shard of each batch, all of them compute the loss of the whole batch, and
DistributedDataParallel averages their gradients. On CUDA, batch normalization uses the statistics
of the whole batch (`torch.nn.SyncBatchNorm`). On other devices each process normalizes its own
shard, and the running statistics are those of the first process.
"""

import atexit
import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = [
    "ProcessGroup",
    "exchange_gradients",
    "frozen_statistics",
    "join_process_group",
    "local_rank",
    "synchronized_batch_norm",
    "wrap_ddp",
]

T = TypeVar("T")


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train one network, and the rank of this one.

    A group of one process, the default, never communicates.

    Parameters
    ----------
    rank : int, default=0
        Number of this process, 0 to `size` - 1.
    size : int, default=1
        Number of processes.

    Examples
    --------
    >>> ProcessGroup().shard(10)
    slice(0, 10, None)
    >>> ProcessGroup(rank=1, size=3).shard(10)
    slice(4, 7, None)
    """

    rank: int = 0
    size: int = 1

    def shard(self, n: int) -> slice:
        """Return the rows of this process among `n` consecutive rows.

        Parameters
        ----------
        n : int
            Number of rows of all processes.

        Returns
        -------
        slice
            The rows; the shards of two processes differ by one row at most.
        """
        least, n_larger = divmod(n, self.size)
        start = self.rank * least + min(self.rank, n_larger)
        return slice(start, start + least + (self.rank < n_larger))

    def all_gather(self, rows: Tensor, n: int) -> Tensor:
        """Concatenate the shards of all processes, without a gradient.

        Parameters
        ----------
        rows : Tensor of shape (n_own, d)
            Rows of this process, as many as `shard` selects.
        n : int
            Number of rows of all processes.

        Returns
        -------
        Tensor of shape (n, d)
            All rows in order, the same in every process.
        """
        if self.size == 1:
            return rows
        # Collectives take tensors of one shape, so shorter shards are padded.
        longest = -(-n // self.size)
        padded = rows.new_zeros(longest, *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        shards = [ProcessGroup(rank, self.size).shard(n) for rank in range(self.size)]
        sizes = [shard.stop - shard.start for shard in shards]
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def broadcast(self, value: T) -> T:
        """Return the value that the first process passes.

        Parameters
        ----------
        value : object
            Any object that can be pickled.

        Returns
        -------
        object
            The value of the process of rank 0.
        """
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def broadcast_buffers(self, module: nn.Module) -> None:
        """Overwrite the buffers of a network, such as running statistics, by the first process's.

        Parameters
        ----------
        module : nn.Module
            Network, changed in place.
        """
        if self.size == 1:
            return
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)

    def check_equal(self, value: Any, message: str) -> None:
        """Check that all processes pass the same value.

        Parameters
        ----------
        value : object
            Any object that can be pickled and compared.
        message : str
            Message of the error.

        Raises
        ------
        ValueError
            In every process, if the values differ.
        """
        if self.size == 1:
            return
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        if any(other != values[0] for other in values):
            raise ValueError(message)


def join_process_group(device: torch.device | str = "cpu") -> ProcessGroup:
    """Join torch's process group; start it if `torchrun` started this process.

    Parameters
    ----------
    device : torch.device or str, default="cpu"
        Device of the network. A group that is started here communicates through NCCL on a GPU, and
        through Gloo elsewhere. It stays until the process ends.

    Returns
    -------
    ProcessGroup
        A group of one process if torch has no group and `torchrun` was not used.

    Examples
    --------
    >>> join_process_group()
    ProcessGroup(rank=0, size=1)
    """
    # Workers of joblib inherit the environment of torchrun, but are not part of its group.
    is_main = multiprocessing.current_process().name == "MainProcess"
    if not (dist.is_available() and is_main):
        return ProcessGroup()
    if not dist.is_initialized():
        if not dist.is_torchelastic_launched() or int(os.environ.get("WORLD_SIZE", 1)) == 1:
            return ProcessGroup()
        device = torch.device(device)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return ProcessGroup(dist.get_rank(), dist.get_world_size())


def local_rank() -> int:
    """Return the rank of this process among those of its machine, which share its GPUs.

    Returns
    -------
    int
        0 where `torchrun` was not used.
    """
    if not (dist.is_available() and dist.is_torchelastic_launched()):
        return 0
    return int(os.environ.get("LOCAL_RANK", 0))


@contextmanager
def synchronized_batch_norm(
    module: nn.Module, group: ProcessGroup, device: torch.device | str
) -> Iterator[None]:
    """Use `torch.nn.SyncBatchNorm` for batch normalization on CUDA, the only device that has it.

    The replacements share parameters and buffers with the original layers, which come back when the
    context ends. Subclasses of torch's layers are left as they are, and so is a network that is
    itself such a layer.

    Parameters
    ----------
    module : nn.Module
        Network, changed for the duration of the context.
    group : ProcessGroup
        Processes that train it.
    device : torch.device or str
        Device of the network. Nothing is replaced on other devices than CUDA.

    Examples
    --------
    >>> network = nn.Sequential(nn.BatchNorm1d(2))
    >>> with synchronized_batch_norm(network, ProcessGroup(0, 2), "cuda"):
    ...     print(type(network[0]).__name__)
    SyncBatchNorm
    >>> type(network[0]).__name__
    'BatchNorm1d'
    """
    replaced = []
    if group.size > 1 and torch.device(device).type == "cuda":
        for parent in list(module.modules()):
            for name, layer in list(parent.named_children()):
                if type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
                    setattr(parent, name, nn.SyncBatchNorm.convert_sync_batchnorm(layer))
                    replaced.append((parent, name, layer))
    try:
        yield
    finally:
        for parent, name, layer in replaced:
            layer.train(parent.get_submodule(name).training)
            setattr(parent, name, layer)


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch normalization unchanged, in training mode too.

    Parameters
    ----------
    module : nn.Module
        Network, changed for the duration of the context.

    Examples
    --------
    >>> layer = nn.BatchNorm1d(2)
    >>> with frozen_statistics(layer):
    ...     _ = layer(torch.ones(3, 2))
    >>> layer.running_mean
    tensor([0., 0.])
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


def wrap_ddp(module: nn.Module, group: ProcessGroup) -> Callable[[Tensor], Tensor]:
    """Wrap a network in DistributedDataParallel, which averages gradients over the processes.

    Parameters
    ----------
    module : nn.Module
        Network. Every process gets the parameters and buffers of the first one.
    group : ProcessGroup
        Processes that train it.

    Returns
    -------
    callable
        The wrapped network, or `module` itself if there is one process or nothing to train.
    """
    if group.size == 1 or not any(p.requires_grad for p in module.parameters()):
        return module
    return nn.parallel.DistributedDataParallel(module)


def exchange_gradients(
    network: Callable[[Tensor], Tensor], now: bool
) -> AbstractContextManager[None]:
    """Choose whether a backward pass in this context exchanges gradients between processes.

    Parameters
    ----------
    network : callable
        Network from :func:`wrap_ddp`.
    now : bool
        False only accumulates gradients in this process; a later pass exchanges their sum.

    Returns
    -------
    context manager
        To be entered around a forward and a backward pass.
    """
    if now or not isinstance(network, nn.parallel.DistributedDataParallel):
        return nullcontext()
    return network.no_sync()
