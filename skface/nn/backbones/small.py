"""A small residual network that a laptop trains from scratch in about a minute."""

from torch import Tensor, nn

from skface.nn.backbones._shapes import check_in_shape

__all__ = ["SmallResNet"]


class SmallResNet(nn.Module):
    """Residual network of three stages with few channels, for a few hundred images and a CPU.

    The first layers reduce the sides of the image to an eighth. The last feature map is averaged in
    the cells of a 4 x 4 grid, not over the whole image, because the position of a feature matters
    on aligned faces.

    Parameters
    ----------
    embedding_dim : int, default=128
        Width of the embedding.
    in_shape : tuple of int (3, H, W), default=(3, 64, 64)
        Shape of one image, 32 pixels or more each way. The network takes images of any such size.

    References
    ----------
    He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016.

    Examples
    --------
    >>> import torch
    >>> from skface.nn.backbones.small import SmallResNet
    >>> network = SmallResNet(embedding_dim=64)
    >>> network(torch.zeros(2, 3, 48, 40)).shape
    torch.Size([2, 64])
    """

    def __init__(self, embedding_dim: int = 128, in_shape: tuple[int, ...] = (3, 64, 64)) -> None:
        super().__init__()
        check_in_shape(in_shape, minimum=32)
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(32), nn.PReLU(32)
        )
        self.stage1 = _ResidualBlock(32, 32, stride=2)
        self.stage2 = _ResidualBlock(32, 64, stride=2)
        self.stage3 = _ResidualBlock(64, 128)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.embedding = nn.Linear(128 * 4 * 4, embedding_dim, bias=False)
        self.norm = nn.BatchNorm1d(embedding_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Embed images.

        Parameters
        ----------
        x : Tensor of shape (n, 3, H, W)
            RGB, (pixel - 127.5) / 128; in training mode n is 2 or more.

        Returns
        -------
        Tensor of shape (n, embedding_dim)
            Embeddings, not normalized.
        """
        for child in self.children():  # registered in the order in which they run
            x = child(x)
        return x


class _ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.PReLU(n_out),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.shortcut: nn.Module
        if stride == 1 and n_in == n_out:
            self.shortcut = nn.Identity()
        else:
            self.shortcut = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )
        self.activation = nn.PReLU(n_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.body(x) + self.shortcut(x))
        return y
