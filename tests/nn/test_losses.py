"""Losses against plain loops, finite differences, torch's own and pytorch-metric-learning."""

import math

import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss, TripletMarginLoss
from torch import nn
from torch.autograd import gradcheck
from torch.nn import functional as F

from skface.nn.losses import (
    MarginSoftmax,
    contrastive_loss,
    contrastive_terms,
    mean_of_active,
    squared_distances,
    triplet_loss,
)
from skface.nn.mining import mine_triplets

KINDS = ("arcface", "cosface")


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


def test_mined_triplets_feed_the_loss_of_another_library():
    embeddings = unit_vectors(12)
    labels = torch.arange(12) % 4
    triplets = mine_triplets(embeddings, labels, generator=torch.Generator().manual_seed(0))
    assert len(triplets.anchors) > 0
    other = TripletMarginLoss(margin=0.2, distance=LpDistance(power=2))
    expected = other(embeddings, labels, indices_tuple=triplets)
    torch.testing.assert_close(triplet_loss(embeddings, *triplets), expected)


def test_triplet_gradient_equals_finite_differences():
    embeddings = unit_vectors(8, d=4).requires_grad_()
    triplets = triplets_of(8, n_triplets=12)
    assert gradcheck(lambda x: triplet_loss(x, *triplets, margin=0.3), embeddings)


def pairs_of(n_pairs, d=8):
    same = torch.arange(n_pairs) % 3 == 0
    return unit_vectors(n_pairs, d, seed=0), unit_vectors(n_pairs, d, seed=1), same


def test_contrastive_loss_equals_a_plain_loop():
    left, right, same = pairs_of(30)
    terms = []
    for x, y, together in zip(left.tolist(), right.tolist(), same.tolist(), strict=True):
        distance = math.dist(x, y)
        terms.append(distance**2 / 2 if together else max(0, 1.3 - distance) ** 2 / 2)
    assert min(terms) == 0
    assert len(set(terms)) > 15
    loss = contrastive_loss(left, right, same, margin=1.3)
    assert loss.item() == pytest.approx(sum(terms) / 30)
    distances = (left - right).norm(dim=1)
    assert contrastive_terms(distances, same, margin=1.3).tolist() == pytest.approx(terms)


def test_contrastive_gradient_equals_finite_differences():
    left, right, same = pairs_of(9, d=4)
    inputs = left.requires_grad_(), right.requires_grad_()
    assert gradcheck(lambda x, y: contrastive_loss(x, y, same, margin=1.3), inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contrastive_gradient_is_zero_where_both_faces_embed_alike(dtype):
    left = unit_vectors(2, dtype=dtype).requires_grad_()
    right = left.detach().clone().requires_grad_()
    loss = contrastive_loss(left, right, torch.tensor([True, False]))
    loss.backward()
    # The same pair costs nothing and the different pair half the squared margin.
    assert loss.item() == 0.25
    assert torch.equal(left.grad, torch.zeros_like(left))
    assert torch.equal(right.grad, torch.zeros_like(right))


def test_contrastive_step_pulls_one_person_together_and_two_apart():
    left, right = torch.tensor([[1.0, 0.0]] * 2, requires_grad=True), torch.tensor([[0.8, 0.6]] * 2)
    contrastive_loss(left, right, torch.tensor([True, False])).backward()
    moved = left.detach() - 0.1 * left.grad
    before, (same, different) = (left - right).norm(dim=1)[0], (moved - right).norm(dim=1)
    assert same < before < different


def margin_softmax(kind, n_classes=7, d=8, dtype=torch.float64, **options):
    loss = MarginSoftmax(n_classes, d, kind=kind, **options).to(dtype)
    with torch.no_grad():
        loss.weight.copy_(3 * unit_vectors(n_classes, d, seed=5, dtype=dtype))
    return loss


def facing(loss, labels, seed=6):
    """Embeddings of length 2 within a right angle of their identity's direction."""
    noise = unit_vectors(len(labels), loss.weight.shape[1], seed, loss.weight.dtype)
    return 2 * F.normalize(F.normalize(loss.weight.detach()[labels], dim=1) + 0.9 * noise, dim=1)


@pytest.mark.parametrize("kind", KINDS)
def test_margin_softmax_equals_a_plain_loop(kind):
    loss = margin_softmax(kind, scale=10.0)
    # Random directions, so that some angles pass pi - margin and the continuation is used too.
    embeddings, labels = unit_vectors(60, seed=3), torch.arange(60) % 7
    embeddings[:7] = -loss.weight.detach()[:7] + 0.1 * unit_vectors(7, seed=4)
    n_beyond, terms = 0, []
    for x, label in zip(embeddings.tolist(), labels.tolist(), strict=True):
        logits = []
        for k, w in enumerate(loss.weight.tolist()):
            dot = sum(a * b for a, b in zip(x, w, strict=True))
            cosine = dot / (math.hypot(*x) * math.hypot(*w))
            if k == label and kind == "cosface":
                cosine -= 0.35
            elif k == label and math.acos(cosine) + 0.5 <= math.pi:
                cosine = math.cos(math.acos(cosine) + 0.5)
            elif k == label:
                cosine -= 0.5 * math.sin(0.5)
                n_beyond += 1
            logits.append(10 * cosine)
        terms.append(math.log(sum(map(math.exp, logits))) - logits[label])
    assert n_beyond == (7 if kind == "arcface" else 0)
    assert loss(embeddings, labels).item() == pytest.approx(sum(terms) / 60)


@pytest.mark.parametrize(
    ("kind", "other", "margin", "others_margin"),
    [("arcface", ArcFaceLoss, 0.4, math.degrees(0.4)), ("cosface", CosFaceLoss, 0.3, 0.3)],
)
def test_margin_softmax_equals_pytorch_metric_learning(kind, other, margin, others_margin):
    loss = margin_softmax(kind, margin=margin, scale=16.0)
    reference = other(7, 8, margin=others_margin, scale=16.0).double()
    with torch.no_grad():
        reference.W.copy_(loss.weight.T)
    embeddings, labels = unit_vectors(40, seed=3).requires_grad_(), torch.arange(40) % 7
    values = loss(embeddings, labels), reference(embeddings, labels)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad(value, embeddings)[0] for value in values))


@pytest.mark.parametrize("kind", KINDS)
def test_margin_softmax_gradient_equals_finite_differences(kind):
    loss = margin_softmax(kind, n_classes=3, d=4, scale=4.0)
    labels = torch.tensor([0, 1, 2, 2, 0])
    embeddings = facing(loss, labels).requires_grad_()

    def value(x, weight):
        return torch.func.functional_call(loss, {"weight": weight}, (x, labels))

    assert gradcheck(value, (embeddings, loss.weight))


@pytest.mark.parametrize("margin", [0.0, 0.5, math.pi / 2])
def test_arcface_falls_with_the_angle_up_to_the_opposite_direction(margin):
    loss = MarginSoftmax(2, 3, margin=margin, scale=2.0).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(3)[:2])
    # Turned in the plane at right angles to the other class, so that only one logit changes.
    angles = torch.linspace(0, math.pi, 181, dtype=torch.float64)
    embeddings = torch.stack([angles.cos(), torch.zeros_like(angles), angles.sin()], dim=1)
    values = torch.stack([loss(x[None], torch.tensor([0])) for x in embeddings])
    assert (values.diff() > 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sign", [1, -1])
def test_margin_softmax_gradient_is_finite_on_and_opposite_to_a_direction(kind, sign):
    loss = margin_softmax(kind, d=128, dtype=torch.float32)
    labels = torch.arange(7)
    embeddings = (sign * loss.weight.detach()).requires_grad_()
    value = loss(embeddings, labels)
    value.backward()
    for tensor in (value, embeddings.grad, loss.weight.grad):
        assert torch.isfinite(tensor).all()


@pytest.mark.parametrize("kind", KINDS)
def test_margin_softmax_separates_identities_by_its_margin(kind):
    torch.manual_seed(0)
    labels = torch.arange(30) % 3
    # In more than a plane, where directions can pass each other.
    embeddings = nn.Parameter(torch.randn(30, 8))
    loss = MarginSoftmax(3, 8, kind=kind)
    optimizer = torch.optim.Adam([embeddings, *loss.parameters()], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        loss(embeddings, labels).backward()
        optimizer.step()
    cosines = F.normalize(embeddings, dim=1) @ F.normalize(loss.weight, dim=1).T
    distances = cosines.acos() if kind == "arcface" else -cosines
    own = distances[torch.arange(30), labels]
    nearest_other = distances.scatter(1, labels[:, None], torch.inf).amin(dim=1)
    assert (nearest_other - own > loss.margin).all()


def test_margin_softmax_computes_in_single_precision_under_autocast():
    loss = margin_softmax("arcface", dtype=torch.float32)
    labels = torch.arange(7)
    embeddings = facing(loss, labels)
    expected = loss(embeddings, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(embeddings, labels), expected)
        assert loss(embeddings.bfloat16(), labels).dtype == torch.float32


def test_margin_softmax_starts_as_the_global_seed_says():
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(MarginSoftmax(4, 6).weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "sphereface"}, r"kind='sphereface' is not one of 'arcface', 'cosface'"),
        ({"margin": 28.6}, r"margin=28\.6 must be an angle in radians from 0 to 1\.571"),
        ({"margin": -0.1}, r"margin=-0\.1"),
        ({"margin": math.nan}, r"margin=nan"),
        ({"kind": "cosface", "margin": 2.1}, r"margin=2\.1 must be a cosine from 0 to 2 for"),
        ({"scale": 0.0}, r"scale=0\.0 must be above 0 and finite"),
        ({"scale": math.inf}, r"scale=inf"),
    ],
)
def test_margin_softmax_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        MarginSoftmax(3, 4, **options)


@pytest.mark.parametrize("wrong", [-1, 3])
def test_margin_softmax_refuses_labels_out_of_range(wrong):
    with pytest.raises(ValueError, match=rf"labels hold {wrong}, outside 0 to 2: number"):
        MarginSoftmax(3, 4)(torch.ones(2, 4), torch.tensor([0, wrong]))
