"""A perceptron for rows that are feature vectors."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["MLP"]


class MLP(nn.Module):
    """Perceptron with one hidden layer, for feature vectors in place of images.

    There is no batch normalization: the embedding of a row never depends on the other rows.

    Parameters
    ----------
    embedding_dim : int, default=64
        Width of the embedding.
    in_shape : tuple of int (n_features,)
        Shape of one row.
    n_hidden : int, default=128
        Width of the hidden layer.

    Examples
    --------
    >>> import torch
    >>> from skface.nn.backbones.mlp import MLP
    >>> MLP(embedding_dim=8, in_shape=(5,))(torch.zeros(2, 5)).shape
    torch.Size([2, 8])
    """

    def __init__(
        self, embedding_dim: int = 64, in_shape: tuple[int, ...] = (64,), *, n_hidden: int = 128
    ) -> None:
        super().__init__()
        if len(in_shape) != 1 or in_shape[0] < 1:
            raise ValueError(
                f"in_shape={tuple(in_shape)} does not suit this backbone, which takes feature "
                "vectors, (n_features,); give images to another backbone."
            )
        self.hidden = _Linear(in_shape[0], n_hidden)
        self.embedding = _Linear(n_hidden, embedding_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Embed feature vectors.

        Parameters
        ----------
        x : Tensor of shape (n, n_features)
            Feature vectors.

        Returns
        -------
        Tensor of shape (n, embedding_dim)
            Embeddings, not normalized.
        """
        embeddings: Tensor = self.embedding(F.relu(self.hidden(x)))
        return embeddings.to(x.dtype)


class _Linear(nn.Linear):
    """Linear layer whose output for a row barely depends on the number of rows in the batch."""

    def forward(self, x: Tensor) -> Tensor:
        # The order of summation in a matrix product depends on its number of rows. In double
        # precision the effect is far below float32's; Apple's MPS has no double precision.
        wide = x.dtype if x.device.type == "mps" else torch.float64
        return F.linear(x.to(wide), self.weight.to(wide), self.bias.to(wide))
