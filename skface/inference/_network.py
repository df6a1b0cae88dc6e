"""A network together with the input that it takes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skface.inference._preprocessing import Preprocessing

State = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Network:
    """A network together with the input that it takes.

    Attributes
    ----------
    backbone : str or callable
        A registered name, or what builds the module.
    input_shape : tuple
        (3, H, W) of its faces, or (d,) of its vectors.
    preprocessing : Preprocessing or None
        Turns faces into its input; None for vectors.
    embedding_dim : int
        Length of an embedding.
    module : nn.Module
        The network, in evaluation mode.
    """

    backbone: str | Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    preprocessing: Preprocessing | None
    embedding_dim: int
    module: nn.Module

    def inputs(self, faces: list[NDArray[Any]]) -> NDArray[np.float32]:
        """Turn faces into one batch of the network's input.

        Parameters
        ----------
        faces : list of ndarray
            (H, W, 3) RGB faces of uint8, or of floats in 0..1; or (d,) vectors.

        Returns
        -------
        ndarray of shape (n, 3, H, W) or (n, d)
            The batch.
        """
        return np.stack(faces) if self.preprocessing is None else self.preprocessing(faces)

    def standardize(self, pixels: Tensor) -> Tensor:
        """Turn pixels of the right size into the network's input.

        Parameters
        ----------
        pixels : Tensor of shape (n, H, W, 3)
            RGB, in 0..255.

        Returns
        -------
        Tensor of shape (n, 3, H, W)
            The input, float32, on the same device.
        """
        if self.preprocessing is None:
            raise ValueError("This network takes vectors, which have no pixels to standardize.")
        batch = pixels.permute(0, 3, 1, 2).float()
        if self.preprocessing.color == "bgr":
            batch = batch.flip(1)
        mean, std = (
            torch.as_tensor(value, dtype=torch.float32, device=batch.device).reshape(1, -1, 1, 1)
            for value in (self.preprocessing.mean, self.preprocessing.std)
        )
        return (batch - mean) / std

    def state(self) -> State:
        """Copy the parameters and buffers.

        Returns
        -------
        dict of str to ndarray
            Arrays by name.
        """
        return {
            name: tensor.detach().cpu().numpy().copy()
            for name, tensor in self.module.state_dict().items()
        }
