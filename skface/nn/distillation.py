"""Distillation: the targets of a teacher network, and the input of its student."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

__all__ = ["DistillationTargets"]


@dataclass(frozen=True)
class DistillationTargets:
    """Targets of a teacher, for the augmented images that the student embeds.

    Parameters
    ----------
    targets : callable
        Maps augmented images (n, ...) to the teacher's (n, d) embeddings, which the objective
        receives as targets. Called without gradients.
    inputs : callable
        Maps augmented images (n, ...) to the input of the student, such as another image size.

    Examples
    --------
    >>> import torch
    >>> distillation = DistillationTargets(
    ...     targets=lambda images: images.mean(dim=(2, 3)), inputs=lambda images: images / 255
    ... )
    >>> distillation.targets(torch.full((2, 3, 4, 4), 255.0)).shape
    torch.Size([2, 3])
    """

    targets: Callable[[Tensor], Tensor]
    inputs: Callable[[Tensor], Tensor]
