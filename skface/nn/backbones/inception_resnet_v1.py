"""Inception-ResNet-v1, the network of the published FaceNet weights."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skface.nn.backbones._shapes import check_in_shape

__all__ = ["InceptionResnetV1"]

_Geometry = int | tuple[int, int]


class InceptionResnetV1(nn.Module):
    """Inception-ResNet-v1 (Szegedy et al. 2017), as trained by the FaceNet reproductions.

    Module names are those of facenet-pytorch, so that the published state dicts
    ``20180402-114759-vggface2.pt`` and ``20180408-102900-casia-webface.pt`` load as they are, once
    their classifier ``logits.*`` is left out. That implementation returns unit vectors from its
    forward pass; this one returns the embedding before that normalization.

    Parameters
    ----------
    embedding_dim : int, default=512
        Width of the embedding; the published weights need 512.
    in_shape : tuple of int (3, H, W), default=(3, 160, 160)
        Shape of one image, 75 pixels or more each way. The published weights were trained on
        160 x 160.
    dropout : float, default=0.6
        Probability with which a pooled feature is dropped in training.

    References
    ----------
    Szegedy, Ioffe, Vanhoucke and Alemi, "Inception-v4, Inception-ResNet and the impact of residual
    connections on learning", AAAI 2017.

    Examples
    --------
    >>> import torch
    >>> from skface.nn.backbones.inception_resnet_v1 import InceptionResnetV1
    >>> network = InceptionResnetV1().eval()
    >>> sum(p.numel() for p in network.parameters())
    23482624
    >>> with torch.no_grad():
    ...     network(torch.zeros(1, 3, 160, 160)).shape
    torch.Size([1, 512])
    """

    def __init__(
        self,
        embedding_dim: int = 512,
        in_shape: tuple[int, ...] = (3, 160, 160),
        *,
        dropout: float = 0.6,
    ) -> None:
        super().__init__()
        check_in_shape(in_shape, minimum=75)  # below, the last reduction has no pixel left
        self.conv2d_1a = _ConvUnit(3, 32, 3, stride=2)
        self.conv2d_2a = _ConvUnit(32, 32, 3)
        self.conv2d_2b = _ConvUnit(32, 64, 3, padding=1)
        self.maxpool_3a = nn.MaxPool2d(3, stride=2)
        self.conv2d_3b = _ConvUnit(64, 80, 1)
        self.conv2d_4a = _ConvUnit(80, 192, 3)
        self.conv2d_4b = _ConvUnit(192, 256, 3, stride=2)
        self.repeat_1 = nn.Sequential(*(_block35() for _ in range(5)))
        self.mixed_6a = _Branches(
            [
                _chain(256, (384, 3, 2, 0)),
                _chain(256, (192, 1, 1, 0), (192, 3, 1, 1), (256, 3, 2, 0)),
                nn.MaxPool2d(3, stride=2),
            ]
        )
        self.repeat_2 = nn.Sequential(*(_block17() for _ in range(10)))
        self.mixed_7a = _Branches(
            [
                _chain(896, (256, 1, 1, 0), (384, 3, 2, 0)),
                _chain(896, (256, 1, 1, 0), (256, 3, 2, 0)),
                _chain(896, (256, 1, 1, 0), (256, 3, 1, 1), (256, 3, 2, 0)),
                nn.MaxPool2d(3, stride=2),
            ]
        )
        self.repeat_3 = nn.Sequential(*(_block8(scale=0.2) for _ in range(5)))
        self.block8 = _block8(scale=1.0, rectify=False)
        self.avgpool_1a = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.last_linear = nn.Linear(1792, embedding_dim, bias=False)
        self.last_bn = nn.BatchNorm1d(embedding_dim, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Embed images.

        Parameters
        ----------
        x : Tensor of shape (n, 3, H, W)
            RGB, (pixel - 127.5) / 128.

        Returns
        -------
        Tensor of shape (n, embedding_dim)
            Embeddings, not normalized.
        """
        for layer in self.children():  # registered in the order in which they run
            if layer is self.last_linear:
                x = x.flatten(1)
            x = layer(x)
        return x


class _ConvUnit(nn.Module):
    """Convolution without bias, batch normalization, ReLU."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel_size: _Geometry,
        stride: _Geometry = 1,
        padding: _Geometry = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel_size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(n_out, eps=0.001)  # the epsilon of the original TensorFlow model

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


def _chain(n_in: int, *units: tuple[int, _Geometry, _Geometry, _Geometry]) -> nn.Module:
    """Chain units of (channels, kernel size, stride, padding); one unit is returned as it is."""
    layers = []
    for n_out, kernel_size, stride, padding in units:
        layers.append(_ConvUnit(n_in, n_out, kernel_size, stride, padding))
        n_in = n_out
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


class _Branches(nn.Module):
    """Parallel branches ``branch0``, ``branch1``, ... concatenated along the channels."""

    def __init__(self, branches: list[nn.Module]) -> None:
        super().__init__()
        self.n_branches = len(branches)
        for i, branch in enumerate(branches):
            self.add_module(f"branch{i}", branch)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [self.get_submodule(f"branch{i}")(x) for i in range(self.n_branches)]
        return torch.cat(outputs, dim=1)


class _ResidualBlock(_Branches):
    """``relu(x + scale * conv2d(branches(x)))``; the last block of the network omits the ReLU."""

    def __init__(
        self,
        branches: list[nn.Module],
        n_mixed: int,
        n_channels: int,
        scale: float,
        rectify: bool = True,
    ) -> None:
        super().__init__(branches)
        self.conv2d = nn.Conv2d(n_mixed, n_channels, 1)
        self.scale = scale
        self.rectify = rectify

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2d(super().forward(x)) * self.scale + x
        return F.relu(x) if self.rectify else x


# The numbers name the side of the feature map that the paper's 299-pixel input has at that depth.
def _block35() -> _ResidualBlock:
    branches = [
        _chain(256, (32, 1, 1, 0)),
        _chain(256, (32, 1, 1, 0), (32, 3, 1, 1)),
        _chain(256, (32, 1, 1, 0), (32, 3, 1, 1), (32, 3, 1, 1)),
    ]
    return _ResidualBlock(branches, 96, 256, scale=0.17)


def _block17() -> _ResidualBlock:
    branches = [
        _chain(896, (128, 1, 1, 0)),
        _chain(896, (128, 1, 1, 0), (128, (1, 7), 1, (0, 3)), (128, (7, 1), 1, (3, 0))),
    ]
    return _ResidualBlock(branches, 256, 896, scale=0.1)


def _block8(scale: float, rectify: bool = True) -> _ResidualBlock:
    branches = [
        _chain(1792, (192, 1, 1, 0)),
        _chain(1792, (192, 1, 1, 0), (192, (1, 3), 1, (0, 1)), (192, (3, 1), 1, (1, 0))),
    ]
    return _ResidualBlock(branches, 384, 1792, scale, rectify)
