"""The optimizer and the learning-rate schedule of training."""

import math

import torch
from torch import nn

__all__ = ["learning_rate_factor", "make_optimizer"]

WARMUP_FRACTION = 0.1


def learning_rate_factor(step: int, n_steps: int) -> float:
    """Return the factor of a linear warm-up over a tenth of the steps and a cosine decay to 0.

    Parameters
    ----------
    step : int
        Number of the step, 0 to `n_steps` - 1.
    n_steps : int
        Steps of the whole training.

    Returns
    -------
    float
        Factor of the peak learning rate, above 0 and at most 1.

    Examples
    --------
    >>> [round(learning_rate_factor(step, 20), 2) for step in (0, 1, 2, 11, 19)]
    [0.5, 1.0, 1.0, 0.5, 0.01]
    """
    n_warmup = round(WARMUP_FRACTION * n_steps)
    if step < n_warmup:
        return (step + 1) / n_warmup
    return 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / (n_steps - n_warmup)))


def make_optimizer(
    module: nn.Module, objective: nn.Module, *, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Build AdamW for the trainable parameters of a network and its objective.

    Parameters
    ----------
    module : nn.Module
        Network.
    objective : nn.Module
        Objective, one of :mod:`skface.nn.objectives`.
    learning_rate : float
        Peak learning rate.
    weight_decay : float
        Weight decay of parameters with two or more dimensions. Others have none.

    Returns
    -------
    torch.optim.Optimizer
        The optimizer.

    Raises
    ------
    ValueError
        If no parameter is trainable.

    Examples
    --------
    >>> optimizer = make_optimizer(
    ...     nn.Linear(2, 2), nn.Identity(), learning_rate=0.1, weight_decay=0.01
    ... )
    >>> [group["weight_decay"] for group in optimizer.param_groups]
    [0.01, 0.0]
    """
    parameters = [p for part in (module, objective) for p in part.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(
            "The network has no trainable parameter: all are frozen, or it has none. Unfreeze a "
            "part of it, or use it without training."
        )
    # Decay of biases, normalization gains and PReLU slopes does not regularize.
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)
