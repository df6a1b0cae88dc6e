"""Described folds against plain loops."""

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from pairs_of_people import dense_pairs
from sklearn.model_selection import KFold, PredefinedSplit

from skface import load_lfw_pairs
from skface.model_selection import IdentityKFold, IdentityShuffleSplit, describe_folds


@pytest.mark.parametrize("cv", [KFold(4), 4, IdentityKFold(4), IdentityShuffleSplit(3)], ids=str)
def test_described_folds_are_those_of_a_plain_loop(cv):
    people, y = dense_pairs()
    if isinstance(cv, IdentityShuffleSplit):
        cv.random_state = 0
    X = np.zeros(len(y))
    report = describe_folds(cv, X, y, people)
    splitter = sklearn.model_selection.check_cv(cv, y, classifier=True)
    tested = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # KFold says that it ignores groups
        splits = list(splitter.split(X, y, people))
    assert len(report.folds) == len(splits)
    for fold, (train, test) in zip(report.folds, splits, strict=True):
        known = {person for i in train for person in people[i]}
        strangers = {person for i in test for person in people[i]}
        assert fold["n_train_genuine"] == sum(y[i] for i in train)
        assert fold["n_train_impostor"] == sum(1 - y[i] for i in train)
        assert fold["n_test_genuine"] == sum(y[i] for i in test)
        assert fold["n_test"] == len(test)
        out = set(range(len(y))) - set(train) - set(test)
        assert (fold["n_left_out"], fold["n_left_out_genuine"]) == (
            len(out),
            sum(y[i] for i in out),
        )
        assert fold["n_train_people"] == len(known)
        assert fold["n_test_people"] == len(strangers)
        assert fold["n_seen_people"] == len(known & strangers)
        assert fold["n_seen_test"] == sum(bool(known & set(people[i])) for i in test)
        tested |= set(test)
    assert report.n_never_tested == len(y) - len(tested)
    assert report.n_never_tested_impostor == sum(1 - y[i] for i in set(range(len(y))) - tested)
    assert pd.DataFrame(report.folds)["n_test"].sum() == sum(len(test) for _, test in splits)


def test_described_folds_print():
    people, y = dense_pairs()
    text = str(describe_folds(IdentityKFold(3), y, y, people))
    assert text.splitlines()[-1] == "No test row shows a person who is in training too."
    assert "test: genuine  impostor" in text
    assert max(map(len, text.splitlines())) <= 100
    leaky = str(describe_folds(KFold(3), y, y, people))
    assert leaky.endswith("900 of 900 test rows show a person who is in training too.")
    faces = describe_folds(IdentityKFold(3), people[:, 0], groups=people[:, 0])
    assert "n_test_genuine" not in faces.folds[0]
    assert "900 faces of 30 people. In no test set: 0." in str(faces)
    with pytest.raises(ValueError, match="describe_folds counts people"):
        describe_folds(KFold(3), y, y)


def test_folds_of_lfw_come_from_its_file(tmp_path):
    home = tmp_path / "lfw_home"
    lines = ["3\t2"]
    for a, b in (("Ann", "Bob"), ("Cy", "Dee"), ("Eve", "Fay")):
        lines += [f"{a}\t1\t2", f"{b}\t1\t2", f"{a}\t1\t{b}\t1", f"{a}\t2\t{b}\t2"]
        for name in (a, b):
            (home / "lfw_funneled" / name).mkdir(parents=True)
            for number in (1, 2):
                (home / "lfw_funneled" / name / f"{name}_{number:04d}.jpg").touch()
    (home / "pairs.txt").write_text("\n".join(lines))
    lfw = load_lfw_pairs(home, "10_folds")
    report = describe_folds(PredefinedSplit(lfw.folds), lfw.data, lfw.target, lfw.identities)
    for fold in report.folds:
        assert (fold["n_test_genuine"], fold["n_test_impostor"], fold["n_train"]) == (2, 2, 8)
        assert fold["n_seen_people"] == fold["n_left_out"] == 0
