"""Cllr against a plain loop, isotonic regression of scikit-learn, and calibrated Gaussians."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import make_gaussian_scores, make_scores, repeat
from scipy.special import logit
from sklearn.isotonic import IsotonicRegression

from skface.metrics import calibration_loss, cllr, min_cllr

PAIRS = st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=30).filter(
    lambda pairs: len({same for same, _ in pairs}) == 2
)


def cllr_by_loop(y, llr):
    bits = {0: [], 1: []}
    for label, ratio in zip(y, llr, strict=True):
        evidence = 0.0 if math.isnan(ratio) else ratio if label == 1 else -ratio
        bits[label].append(math.log2(1 + math.exp(-evidence)))
    return sum(sum(values) / len(values) for values in bits.values()) / 2


@pytest.mark.parametrize("n_failures", [0, 7])
@pytest.mark.parametrize("seed", range(4))
def test_cllr_equals_a_loop(seed, n_failures):
    y, s = make_scores(seed, n_failures=n_failures)
    assert cllr(y, 3 * s) == pytest.approx(cllr_by_loop(y, 3 * s))


@pytest.mark.parametrize("n_failures", [0, 7])
@pytest.mark.parametrize("seed", range(8))
def test_min_cllr_is_the_cllr_of_isotonic_regression(seed, n_failures):
    y, s = make_scores(seed, n_failures=n_failures)
    compared = ~np.isnan(s)
    balance = np.where(y == 1, 1 / np.sum(y == 1), 1 / np.sum(y == 0))
    regression = IsotonicRegression().fit(s[compared], y[compared], balance[compared])
    llr = np.full(len(y), np.nan)
    with np.errstate(divide="ignore"):
        llr[compared] = logit(regression.predict(s[compared]))
    assert min_cllr(y, s) == pytest.approx(cllr(y, llr))


def test_evidence_beyond_the_range_of_exp():
    assert cllr([0, 1], [-5000.0, 5000.0]) == 0
    assert cllr([0, 1], [5000.0, -5000.0]) == pytest.approx(5000 / math.log(2))


def test_infinite_evidence():
    right = [-np.inf, np.inf]
    assert cllr([0, 1], right) == min_cllr([0, 1], right) == calibration_loss([0, 1], right) == 0
    wrong = [np.inf, np.inf]
    assert cllr([0, 1], wrong) == calibration_loss([0, 1], wrong) == np.inf
    assert min_cllr([0, 1], wrong) == 1
    # A weight of 0 leaves the misleading pair out.
    assert cllr([0, 0, 1], [-np.inf, np.inf, np.inf], sample_weight=[1, 0, 1]) == 0


def test_failures_carry_no_evidence():
    y, llr = [0, 0, 1, 1], [-9.0, np.nan, 9.0, np.nan]
    assert cllr(y, llr) == cllr(y, [-9.0, 0, 9.0, 0])
    assert min_cllr(y, llr) == 0.5
    nothing = [np.nan, np.nan]
    assert cllr([0, 1], nothing) == min_cllr([0, 1], nothing) == 1


def test_perfect_reversed_and_useless_scores():
    y = [0, 0, 1, 1]
    assert min_cllr(y, [1, 2, 3, 4]) == 0
    assert min_cllr(y, [4, 3, 2, 1]) == 1
    assert min_cllr(y, [5, 5, 5, 5]) == 1


@pytest.mark.parametrize("separation", [1.0, 3.0])
def test_ratios_of_gaussians_are_calibrated(separation):
    y, s = make_gaussian_scores(separation)
    llr = separation * s - separation**2 / 2
    assert calibration_loss(y, llr) == pytest.approx(0, abs=1e-3)
    assert calibration_loss(y, llr + 1) > 0.02
    assert calibration_loss(y, 3 * llr) > 0.1


@given(PAIRS, st.floats(0.01, 5), st.floats(-5, 5))
def test_no_increasing_function_does_better(pairs, slope, offset):
    y, s = np.array(pairs, dtype=float).T
    least = min_cllr(y, s)
    assert 0 <= least <= 1 + 1e-12
    for increasing in (slope * s + offset, slope * s**3, np.full(len(s), offset)):
        assert cllr(y, increasing) >= least - 1e-9
    assert min_cllr(y, np.exp(s)) == pytest.approx(least)
    assert min_cllr(1 - y, -s) == pytest.approx(least)


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_repetitions(seed):
    y, s = make_scores(seed, n_failures=5)
    weight, *repeated = repeat(y, s, seed)
    for metric in (cllr, min_cllr, calibration_loss):
        assert metric(y, s, sample_weight=weight) == pytest.approx(metric(*repeated))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="two classes"):
        cllr([1, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="inconsistent"):
        min_cllr([0, 1], [0.1, 0.2, 0.3])
