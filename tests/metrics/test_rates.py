"""Error rates against plain loops, scikit-learn's curves and closed forms."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import all_thresholds, make_gaussian_scores, make_scores, rates_by_loop, repeat
from scipy.stats import norm
from sklearn.metrics import det_curve, roc_curve

from skface import PairVerifier
from skface.exceptions import FewImpostorsWarning
from skface.metrics import equal_error_rate, far_frr_curve, frr_at_far, tar_at_far, threshold_at_far

METHODS = ["closest", "convex_hull"]
# Coarse values, so that ties are frequent and transforms of them exact.
PAIRS = st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=40).filter(
    lambda pairs: len({same for same, _ in pairs}) == 2
)


@pytest.mark.parametrize("n_failures", [0, 7])
@pytest.mark.parametrize("seed", range(5))
def test_curve_equals_a_loop(seed, n_failures):
    y, s = make_scores(seed, n_failures=n_failures)
    far, frr, thresholds = far_frr_curve(y, s)
    assert np.all(np.diff(thresholds) > 0)
    np.testing.assert_array_equal(thresholds[:-1], np.unique(s[~np.isnan(s)]))
    for i, threshold in enumerate(thresholds):
        assert (far[i], frr[i]) == rates_by_loop(y, s, threshold)
    assert (far[-1], frr[-1]) == (0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_curve_equals_scikit_learn(seed):
    y, s = make_scores(seed)
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
    y, s = make_scores(seed, n_failures=n_failures)
    weight, *repeated = repeat(y, s, seed)
    for weighted, expected in zip(
        far_frr_curve(y, s, sample_weight=weight), far_frr_curve(*repeated), strict=True
    ):
        np.testing.assert_allclose(weighted, expected, atol=1e-15)
    for far in (0.1, 0.5):
        expected = tar_at_far(*repeated, far)
        assert tar_at_far(y, s, far, sample_weight=weight) == pytest.approx(expected)
        assert frr_at_far(y, s, far, sample_weight=weight) == pytest.approx(1 - expected)
    for method in METHODS:
        np.testing.assert_allclose(
            equal_error_rate(y, s, method=method, sample_weight=weight),
            equal_error_rate(*repeated, method=method),
        )


@pytest.mark.parametrize("n_failures", [0, 7])
@pytest.mark.parametrize("seed", range(8))
def test_equal_error_rate_equals_a_loop(seed, n_failures):
    y, s = make_scores(seed, n_failures=n_failures)
    result = equal_error_rate(y, s)
    assert (result.far, result.frr) == rates_by_loop(y, s, result.threshold)
    assert result.rate == pytest.approx((result.far + result.frr) / 2)
    everywhere = [rates_by_loop(y, s, t) for t in all_thresholds(s)]
    assert abs(result.far - result.frr) == pytest.approx(min(abs(a - b) for a, b in everywhere))


@pytest.mark.parametrize("n_failures", [0, 7])
@pytest.mark.parametrize("seed", range(8))
def test_hull_equal_error_rate_is_the_best_mixture_of_two_thresholds(seed, n_failures):
    y, s = make_scores(seed, n_failures=n_failures)
    points = [rates_by_loop(y, s, t) for t in all_thresholds(s)]
    mixtures = []
    for far_a, frr_a in points:
        for far_b, frr_b in points:
            if far_a - frr_a >= 0 >= far_b - frr_b:
                slope = (far_a - frr_a) - (far_b - frr_b)
                share = (far_a - frr_a) / slope if slope else 0.0
                mixtures.append((1 - share) * far_a + share * far_b)
    result = equal_error_rate(y, s, method="convex_hull")
    assert result.rate == pytest.approx(min(mixtures))
    assert result.far == result.frr == result.rate
    assert result.rate <= max(equal_error_rate(y, s)[2:]) + 1e-12
    assert result.threshold in all_thresholds(s)[:-1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("separation", [1.0, 3.0])
def test_equal_error_rate_of_two_gaussians(separation, method):
    result = equal_error_rate(*make_gaussian_scores(separation), method=method)
    assert result.rate == pytest.approx(norm.cdf(-separation / 2), abs=3e-3)
    assert result.threshold == pytest.approx(separation / 2, abs=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_equal_error_rate_where_failures_outweigh_everything(method):
    y, s = [0, 0, 1, 1, 1], [0.1, 0.2, 0.3, np.nan, np.nan]
    # Only accepting everything that was compared brings FAR above FRR.
    result = equal_error_rate(y, s, method=method)
    assert result.rate == pytest.approx((1 / 2 + 2 / 3) / 2 if method == "closest" else 2 / 3)
    mostly_failed = [np.nan, np.nan, 0.2, 0.5, np.nan]
    assert equal_error_rate([0, 0, 0, 1, 1], mostly_failed, method=method) == (
        pytest.approx((1 / 3 + 1 / 2) / 2),
        0.2,
        1 / 3,
        1 / 2,
    )


@pytest.mark.parametrize("method", METHODS)
def test_weights_too_small_to_show_change_nothing(method):
    y, s, weight = [0, 1, 0, 1, 0, 1], np.arange(6.0), np.array([1.0, 1, 1, 1, 1, 1])
    expected = equal_error_rate(y, s, method=method, sample_weight=weight)
    extended = equal_error_rate(
        [*y, 1, 0, 0], [*s, 2.5, 2.5, 9.0], method=method, sample_weight=[*weight, *3 * [1e-30]]
    )
    assert extended == expected


def test_equal_error_rate_of_perfect_and_of_reversed_scores():
    assert equal_error_rate([0, 0, 1, 1], [1, 2, 3, 4])[:2] == (0.0, 3.0)
    assert equal_error_rate([1, 1, 0, 0], [1, 2, 3, 4]).rate == 1.0


@pytest.mark.filterwarnings("ignore::skface.metrics.FewImpostorsWarning")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("far", [0, 0.01, 0.1, 1 / 3, 0.5, 1])
@pytest.mark.parametrize("n_failures", [0, 7])
@pytest.mark.parametrize("seed", range(4))
def test_threshold_at_far_is_the_smallest_that_keeps_the_budget(seed, n_failures, far, dtype):
    y, s = make_scores(seed, n_failures=n_failures)
    s = s.astype(dtype)
    threshold = threshold_at_far(y, s, far)
    achieved, missed = rates_by_loop(y, s, dtype(threshold))
    assert achieved <= far
    assert tar_at_far(y, s, far) == pytest.approx(1 - missed)
    assert frr_at_far(y, s, far) == missed
    just_below = np.nextafter(dtype(threshold), dtype(-np.inf))
    if threshold > np.nanmin(s):
        assert rates_by_loop(y, s, just_below)[0] > far


@pytest.mark.filterwarnings("ignore::skface.metrics.FewImpostorsWarning")
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


@given(PAIRS)
def test_rates_are_bounded_and_monotone(pairs):
    y, s = np.array(pairs, dtype=float).T
    far, frr, thresholds = far_frr_curve(y, s)
    assert np.all(np.diff(far) <= 0) and np.all(np.diff(frr) >= 0) and np.all(np.diff(thresholds))
    assert (far[0], frr[0], far[-1], frr[-1]) == (1, 0, 0, 1)
    for method in METHODS:
        assert 0 <= equal_error_rate(y, s, method=method).rate <= 1


@given(PAIRS)
def test_only_the_order_of_scores_matters(pairs):
    y, s = np.array(pairs, dtype=float).T
    expected = far_frr_curve(y, s)
    for transformed in (np.exp(s), s**3, 7 * s - 3):
        for rates, same_rates in zip(far_frr_curve(y, transformed)[:2], expected, strict=False):
            np.testing.assert_array_equal(rates, same_rates)
    backwards = far_frr_curve(y[::-1], s[::-1])
    np.testing.assert_equal(backwards, expected)


@given(PAIRS)
def test_swapped_labels_and_reversed_scores_swap_the_errors(pairs):
    y, s = np.array(pairs, dtype=float).T
    far, frr, _ = far_frr_curve(y, s)
    swapped_far, swapped_frr, _ = far_frr_curve(1 - y, -s)
    np.testing.assert_allclose(swapped_far[::-1], frr, atol=1e-12)
    np.testing.assert_allclose(swapped_frr[::-1], far, atol=1e-12)
    for method in METHODS:
        assert equal_error_rate(1 - y, -s, method=method).rate == pytest.approx(
            equal_error_rate(y, s, method=method).rate, abs=1e-12
        )


@pytest.mark.parametrize("metric", [threshold_at_far, tar_at_far, frr_at_far])
def test_too_small_a_far_warns_and_says_how_many_pairs_it_takes(metric):
    y, s = [0] * 49 + [1], np.arange(50.0)
    with pytest.warns(
        FewImpostorsWarning, match="below 1 / 49: .*Use 1000 impostor pairs"
    ) as record:
        metric(y, s, 1e-3)
    assert record[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric(y, s, 1 / 49)
        metric(y, s, 0)  # asks for no false acceptance, which any number of pairs can show
        metric(y, s, 1e-3, sample_weight=np.full(50, 1e4))


def test_verifier_warns_only_once():
    X = np.r_[np.linspace(0, 1, 50), np.linspace(1, 2, 50)][:, np.newaxis]
    with pytest.warns(UserWarning, match="far=0.001") as record:
        PairVerifier(criterion="far", far=1e-3).fit(X, np.repeat([0, 1], 50))
    assert len(record) == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: far_frr_curve([0, 0], [0.1, 0.2]), "two classes"),
        (lambda: far_frr_curve([0, 1, 2], [0.1, 0.2, 0.3]), "two classes"),
        (lambda: far_frr_curve([0, 1], [0.1, 0.2, 0.3]), "inconsistent"),
        (lambda: far_frr_curve([0, 1], [0.1, 0.2], sample_weight=[1]), "inconsistent"),
        (lambda: far_frr_curve([0, 1], [0.1, np.inf]), "infinity"),
        (lambda: far_frr_curve([0, 1], [0.1, 0.2], sample_weight=[1, -1]), "Negative"),
        (lambda: tar_at_far([0, 1], [0.1, 0.2], 1.5), "far"),
        (lambda: threshold_at_far([0, 1], [0.1, 0.2], -0.1), "far"),
        (lambda: equal_error_rate([0, 1], [0.1, 0.2], method="hull"), "method='hull'.*'closest'"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
