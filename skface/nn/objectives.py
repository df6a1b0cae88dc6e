"""Training objectives: they map embeddings and targets of a batch to a loss and its measures.

Targets are the identity of every row, labeled pairs of rows, or target embeddings, which may be
those of a teacher. Parameters of an objective, such as class weights, are trained with the network.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skface.nn.losses import (
    contrastive_terms,
    mean_of_active,
    squared_distances,
    triplet_terms,
)
from skface.nn.mining import Pairs, draw_pairs, genuine_mask, impostor_mask, mine_triplets

__all__ = [
    "Contrastive",
    "DifferenceHead",
    "DistillationLoss",
    "LabelLoss",
    "Measures",
    "PairClassifier",
    "Triplet",
    "as_pairs",
    "label_distances",
    "to_device",
]

Measures = dict[str, Tensor]


class Triplet(nn.Module):
    """FaceNet's triplet loss over the triplets that are mined in the batch.

    Parameters
    ----------
    margin : float, default=0.2
        Margin in squared L2 on the unit sphere.
    mining : {"semi_hard", "hard", "all"}, default="semi_hard"
        See :func:`skface.nn.mining.mine_triplets`.

    Examples
    --------
    >>> import torch
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> generator = torch.Generator().manual_seed(0)
    >>> loss, measures = Triplet()(embeddings, torch.tensor([0, 0, 1]), generator)
    >>> int(measures["active_triplets"])
    1
    """

    def __init__(self, margin: float = 0.2, mining: str = "semi_hard") -> None:
        super().__init__()
        self.margin = margin
        self.mining = mining

    def forward(
        self, embeddings: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Measures]:
        """Compute the mean loss of the active triplets.

        Parameters
        ----------
        embeddings : Tensor of shape (n, d)
            Embeddings of unit length.
        labels : Tensor of shape (n,)
            Identity of each row, as integers.
        generator : torch.Generator
            Generator of the random choices of mining.

        Returns
        -------
        loss : Tensor of shape ()
            The loss.
        measures : dict of str to Tensor of shape ()
            "active_triplets", the number of triplets with a loss above 0; "active_fraction", the
            fraction of the anchors that are in one; and those of :func:`label_distances`.
        """
        triplets = mine_triplets(
            embeddings, labels, margin=self.margin, strategy=self.mining, generator=generator
        )
        distances = squared_distances(embeddings)
        terms = triplet_terms(distances, *triplets, margin=self.margin)
        with torch.no_grad():
            active = triplets.anchors[terms > 0]
            genuine, impostor = genuine_mask(labels), impostor_mask(labels)
            n_anchors = (genuine.any(dim=1) & impostor.any(dim=1)).sum()
            measures = {
                "active_triplets": (terms > 0).sum(),
                "active_fraction": active.unique().numel() / n_anchors.clamp_min(1),
                "mean_genuine_distance": distances[genuine].mean(),
                "mean_impostor_distance": distances[impostor].mean(),
            }
        return mean_of_active(terms), measures


class LabelLoss(nn.Module):
    """Any loss of embeddings and identities, such as :class:`skface.nn.losses.MarginSoftmax`.

    Parameters
    ----------
    loss : callable
        ``loss(embeddings, labels)`` takes an (n, d) float Tensor and an (n,) integer Tensor of
        labels from 0, and returns a Tensor of shape (). The parameters of a module are trained.

    Examples
    --------
    >>> import torch
    >>> objective = LabelLoss(lambda embeddings, labels: embeddings.square().mean())
    >>> embeddings = torch.eye(2, requires_grad=True)
    >>> loss, _ = objective(embeddings, torch.tensor([0, 1]), torch.Generator())
    >>> loss.item()
    0.5
    """

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.loss = loss

    def forward(
        self, embeddings: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Measures]:
        """Compute the loss.

        Parameters
        ----------
        embeddings : Tensor of shape (n, d)
            Embeddings of unit length.
        labels : Tensor of shape (n,)
            Identity of each row, as integers.
        generator : torch.Generator
            Not used.

        Returns
        -------
        loss : Tensor of shape ()
            The loss.
        measures : dict of str to Tensor of shape ()
            The distances of :func:`label_distances`.

        Raises
        ------
        TypeError
            If the loss does not return a single number with a gradient.
        """
        loss = self.loss(embeddings, labels)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
            raise TypeError(f"loss={self.loss!r} returned {got}; expected one number, a Tensor.")
        if not loss.requires_grad:
            raise TypeError(
                f"loss={self.loss!r} returned a Tensor without a gradient: compute it from the "
                "embeddings with operations of torch."
            )
        return loss.reshape(()), label_distances(embeddings, labels)


class Contrastive(nn.Module):
    """Contrastive loss (Hadsell et al., 2006) over labeled pairs, or pairs drawn from the batch.

    Parameters
    ----------
    margin : float, default=1.0
        Distance (L2) from which the loss of an impostor pair is 0.

    Examples
    --------
    >>> import torch
    >>> pairs = Pairs(torch.tensor([0]), torch.tensor([1]), torch.tensor([True]))
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> loss, measures = Contrastive()(embeddings, pairs, torch.Generator())
    >>> round(loss.item(), 3), round(measures["mean_genuine_distance"].item(), 3)
    (1.0, 2.0)
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(
        self, embeddings: Tensor, targets: Tensor | Pairs, generator: torch.Generator
    ) -> tuple[Tensor, Measures]:
        """Compute the mean loss of the pairs.

        Parameters
        ----------
        embeddings : Tensor of shape (n, d)
            Embeddings of unit length.
        targets : Pairs, or integer Tensor of shape (n,)
            Labeled pairs of rows, or the identity of each row, from which pairs are drawn.
        generator : torch.Generator
            Generator of the random choice of pairs.

        Returns
        -------
        loss : Tensor of shape ()
            The loss.
        measures : dict of str to Tensor of shape ()
            "active_fraction", the fraction of the pairs with a loss above 0, and the mean squared
            L2 distances "mean_genuine_distance" and "mean_impostor_distance".
        """
        pairs = as_pairs(targets, generator)
        distances = _distances(embeddings, pairs)
        terms = contrastive_terms(distances, pairs.same, self.margin)
        with torch.no_grad():
            measures = {"active_fraction": (terms > 0).float().mean()}
            measures |= _mean_distances(distances, pairs.same)
        return terms.mean(), measures


class DistillationLoss(nn.Module):
    """Distillation loss: distance to target embeddings, and between cosine matrices of the batch.

    The loss has two terms: the mean of 1 - cosine to the target, and `relation_weight` times the
    mean squared difference between the cosines within the batch of embeddings and those within the
    batch of targets. The second term is relational distillation [1]_ with cosines instead of
    distances, because verification depends only on the cosines between embeddings.

    Parameters
    ----------
    relation_weight : float, default=3.0
        Weight of the second term, at least 0.

    References
    ----------
    .. [1] W. Park, D. Kim, Y. Lu, M. Cho. Relational Knowledge Distillation. CVPR 2019.

    Examples
    --------
    >>> import torch
    >>> loss, measures = DistillationLoss()(torch.eye(2), torch.eye(2).flip(0), torch.Generator())
    >>> loss, measures["cosine"]
    (tensor(1.), tensor(0.))
    """

    def __init__(self, relation_weight: float = 3.0) -> None:
        super().__init__()
        self.relation_weight = relation_weight

    def forward(
        self, embeddings: Tensor, targets: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Measures]:
        """Compute the loss.

        Parameters
        ----------
        embeddings : Tensor of shape (n, d)
            Embeddings of unit length.
        targets : Tensor of shape (n, d)
            Target embeddings, of unit length.
        generator : torch.Generator
            Not used.

        Returns
        -------
        loss : Tensor of shape ()
            The loss.
        measures : dict of str to Tensor of shape ()
            "cosine", the mean cosine between embeddings and targets, -1 to 1.
        """
        cosine = (embeddings * targets).sum(dim=1).mean()
        relations = embeddings @ embeddings.T - targets @ targets.T
        loss = 1 - cosine + self.relation_weight * relations.square().mean()
        return loss, {"cosine": cosine.detach()}


class PairClassifier(nn.Module):
    """Binary cross-entropy of a pair classifier, over labeled pairs or pairs drawn from the batch.

    Parameters
    ----------
    head : nn.Module
        Maps two (n_pairs, d) Tensors of embeddings to the (n_pairs,) log-odds of a genuine pair.

    Examples
    --------
    >>> import torch
    >>> pairs = Pairs(torch.tensor([0]), torch.tensor([1]), torch.tensor([True]))
    >>> objective = PairClassifier(DifferenceHead(2))
    >>> loss, _ = objective(torch.eye(2), pairs, torch.Generator())
    >>> loss.shape
    torch.Size([])
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(
        self, embeddings: Tensor, targets: Tensor | Pairs, generator: torch.Generator
    ) -> tuple[Tensor, Measures]:
        """Compute the mean loss of the pairs.

        Parameters
        ----------
        embeddings : Tensor of shape (n, d)
            Embeddings of unit length.
        targets : Pairs, or integer Tensor of shape (n,)
            Labeled pairs of rows, or the identity of each row, from which pairs are drawn.
        generator : torch.Generator
            Generator of the random choice of pairs.

        Returns
        -------
        loss : Tensor of shape ()
            The loss.
        measures : dict of str to Tensor of shape ()
            "accuracy", the fraction of the pairs that are classified correctly, and the mean
            squared L2 distances "mean_genuine_distance" and "mean_impostor_distance".
        """
        pairs = as_pairs(targets, generator)
        left, right = embeddings[pairs.left], embeddings[pairs.right]
        logits = self.head(left, right)
        loss = F.binary_cross_entropy_with_logits(logits, pairs.same.to(logits.dtype))
        with torch.no_grad():
            measures = {"accuracy": ((logits >= 0) == pairs.same).float().mean()}
            measures |= _mean_distances(_distances(embeddings, pairs), pairs.same)
        return loss, measures


class DifferenceHead(nn.Module):
    """One fully connected layer on the absolute difference of two embeddings.

    It computes the log-odds b + sum_j a_j |h1_j - h2_j| (Koch et al., 2015, section 3.1). The bias
    b is added here, because without it two equal embeddings have even odds. It is symmetric in the
    two embeddings. With the initial weights, even odds lie at an L1 distance that suits pretrained
    face networks.

    Parameters
    ----------
    embedding_dim : int
        Length of an embedding.

    References
    ----------
    G. Koch, R. Zemel, R. Salakhutdinov, "Siamese neural networks for one-shot image recognition",
    ICML deep learning workshop 2015.

    Examples
    --------
    >>> import torch
    >>> head, left = DifferenceHead(2), torch.eye(2)
    >>> bool((head(left, left) > head(left, left[[1, 0]])).all())
    True
    """

    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(embedding_dim, 1)
        # The L1 distance of two unit vectors is about (2 d / pi)**0.5 times their L2 distance. Even
        # odds at an L1 distance of 0.9 d**0.5 are those at a cosine of 0.36, near the thresholds of
        # face networks. Hundreds of steps change the slope little, and with a small one pairs
        # that are classified correctly keep a large gradient.
        nn.init.constant_(self.linear.weight, -16 / embedding_dim**0.5)
        nn.init.constant_(self.linear.bias, 16 * 0.9)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Compute log-odds.

        Parameters
        ----------
        left, right : Tensor of shape (n_pairs, embedding_dim)
            Embeddings of unit length.

        Returns
        -------
        Tensor of shape (n_pairs,)
            Log-odds of a genuine pair.
        """
        logits: Tensor = self.linear((left - right).abs()).squeeze(1)
        return logits


def as_pairs(targets: Tensor | Pairs, generator: torch.Generator) -> Pairs:
    """Return labeled pairs unchanged, or draw pairs from identities.

    Parameters
    ----------
    targets : Pairs, or integer Tensor of shape (n,)
        Labeled pairs of rows, or the identity of each row.
    generator : torch.Generator
        Generator of the random choice of pairs.

    Returns
    -------
    Pairs
        Pairs of rows; see :func:`skface.nn.mining.draw_pairs`.

    Examples
    --------
    >>> import torch
    >>> as_pairs(torch.tensor([0, 0, 1]), torch.Generator().manual_seed(0)).same
    tensor([ True, False])
    """
    return targets if isinstance(targets, Pairs) else draw_pairs(targets, generator)


@torch.no_grad()
def label_distances(embeddings: Tensor, labels: Tensor) -> Measures:
    """Average the squared L2 distances of the genuine and of the impostor pairs of a batch.

    Parameters
    ----------
    embeddings : Tensor of shape (n, d)
        Embeddings of unit length.
    labels : Tensor of shape (n,)
        Identity of each row.

    Returns
    -------
    dict of str to Tensor of shape ()
        "mean_genuine_distance" and "mean_impostor_distance", 0 to 4; NaN if there is no such pair.

    Examples
    --------
    >>> import torch
    >>> label_distances(torch.eye(3), torch.tensor([0, 0, 1]))["mean_genuine_distance"]
    tensor(2.)
    """
    distances = squared_distances(embeddings)
    return {
        "mean_genuine_distance": distances[genuine_mask(labels)].mean(),
        "mean_impostor_distance": distances[impostor_mask(labels)].mean(),
    }


def _distances(embeddings: Tensor, pairs: Pairs) -> Tensor:
    """Return the L2 distance of each pair; where it is 0, so is its gradient."""
    differences = embeddings[pairs.left] - embeddings[pairs.right]
    distances: Tensor = torch.linalg.vector_norm(differences, dim=1)
    return distances


def _mean_distances(distances: Tensor, same: Tensor) -> Measures:
    squared = distances.square()
    return {
        "mean_genuine_distance": squared[same].mean(),
        "mean_impostor_distance": squared[~same].mean(),
    }


def to_device(targets: Tensor | Pairs, device: torch.device | str) -> Tensor | Pairs:
    """Move the targets of a batch to a device.

    Parameters
    ----------
    targets : Tensor or Pairs
        Targets of a batch.
    device : torch.device or str
        The device.

    Returns
    -------
    Tensor or Pairs
        The targets on that device.

    Examples
    --------
    >>> import torch
    >>> to_device(torch.tensor([1]), "cpu")
    tensor([1])
    """
    if isinstance(targets, Tensor):
        return targets.to(device)
    return Pairs(*(part.to(device) for part in targets))
