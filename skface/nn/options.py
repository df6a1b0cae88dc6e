"""Options of a training run."""

from dataclasses import dataclass, field

import torch

from skface.nn.augment import Augmentation
from skface.nn.distributed import ProcessGroup

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """How a network is trained.

    Parameters
    ----------
    max_epochs : int, default=30
        Number of epochs, at least 1.
    learning_rate : float, default=1e-3
        Peak learning rate; see :func:`skface.nn.optimization.learning_rate_factor`.
    weight_decay : float, default=1e-4
        Weight decay of AdamW for weight matrices and convolution kernels. Biases, normalization
        parameters and PReLU slopes have none.
    augmentation : Augmentation or None, default=None
        Random augmentation of the images of each batch.
    chunk_size : int, default=256
        Number of faces that pass through the network at a time. A larger batch is embedded in
        chunks, twice: first to compute the gradient of the loss with respect to every embedding,
        then to backpropagate it into the network (gradient caching, Gao et al., 2021). It needs the
        memory of one chunk. The gradient is that of the whole batch, except that batch
        normalization uses the statistics of one chunk.
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the network. Losses are always computed in float32.
    device : torch.device or str, default="cpu"
        Device to train on.
    seed : int, default=0
        Seed of augmentation, mining and dropout.
    patience : int or None, default=None
        Training stops after this number of epochs without a better validation score. None always
        trains for `max_epochs`.
    process_group : ProcessGroup
        Processes that train together, each on its shard of every batch. The default is this
        process alone.

    Examples
    --------
    >>> Options(max_epochs=3).process_group
    ProcessGroup(rank=0, size=1)
    """

    max_epochs: int = 30
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    augmentation: Augmentation | None = None
    chunk_size: int = 256
    precision: str = "float32"
    device: torch.device | str = "cpu"
    seed: int = 0
    patience: int | None = None
    process_group: ProcessGroup = field(default_factory=ProcessGroup)
