"""A network with what it wants as input."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skface.inference._preprocessing import Preprocessing

State = dict[str, np.ndarray]


@dataclass(frozen=True)
class Network:
    """A network and how it wants its faces.

    Attributes
    ----------
    backbone : str or callable
        A registered name, or what builds the module.
    input_shape : tuple
        (3, H, W) of its faces, or (d,) of its vectors.
    preprocessing : Preprocessing or None
        What turns faces into its input; None for vectors.
    embedding_dim : int
        Length of an embedding.
    module : nn.Module
        The network, in evaluation mode.
    """

    backbone: Any
    input_shape: tuple[int, ...]
    preprocessing: Preprocessing | None
    embedding_dim: int
    module: nn.Module

    def inputs(self, faces: list[np.ndarray]) -> np.ndarray:
        """Turn faces into one batch of the network's input."""
        return np.stack(faces) if self.preprocessing is None else self.preprocessing(faces)

    def standardize(self, pixels: Tensor) -> Tensor:
        """Turn RGB pixels (n, H, W, 3) in 0..255 of the right size into the network's input."""
        wanted = self.preprocessing
        batch = pixels.permute(0, 3, 1, 2).float()
        if wanted.color == "bgr":
            batch = batch.flip(1)
        mean, std = (
            torch.as_tensor(value, dtype=torch.float32, device=batch.device).reshape(1, -1, 1, 1)
            for value in (wanted.mean, wanted.std)
        )
        return (batch - mean) / std

    def state(self) -> State:
        """Copy the parameters and buffers, as arrays."""
        return {
            name: tensor.detach().cpu().numpy().copy()
            for name, tensor in self.module.state_dict().items()
        }
