"""Detection costs against plain loops."""

import numpy as np
import pytest
from oracles import all_thresholds, make_gaussian_scores, make_scores, rates_by_loop, repeat
from scipy.stats import norm

from skface.metrics import detection_cost, min_detection_cost

COSTS = [(1.0, 1.0, 0.01), (10, 1, 0.05), (1.0, 3.0, 0.5)]


def cost_by_loop(y, s, threshold, cost):
    far, frr = rates_by_loop(y, s, threshold)
    miss, false_acceptance, prior = cost
    constant = min(miss * prior, false_acceptance * (1 - prior))
    return (miss * prior * frr + false_acceptance * (1 - prior) * far) / constant


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("n_failures", [0, 7])
@pytest.mark.parametrize("seed", range(4))
def test_cost_equals_a_loop_and_minimum_is_the_least(seed, n_failures, cost):
    y, s = make_scores(seed, n_failures=n_failures)
    expected = [cost_by_loop(y, s, t, cost) for t in all_thresholds(s)]
    costs = [detection_cost(y, s, t, cost=cost) for t in all_thresholds(s)]
    np.testing.assert_allclose(costs, expected)
    assert min_detection_cost(y, s, cost=cost) == pytest.approx(min(expected))


def test_constant_decisions():
    y, s = [0, 1, 1], [0.1, 0.2, 0.3]
    assert detection_cost(y, s, np.inf, cost=(2, 1, 0.25)) == pytest.approx(1)
    assert detection_cost(y, s, -np.inf, cost=(2, 1, 0.25)) == pytest.approx(0.75 / 0.5)
    assert min_detection_cost([1, 1, 0], s) == 1
    assert min_detection_cost(y, s) == 0


def test_failures_cost_as_misses():
    y, s = [0, 0, 1, 1], [np.nan, 0.1, np.nan, 0.9]
    assert detection_cost(y, s, 0.5) == min_detection_cost(y, s) == pytest.approx(0.5)


def test_minimum_of_two_gaussians_lies_at_the_bayes_threshold():
    y, s = make_gaussian_scores(2.0)
    cost = (1.0, 1.0, 0.1)
    bayes = 1 + np.log(9) / 2  # where the log-likelihood ratio, 2 s - 2, equals log(0.9 / 0.1)
    expected = norm.cdf(bayes - 2) + 9 * norm.sf(bayes)
    assert detection_cost(y, s, bayes, cost=cost) == pytest.approx(expected, abs=0.01)
    assert min_detection_cost(y, s, cost=cost) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_weights_are_repetitions(seed):
    y, s = make_scores(seed, n_failures=5)
    weight, *repeated = repeat(y, s, seed)
    for metric in (min_detection_cost, lambda *args, **kw: detection_cost(*args, 0.4, **kw)):
        assert metric(y, s, sample_weight=weight) == pytest.approx(metric(*repeated))


@pytest.mark.parametrize(
    "cost", [(1, 1), (1, 1, 1.0), (0, 1, 0.5), (1, -1, 0.5), (1, np.inf, 0.5), "all", None]
)
def test_bad_cost_is_named(cost):
    for call in (
        lambda: detection_cost([0, 1], [0.1, 0.2], 0.1, cost=cost),
        lambda: min_detection_cost([0, 1], [0.1, 0.2], cost=cost),
    ):
        with pytest.raises(ValueError, match=r"cost=.*\(C_miss, C_fa, prior\)"):
            call()


def test_bad_threshold_is_named():
    with pytest.raises(TypeError, match="threshold"):
        detection_cost([0, 1], [0.1, 0.2], "0.5")
    with pytest.raises(ValueError, match="threshold=nan"):
        detection_cost([0, 1], [0.1, 0.2], np.nan)
