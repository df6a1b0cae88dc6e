"""From the output of a network to embeddings."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Network", "embed"]

Network = Callable[[Tensor], Tensor]  # a module, or DistributedDataParallel around it


def embed(network: Network, images: Tensor) -> Tensor:
    """Embed images as vectors of unit length.

    Parameters
    ----------
    network : nn.Module
        Network whose output need not be normalized.
    images : Tensor of shape (n, ...)
        Input of the network.

    Returns
    -------
    Tensor of shape (n, d)
        Embeddings of unit length, float32 or wider.

    Examples
    --------
    >>> import torch
    >>> embed(torch.nn.Identity(), torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    outputs = network(images)
    return F.normalize(outputs.to(torch.promote_types(outputs.dtype, torch.float32)), dim=1)
