"""d' against closed forms."""

import numpy as np
import pytest
from oracles import make_gaussian_scores, make_scores, repeat

from skface.metrics import d_prime


@pytest.mark.parametrize("separation", [0.0, 1.5, -2.0])
def test_gaussians(separation):
    assert d_prime(*make_gaussian_scores(separation)) == pytest.approx(separation, abs=0.02)


def test_variances_are_averaged_and_scale_does_not_matter():
    y, s = [0, 0, 1, 1], np.array([0.0, 2.0, 10.0, 16.0])
    expected = (13 - 1) / np.sqrt((1 + 9) / 2)
    assert d_prime(y, s) == pytest.approx(expected)
    assert d_prime(y, 5 * s - 7) == pytest.approx(expected)
    assert d_prime(y, s.astype(np.float32)) == pytest.approx(expected)


def test_failures_are_left_out():
    y, s = make_scores(0)
    assert d_prime([*y, 0, 1, 1], [*s, np.nan, np.nan, np.nan]) == d_prime(y, s)


def test_weights_are_repetitions():
    y, s = make_scores(1, n_failures=5)
    weight, *repeated = repeat(y, s, 1)
    assert d_prime(y, s, sample_weight=weight) == pytest.approx(d_prime(*repeated))


def test_nothing_to_divide_by():
    assert d_prime([0, 0, 1, 1], [1, 1, 3, 3]) == np.inf
    assert np.isnan(d_prime([0, 1], [1, 1]))
    assert np.isnan(d_prime([0, 1, 1], [np.nan, 1, 2]))
