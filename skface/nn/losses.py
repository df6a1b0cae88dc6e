"""Losses that train an embedder, as functions of embeddings and index tuples.

Mining decides which triplets a batch offers and a loss scores them: they meet in index tensors.
"""

from torch import Tensor


def squared_distances(embeddings: Tensor) -> Tensor:
    """Squared Euclidean distances between all embeddings of a batch.

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
    # Rounding leaves near-identical rows slightly below zero.
    return distances.clamp_min(0)


def triplet_terms(
    distances: Tensor, anchors: Tensor, positives: Tensor, negatives: Tensor, margin: float = 0.2
) -> Tensor:
    """Hinge of each triplet, [d(a, p) - d(a, n) + margin]_+.

    Parameters
    ----------
    distances : Tensor of shape (n, n)
        Squared distances within the batch, see `squared_distances`.
    anchors, positives, negatives : integer Tensor of shape (n_triplets,)
        Rows of the batch.
    margin : float, default=0.2
        The least amount by which a negative is to be farther than a positive (squared L2).

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
    """Mean of the terms that are above zero.

    Satisfied triplets pull nowhere, and counting them would shrink the gradient as training
    succeeds, so the mean is over the others (the "non-zero" average of Hermans et al., 2017).

    Parameters
    ----------
    terms : Tensor of shape (n_terms,)
        Values of at least 0.

    Returns
    -------
    Tensor of shape ()
        The mean. It is zero and still differentiable when no term is active, so that a training
        step needs no special case.

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
    """FaceNet's triplet loss, averaged over the active triplets.

    [||a - p||^2 - ||a - n||^2 + margin]_+ with squared Euclidean distances (Schroff et al., 2015,
    "FaceNet", equation 2, which sums where this averages).

    Parameters
    ----------
    embeddings : Tensor of shape (n, d)
        Embeddings of unit length.
    anchors, positives, negatives : integer Tensor of shape (n_triplets,)
        Rows of `embeddings`, as `skface.nn.mining.mine_triplets` returns them.
    margin : float, default=0.2
        The least amount by which a negative is to be farther than a positive (squared L2).

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
    # Indexing the (n, n) distances instead of gathering (n_triplets, d) embeddings keeps the
    # memory of a large batch small: there are many more triplets than pairs.
    distances = squared_distances(embeddings)
    return mean_of_active(triplet_terms(distances, anchors, positives, negatives, margin))
