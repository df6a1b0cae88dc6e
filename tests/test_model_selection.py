"""IdentityKFold: nobody is on both sides, nothing is lost that need not be."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate

from skface.model_selection import IdentityKFold
from skface.verification import PairVerifier


def dense_pairs(n_people=30, n_pairs=900, seed=0):
    """Pairs among everybody: the graph of people is one component."""
    rng = np.random.default_rng(seed)
    people = rng.integers(0, n_people, (n_pairs, 2))
    people[::2, 1] = people[::2, 0]
    return people, (people[:, 0] == people[:, 1]).astype(int)


def clustered_pairs(n_clusters=20, seed=0):
    """Pairs within groups of four people."""
    people, _ = dense_pairs(4, 12 * n_clusters, seed)
    people = people + 4 * np.arange(n_clusters).repeat(12)[:, None]
    return people, (people[:, 0] == people[:, 1]).astype(int)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("make", [dense_pairs, clustered_pairs])
def test_nobody_is_on_both_sides(make, shuffle):
    people, y = make()
    tested = []
    cv = IdentityKFold(4, shuffle=shuffle, random_state=0 if shuffle else None)
    for train, test in cv.split(np.zeros(len(y)), y, people):
        assert not set(people[train].flat) & set(people[test].flat)
        inside = set(people[test].flat)
        straddling = np.setdiff1d(np.arange(len(y)), np.r_[train, test])
        assert all(len({*people[i]} & inside) == 1 for i in straddling)
        assert np.all(np.diff(train) > 0)
        assert np.all(np.diff(test) > 0)
        tested.extend(test)
    assert len(tested) == len(set(tested))
    # Same pairs cannot straddle, so each of them is tested once.
    assert set(np.flatnonzero(y)) <= set(tested)


def test_linked_people_stay_together_when_no_group_is_too_large():
    people, y = clustered_pairs()
    sizes = []
    for train, test in IdentityKFold(5).split(y, y, people):
        assert len(train) + len(test) == len(y)  # nothing straddles
        sizes.append(len(test))
    assert max(sizes) - min(sizes) <= 12


def test_one_large_group_is_split_by_person():
    people, y = dense_pairs()
    sizes = [len(test) for _, test in IdentityKFold(5).split(y, y, people)]
    assert sum(sizes) < len(y)
    assert max(sizes) < 1.5 * min(sizes)


def test_faces_are_balanced_as_by_group_k_fold():
    people = np.random.default_rng(0).integers(0, 40, 500)
    sizes = sorted(len(test) for _, test in IdentityKFold(5).split(people, None, people))
    expected = sorted(len(test) for _, test in GroupKFold(5).split(people, None, people))
    assert sizes == expected
    tests = [test for _, test in IdentityKFold(5).split(people, None, people)]
    np.testing.assert_array_equal(np.sort(np.concatenate(tests)), np.arange(500))


def folds(cv, people):
    return [test.tolist() for _, test in cv.split(np.zeros(len(people)), groups=people)]


def test_folds_are_deterministic_and_shuffling_changes_them():
    people, _ = dense_pairs(n_pairs=600)
    assert folds(IdentityKFold(3), people) == folds(IdentityKFold(3), people)
    people = np.arange(30)
    shuffled = IdentityKFold(3, shuffle=True, random_state=1)
    assert folds(shuffled, people) == folds(shuffled, people)
    assert folds(shuffled, people) != folds(IdentityKFold(3), people)
    assert folds(shuffled, people) != folds(IdentityKFold(3, shuffle=True, random_state=2), people)


def test_names_and_data_frames_give_the_folds_of_numbers():
    people, _ = dense_pairs()
    names = np.array([f"person {i:03}" for i in range(30)])[people]
    expected = folds(IdentityKFold(4), people)
    for groups in (names, names.astype(object), names.tolist(), pd.DataFrame(names)):
        assert folds(IdentityKFold(4), groups) == expected


def test_repr_names_the_arguments():
    text = repr(IdentityKFold(3, shuffle=True, random_state=7))
    assert text == "IdentityKFold(n_splits=3, random_state=7, shuffle=True)"
    assert IdentityKFold(3).get_n_splits() == 3


def test_inside_grid_search_with_a_pair_verifier():
    people, y = dense_pairs()
    X = np.random.default_rng(1).normal(y[:, None], 1.0, (len(y), 2))
    grid = {"criterion": ["accuracy", "eer"], "threshold": [None, 0.0]}
    search = GridSearchCV(PairVerifier(), grid, cv=IdentityKFold(3), n_jobs=2)
    search.fit(X, y, groups=people)
    assert search.best_score_ > 0.6
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_groups_are_requested_by_default_under_metadata_routing():
    people, y = dense_pairs()
    X = np.random.default_rng(1).normal(y[:, None], 1.0, (len(y), 2))
    with sklearn.config_context(enable_metadata_routing=True):
        scores = cross_validate(
            LogisticRegression(), X, y, cv=IdentityKFold(3), params={"groups": people}
        )
        assert len(scores["test_score"]) == 3
        IdentityKFold(3).set_split_request(groups=True)


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
