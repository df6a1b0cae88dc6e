"""Distinct faces of pairs, labels of pairs, and identities from them."""

import numpy as np
import pytest

from skface._rows import check_images, check_pair_labels, identities_from_pairs


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


def test_the_last_label_in_sorted_order_means_the_same_person():
    for y in ([0, 1, 0], ["different", "same", "different"], [False, True, False]):
        assert check_pair_labels(y, 3).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1], "2 labels, but X has 3 rows"),
        ([1, 1, 1], r"1 classes \(1\)"),
        ([0, 1, 2], r"3 classes \(0, 1, 2\)"),
        ([0, 1, float("nan")], "lacks a label in row 2"),
    ],
)
def test_unusable_labels_of_pairs_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        check_pair_labels(y, 3)
