"""The network of face-reidentification-retail-0095 (Open Model Zoo), and its weights from the IR.

Its graph is that of MobileFaceNet with squeeze-excitation in every block and one PReLU slope per
layer. Batch normalization is folded into the convolutions, both in the published file and in this
module. The weights are therefore loaded unchanged, and fine-tuning (at a low learning rate) starts
from exactly the published function, in training mode too. MobileFaceNet, which has batch
normalization, is the better network to train from scratch.
"""

from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skface.nn.backbones.mobilefacenet import MobileFaceNet
from skface.nn.openvino_ir import read_constants

__all__ = ["Retail0095", "load_retail0095_ir"]


class Retail0095(MobileFaceNet):
    """The network of face-reidentification-retail-0095, 1.1 million parameters.

    It takes raw pixels: the scale and shift that the IR applies to each channel are buffers.

    Parameters
    ----------
    embedding_dim : int, default=256
        Width of the embedding; the published weights need 256.
    in_shape : tuple of int (3, H, W), default=(3, 128, 128)
        Shape of one image; the published weights need 128 x 128.

    References
    ----------
    Open Model Zoo, model face-reidentification-retail-0095, Apache-2.0.

    Examples
    --------
    >>> import torch
    >>> from skface.nn.backbones.retail0095 import Retail0095
    >>> network = Retail0095().eval()
    >>> with torch.no_grad():
    ...     network(torch.full((1, 3, 128, 128), 255.0)).shape
    torch.Size([1, 256])
    """

    def __init__(self, embedding_dim: int = 256, in_shape: tuple[int, ...] = (3, 128, 128)) -> None:
        super().__init__(embedding_dim, in_shape, batch_norm=False, squeeze=8, shared_slope=True)
        self.input_scale: Tensor
        self.input_shift: Tensor
        # Initially 0..255 is mapped to -1..1; published weights contain their own constants.
        self.register_buffer("input_scale", torch.full((1, 3, 1, 1), 1 / 127.5))
        self.register_buffer("input_shift", torch.full((1, 3, 1, 1), -1.0))
        # Without normalization layers, activations keep their scale over 50 layers only with He
        # initialization. Tensors on the meta device have no values to draw, and torch would
        # import its compiler to do so.
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
                nn.init.kaiming_normal_(module.weight, a=0.25)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Embed images.

        Parameters
        ----------
        x : Tensor of shape (n, 3, 128, 128)
            BGR, 0..255.

        Returns
        -------
        Tensor of shape (n, embedding_dim)
            Embeddings, not normalized.
        """
        return super().forward(x * self.input_scale + self.input_shift)


def load_retail0095_ir(xml_path: str | PathLike[str]) -> dict[str, NDArray[np.float32]]:
    """Read the state dict of `Retail0095` from the published OpenVINO IR.

    Parameters
    ----------
    xml_path : str or path-like
        ``face-reidentification-retail-0095.xml``, with its .bin beside it.

    Returns
    -------
    dict of str to ndarray
        Arrays of type float32 under the names of ``Retail0095().state_dict()``.

    Raises
    ------
    FileNotFoundError
        If either file is missing.
    ValueError
        If the file is damaged or holds another network.
    """
    constants = read_constants(xml_path)
    with torch.device("meta"):  # names and shapes only: no memory, no random numbers
        template = Retail0095().state_dict()
    if len(constants) != len(template):
        raise ValueError(
            f"{xml_path} is not face-reidentification-retail-0095: it has {len(constants)} "
            f"constants where that network has {len(template)}."
        )
    # Both are in the order of the graph, so names are matched by position.
    state = {}
    for (key, like), (name, value) in zip(template.items(), constants.items(), strict=True):
        # The IR writes a bias as (1, n, 1, 1) and depthwise weights as (n, 1, 1, h, w).
        if _without_ones(value.shape) != _without_ones(like.shape):
            raise ValueError(
                f"{xml_path} is not face-reidentification-retail-0095: its constant {name!r} has "
                f"shape {value.shape} where {key} of that network has {tuple(like.shape)}."
            )
        state[key] = value.reshape(tuple(like.shape))
    return state


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [side for side in shape if side != 1]
