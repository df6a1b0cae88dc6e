"""Splitters in scikit-learn's meta-estimators, with metadata routing and without."""

import numpy as np
import pytest
import sklearn
from pairs_of_people import SPLITTERS, clustered_pairs, every_splitter
from sklearn.calibration import CalibratedClassifierCV
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    TunedThresholdClassifierCV,
    cross_validate,
)

from skface.verification import PairVerifier

GRID = {"criterion": ["accuracy", "eer"], "threshold": [None, 0.0]}


@pytest.fixture(params=[False, True], ids=["plain", "routing"])
def routing(request):
    with sklearn.config_context(enable_metadata_routing=request.param):
        yield request.param


def scored_pairs():
    people, y = clustered_pairs(30)
    return np.random.default_rng(1).normal(y[:, None], 1.0, (len(y), 2)), y, people


@every_splitter
def test_grid_search(cv, routing):
    X, y, people = scored_pairs()
    search = GridSearchCV(PairVerifier(), GRID, cv=cv, error_score="raise")
    search.fit(X, y, groups=people)
    # by hand, for the first candidate
    expected = [
        PairVerifier(criterion="accuracy").fit(X[train], y[train]).score(X[test], y[test])
        for train, test in cv.split(X, y, people)
    ]
    assert search.cv_results_["mean_test_score"][0] == pytest.approx(np.mean(expected))


@every_splitter
def test_cross_validate(cv, routing):
    X, y, people = scored_pairs()
    given = {"params": {"groups": people}} if routing else {"groups": people}
    scores = cross_validate(LogisticRegression(), X, y, cv=cv, error_score="raise", **given)
    expected = [
        LogisticRegression().fit(X[train], y[train]).score(X[test], y[test])
        for train, test in cv.split(X, y, people)
    ]
    np.testing.assert_allclose(scores["test_score"], expected)


@every_splitter
def test_halving_search_subsamples_within_the_folds(cv, routing):
    X, y, people = scored_pairs()
    search = HalvingGridSearchCV(
        PairVerifier(), GRID, cv=cv, min_resources=80, error_score="raise", random_state=0
    )
    search.fit(X, y, groups=people)
    assert search.n_resources_ == [80, 240]
    assert search.best_score_ > 0.6


@every_splitter
def test_calibration_and_threshold_tuning(cv, routing):
    X, y, people = scored_pairs()
    for meta in (
        lambda cv: CalibratedClassifierCV(PairVerifier(calibration=None), cv=cv),
        lambda cv: TunedThresholdClassifierCV(LogisticRegression(), cv=cv, thresholds=20),
    ):
        by_list = meta(list(cv.split(X, y, people))).fit(X, y)
        assert by_list.score(X, y) > 0.6
        if routing:
            routed = meta(cv).fit(X, y, groups=people)
            np.testing.assert_allclose(routed.predict_proba(X), by_list.predict_proba(X))
        else:  # these two cannot pass groups on; the error says what to do
            with pytest.raises(ValueError, match=r"cv=list\(.*split\(X, y, groups\)\)"):
                meta(cv).fit(X, y)


def test_groups_are_requested_unless_declined():
    with sklearn.config_context(enable_metadata_routing=True):
        for cv in SPLITTERS:
            assert cv.get_metadata_routing().split.requests == {"groups": True}
            declined = type(cv)().set_split_request(groups=False)
            assert declined.get_metadata_routing().split.requests == {"groups": False}
