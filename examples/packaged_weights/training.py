"""What the scripts that train the weights of the package have in common."""

import torch
from torch import nn

# Filters of a stem see three colours, 3 x 3 x 3 values each: too few for Muon to even out.
STEM = 27


def make_optimizers(
    network: nn.Module, learning_rate: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of a network, convolutions among them, and AdamW for the rest.

    Muon (K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024) takes
    matrices only: it gets views of the filters, whose gradients `MatrixMuon.step` looks up. What
    is left, normalisation and biases but for the stem, has no weight decay.
    """
    matrices = [p for p in network.parameters() if p.ndim > 1 and min(len(p), p[0].numel()) > STEM]
    chosen = {id(p) for p in matrices}
    rest = [p for p in network.parameters() if id(p) not in chosen]
    return [
        MatrixMuon(matrices, learning_rate, weight_decay),
        torch.optim.AdamW(rest, lr=learning_rate, weight_decay=0.0),
    ]


class MatrixMuon(torch.optim.Muon):
    """Muon over the filters of convolutions, as matrices with a row per filter."""

    def __init__(self, filters: list[nn.Parameter], learning_rate: float, weight_decay: float):
        if any(_as_matrix(p.detach()).data_ptr() != p.data_ptr() for p in filters):
            raise ValueError("filters must be laid out channels last")
        self.filters = filters
        # steps of the size of AdamW's, so that both share a learning rate
        super().__init__(
            [nn.Parameter(_as_matrix(p.detach())) for p in filters],
            lr=learning_rate,
            weight_decay=weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )

    def step(self):
        """Change the filters by their gradients."""
        for matrix, p in zip(self.param_groups[0]["params"], self.filters, strict=True):
            if matrix.data_ptr() != p.data_ptr():
                raise RuntimeError("a filter has moved in memory since the optimizer was made")
            matrix.grad = None if p.grad is None else _as_matrix(p.grad)
        super().step()


def ramp(progress: float, warm_up: float = 0.02, hold: float = 0.3) -> float:
    """Return the share of the learning rate: up, level, and down to 0 along a line."""
    if progress < warm_up:
        return progress / warm_up
    return min(1.0, (1 - progress) / (1 - hold))


def set_rate(optimizers: list[torch.optim.Optimizer], rate: float) -> None:
    """Set the learning rate of all parameters."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def _as_matrix(filters: torch.Tensor) -> torch.Tensor:
    """Return a row per filter; a view if the memory is laid out channels last."""
    if filters.ndim == 4:
        filters = filters.permute(0, 2, 3, 1)
    return filters.reshape(len(filters), -1)
