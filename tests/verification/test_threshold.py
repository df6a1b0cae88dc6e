"""Thresholds of PairVerifier, against brute force, and the operating point."""

import warnings

import numpy as np
import pytest
from labeled_pairs import scored
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from skface import PairVerifier
from skface.exceptions import FewImpostorsWarning
from skface.metrics import equal_error_rate, rate_interval, threshold_at_far

SCORES = {
    "accuracy": accuracy_score,
    "balanced_accuracy": balanced_accuracy_score,
    "f1": lambda y, z: f1_score(y, z, zero_division=0),
    "eer": lambda y, z: -abs(np.mean(z[y == 0]) - np.mean(1 - z[y == 1])),
    "cost": lambda y, z: -0.3 * 2 * np.mean(1 - z[y == 1]) - 0.7 * 5 * np.mean(z[y == 0]),
}


@pytest.mark.parametrize("criterion", SCORES)
@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("seed", range(3))
def test_no_other_threshold_is_better(criterion, decimals, seed):
    X, y = scored(80, seed, gap=0.8, decimals=decimals)
    verifier = PairVerifier(criterion=criterion, cost=(2.0, 5.0, 0.3)).fit(X, y)
    by_loop = [SCORES[criterion](y, (X[:, 0] >= t).astype(int)) for t in [*X[:, 0], 99.0]]
    assert SCORES[criterion](y, verifier.predict(X)) == pytest.approx(max(by_loop))


@pytest.mark.parametrize("far", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("decimals", [None, 1])
def test_far_accepts_the_most_that_the_budget_allows(far, decimals):
    X, y = scored(decimals=decimals)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        verifier = PairVerifier(criterion="far", far=far).fit(X, y)
    accepted = verifier.predict(X)
    assert accepted[y == 0].mean() <= far
    assert verifier.threshold_ == threshold_at_far(y, X[:, 0], far)
    looser = X[:, 0] >= np.nextafter(verifier.threshold_, -np.inf)
    assert looser[y == 0].mean() > far


def test_too_few_impostors_for_the_far_are_counted_in_a_warning():
    X, y = scored()
    with pytest.warns(FewImpostorsWarning, match=rf"far=0.001 rests on {np.sum(y == 0)} .* 3000"):
        PairVerifier(criterion="far", far=1e-3).fit(X, y)
    with pytest.warns(FewImpostorsWarning, match="fewer than inf"):
        PairVerifier(criterion="far", far=1e-310).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PairVerifier(criterion="far", far=0.1).fit(X, y)


def test_threshold_lies_in_the_middle_of_the_widest_gap():
    X = np.array([0.0, 0.1, 0.5, 0.6])[:, None]
    assert PairVerifier().fit(X, [0, 0, 1, 1]).threshold_ == pytest.approx(0.3)
    # Cuts in (0, 0.3] and in (0.6, 0.7] make one error each; the former is the wider gap.
    X = np.array([0.0, 0.3, 0.6, 0.7, 0.8])[:, None]
    assert PairVerifier().fit(X, [0, 1, 0, 1, 1]).threshold_ == pytest.approx(0.15)
    adjacent = np.array([0.5, np.nextafter(0.5, 1)])[:, None]
    assert PairVerifier().fit(adjacent, [0, 1]).predict(adjacent).tolist() == [0, 1]


def test_threshold_that_is_given_is_used_as_it_is():
    X, y = scored()
    verifier = PairVerifier(threshold=0).fit(X, y)
    assert verifier.threshold_ == 0.0
    np.testing.assert_array_equal(verifier.decision_function(X), X[:, 0])
    assert verifier.operating_point_.criterion == "fixed"
    assert PairVerifier(threshold=0, criterion="far").fit(X, y).threshold_ == 0.0


def test_score_on_the_threshold_is_accepted():
    X, y = scored()
    verifier = PairVerifier(threshold=0.25).fit(X, y)
    assert verifier.predict([[0.25], [np.nextafter(0.25, 0)]]).tolist() == [1, 0]


def test_operating_point_says_what_the_threshold_does():
    X, y = scored()
    X[[5, 6]] = np.nan
    verifier = PairVerifier(criterion="eer").fit(X, y)
    point, known = verifier.operating_point_, ~np.isnan(X[:, 0])
    accepted = verifier.predict(X)[known] == 1
    same = y[known] == 1
    assert (point.n_genuine, point.n_impostor, point.n_failures) == (sum(same), sum(~same), 2)
    assert point.fmr == pytest.approx(accepted[~same].mean())
    assert point.fnmr == pytest.approx(1 - accepted[same].mean())
    assert point.fmr_interval == rate_interval(sum(accepted & ~same), sum(~same))
    assert point.fnmr_interval == rate_interval(sum(~accepted & same), sum(same))
    assert point.threshold == verifier.threshold_
    result = equal_error_rate(y[known], X[known, 0])
    assert abs(point.fmr - point.fnmr) == pytest.approx(abs(result.far - result.frr))
