"""The triplet loss against plain loops and torch's own."""

import pytest
import torch
from torch.nn import functional as F

from skface.nn.losses import mean_of_active, squared_distances, triplet_loss


def unit_vectors(n, d=8, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, d, generator=generator, dtype=dtype), dim=1)


def triplets_of(n, n_triplets=40, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(n, (3, n_triplets), generator=generator).unbind()


def test_squared_distances_equal_cdist():
    embeddings = unit_vectors(20)
    expected = torch.cdist(embeddings, embeddings).square()
    torch.testing.assert_close(squared_distances(embeddings), expected)


def test_squared_distances_of_equal_rows_are_not_negative():
    embeddings = unit_vectors(1, d=512, dtype=torch.float32).expand(50, 512)
    distances = squared_distances(embeddings)
    assert distances.min() >= 0
    assert distances.max() < 1e-6


def test_loss_and_gradient_equal_a_plain_loop():
    embeddings = unit_vectors(12).requires_grad_()
    a, p, n = triplets_of(12)
    terms = []
    for i, j, k in zip(a.tolist(), p.tolist(), n.tolist(), strict=True):
        genuine = (embeddings[i] - embeddings[j]).square().sum()
        impostor = (embeddings[i] - embeddings[k]).square().sum()
        if genuine - impostor + 0.3 > 0:
            terms.append(genuine - impostor + 0.3)
    assert 0 < len(terms) < len(a)
    expected = torch.stack(terms).mean()
    loss = triplet_loss(embeddings, a, p, n, margin=0.3)
    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(value, embeddings)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients)


def test_loss_equals_torch_with_squared_distance():
    embeddings = unit_vectors(12)
    a, p, n = triplets_of(12)
    terms = F.triplet_margin_with_distance_loss(
        embeddings[a],
        embeddings[p],
        embeddings[n],
        distance_function=lambda x, y: (x - y).square().sum(dim=1),
        margin=0.2,
        reduction="none",
    )
    expected = terms[terms > 0].mean()
    torch.testing.assert_close(triplet_loss(embeddings, a, p, n, margin=0.2), expected)


@pytest.mark.parametrize("n_triplets", [0, 1])
def test_loss_without_active_triplet_is_zero_with_a_zero_gradient(n_triplets):
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    a, p, n = (torch.tensor([row] * n_triplets, dtype=torch.long) for row in (0, 1, 2))
    loss = triplet_loss(embeddings, a, p, n)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(embeddings.grad, torch.zeros(3, 2))


def test_mean_of_active_ignores_satisfied_terms():
    assert mean_of_active(torch.tensor([0.0, 0.0, 1.0, 2.0])).item() == 1.5
