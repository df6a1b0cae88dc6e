"""Triplet mining and pair drawing against plain loops."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from skface.nn.losses import squared_distances
from skface.nn.mining import MINING_STRATEGIES, draw_pairs, mine_triplets

MARGIN = 0.4


def make_batch(seed, n=24, n_identities=6, d=3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(n_identities, (n,), generator=generator)
    centers = torch.randn(n_identities, d, generator=generator)
    noise = torch.randn(n, d, generator=generator)
    return F.normalize(centers[labels] + 0.6 * noise, dim=1), labels


def mine(embeddings, labels, strategy, seed=0, margin=MARGIN):
    generator = torch.Generator().manual_seed(seed)
    triplets = mine_triplets(
        embeddings, labels, margin=margin, strategy=strategy, generator=generator
    )
    return list(zip(*(part.tolist() for part in triplets), strict=True))


def loop_over_pairs(embeddings, labels):
    """Yield anchor, positive, the anchor's distances and its negatives."""
    distances, labels = squared_distances(embeddings).tolist(), labels.tolist()
    for a in range(len(labels)):
        negatives = [n for n in range(len(labels)) if labels[n] != labels[a]]
        for p in range(len(labels)):
            if p != a and labels[p] == labels[a]:
                yield a, p, distances[a], negatives


def float32_sum(a, b):
    return np.float32(a) + np.float32(b)


def semi_hard_candidates(embeddings, labels):
    """Map each pair to the negatives it may get, by the definition."""
    candidates, n_fallbacks = {}, 0
    for a, p, distance, negatives in loop_over_pairs(embeddings, labels):
        limit = float32_sum(distance[p], MARGIN)
        semi_hard = {n for n in negatives if distance[p] < distance[n] < limit}
        harder = [n for n in negatives if distance[n] <= distance[p]]
        if not semi_hard and harder:
            semi_hard = {max(harder, key=lambda n: distance[n])}
            n_fallbacks += 1
        if semi_hard:
            candidates[a, p] = semi_hard
    return candidates, n_fallbacks


@pytest.mark.parametrize("seed", range(10))
def test_semi_hard_picks_one_allowed_negative_for_each_pair(seed):
    embeddings, labels = make_batch(seed)
    candidates, _ = semi_hard_candidates(embeddings, labels)
    found = mine(embeddings, labels, "semi_hard", seed)
    assert sorted((a, p) for a, p, _ in found) == sorted(candidates)
    assert all(n in candidates[a, p] for a, p, n in found)


def test_semi_hard_cases_of_the_test_include_fallbacks_and_dropped_pairs():
    results = [semi_hard_candidates(*make_batch(seed)) for seed in range(10)]
    pairs = [sum(1 for _ in loop_over_pairs(*make_batch(seed))) for seed in range(10)]
    assert sum(n_fallbacks for _, n_fallbacks in results) > 0
    assert any(len(found) < n for (found, _), n in zip(results, pairs, strict=True))


def test_semi_hard_choice_is_uniform_among_the_semi_hard_negatives():
    angles = torch.tensor([0.0, 0.3, 0.4, 0.45, 0.5, 0.55, 3.0])
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
    labels = torch.tensor([0, 0, 1, 2, 3, 4, 5])
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(7)
    for _ in range(2000):
        a, _, n = mine_triplets(embeddings, labels, margin=0.5, generator=generator)
        counts[n[a == 0]] += 1
    assert counts[[0, 1, 6]].sum() == 0
    # Five standard deviations of a binomial share of 1/4.
    assert ((counts[2:6] / 2000 - 0.25).abs() < 5 * (0.25 * 0.75 / 2000) ** 0.5).all()


def test_semi_hard_boundaries_are_exclusive():
    # From the anchor: the positive at 2, negatives at exactly 2 and exactly 2 + margin.
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [-1.0, 0.0]])
    labels = torch.tensor([0, 0, 1, 2])
    found = mine(embeddings, labels, "semi_hard", margin=2.0)
    assert (0, 1, 2) in found
    assert (0, 1, 3) not in mine(embeddings, labels, "all", margin=2.0)


@pytest.mark.parametrize("seed", range(5))
def test_hard_takes_farthest_positive_and_nearest_negative(seed):
    embeddings, labels = make_batch(seed)
    expected = {}
    for a, p, distance, negatives in loop_over_pairs(embeddings, labels):
        nearest = min(negatives, key=lambda n: distance[n])
        if a not in expected or distance[p] > distance[expected[a][0]]:
            expected[a] = p, nearest
    assert mine(embeddings, labels, "hard") == [(a, p, n) for a, (p, n) in expected.items()]


@pytest.mark.parametrize("seed", range(5))
def test_all_takes_every_violating_triplet_once(seed):
    embeddings, labels = make_batch(seed)
    expected = [
        (a, p, n)
        for a, p, distance, negatives in loop_over_pairs(embeddings, labels)
        for n in negatives
        if distance[n] < float32_sum(distance[p], MARGIN)
    ]
    assert sorted(mine(embeddings, labels, "all")) == expected


@pytest.mark.parametrize("strategy", MINING_STRATEGIES)
@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [0]], ids=["one", "singles", "lone"])
def test_batches_without_triplets_give_empty_tensors(strategy, labels):
    embeddings, _ = make_batch(0, n=len(labels))
    assert mine(embeddings, torch.tensor(labels), strategy) == []


@pytest.mark.parametrize("strategy", MINING_STRATEGIES)
def test_singletons_serve_as_negatives_only(strategy):
    embeddings, _ = make_batch(1, n=8)
    labels = torch.tensor([0, 0, 0, 1, 2, 3, 4, 5])
    found = mine(embeddings, labels, strategy, margin=4.0)
    assert found
    assert {a for a, _, _ in found} | {p for _, p, _ in found} <= {0, 1, 2}


@pytest.mark.parametrize("strategy", MINING_STRATEGIES)
def test_mining_is_repeatable_and_leaves_the_global_generator_alone(strategy):
    embeddings, labels = make_batch(2)
    before = torch.random.get_rng_state()
    first, again = (mine(embeddings, labels, strategy, seed=5) for _ in range(2))
    assert first == again
    assert torch.equal(before, torch.random.get_rng_state())


def test_mining_keeps_no_gradient_and_changes_no_input():
    embeddings, labels = make_batch(3)
    copy = embeddings.clone()
    embeddings.requires_grad_()
    mine(embeddings, labels, "semi_hard")
    assert embeddings.grad is None
    assert torch.equal(embeddings, copy)


def test_unknown_strategy_is_refused():
    with pytest.raises(ValueError, match=r"strategy='easy' is not one of 'semi_hard'"):
        mine(*make_batch(0), "easy")


def draw(labels, seed=0):
    """Genuine and impostor pairs as two lists."""
    pairs = draw_pairs(torch.tensor(labels), torch.Generator().manual_seed(seed))
    both = list(zip(*(part.tolist() for part in pairs), strict=True))
    return [[(i, j) for i, j, same in both if same is kind] for kind in (True, False)]


def loop_over_kinds(labels):
    kinds = [], []
    for i, j in combinations(range(len(labels)), 2):
        kinds[labels[i] != labels[j]].append((i, j))
    return kinds


@pytest.mark.parametrize(
    "labels",
    [[3, 0, 3, 1, 0, 3, 2, 5], [0, 0, 0, 0, 1], [0, 0], [0, 1, 2], [7]],
    ids=["mixed", "few-impostors", "no-impostor", "no-genuine", "lone"],
)
@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_all_genuine_ones_and_as_many_impostors(labels, seed):
    all_genuine, all_impostor = loop_over_kinds(labels)
    genuine, impostor = draw(labels, seed)
    assert genuine == all_genuine
    assert len(impostor) == len(set(impostor)) == min(len(all_genuine), len(all_impostor))
    assert set(impostor) <= set(all_impostor)


def test_impostor_pairs_are_drawn_uniformly():
    labels = [0, 0, 0, 1, 1, 2, 3]
    all_genuine, all_impostor = loop_over_kinds(labels)
    counts = dict.fromkeys(all_impostor, 0)
    for seed in range(2000):
        for pair in draw(labels, seed)[1]:
            counts[pair] += 1
    share = len(all_genuine) / len(all_impostor)
    # Five standard deviations of a binomial share.
    limit = 5 * (share * (1 - share) / 2000) ** 0.5
    assert all(abs(n / 2000 - share) < limit for n in counts.values())


def test_drawing_pairs_is_repeatable_and_leaves_the_global_generator_alone():
    labels = [0, 0, 0, 1, 1, 1, 2, 2, 2]
    before = torch.random.get_rng_state()
    assert draw(labels, seed=4) == draw(labels, seed=4) != draw(labels, seed=5)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.gpu
def test_pairs_lie_where_the_labels_lie():
    labels = torch.tensor([0, 0, 1, 1])
    on_cpu = draw_pairs(labels, torch.Generator().manual_seed(0))
    on_gpu = draw_pairs(labels.cuda(), torch.Generator().manual_seed(0))
    for ours, theirs in zip(on_cpu, on_gpu, strict=True):
        assert theirs.device.type == "cuda"
        assert torch.equal(ours, theirs.cpu())
