"""Optimizers and the learning rate, for both scripts that train the packaged weights."""

import torch
from torch import nn

# Filters of the first layer have 3 x 3 x 3 values: too few columns to orthogonalize.
STEM = 27


def make_optimizers(
    network: nn.Module, learning_rate: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of a network, convolutions among them, and AdamW for the rest.

    Muon (K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024) takes
    matrices only: it gets views of the filters, and `MatrixMuon.step` sets their gradients. The
    other parameters, of the first layer, normalization and biases, have no weight decay.
    """
    matrices = [p for p in network.parameters() if p.ndim > 1 and min(len(p), p[0].numel()) > STEM]
    chosen = {id(p) for p in matrices}
    rest = [p for p in network.parameters() if id(p) not in chosen]
    return [
        MatrixMuon(matrices, learning_rate, weight_decay),
        torch.optim.AdamW(rest, lr=learning_rate, weight_decay=0.0),
    ]


class MatrixMuon(torch.optim.Muon):
    """Muon for the filters of convolutions, as matrices with one row per filter."""

    def __init__(self, filters: list[nn.Parameter], learning_rate: float, weight_decay: float):
        if any(_as_matrix(p.detach()).data_ptr() != p.data_ptr() for p in filters):
            raise ValueError(
                "filters are not in memory format channels_last; convert the network first"
            )
        self.filters = filters
        # steps as large as AdamW's, so that both have the same learning rate
        super().__init__(
            [nn.Parameter(_as_matrix(p.detach())) for p in filters],
            lr=learning_rate,
            weight_decay=weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )

    def step(self):
        """Update the filters by their gradients."""
        for matrix, p in zip(self.param_groups[0]["params"], self.filters, strict=True):
            if matrix.data_ptr() != p.data_ptr():
                raise RuntimeError("a filter has moved in memory since the optimizer was built")
            matrix.grad = None if p.grad is None else _as_matrix(p.grad)
        super().step()


def ramp(progress: float, warm_up: float = 0.02, hold: float = 0.3) -> float:
    """Return the factor of the learning rate: linear warm-up, constant, linear decay to 0."""
    if progress < warm_up:
        return progress / warm_up
    return min(1.0, (1 - progress) / (1 - hold))


def set_rate(optimizers: list[torch.optim.Optimizer], rate: float) -> None:
    """Set the learning rate of all parameters."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def _as_matrix(filters: torch.Tensor) -> torch.Tensor:
    """Return a matrix with one row per filter; a view if the format is channels_last."""
    if filters.ndim == 4:
        filters = filters.permute(0, 2, 3, 1)
    return filters.reshape(len(filters), -1)
