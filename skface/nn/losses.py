"""Losses that train an embedder: on triplets, on pairs, and on identities.

Mining selects pairs or triplets of a batch as index tensors, for which the loss is computed. The
margin softmax needs no pairs or triplets; it learns a weight vector for every identity.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "MarginSoftmax",
    "contrastive_loss",
    "contrastive_terms",
    "mean_of_active",
    "squared_distances",
    "triplet_loss",
    "triplet_terms",
]

# Default and largest margin of each kind: an angle in radians, and a difference of cosines.
_MARGINS = {"arcface": (0.5, math.pi / 2), "cosface": (0.35, 2.0)}


def squared_distances(embeddings: Tensor) -> Tensor:
    """Compute the squared Euclidean distances between all embeddings of a batch.

    Parameters
    ----------
    embeddings : Tensor of shape (n, d)
        One embedding per row.

    Returns
    -------
    Tensor of shape (n, n)
        Entry (i, j) is ||e_i - e_j||^2: 0 to 4 where the embeddings have unit length.

    Examples
    --------
    >>> import torch
    >>> squared_distances(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    tensor([[0., 2.],
            [2., 0.]])
    """
    norms = embeddings.square().sum(dim=1)
    distances = norms[:, None] + norms[None, :] - 2 * embeddings @ embeddings.T
    # Rounding can make distances of nearly equal rows slightly negative.
    return distances.clamp_min(0)


def triplet_terms(
    distances: Tensor, anchors: Tensor, positives: Tensor, negatives: Tensor, margin: float = 0.2
) -> Tensor:
    """Compute the hinge of each triplet, [d(a, p) - d(a, n) + margin]_+.

    Parameters
    ----------
    distances : Tensor of shape (n, n)
        Squared distances within the batch, see `squared_distances`.
    anchors, positives, negatives : integer Tensor of shape (n_triplets,)
        Rows of the batch.
    margin : float, default=0.2
        Required difference between the distances to negative and positive (squared L2).

    Returns
    -------
    Tensor of shape (n_triplets,)
        One value, at least 0, per triplet; 0 means that the triplet is satisfied.

    Examples
    --------
    >>> import torch
    >>> distances = torch.tensor([[0.0, 0.5, 0.6], [0.5, 0.0, 2.0], [0.6, 2.0, 0.0]])
    >>> a, p, n = torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([2, 2])
    >>> triplet_terms(distances, a, p, n, margin=0.2)
    tensor([0.1000, 0.0000])
    """
    return (distances[anchors, positives] - distances[anchors, negatives] + margin).clamp_min(0)


def mean_of_active(terms: Tensor) -> Tensor:
    """Compute the mean of the terms that are above zero.

    Satisfied triplets have no gradient. Counting them would shrink the gradient as training
    progresses, so the mean leaves them out (the "non-zero" average of Hermans et al., 2017).

    Parameters
    ----------
    terms : Tensor of shape (n_terms,)
        Values of at least 0.

    Returns
    -------
    Tensor of shape ()
        The mean; zero, and still differentiable, if no term is active.

    Examples
    --------
    >>> import torch
    >>> mean_of_active(torch.tensor([0.0, 0.1, 0.3]))
    tensor(0.2000)
    """
    return terms.sum() / (terms > 0).sum().clamp_min(1)


def triplet_loss(
    embeddings: Tensor, anchors: Tensor, positives: Tensor, negatives: Tensor, margin: float = 0.2
) -> Tensor:
    """Return the triplet loss of FaceNet, averaged over the active triplets.

    The loss of a triplet is [||a - p||^2 - ||a - n||^2 + margin]_+ with squared Euclidean distances
    (Schroff et al., 2015, "FaceNet", equation 2, which is a sum instead of a mean).

    Parameters
    ----------
    embeddings : Tensor of shape (n, d)
        Embeddings of unit length.
    anchors, positives, negatives : integer Tensor of shape (n_triplets,)
        Rows of `embeddings`, as `skface.nn.mining.mine_triplets` returns them.
    margin : float, default=0.2
        Required difference between the distances to negative and positive (squared L2).

    Returns
    -------
    Tensor of shape ()
        The loss, at least 0; zero with a gradient of zero when no triplet is active.

    Examples
    --------
    >>> import torch
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> a, p, n = torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([2, 2])
    >>> triplet_loss(embeddings, a, p, n, margin=0.2)
    tensor(0.2000)
    """
    # There are many more triplets than pairs, so (n, n) distances take much less memory than
    # (n_triplets, d) embeddings.
    distances = squared_distances(embeddings)
    return mean_of_active(triplet_terms(distances, anchors, positives, negatives, margin))


def contrastive_terms(distances: Tensor, same: Tensor, margin: float = 1.0) -> Tensor:
    """Compute the loss of each pair: D^2 / 2 if genuine, [margin - D]_+^2 / 2 if impostor.

    Parameters
    ----------
    distances : Tensor of shape (n_pairs,)
        Euclidean distance D of each pair, not squared: 0 to 2 where embeddings have unit length.
    same : bool Tensor of shape (n_pairs,)
        Whether a pair is genuine: two images of one person.
    margin : float, default=1.0
        Distance (L2) from which the loss of an impostor pair is 0.

    Returns
    -------
    Tensor of shape (n_pairs,)
        One value, at least 0, per pair.

    Examples
    --------
    >>> import torch
    >>> contrastive_terms(torch.tensor([1.0, 0.5, 1.5]), torch.tensor([True, False, False]))
    tensor([0.5000, 0.1250, 0.0000])
    """
    return torch.where(same, distances, (margin - distances).clamp_min(0)).square() / 2


def contrastive_loss(left: Tensor, right: Tensor, same: Tensor, margin: float = 1.0) -> Tensor:
    """Compute the contrastive loss, averaged over the pairs.

    The loss is D^2 / 2 for a genuine pair and [margin - D]_+^2 / 2 for an impostor pair, where D is
    the Euclidean distance, not squared (Hadsell, Chopra and LeCun, 2006, "Dimensionality reduction
    by learning an invariant mapping", equations 3 and 4).

    Parameters
    ----------
    left, right : Tensor of shape (n_pairs, d)
        Embeddings of the two faces of each pair; at least one pair.
    same : bool Tensor of shape (n_pairs,)
        Whether a pair is genuine: two images of one person.
    margin : float, default=1.0
        Distance (L2) from which the loss of an impostor pair is 0.

    Returns
    -------
    Tensor of shape ()
        The loss, at least 0. Its gradient is zero for a pair with D = 0, also for an impostor pair,
        because the direction of the gradient is undefined there.

    Examples
    --------
    >>> import torch
    >>> left, right = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    >>> contrastive_loss(left, right, same=torch.tensor([True, False]))
    tensor(0.7500)
    """
    # This norm has a gradient at 0, where the root of a squared distance has none. Distances
    # computed from products of embeddings would be inexact near 0.
    distances = torch.linalg.vector_norm(left - right, dim=1)
    return contrastive_terms(distances, same, margin).mean()


class MarginSoftmax(nn.Module):
    """Softmax over identities with a margin for the true identity: ArcFace or CosFace.

    Every identity has a weight vector, trained with the network. The loss is the cross-entropy of
    the scaled cosines between an embedding and all weight vectors. For the true identity, a margin
    reduces the scaled cosine to:

    * "arcface": scale * cos(theta + margin) (Deng et al., 2019, "ArcFace", equation 3);
    * "cosface": scale * (cos(theta) - margin) (Wang et al., 2018, "CosFace", equation 4).

    If theta + margin exceeds pi, cos(theta + margin) increases with theta, which would push the
    worst embeddings farther away. It is then replaced by cos(theta) - margin * sin(margin), as in
    the authors' code. This is smaller, and decreases with theta for every margin up to pi / 2.

    Parameters
    ----------
    n_classes : int
        Number of identities.
    embedding_dim : int
        Length d of an embedding.
    kind : {"arcface", "cosface"}, default="arcface"
        Whether the margin is added to the angle or subtracted from the cosine.
    margin : float or None, default=None
        Angle in radians from 0 to pi / 2 for "arcface", where None means 0.5; cosine from 0 to 2
        for "cosface", where None means 0.35.
    scale : float, default=32.0
        Factor of the cosines, above 0. Without a factor, the softmax of values from -1 to 1 would
        be too flat.

    Attributes
    ----------
    weight : nn.Parameter of shape (n_classes, embedding_dim)
        One vector per identity, of which only the direction matters. Initial values are drawn from
        torch's global generator.

    Raises
    ------
    ValueError
        If `kind`, `margin` or `scale` is none of the above.

    Examples
    --------
    >>> import torch
    >>> loss = MarginSoftmax(n_classes=2, embedding_dim=2, kind="cosface", scale=1.0)
    >>> _ = nn.init.eye_(loss.weight)
    >>> loss(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    tensor(0.4201, grad_fn=<NllLossBackward0>)
    """

    def __init__(
        self,
        n_classes: int,
        embedding_dim: int,
        *,
        kind: str = "arcface",
        margin: float | None = None,
        scale: float = 32.0,
    ) -> None:
        super().__init__()
        if kind not in _MARGINS:
            known = ", ".join(repr(name) for name in _MARGINS)
            raise ValueError(f"kind={kind!r} is not one of {known}.")
        default, largest = _MARGINS[kind]
        self.kind = kind
        self.margin = default if margin is None else margin
        self.scale = scale
        if not 0 <= self.margin <= largest:
            unit = "an angle in radians" if kind == "arcface" else "a cosine"
            raise ValueError(
                f"margin={margin!r} must be {unit} from 0 to {largest:.4g} for kind={kind!r}."
            )
        if not 0 < scale < math.inf:
            raise ValueError(f"scale={scale!r} must be above 0 and finite.")
        # Rows of about unit length suit the learning rate of the network.
        self.weight = nn.Parameter(torch.randn(n_classes, embedding_dim) / embedding_dim**0.5)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute the mean cross-entropy of a batch.

        Parameters
        ----------
        embeddings : Tensor of shape (n, embedding_dim)
            Embeddings, of which only the direction matters.
        labels : int64 Tensor of shape (n,)
            Identity of each embedding, 0 to `n_classes` - 1.

        Returns
        -------
        Tensor of shape ()
            The loss, at least 0, in float32 or wider, also under autocast.

        Raises
        ------
        ValueError
            If a label is out of range.
        """
        n_classes = len(self.weight)
        outside = (labels < 0) | (labels >= n_classes)
        # In torch, a label out of range aborts the whole process on a GPU.
        if outside.any():
            raise ValueError(
                f"labels hold {labels[outside][0].item()}, outside 0 to {n_classes - 1}: number "
                "the identities from 0, or make n_classes larger."
            )
        dtype = torch.promote_types(embeddings.dtype, torch.float32)
        with torch.autocast(embeddings.device.type, enabled=False):
            directions = F.normalize(self.weight.to(dtype), dim=1)
            cosines = F.normalize(embeddings.to(dtype), dim=1) @ directions.T
            true = labels[:, None]
            harder = self._with_margin(cosines.gather(1, true))
            return F.cross_entropy(self.scale * cosines.scatter(1, true, harder), labels)

    def _with_margin(self, cosines: Tensor) -> Tensor:
        if self.kind == "cosface":
            return cosines - self.margin
        # The lower bound keeps the gradient of the root finite at cosines of -1 and 1.
        squares = ((1 - cosines) * (1 + cosines)).clamp_min(torch.finfo(cosines.dtype).eps)
        turned = cosines * math.cos(self.margin) - squares.sqrt() * math.sin(self.margin)
        beyond = cosines - self.margin * math.sin(self.margin)
        return torch.where(cosines > -math.cos(self.margin), turned, beyond)
