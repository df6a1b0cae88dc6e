"""Selection of the triplets (anchor, positive, negative) and pairs of a batch to train on.

A negative *violates* the margin of an anchor-positive pair if d(a, n) < d(a, p) + margin; only then
is the triplet loss above 0. Distances are squared Euclidean.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from skface.nn.losses import squared_distances

__all__ = [
    "MINING_STRATEGIES",
    "Pairs",
    "Triplets",
    "draw_pairs",
    "genuine_mask",
    "impostor_mask",
    "mine_triplets",
]


class Triplets(NamedTuple):
    """Rows of a batch that form triplets.

    Attributes
    ----------
    anchors, positives, negatives : integer Tensor of shape (n_triplets,)
        Row of each image of a triplet. Anchor and positive show one person, the negative another.
    """

    anchors: Tensor
    positives: Tensor
    negatives: Tensor


class Pairs(NamedTuple):
    """Pairs of rows of a batch.

    Attributes
    ----------
    left, right : integer Tensor of shape (n_pairs,)
        Row of each image of a pair.
    same : bool Tensor of shape (n_pairs,)
        True for a genuine pair.
    """

    left: Tensor
    right: Tensor
    same: Tensor


def genuine_mask(labels: Tensor) -> Tensor:
    """Mark the ordered pairs of two different images of one identity.

    Parameters
    ----------
    labels : Tensor of shape (n,)
        Identity of each image.

    Returns
    -------
    bool Tensor of shape (n, n)
        True where row and column are different images of one identity.

    Examples
    --------
    >>> import torch
    >>> genuine_mask(torch.tensor([7, 7, 8]))
    tensor([[False,  True, False],
            [ True, False, False],
            [False, False, False]])
    """
    return (labels[:, None] == labels[None, :]).fill_diagonal_(False)


def impostor_mask(labels: Tensor) -> Tensor:
    """Mark the ordered pairs of images of different identities.

    Parameters
    ----------
    labels : Tensor of shape (n,)
        Identity of each image.

    Returns
    -------
    bool Tensor of shape (n, n)
        True where row and column belong to different identities.

    Examples
    --------
    >>> import torch
    >>> impostor_mask(torch.tensor([7, 7, 8]))
    tensor([[False, False,  True],
            [False, False,  True],
            [ True,  True, False]])
    """
    return labels[:, None] != labels[None, :]


def _count_up(counts: Tensor) -> Tensor:
    """Concatenate the ranges 0 to count - 1 of all counts."""
    starts = counts.cumsum(0) - counts
    return torch.arange(int(counts.sum()), device=counts.device) - starts.repeat_interleave(counts)


class _RankedNegatives:
    """The negatives of each anchor, sorted by distance.

    The candidates of an anchor-positive pair are then a contiguous range of ranks. Memory is O(n^2)
    for a batch of n, independent of the number of pairs and triplets.
    """

    def __init__(self, distances: Tensor, labels: Tensor, margin: float) -> None:
        genuine = genuine_mask(labels)
        self.anchors, self.positives = genuine.nonzero(as_tuple=True)
        # Images of the anchor's identity are sorted to the end, beyond every limit.
        only_negatives = distances.masked_fill(~impostor_mask(labels), torch.inf)
        ranked, self.order = only_negatives.sort(dim=1, stable=True)
        # Only the distances of genuine pairs are searched: one short row per anchor.
        counts = genuine.sum(dim=1)
        slots = self.anchors, _count_up(counts)
        limits = distances.new_zeros(len(counts), int(counts.max()))
        limits[slots] = distances[self.anchors, self.positives]
        # Ranks below n_harder: d(a, n) <= d(a, p). Ranks below n_violating: < d(a, p) + margin.
        self.n_harder = torch.searchsorted(ranked, limits, right=True)[slots]
        self.n_violating = torch.searchsorted(ranked, limits + margin, right=False)[slots]

    def take(self, pairs: Tensor, ranks: Tensor) -> Triplets:
        """Return the triplets of anchor-positive pairs and the ranks of their negatives."""
        anchors = self.anchors[pairs]
        return Triplets(anchors, self.positives[pairs], self.order[anchors, ranks])


def _semi_hard(
    distances: Tensor, labels: Tensor, margin: float, generator: torch.Generator
) -> Triplets:
    ranked = _RankedNegatives(distances, labels, margin)
    (pairs,) = ranked.n_violating.nonzero(as_tuple=True)
    end = ranked.n_violating[pairs]
    # If no negative is semi-hard, all violating ones are harder, and the last is the easiest.
    start = torch.minimum(ranked.n_harder[pairs], end - 1)
    # Drawn on the generator's device, in double precision so that offset < end - start.
    uniform = torch.rand(
        len(pairs), dtype=torch.float64, generator=generator, device=generator.device
    )
    offset = (uniform.to(end.device) * (end - start)).long()
    return ranked.take(pairs, start + offset)


def _hard(distances: Tensor, labels: Tensor, margin: float, generator: torch.Generator) -> Triplets:
    genuine, impostor = genuine_mask(labels), impostor_mask(labels)
    (anchors,) = (genuine.any(dim=1) & impostor.any(dim=1)).nonzero(as_tuple=True)
    positives = distances.masked_fill(~genuine, -torch.inf).argmax(dim=1)[anchors]
    negatives = distances.masked_fill(~impostor, torch.inf).argmin(dim=1)[anchors]
    return Triplets(anchors, positives, negatives)


def _all(distances: Tensor, labels: Tensor, margin: float, generator: torch.Generator) -> Triplets:
    ranked = _RankedNegatives(distances, labels, margin)
    counts = ranked.n_violating
    pairs = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    return ranked.take(pairs, _count_up(counts))


_STRATEGIES = {"semi_hard": _semi_hard, "hard": _hard, "all": _all}
MINING_STRATEGIES = tuple(_STRATEGIES)


@torch.no_grad()
def mine_triplets(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: float = 0.2,
    strategy: str = "semi_hard",
    generator: torch.Generator,
) -> Triplets:
    """Select triplets of the images of one batch.

    Parameters
    ----------
    embeddings : Tensor of shape (n, d)
        Embeddings of unit length, finite.
    labels : Tensor of shape (n,)
        Identity of each image, as integers.
    margin : float, default=0.2
        Required difference between the distances to negative and positive (squared L2).
    strategy : {"semi_hard", "hard", "all"}, default="semi_hard"
        Which triplets to select:

        * "semi_hard" (Schroff et al., 2015, section 3.2): for every ordered anchor-positive pair,
          one random negative with d(a, p) < d(a, n) < d(a, p) + margin. If there is none, the
          farthest negative with d(a, n) <= d(a, p). If no negative violates the margin, the pair
          gives no triplet.
        * "hard" (batch-hard; Hermans et al., 2017): for every anchor, its farthest positive and its
          nearest negative, whether or not this negative violates the margin.
        * "all": every violating triplet. There may be n_pairs * n of them, 24 bytes each, and the
          loss needs the same memory again. It is meant for batches of a few hundred images.
    generator : torch.Generator
        Generator of the random choices of "semi_hard".

    Returns
    -------
    Triplets
        `(anchors, positives, negatives)`, integer tensors of shape (n_triplets,) that hold rows of
        `embeddings`; empty if the batch has no triplet.

    Raises
    ------
    ValueError
        If `strategy` is not one of the three.

    Examples
    --------
    >>> import torch
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> labels = torch.tensor([0, 0, 1])
    >>> mine_triplets(embeddings, labels, strategy="hard", generator=torch.Generator())
    Triplets(anchors=tensor([0, 1]), positives=tensor([1, 0]), negatives=tensor([2, 2]))
    """
    if strategy not in _STRATEGIES:
        known = ", ".join(repr(name) for name in _STRATEGIES)
        raise ValueError(f"strategy={strategy!r} is not one of {known}.")
    return _STRATEGIES[strategy](squared_distances(embeddings), labels, margin, generator)


def draw_pairs(labels: Tensor, generator: torch.Generator) -> Pairs:
    """Draw pairs of a batch: all genuine pairs and as many impostor pairs.

    Parameters
    ----------
    labels : Tensor of shape (n,)
        Identity of each image, as integers.
    generator : torch.Generator
        Generator of the random choice, on any device.

    Returns
    -------
    Pairs
        `(left, right, same)`, tensors of shape (n_pairs,) on the device of `labels`; left < right.
        All genuine pairs come first. As many impostor pairs follow, drawn uniformly without
        replacement; all of them if there are fewer.

    Examples
    --------
    >>> import torch
    >>> draw_pairs(torch.tensor([7, 7, 8]), torch.Generator().manual_seed(0))
    Pairs(left=tensor([0, 0]), right=tensor([1, 2]), same=tensor([ True, False]))
    """
    genuine = genuine_mask(labels).triu().nonzero()
    impostor = impostor_mask(labels).triu().nonzero()
    order = torch.randperm(len(impostor), generator=generator, device=generator.device)
    drawn = impostor[order[: len(genuine)].to(labels.device)]
    left, right = torch.cat([genuine, drawn]).unbind(dim=1)
    same = torch.arange(len(left), device=labels.device) < len(genuine)
    return Pairs(left, right, same)
