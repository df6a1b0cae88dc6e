"""IResNetMini: the blocks of ArcFace's networks, with fewer channels, for a CPU."""

import math

from torch import Tensor, fx, nn

from skface.nn.backbones._shapes import check_images_fit, check_in_shape
from skface.nn.backbones.iresnet import make_stage

__all__ = ["IResNetMini"]

# torch.fx cannot trace into the check, so it stays one node of a traced graph.
fx.wrap("check_images_fit")


class IResNetMini(nn.Module):
    """Residual network of 2.6 million parameters, about a tenth of `iresnet18`.

    The blocks are those of :class:`~skface.nn.backbones.iresnet.IResNet`. Three changes make the
    network small: the stem halves the resolution, the stages are narrow, and a depthwise
    convolution over the whole last feature map (as in MobileFaceNet) replaces the large linear
    layer. The network takes images of ``in_shape`` only.

    Parameters
    ----------
    embedding_dim : int, default=256
        Width of the embedding.
    in_shape : tuple of int (3, H, W), default=(3, 112, 112)
        Shape of one image, 17 pixels or more each way.

    References
    ----------
    Deng, Guo, Xue and Zafeiriou, "ArcFace: additive angular margin loss for deep face recognition",
    CVPR 2019, arXiv:1801.07698; Chen, Liu, Gao and Han, "MobileFaceNets: efficient CNNs for
    accurate real-time face verification on mobile devices", CCBR 2018, arXiv:1804.07573.

    Examples
    --------
    >>> import torch
    >>> from skface.nn.backbones.iresnet_mini import IResNetMini
    >>> network = IResNetMini().eval()
    >>> sum(p.numel() for p in network.parameters())
    2616000
    >>> with torch.no_grad():
    ...     network(torch.zeros(2, 3, 112, 112)).shape
    torch.Size([2, 256])
    """

    def __init__(self, embedding_dim: int = 256, in_shape: tuple[int, ...] = (3, 112, 112)) -> None:
        super().__init__()
        height, width = check_in_shape(in_shape, minimum=17)
        self.in_shape = (3, height, width)
        last_map = (math.ceil(height / 16), math.ceil(width / 16))
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.PReLU(32)
        )
        self.stage1 = make_stage(32, 48, 2)
        self.stage2 = make_stage(48, 96, 4)
        self.stage3 = make_stage(96, 192, 3)
        self.pool = nn.Sequential(
            nn.BatchNorm2d(192),
            nn.Conv2d(192, 192, last_map, groups=192, bias=False),
            nn.BatchNorm2d(192),
            nn.Flatten(),
        )
        self.embedding = nn.Linear(192, embedding_dim, bias=False)
        self.norm = nn.BatchNorm1d(embedding_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Embed images.

        Parameters
        ----------
        x : Tensor of shape (n, 3, H, W)
            RGB, (pixel - 127.5) / 128; (3, H, W) must be the ``in_shape`` of construction. In
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
        for child in self.children():  # registered in the order in which they run
            x = child(x)
        return x
