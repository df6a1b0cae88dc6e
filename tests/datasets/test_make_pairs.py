"""Drawn pairs against brute force."""

from itertools import combinations

import numpy as np
import pytest

from skface import make_pairs


def brute_force(identities):
    genuine, impostor = set(), set()
    for i, j in combinations(range(len(identities)), 2):
        (genuine if identities[i] == identities[j] else impostor).add((i, j))
    return genuine, impostor


@pytest.mark.parametrize("seed", range(5))
def test_all_pairs_equal_brute_force(seed):
    identities = np.random.default_rng(seed).integers(0, 4, 13)
    genuine, impostor = brute_force(identities)
    pairs = make_pairs(
        identities, n_genuine=len(genuine), n_impostor=len(impostor), random_state=seed
    )
    drawn = [tuple(sorted(pair)) for pair in pairs.indices.tolist()]
    assert {pair for pair, same in zip(drawn, pairs.target, strict=True) if same} == genuine
    assert {pair for pair, same in zip(drawn, pairs.target, strict=True) if not same} == impostor
    np.testing.assert_array_equal(pairs.identities, identities[pairs.indices])


def test_drawn_pairs_are_distinct_and_seeded():
    identities = np.repeat([f"person {i}" for i in range(50)], 4)
    pairs = make_pairs(identities, n_genuine=100, n_impostor=700, random_state=3)
    again = make_pairs(identities, n_genuine=100, n_impostor=700, random_state=3)
    np.testing.assert_array_equal(pairs.indices, again.indices)
    assert len({tuple(sorted(pair)) for pair in pairs.indices.tolist()}) == 800
    left, right = pairs.identities.T
    np.testing.assert_array_equal(left == right, pairs.target == 1)
    assert pairs.target[:400].mean() == pytest.approx(1 / 8, abs=0.06)


def test_many_faces_of_one_person_are_no_obstacle():
    identities = np.r_[np.zeros(20_000), np.arange(1, 6)]
    pairs = make_pairs(identities, n_genuine=10, n_impostor=20_000, random_state=0)
    assert len({tuple(sorted(pair)) for pair in pairs.indices.tolist()}) == 20_010
    np.testing.assert_array_equal(pairs.identities[:, 0] == pairs.identities[:, 1], pairs.target)


def test_impostors_are_drawn_evenly():
    identities = np.repeat(np.arange(10), 10)
    counts = np.zeros(100)
    for seed in range(40):
        pairs = make_pairs(identities, n_genuine=0, n_impostor=100, random_state=seed)
        counts += np.bincount(pairs.indices.ravel(), minlength=100)
    assert counts[:50].sum() == pytest.approx(counts[50:].sum(), rel=0.06)


@pytest.mark.parametrize(
    ("identities", "options", "message"),
    [
        ([1, 2, 3], {"n_genuine": 1}, "n_genuine=1.*between 0 and 0"),
        ([1, 1, 2], {"n_impostor": 3}, "n_impostor=3.*between 0 and 2"),
        ([1, 2, 3], {}, "no genuine pair"),
        ([1.0, np.nan, 1.0], {}, "identities lacks a label in row 1"),
        (["ann", None, "ann"], {}, "identities lacks a label in row 1"),
        ([1], {}, "two or more"),
        ([[1, 2]], {}, r"\(1, 2\)"),
    ],
)
def test_impossible_requests_say_what_there_is(identities, options, message):
    with pytest.raises(ValueError, match=message):
        make_pairs(identities, **options)


def test_one_identity_gives_genuine_pairs_only():
    pairs = make_pairs([1, 1, 1], random_state=0)
    assert pairs.target.tolist() == [1, 1, 1]
