"""Distinct faces of pairs, identities from pairs and pairs from identities."""

from itertools import combinations

import numpy as np
import pytest

from skface.images import check_images
from skface.pairs import identities_from_pairs, make_pairs


def test_distinct_images_regroup_to_all():
    rng = np.random.default_rng(0)
    distinct = rng.integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    slots = rng.integers(0, 5, 40)
    rows = check_images(distinct[slots].reshape(20, 2, 4, 4, 3))
    images = rows.images
    first, inverse = rows.distinct
    assert len(first) == len(np.unique(slots))
    np.testing.assert_array_equal(np.stack([images[i] for i in first])[inverse], distinct[slots])


def test_faces_that_were_not_found_are_not_one_image():
    images = np.full((2, 2, 4, 4, 3), np.nan, dtype=np.float32)
    images[0, 0] = images[1, 0] = 0.5
    first, inverse = check_images(images).distinct
    assert first.tolist() == [0, 1, 3]
    assert inverse.tolist() == [0, 1, 0, 2]


def test_identities_are_what_positive_pairs_connect():
    left = np.array([0, 1, 3, 0, 5])
    right = np.array([1, 2, 4, 3, 0])
    same = np.array([True, True, True, False, False])
    identities = identities_from_pairs(left, right, same, 6)
    assert len(np.unique(identities)) == 3
    assert identities[0] == identities[1] == identities[2]
    assert identities[3] == identities[4]


def test_contradicting_labels_are_refused_by_row():
    left, right = np.array([0, 1, 0]), np.array([1, 2, 2])
    with pytest.raises(ValueError, match="rows 2"):
        identities_from_pairs(left, right, np.array([True, True, False]), 3)


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
