"""Nobody on both sides, nothing lost but what straddles, and folds that are even."""

import warnings

import numpy as np
import pandas as pd
import pytest
from pairs_of_people import SPLITTERS, clustered_pairs, dense_pairs
from sklearn.model_selection import GroupKFold

from skface.model_selection import (
    IdentityGroupKFold,
    IdentityKFold,
    IdentityShuffleSplit,
    StratifiedIdentityKFold,
)

FOLDS = [IdentityKFold, IdentityGroupKFold, StratifiedIdentityKFold]


@pytest.mark.parametrize(
    ("make", "cv"),
    [
        (make, cv)
        for make in (dense_pairs, clustered_pairs)
        for cv in SPLITTERS
        if make is clustered_pairs or not isinstance(cv, IdentityGroupKFold)
    ],
    ids=str,
)
def test_nobody_is_on_both_sides(make, cv):
    people, y = make()
    for train, test in cv.split(np.zeros(len(y)), y, people):
        assert not set(people[train].flat) & set(people[test].flat)
        assert np.all(np.diff(train) > 0)
        assert np.all(np.diff(test) > 0)


@pytest.mark.parametrize(
    ("make", "splitter"),
    [
        (dense_pairs, IdentityKFold),
        (dense_pairs, StratifiedIdentityKFold),
        (clustered_pairs, IdentityKFold),
        (clustered_pairs, StratifiedIdentityKFold),
        (clustered_pairs, IdentityGroupKFold),
    ],
)
def test_folds_lose_nothing_but_straddling_pairs(make, splitter):
    people, y = make()
    # a pair of everybody's own, so that the test rows of a fold show all people of the fold
    everybody = np.unique(people)
    people = np.r_[people, np.column_stack([everybody, everybody])]
    y = np.r_[y, np.ones(len(everybody), dtype=int)]
    tested = []
    for train, test in splitter(4).split(np.zeros(len(y)), y, people):
        inside = set(people[test].flat)
        straddling = np.setdiff1d(np.arange(len(y)), np.r_[train, test])
        assert all(len({*people[i]} & inside) == 1 for i in straddling)
        tested.extend(test)
    assert len(tested) == len(set(tested))
    # Same pairs cannot straddle, so each of them is tested once.
    assert set(np.flatnonzero(y)) <= set(tested)


def test_linked_people_stay_together_and_no_pair_is_lost():
    people, y = clustered_pairs()
    sizes = []
    for train, test in IdentityGroupKFold(5).split(y, y, people):
        assert len(train) + len(test) == len(y)
        sizes.append(len(test))
    assert sum(sizes) == len(y)
    assert max(sizes) - min(sizes) <= 12


def test_links_through_others_count():
    # a chain of six people, and a couple
    people = np.array([[0, 1], [4, 5], [1, 2], [3, 4], [2, 3], [6, 7]])
    with pytest.warns(UserWarning, match="The 2 folds are uneven: .* 83% of the rows"):
        tests = [test.tolist() for _, test in IdentityGroupKFold(2).split(people, groups=people)]
    assert tests == [[0, 1, 2, 3, 4], [5]]


def test_one_group_cannot_be_dealt():
    people, y = dense_pairs()
    with pytest.raises(ValueError, match="n_splits=5.*1 groups.*100% of the rows.*IdentityKFold"):
        list(IdentityGroupKFold(5).split(y, y, people))


def test_even_groups_give_no_warning():
    people, y = clustered_pairs()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(IdentityGroupKFold(5).split(y, y, people))


def test_people_are_dealt_one_by_one_and_evenly():
    people, y = dense_pairs()
    sizes = [len(test) for _, test in IdentityKFold(5).split(y, y, people)]
    assert sum(sizes) < len(y)
    assert max(sizes) < 1.5 * min(sizes)


@pytest.mark.parametrize("splitter", [IdentityKFold, IdentityGroupKFold])
def test_faces_are_balanced_as_by_group_k_fold(splitter):
    people = np.random.default_rng(0).integers(0, 40, 500)
    sizes = sorted(len(test) for _, test in splitter(5).split(people, None, people))
    expected = sorted(len(test) for _, test in GroupKFold(5).split(people, None, people))
    assert sizes == expected
    tests = [test for _, test in splitter(5).split(people, None, people)]
    np.testing.assert_array_equal(np.sort(np.concatenate(tests)), np.arange(500))


def class_counts(cv, X, y, people):
    """Test rows per fold and class, (n_folds, n_classes)."""
    n_classes = y.max() + 1
    return np.array(
        [np.bincount(y[test], minlength=n_classes) for _, test in cv.split(X, y, people)]
    )


def uneven_pairs(seed=0):
    """Pairs among people of whom some have many photos and some have two."""
    rng = np.random.default_rng(seed)
    faces = np.repeat(np.arange(60), rng.geometric(0.15, 60) + 1)
    i, j = np.triu_indices(len(faces), 1)
    y = (faces[i] == faces[j]).astype(int)
    keep = (y == 1) | (rng.random(len(y)) < 0.03)
    return np.column_stack([faces[i], faces[j]])[keep], y[keep]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", [dense_pairs, clustered_pairs, uneven_pairs])
def test_stratified_folds_mix_the_classes_more_alike(make, seed):
    people, y = make(seed=seed)
    plain = class_counts(IdentityKFold(5), y, y, people)
    stratified = class_counts(StratifiedIdentityKFold(5), y, y, people)
    spread, spread_plain = (
        (counts[:, 1] / counts.sum(axis=1)).std() for counts in (stratified, plain)
    )
    assert spread < 0.5 * spread_plain
    # evenness is not bought by losing pairs
    assert stratified.sum() > 0.95 * plain.sum()


def test_stratified_folds_are_a_local_optimum_of_unevenness():
    people, y = dense_pairs(12, 150)

    def unevenness(fold_of_person):
        fold = fold_of_person[people]
        inside = fold[:, 0] == fold[:, 1]
        counts = np.array(
            [[np.sum(inside & (fold[:, 0] == f) & (y == c)) for c in (0, 1)] for f in range(3)]
        )
        return (counts.var(axis=0) / counts.mean(axis=0) ** 2).sum()

    chosen = np.empty(12, dtype=int)
    for fold, (_, test) in enumerate(StratifiedIdentityKFold(3).split(y, y, people)):
        chosen[people[test]] = fold
    best = unevenness(chosen)
    for person in range(12):
        for fold in range(3):
            moved = chosen.copy()
            moved[person] = fold
            assert unevenness(moved) >= best - 1e-9
        for partner in range(12):
            swapped = chosen.copy()
            swapped[[person, partner]] = chosen[[partner, person]]
            assert unevenness(swapped) >= best - 1e-9


def test_faces_may_be_stratified_by_any_label():
    rng = np.random.default_rng(0)
    people = rng.integers(0, 50, 600)
    label = rng.choice(3, 50, p=[0.6, 0.3, 0.1])[people]
    plain = class_counts(IdentityKFold(5), people, label, people)
    counts = class_counts(StratifiedIdentityKFold(5), people, label, people)
    np.testing.assert_array_equal(counts.sum(axis=0), np.bincount(label))
    assert np.ptp(counts, axis=0).max() < np.ptp(plain, axis=0).max() / 2
    with pytest.raises(ValueError, match="y=None: StratifiedIdentityKFold"):
        list(StratifiedIdentityKFold().split(people, groups=people))


def test_shuffle_split_draws_the_asked_number_of_people():
    people, y = dense_pairs()
    cv = IdentityShuffleSplit(4, test_size=0.3, train_size=12, random_state=0)
    drawn = set()
    for train, test in cv.split(y, y, people):
        # photos of one person are in a pair of that person at least
        assert len(set(people[train].flat)) == 12
        tested = frozenset(people[test].flat)
        assert len(tested) == 9
        expected = [i for i, pair in enumerate(people) if tested >= set(pair)]
        assert test.tolist() == expected
        drawn.add(tested)
    assert len(drawn) == 4
    sizes = [
        len(np.unique(people[test]))
        for _, test in IdentityShuffleSplit(2, random_state=1).split(y, y, people)
    ]
    assert sizes == [6, 6]  # a fifth of 30
    with pytest.raises(ValueError, match="test_size"):
        list(IdentityShuffleSplit(test_size=1.5).split(y, y, people))


def folds(cv, people):
    return [test.tolist() for _, test in cv.split(np.zeros(len(people)), groups=people)]


@pytest.mark.parametrize("splitter", [IdentityKFold, IdentityGroupKFold])
def test_folds_are_deterministic_and_shuffling_changes_them(splitter):
    people = np.arange(30)
    assert folds(splitter(3), people) == folds(splitter(3), people)
    shuffled = splitter(3, shuffle=True, random_state=1)
    assert folds(shuffled, people) == folds(shuffled, people)
    assert folds(shuffled, people) != folds(splitter(3), people)
    assert folds(shuffled, people) != folds(splitter(3, shuffle=True, random_state=2), people)


def test_names_and_data_frames_give_the_folds_of_numbers():
    people, _ = dense_pairs()
    names = np.array([f"person {i:03}" for i in range(30)])[people]
    expected = folds(IdentityKFold(4), people)
    for groups in (names, names.astype(object), names.tolist(), pd.DataFrame(names)):
        assert folds(IdentityKFold(4), groups) == expected


def test_repr_names_the_arguments():
    text = repr(IdentityKFold(3, shuffle=True, random_state=7))
    assert text == "IdentityKFold(n_splits=3, random_state=7, shuffle=True)"
    text = " ".join(repr(IdentityShuffleSplit(3, test_size=0.5)).split())
    assert text.endswith("Split(n_splits=3, random_state=None, test_size=0.5, train_size=None)")
    for cv in (*(splitter(3) for splitter in FOLDS), IdentityShuffleSplit(3)):
        assert cv.get_n_splits() == 3


MISSING = [["a", "a"], ["b", None], ["c", "c"], ["d", float("nan")]]


@pytest.mark.parametrize(
    ("n_splits", "groups", "words"),
    [
        (2, None, "groups=None"),
        (2, [0, 1, 2], "inconsistent numbers of samples"),
        (2, np.zeros((4, 3)), r"shape \(4, 3\)"),
        (2, np.zeros((4, 2, 1)), r"shape \(4, 2, 1\)"),
        (5, [0, 1, 2, 3], "n_splits=5 .* 4 people"),
        (1, [0, 1, 2, 3], "n_splits"),
        (2, MISSING, "row 1, 3"),
        (2, [0.0, 1.0, np.nan, 2.0], "row 2"),
        (2, pd.Series(["a", "b", pd.NA, "c"]), "row 2"),
        (2, np.array(["a", 1, "b", 2], dtype=object), "mixes types"),
        (2, [["a", "b"]] * 4, "training set of fold 0 is without any row: it holds 0 of 4 rows"),
    ],
)
def test_bad_groups_are_named(n_splits, groups, words):
    with pytest.raises(ValueError, match=words):
        list(IdentityKFold(n_splits).split(np.zeros(4), groups=groups))


def test_fold_without_a_class_is_an_error_that_names_it():
    people = [["a", "a"], ["b", "b"], ["c", "c"], ["d", "d"], ["a", "c"], ["b", "d"], ["a", "d"]]
    y = [1, 1, 1, 1, 0, 0, 0]
    with pytest.raises(ValueError, match=r"fold 0 is without class 0.*straddle.*fewer splits"):
        list(IdentityKFold(4).split(people, y, people))
    # Without labels there is nothing to miss.
    assert len(list(IdentityKFold(4).split(people, None, people))) == 4


def test_fold_without_a_class_points_to_linked_groups_if_they_would_do():
    # eight couples: dealt one by one, hardly any couple stays together
    same = [[i, i] for i in range(16)]
    people = np.array(same + [[i, i + 8] for i in range(8)])
    y = np.repeat([1, 0], [16, 8])
    with pytest.raises(ValueError, match=r"without class 0.*IdentityGroupKFold\(n_splits=3\)"):
        list(IdentityKFold(3).split(people, y, people))
    assert len(list(IdentityGroupKFold(3).split(people, y, people))) == 3
