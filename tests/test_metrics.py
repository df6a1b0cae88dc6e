"""Error rates against plain loops and against scikit-learn's curves."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import det_curve, roc_curve

from skface.metrics import (
    equal_error_rate,
    far_frr_curve,
    rate_interval,
    tar_at_far,
    threshold_at_far,
)


def scores(seed, n=60, n_failures=0):
    """Scores on a coarse grid, so that there are many ties within and between the classes."""
    rng = np.random.default_rng(seed)
    y = np.r_[0, 1, rng.integers(0, 2, n - 2)]
    s = np.round(rng.normal(y, 1.0), 1)
    s[rng.choice(n, n_failures, replace=False)] = np.nan
    return y, s


def rates_by_loop(y, s, threshold):
    """Count one pair at a time; a failure is rejected."""
    counts = {0: [0, 0], 1: [0, 0]}
    for label, score in zip(y, s, strict=True):
        counts[label][0 if not np.isnan(score) and score >= threshold else 1] += 1
    return counts[0][0] / sum(counts[0]), counts[1][1] / sum(counts[1])


@pytest.mark.parametrize("n_failures", [0, 7])
@pytest.mark.parametrize("seed", range(5))
def test_curve_equals_a_loop(seed, n_failures):
    y, s = scores(seed, n_failures=n_failures)
    far, frr, thresholds = far_frr_curve(y, s)
    assert np.all(np.diff(thresholds) > 0)
    np.testing.assert_array_equal(thresholds[:-1], np.unique(s[~np.isnan(s)]))
    for i, threshold in enumerate(thresholds):
        assert (far[i], frr[i]) == rates_by_loop(y, s, threshold)
    assert (far[-1], frr[-1]) == (0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_curve_equals_scikit_learn(seed):
    y, s = scores(seed)
    far, frr, thresholds = far_frr_curve(y, s)
    fpr, tpr, at = roc_curve(y, s, drop_intermediate=False)
    np.testing.assert_allclose(far[:-1], fpr[:0:-1])
    np.testing.assert_allclose(frr[:-1], 1 - tpr[:0:-1])
    np.testing.assert_array_equal(thresholds[:-1], at[:0:-1])
    det_far, det_frr, det_at = det_curve(y, s, drop_intermediate=False)
    known = np.isin(det_at, thresholds)
    places = np.searchsorted(thresholds, det_at[known])
    np.testing.assert_allclose(far[places], det_far[known])
    np.testing.assert_allclose(frr[places], det_frr[known])


@pytest.mark.parametrize("n_failures", [0, 9])
@pytest.mark.parametrize("seed", range(5))
def test_weights_are_repetitions(seed, n_failures):
    y, s = scores(seed, n_failures=n_failures)
    weight = np.random.default_rng(seed).integers(0, 4, len(y))
    weight[:2] = 1
    weighted = far_frr_curve(y, s, sample_weight=weight)
    repeated = far_frr_curve(y.repeat(weight), s.repeat(weight))
    places = np.searchsorted(weighted[2], repeated[2][:-1])
    np.testing.assert_allclose(weighted[0][places], repeated[0][:-1])
    np.testing.assert_allclose(weighted[1][places], repeated[1][:-1])


@pytest.mark.parametrize("n_failures", [0, 7])
@pytest.mark.parametrize("seed", range(8))
def test_equal_error_rate_equals_a_loop(seed, n_failures):
    y, s = scores(seed, n_failures=n_failures)
    result = equal_error_rate(y, s)
    assert (result.far, result.frr) == rates_by_loop(y, s, result.threshold)
    assert result.rate == pytest.approx((result.far + result.frr) / 2)
    everywhere = [rates_by_loop(y, s, t) for t in np.append(np.unique(s[~np.isnan(s)]), 99.0)]
    assert abs(result.far - result.frr) == pytest.approx(min(abs(a - b) for a, b in everywhere))


def test_equal_error_rate_of_perfect_and_of_reversed_scores():
    assert equal_error_rate([0, 0, 1, 1], [1, 2, 3, 4])[:2] == (0.0, 3.0)
    assert equal_error_rate([1, 1, 0, 0], [1, 2, 3, 4]).rate == 1.0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("far", [0, 0.01, 0.1, 1 / 3, 0.5, 1])
@pytest.mark.parametrize("n_failures", [0, 7])
@pytest.mark.parametrize("seed", range(4))
def test_threshold_at_far_is_the_smallest_that_keeps_the_budget(seed, n_failures, far, dtype):
    y, s = scores(seed, n_failures=n_failures)
    s = s.astype(dtype)
    threshold = threshold_at_far(y, s, far)
    achieved, missed = rates_by_loop(y, s, dtype(threshold))
    assert achieved <= far
    assert tar_at_far(y, s, far) == pytest.approx(1 - missed)
    just_below = np.nextafter(dtype(threshold), dtype(-np.inf))
    if threshold > np.nanmin(s):
        assert rates_by_loop(y, s, just_below)[0] > far


def test_budget_broken_by_the_top_impostor_rejects_everything():
    y, s = [0, 0, 1, 1], [0.2, 0.9, 0.5, 0.9]
    assert threshold_at_far(y, s, 0.4) == np.nextafter(0.9, 1)
    assert tar_at_far(y, s, 0.4) == 0
    assert tar_at_far(y, s, 0.5) == 0.5 + 0.5  # just above 0.2


def test_whole_tie_is_moved_past():
    y, s = [0] * 4 + [1] * 2, [0.1, 0.5, 0.5, 0.5, 0.4, 0.7]
    # Two of four may be accepted, but three share one score.
    assert threshold_at_far(y, s, 0.5) == np.nextafter(0.5, 1)


def test_failures_count_as_rejections():
    y, s = [0, 0, 1, 1, 1, 1], [0.1, np.nan, 0.9, 0.8, 0.7, np.nan]
    assert tar_at_far(y, s, 0.0) == 0.75
    far, frr, _ = far_frr_curve(y, s)
    assert (far[0], frr[0]) == (0.5, 0.25)
    far, frr, thresholds = far_frr_curve([0, 1], [np.nan, np.nan])
    assert (far, frr, thresholds) == ([0], [1], [np.inf])


def test_larger_label_means_same():
    expected = far_frr_curve([0, 1, 1], [0.1, 0.2, 0.3])
    for y in (["different", "same", "same"], [False, True, True], [-1, 1, 1]):
        np.testing.assert_equal(far_frr_curve(y, [0.1, 0.2, 0.3]), expected)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (1, 3000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_interval_is_clopper_pearson(k, n, confidence):
    expected = binomtest(k, n).proportion_ci(confidence, method="exact")
    np.testing.assert_allclose(rate_interval(k, n, confidence), expected, rtol=1e-8)


def test_interval_of_nothing_is_everything():
    assert rate_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rate_interval(3, 2), "k=3"),
        (lambda: rate_interval(1, 2, confidence=95), "confidence=95"),
        (lambda: far_frr_curve([0, 0], [0.1, 0.2]), "two classes"),
        (lambda: far_frr_curve([0, 1, 2], [0.1, 0.2, 0.3]), "two classes"),
        (lambda: far_frr_curve([0, 1], [0.1, 0.2, 0.3]), "inconsistent"),
        (lambda: far_frr_curve([0, 1], [0.1, np.inf]), "infinity"),
        (lambda: far_frr_curve([0, 1], [0.1, 0.2], sample_weight=[1, -1]), "Negative"),
        (lambda: tar_at_far([0, 1], [0.1, 0.2], 1.5), "far"),
        (lambda: threshold_at_far([0, 1], [0.1, 0.2], -0.1), "far"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
