"""Tippett plots against plain loops."""

import numpy as np
import pytest
from drawing import assert_readable, rates_by_loop, scores, verifier_data, words
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skface import PairVerifier
from skface.metrics import cllr, min_cllr
from skface.plotting import TippettDisplay


@pytest.mark.parametrize("n_failures", [0, 11])
def test_tippett_curves_equal_a_loop(n_failures):
    y, s = scores(n_failures=n_failures)
    display = TippettDisplay.from_predictions(y, s - 1)
    for curve, column, share in (
        (display.impostor_, 0, display.impostor_reaching),
        (display.genuine_, 1, display.genuine_below),
    ):
        expected = [rates_by_loop(y, s - 1, t)[column] for t in display.log_likelihood_ratios]
        np.testing.assert_allclose(share, expected)
        assert curve.get_drawstyle() == "steps-pre"
        np.testing.assert_allclose(
            curve.get_xdata()[1:-1], display.log_likelihood_ratios / np.log(10)
        )
        np.testing.assert_allclose(curve.get_ydata()[1:-1], 100 * np.array(expected))
    assert display.misleading == rates_by_loop(y, s - 1, 0.0)[::-1]
    assert (display.cllr, display.min_cllr) == (cllr(y, s - 1), min_cllr(y, s - 1))
    assert f"Cllr {display.cllr:.3f} bit, {display.min_cllr:.3f} at best" in words(display)


def test_tippett_of_a_pipeline():
    X, y = verifier_data(n_failures=3)
    pipe = make_pipeline(FunctionTransformer(), PairVerifier()).fit(X, y)
    display = TippettDisplay.from_estimator(pipe, X, y)
    expected = TippettDisplay.from_predictions(y, pipe[-1].log_likelihood_ratio(X))
    np.testing.assert_array_equal(display.log_likelihood_ratios, expected.log_likelihood_ratios)
    with pytest.raises(TypeError, match="PairVerifier gives no log_likelihood_ratio"):
        TippettDisplay.from_estimator(PairVerifier(calibration=None).fit(X, y), X, y)


def test_tippett_of_many_scores_is_thinned_but_exact():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 20_000)
    s = rng.normal(2.0 * y - 1, 1.0)
    display = TippettDisplay.from_predictions(y, s)
    assert len(display.log_likelihood_ratios) <= 5000
    for i in (0, 1234, -1):
        fmr, fnmr = rates_by_loop(y, s, display.log_likelihood_ratios[i])
        assert (display.impostor_reaching[i], display.genuine_below[i]) == (fmr, fnmr)


@pytest.mark.parametrize("ratios", [[0.0, 0.0], [-900.0, 900.0]])
def test_extreme_ratios(ratios):
    assert_readable(TippettDisplay.from_predictions([0, 1], ratios))
