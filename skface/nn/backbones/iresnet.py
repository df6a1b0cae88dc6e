"""IResNet, the networks of the published ArcFace weights."""

import math

from torch import Tensor, fx, nn

from skface.nn.backbones._shapes import check_images_fit, check_in_shape

__all__ = ["IResNet", "iresnet18", "iresnet50", "make_stage"]

# torch.fx cannot trace into the check, so it stays one node of a traced graph.
fx.wrap("check_images_fit")


class IResNet(nn.Module):
    """Residual network for faces, as ArcFace (Deng et al. 2019) trains it.

    It differs from the ResNet of He et al. in three ways. Blocks start with normalization and end
    without an activation. The stem keeps the resolution. A linear layer over the last feature map
    replaces pooling, so the network takes images of ``in_shape`` only. Module names are those of
    InsightFace, so the state dicts that it publishes for PyTorch load as they are. InsightFace's
    network differs in training: the gains of its last normalization stay 1, and its convolutions
    start from a normal distribution of deviation 0.1. An untrained network of 50 layers then gives
    numbers near 1e26 in evaluation mode.

    Parameters
    ----------
    n_blocks : tuple of int
        Residual blocks of each of the four stages.
    embedding_dim : int, default=512
        Width of the embedding; the published weights need 512.
    in_shape : tuple of int (3, H, W), default=(3, 112, 112)
        Shape of one image, 17 pixels or more each way; the published weights need 112 x 112.

    References
    ----------
    Deng, Guo, Xue and Zafeiriou, "ArcFace: additive angular margin loss for deep face recognition",
    CVPR 2019, arXiv:1801.07698; Duta, Liu, Zhu and Shao, "Improved residual networks for image and
    video recognition", ICPR 2020, arXiv:2004.04989.

    Examples
    --------
    >>> import torch
    >>> from skface.nn.backbones.iresnet import IResNet
    >>> network = IResNet((1, 1, 1, 1), in_shape=(3, 64, 48)).eval()
    >>> with torch.no_grad():
    ...     network(torch.zeros(2, 3, 64, 48)).shape
    torch.Size([2, 512])
    """

    def __init__(
        self,
        n_blocks: tuple[int, int, int, int],
        embedding_dim: int = 512,
        in_shape: tuple[int, ...] = (3, 112, 112),
    ) -> None:
        super().__init__()
        height, width = check_in_shape(in_shape, minimum=17)
        self.in_shape = (3, height, width)
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        self.layer1 = make_stage(64, 64, n_blocks[0])
        self.layer2 = make_stage(64, 128, n_blocks[1])
        self.layer3 = make_stage(128, 256, n_blocks[2])
        self.layer4 = make_stage(256, 512, n_blocks[3])
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * math.ceil(height / 16) * math.ceil(width / 16), embedding_dim)
        self.features = nn.BatchNorm1d(embedding_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Embed images.

        Parameters
        ----------
        x : Tensor of shape (n, 3, H, W)
            RGB, (pixel - 127.5) / 127.5; (3, H, W) must be the ``in_shape`` of construction. In
            training mode n is 2 or more.

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
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        embeddings: Tensor = self.features(self.fc(self.bn2(x).flatten(1)))
        return embeddings


def iresnet18(embedding_dim: int = 512, in_shape: tuple[int, ...] = (3, 112, 112)) -> IResNet:
    """Build an `IResNet` of 18 layers, 24 million parameters.

    Parameters
    ----------
    embedding_dim : int, default=512
        Width of the embedding.
    in_shape : tuple of int (3, H, W), default=(3, 112, 112)
        Shape of one image.

    Returns
    -------
    IResNet
        The network, with random weights.

    Examples
    --------
    >>> from skface.nn.backbones.iresnet import iresnet18
    >>> sum(p.numel() for p in iresnet18().parameters())
    24025600
    """
    return IResNet((2, 2, 2, 2), embedding_dim, in_shape)


def iresnet50(embedding_dim: int = 512, in_shape: tuple[int, ...] = (3, 112, 112)) -> IResNet:
    """Build an `IResNet` of 50 layers, 44 million parameters.

    Parameters
    ----------
    embedding_dim : int, default=512
        Width of the embedding.
    in_shape : tuple of int (3, H, W), default=(3, 112, 112)
        Shape of one image.

    Returns
    -------
    IResNet
        The network, with random weights.

    Examples
    --------
    >>> import torch
    >>> from skface.nn.backbones.iresnet import iresnet50
    >>> with torch.device("meta"):  # shapes without memory
    ...     network = iresnet50()
    >>> sum(p.numel() for p in network.parameters())
    43590848
    """
    return IResNet((3, 4, 14, 3), embedding_dim, in_shape)


class _Block(nn.Module):
    """Normalize, then two 3 x 3 convolutions, the second of which may shrink; add the input."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(n_in)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.prelu = nn.PReLU(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.downsample: nn.Module
        if stride == 1 and n_in == n_out:
            self.downsample = nn.Identity()
        else:
            self.downsample = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        y = self.bn3(self.conv2(y)) + self.downsample(x)
        return y


def make_stage(n_in: int, n_out: int, n_blocks: int) -> nn.Sequential:
    """Build a sequence of residual blocks, the first of which halves the resolution.

    Parameters
    ----------
    n_in, n_out : int
        Channels of the input and of the output.
    n_blocks : int
        Number of blocks, at least 1.

    Returns
    -------
    nn.Sequential
        The blocks.

    Examples
    --------
    >>> import torch
    >>> from skface.nn.backbones.iresnet import make_stage
    >>> make_stage(3, 8, 2)(torch.zeros(1, 3, 16, 16)).shape
    torch.Size([1, 8, 8, 8])
    """
    others = (_Block(n_out, n_out, stride=1) for _ in range(n_blocks - 1))
    return nn.Sequential(_Block(n_in, n_out, stride=2), *others)
