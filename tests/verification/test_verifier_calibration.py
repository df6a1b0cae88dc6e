"""Log-likelihood ratios and probabilities of PairVerifier."""

import numpy as np
import pytest
from labeled_pairs import scored
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from skface import PairVerifier


@pytest.mark.parametrize("calibration", ["sigmoid", "isotonic"])
def test_log_likelihood_ratio_is_that_of_the_distributions(calibration):
    # Two Gaussians of unit variance at 0 and 2: ln p(s|1)/p(s|0) = 2 s - 2, whatever the mixture.
    rng = np.random.default_rng(0)
    y = (rng.random(60_000) < 0.1).astype(int)
    X = rng.normal(2.0 * y, 1.0)[:, None]
    at = np.linspace(0, 2, 9)[:, None]
    verifier = PairVerifier(calibration=calibration, prior=0.1).fit(X, y)
    np.testing.assert_allclose(verifier.log_likelihood_ratio(at), 2 * at[:, 0] - 2, atol=0.35)
    probability = verifier.predict_proba(X)[:, 1]
    for low in (0.1, 0.3, 0.6):
        bin_ = (probability > low) & (probability < low + 0.1)
        assert y[bin_].mean() == pytest.approx(probability[bin_].mean(), abs=0.06)


def soft_targets(y, weight):
    """Return what the sigmoid is fitted to: Platt's targets, and weights of sum 1 per class."""
    totals = np.bincount(y, weight)
    target = np.where(y == 1, (totals[1] + 1) / (totals[1] + 2), 1 / (totals[0] + 2))
    return target, weight / totals[y]


@pytest.mark.filterwarnings("ignore:Larger scores")
@pytest.mark.parametrize("weigh", [lambda rng: 1.0, lambda rng: 10.0 ** rng.uniform(-9, 9)])
@pytest.mark.parametrize("gap", [0.0, 1.0, 4.0, 40.0])
@pytest.mark.parametrize("n", [8, 500])
def test_sigmoid_is_the_logistic_regression_of_soft_targets(n, gap, weigh):
    rng = np.random.default_rng(n)
    y = np.arange(n) % 2
    X = rng.standard_t(3, n)[:, None] + gap * y[:, None]
    weight = np.array([weigh(rng) for _ in range(n)])
    target, share = soft_targets(y, weight)
    expected = LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky").fit(
        np.tile(X, (2, 1)),
        np.repeat([1, 0], n),
        sample_weight=np.concatenate((share * target, share * (1 - target))),
    )
    verifier = PairVerifier().fit(X, y, sample_weight=weight)
    ratio = expected.decision_function(X) if expected.coef_[0, 0] > 0 else np.zeros(n)
    np.testing.assert_allclose(verifier.log_likelihood_ratio(X), ratio, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weighs", [False, True])
@pytest.mark.parametrize("outlier", [1e3, 1e5, 1e7])
def test_sigmoid_is_the_best_one_also_where_one_score_lies_far_out(outlier, weighs):
    rng = np.random.default_rng(0)
    y = (np.arange(2000) % 20 == 0).astype(int)
    X = -np.abs(rng.normal(20 - 8 * y, 3.0))[:, None]
    X[1] = -outlier
    weight = 1e6 * rng.integers(1, 100, 2000) if weighs else np.ones(2000)
    found = PairVerifier().fit(X, y, sample_weight=weight).calibrator_
    target, share = soft_targets(y, weight)

    def cross_entropy(line):
        log_odds = line[0] * X[:, 0] + line[1]
        return (share * (np.logaddexp(0, log_odds) - target * log_odds)).sum()

    loss = cross_entropy([found.slope, found.intercept])
    best = minimize(
        cross_entropy,
        [0.5, 5.0],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000},
    )
    assert loss <= best.fun + 1e-9


@pytest.mark.parametrize("criterion", ["accuracy", "eer", "far"])
def test_without_a_prior_probability_and_prediction_agree(criterion):
    X, y = scored()
    verifier = PairVerifier(criterion=criterion, far=0.05).fit(X, y)
    probability = verifier.predict_proba(X)
    np.testing.assert_array_equal(probability[:, 1] > 0.5, verifier.predict(X) == 1)
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    half = clone(verifier).set_params(prior=0.5).fit(X, y)
    np.testing.assert_allclose(half.predict_proba(X)[:, 1], expit(half.log_likelihood_ratio(X)))
    np.testing.assert_array_equal(half.log_likelihood_ratio(X), verifier.log_likelihood_ratio(X))


@pytest.mark.parametrize("calibration", ["sigmoid", "isotonic"])
def test_perfect_separation_keeps_probabilities_inside(calibration):
    X = np.r_[np.linspace(-1, 0, 20), np.linspace(1, 2, 20)][:, None]
    probability = PairVerifier(calibration=calibration).fit(X, np.arange(40) // 20).predict_proba(X)
    assert 0 < probability.min() < 0.1
    assert np.all(np.diff(probability[:, 1]) >= 0)


def test_a_given_threshold_leaves_probabilities_those_of_the_training_pairs():
    X, y = scored(2000)
    few = np.r_[np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:200]]
    verifier = PairVerifier(threshold=4.0).fit(X[few], y[few])
    probability = verifier.predict_proba(X[few])[:, 1]
    assert probability.mean() == pytest.approx(y[few].mean(), abs=0.02)


def test_without_calibration_there_are_no_probabilities():
    verifier = PairVerifier(calibration=None).fit(*scored())
    assert verifier.calibrator_ is None
    assert not hasattr(verifier, "predict_proba")
    assert not hasattr(verifier, "log_likelihood_ratio")
