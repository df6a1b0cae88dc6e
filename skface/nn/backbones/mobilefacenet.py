"""MobileFaceNet: a million parameters, made for faces on phones."""

import math
from functools import partial
from typing import Protocol

from torch import Tensor, fx, nn

from skface.nn.backbones._shapes import check_images_fit, check_in_shape

__all__ = ["MobileFaceNet"]

# torch.fx cannot trace into the check, so it stays one node of a traced graph.
fx.wrap("check_images_fit")

# Table 1 of Chen et al.: expansion, channels, repeats, stride of the first of them.
_STAGES = [(2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1)]


class MobileFaceNet(nn.Module):
    """MobileFaceNet (Chen et al. 2018, table 1).

    The network consists of inverted residual blocks. Instead of global average pooling, it ends
    with a depthwise convolution as large as the last feature map (7 x 7 for 112 x 112 pixels, 7 x 6
    for 112 x 96), which learns a weight for each position of an aligned face. The network therefore
    takes images of ``in_shape`` only.

    Parameters
    ----------
    embedding_dim : int, default=128
        Width of the embedding.
    in_shape : tuple of int (3, H, W), default=(3, 112, 112)
        Shape of one image, 17 pixels or more each way.
    batch_norm : bool, default=True
        Normalize after each convolution; if False, convolutions have a bias instead.
    squeeze : int or None, default=None
        Reweight the channels of each block by squeeze-excitation (Hu et al. 2018) with this
        reduction factor; None leaves it out, as in the paper.
    shared_slope : bool, default=False
        One PReLU slope per layer rather than one per channel.

    References
    ----------
    Chen, Liu, Gao and Han, "MobileFaceNets: efficient CNNs for accurate real-time face verification
    on mobile devices", CCBR 2018, arXiv:1804.07573.

    Examples
    --------
    >>> import torch
    >>> from skface.nn.backbones.mobilefacenet import MobileFaceNet
    >>> network = MobileFaceNet(in_shape=(3, 112, 96)).eval()
    >>> with torch.no_grad():
    ...     network(torch.zeros(2, 3, 112, 96)).shape
    torch.Size([2, 128])
    """

    def __init__(
        self,
        embedding_dim: int = 128,
        in_shape: tuple[int, ...] = (3, 112, 112),
        *,
        batch_norm: bool = True,
        squeeze: int | None = None,
        shared_slope: bool = False,
    ) -> None:
        super().__init__()
        height, width = check_in_shape(in_shape, minimum=17)
        self.in_shape = (3, height, width)
        unit = partial(_ConvUnit, batch_norm=batch_norm, shared_slope=shared_slope)
        self.stem = nn.Sequential(
            unit(3, 64, 3, stride=2, padding=1),
            unit(64, 64, 3, padding=1, groups=64),
        )
        n_channels = 64
        for number, (expansion, n_out, n_blocks, stride) in enumerate(_STAGES, start=1):
            blocks = []
            for i in range(n_blocks):
                first = i == 0
                blocks.append(
                    _InvertedResidual(
                        n_channels,
                        n_out,
                        expansion * n_channels,
                        stride if first else 1,
                        unit=unit,
                        squeeze=squeeze,
                    )
                )
                n_channels = n_out
            self.add_module(f"stage{number}", nn.Sequential(*blocks))
        last_map = (math.ceil(height / 16), math.ceil(width / 16))
        self.pool = nn.Sequential(
            unit(n_channels, 512, 1),
            unit(512, 512, last_map, groups=512, linear=True),
        )
        self.embedding = nn.Conv2d(512, embedding_dim, 1, bias=False)
        self.norm = nn.BatchNorm2d(embedding_dim) if batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Embed images.

        Parameters
        ----------
        x : Tensor of shape (n, 3, H, W)
            RGB, (pixel - 127.5) / 128; (3, H, W) must be the ``in_shape`` of construction.

        Returns
        -------
        Tensor of shape (n, embedding_dim)
            Embeddings, not normalized.

        Raises
        ------
        ValueError
            If the images have another shape.
        """
        check_images_fit(x, self.in_shape)
        for child in self.children():  # registered in the order in which they run
            x = child(x)
        return x.flatten(1)


class _ConvUnit(nn.Module):
    """Convolution, batch normalization or else a bias, and PReLU unless ``linear``."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel_size: int | tuple[int, int],
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        *,
        batch_norm: bool,
        shared_slope: bool,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            n_in, n_out, kernel_size, stride, padding, groups=groups, bias=not batch_norm
        )
        self.norm = nn.BatchNorm2d(n_out) if batch_norm else nn.Identity()
        n_slopes = 1 if shared_slope else n_out
        self.activation = nn.Identity() if linear else nn.PReLU(n_slopes)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.norm(self.conv(x)))
        return y


class _MakeUnit(Protocol):
    """How a `_ConvUnit` is made once normalization and activation are chosen."""

    def __call__(
        self,
        n_in: int,
        n_out: int,
        kernel_size: int | tuple[int, int],
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        *,
        linear: bool = False,
    ) -> _ConvUnit: ...


class _InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection; plus the input where shapes are equal."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        n_hidden: int,
        stride: int,
        *,
        unit: _MakeUnit,
        squeeze: int | None,
    ) -> None:
        super().__init__()
        self.expand = unit(n_in, n_hidden, 1)
        self.filter = unit(n_hidden, n_hidden, 3, stride=stride, padding=1, groups=n_hidden)
        self.project = unit(n_hidden, n_out, 1, linear=True)
        self.excite = nn.Identity() if squeeze is None else _SqueezeExcitation(n_out, squeeze)
        self.residual = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.excite(self.project(self.filter(self.expand(x))))
        return x + y if self.residual else y


class _SqueezeExcitation(nn.Module):
    """Multiply each channel by a weight in (0, 1) computed from the means of all channels."""

    def __init__(self, n_channels: int, reduction: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(n_channels, n_channels // reduction, 1),
            nn.PReLU(),
            nn.Conv2d(n_channels // reduction, n_channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = self.weigh(x)
        return x * weights
