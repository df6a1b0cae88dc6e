"""Choice of the triplets (anchor, positive, negative) and of the pairs that a batch trains on.

A negative *violates* the margin of an anchor-positive pair when d(a, n) < d(a, p) + margin: only
then does the triplet loss pull. Distances are squared Euclidean.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from skface.nn.losses import squared_distances


class Triplets(NamedTuple):
    """Rows of a batch that form triplets; three integer tensors of one length."""

    anchors: Tensor
    positives: Tensor
    negatives: Tensor


class Pairs(NamedTuple):
    """Pairs of rows of a batch; two integer tensors and a bool tensor of one length."""

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
    """Mark the ordered pairs of two identities.

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
    """Join the ranges 0 to count - 1 of all counts."""
    starts = counts.cumsum(0) - counts
    return torch.arange(int(counts.sum()), device=counts.device) - starts.repeat_interleave(counts)


class _RankedNegatives:
    """Each anchor's negatives by distance, so that a pair's candidates are one contiguous range.

    Memory is O(n^2) for a batch of n, whatever the number of pairs and triplets.
    """

    def __init__(self, distances: Tensor, labels: Tensor, margin: float) -> None:
        genuine = genuine_mask(labels)
        self.anchors, self.positives = genuine.nonzero(as_tuple=True)
        # Images of the anchor's own identity go to the end, beyond every limit.
        only_negatives = distances.masked_fill(~impostor_mask(labels), torch.inf)
        ranked, self.order = only_negatives.sort(dim=1, stable=True)
        # Only the distances of genuine pairs are looked up: one short row of them per anchor.
        counts = genuine.sum(dim=1)
        slots = self.anchors, _count_up(counts)
        limits = distances.new_zeros(len(counts), int(counts.max()))
        limits[slots] = distances[self.anchors, self.positives]
        # Ranks below n_harder: d(a, n) <= d(a, p). Ranks below n_violating: < d(a, p) + margin.
        self.n_harder = torch.searchsorted(ranked, limits, right=True)[slots]
        self.n_violating = torch.searchsorted(ranked, limits + margin, right=False)[slots]

    def take(self, pairs: Tensor, ranks: Tensor) -> Triplets:
        anchors = self.anchors[pairs]
        return Triplets(anchors, self.positives[pairs], self.order[anchors, ranks])


def _semi_hard(
    distances: Tensor, labels: Tensor, margin: float, generator: torch.Generator
) -> Triplets:
    ranked = _RankedNegatives(distances, labels, margin)
    (pairs,) = ranked.n_violating.nonzero(as_tuple=True)
    end = ranked.n_violating[pairs]
    # Without a semi-hard negative all violating ones are harder, and the easiest comes last.
    start = torch.minimum(ranked.n_harder[pairs], end - 1)
    # Drawn where the generator lives; double precision keeps the product below its upper end.
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
    """Choose triplets among the images of one batch.

    Parameters
    ----------
    embeddings : Tensor of shape (n, d)
        Embeddings of unit length, finite.
    labels : Tensor of shape (n,)
        Identity of each image, as integers.
    margin : float, default=0.2
        The least amount by which a negative is to be farther than a positive (squared L2).
    strategy : {"semi_hard", "hard", "all"}, default="semi_hard"
        "semi_hard" (Schroff et al., 2015, section 3.2): for every ordered anchor-positive pair one
        random negative with d(a, p) < d(a, n) < d(a, p) + margin; where there is none, the easiest
        violating negative, that is the farthest with d(a, n) <= d(a, p); where no negative
        violates the margin, nothing.
        "hard" (batch-hard; Hermans et al., 2017): for every anchor its farthest positive and its
        nearest negative, whether or not they violate the margin.
        "all": every violating triplet. There may be n_pairs * n of them, 24 bytes each, and the
        loss takes as much again: meant for batches of a few hundred.
    generator : torch.Generator
        Source of the random choices of "semi_hard".

    Returns
    -------
    Triplets
        `(anchors, positives, negatives)`, integer tensors of shape (n_triplets,) that hold rows of
        `embeddings`; empty when the batch offers no triplet.

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
    """Pair the images of one batch: all genuine pairs and as many impostor pairs.

    Parameters
    ----------
    labels : Tensor of shape (n,)
        Identity of each image, as integers.
    generator : torch.Generator
        Source of the random choice; it may live on another device.

    Returns
    -------
    Pairs
        `(left, right, same)`, tensors of shape (n_pairs,) on the device of `labels`; left < right.
        Every pair of two images of one identity comes first. Pairs of two identities follow, drawn
        uniformly from all of them without repetition; all of them where they are fewer.

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
