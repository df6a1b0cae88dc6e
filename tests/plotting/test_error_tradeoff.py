"""Curves and bands against plain loops and scikit-learn's DET curve."""

import numpy as np
import pytest
from drawing import assert_readable, matplotlib, rates_by_loop, scores, words
from sklearn.metrics import DetCurveDisplay

from skface.metrics import (
    FewImpostorsWarning,
    bootstrap_interval,
    equal_error_rate,
    rate_interval,
    threshold_at_far,
)
from skface.plotting import ErrorTradeoffDisplay, TippettDisplay


@pytest.mark.parametrize("seed", range(4))
def test_the_curve_is_the_step_function(seed):
    y, s = scores(seed, n=120)
    line = ErrorTradeoffDisplay.from_predictions(y, s).line_
    assert line.get_drawstyle() == "steps-post"
    x, drawn = line.get_data()
    rates = [rates_by_loop(y, s, t) for t in np.r_[np.unique(s), np.inf]]
    for budget in np.linspace(0, 1, 101):
        best = min(fnmr for fmr, fnmr in rates if fmr <= budget)
        assert drawn[np.searchsorted(x, budget, side="right") - 1] == best


@pytest.mark.parametrize("seed", range(4))
def test_the_curve_passes_through_the_points_of_scikit_learn(seed):
    y, s = scores(seed)
    display = ErrorTradeoffDisplay.from_predictions(y, s)
    theirs = DetCurveDisplay.from_predictions(y, s, drop_intermediate=False)
    eps = np.finfo(float).eps  # which they clip to, in place
    fpr = np.where(theirs.fpr <= eps, 0, np.where(theirs.fpr >= 1 - eps, 1, theirs.fpr))
    fnr = np.where(theirs.fnr <= eps, 0, np.where(theirs.fnr >= 1 - eps, 1, theirs.fnr))
    corners = np.column_stack([display.fmr, display.fnmr])
    points = np.vstack([np.column_stack([fpr, fnr]), [[0, 1], [1, 0]]])
    for corner in corners:
        assert np.abs(points - corner).sum(axis=1).min() < 1e-12
    for far, frr in points:  # on a step: not better than the curve, and not worse
        left = corners[corners[:, 0] <= far + 1e-12, 1].min()
        below = corners[corners[:, 1] <= frr + 1e-12, 0].min()
        assert frr == pytest.approx(left) or far == pytest.approx(below)


def test_axes_are_in_rates_and_stretched_by_the_normal_quantile():
    y, s = scores()
    ax = ErrorTradeoffDisplay.from_predictions(y, s).ax_
    at = [ax.transData.transform((rate, 0.1))[0] for rate in (0.05, 0.5, 0.95)]
    assert at[2] - at[1] == pytest.approx(at[1] - at[0])
    zero, one = ax.transData.transform([(0, 0), (1, 1)])
    assert np.all(np.isfinite([zero, one]))
    assert np.all(zero < ax.bbox.min) and np.all(one > ax.bbox.max)
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == [f"{100 * tick:g}" for tick in ax.get_xticks()]


def test_rates_of_exactly_0_and_1_stay():
    y, s = scores()
    display = ErrorTradeoffDisplay.from_predictions(y, s)
    for rate in (display.fmr, display.fnmr):
        assert (rate.min(), rate.max()) == (0, 1)
    display.figure_.canvas.draw()
    np.testing.assert_array_equal(display.line_.get_xdata(), display.fmr[::-1])


def test_operating_points_equal_a_loop():
    y, s = scores(n_failures=20)
    display = ErrorTradeoffDisplay.from_predictions(
        y, s, thresholds=[0.7, 0.75, 99.0, -99.0], far=(0.1, 0.02)
    )
    thresholds, *rates = display.operating_points.T
    compared = ~np.isnan(s)
    expected = [threshold_at_far(y[compared], s[compared], far) for far in (0.1, 0.02)]
    np.testing.assert_array_equal(thresholds, [0.7, 0.75, 99.0, -99.0, *expected])
    np.testing.assert_array_equal(
        np.transpose(rates), [rates_by_loop(y, s, threshold) for threshold in thresholds]
    )
    assert display.equal_error_rate == equal_error_rate(y[compared], s[compared])
    text = words(display)
    assert f"EER {100 * display.equal_error_rate.rate:.3g} %" in text
    assert "20 failures left out" in text
    low, high = display.ax_.get_xlim()
    for point in display.points_:  # seen, be the rate 0 or 1
        assert low <= point.get_xdata()[0] <= high


def test_a_rate_that_the_data_cannot_show():
    y, s = scores()
    with pytest.warns(FewImpostorsWarning, match="far=0.0001"):
        display = ErrorTradeoffDisplay.from_predictions(y, s, far=1e-4)
    assert display.operating_points[0, 1] == 0
    assert_readable(display)


def test_band_is_made_of_exact_intervals_around_the_curve():
    y, s = scores(n=80)
    display = ErrorTradeoffDisplay.from_predictions(y, s, confidence=0.9)
    n_genuine = y.sum()
    boxes = []
    for threshold in np.r_[np.unique(s), np.inf]:
        fmr, fnmr = rates_by_loop(y, s, threshold)
        false_accepts, false_rejects = round(fmr * (80 - n_genuine)), round(fnmr * n_genuine)
        boxes.append(
            rate_interval(false_accepts, 80 - n_genuine, 0.9)
            + rate_interval(false_rejects, n_genuine, 0.9)
        )
    drawn = np.vstack([display.fmr_interval, display.fnmr_interval]).T
    for box in drawn:
        assert np.abs(np.array(boxes) - box).sum(axis=1).min() < 1e-12
    assert len(drawn) > 20
    for fmr, fnmr in zip(display.fmr, display.fnmr, strict=True):  # every corner lies in a box
        inside = (drawn[:, 0] <= fmr) & (fmr <= drawn[:, 1])
        assert np.any(inside & (drawn[:, 2] <= fnmr) & (fnmr <= drawn[:, 3]))
    assert "90 % intervals" in words(display)


def test_band_over_people():
    rng = np.random.default_rng(0)
    people = rng.integers(0, 12, (200, 2))
    people[::2, 1] = people[::2, 0]
    y = (people[:, 0] == people[:, 1]).astype(int)
    s = np.clip(np.round(y + people[:, 0] / 12 + rng.normal(0, 0.3, 200)), 0, 2)
    s[[0, 1]] = np.nan
    one, many = (
        ErrorTradeoffDisplay.from_predictions(y, s, identities=who, random_state=0)
        for who in (None, people)
    )
    for name in ("fmr_interval", "fnmr_interval"):
        independent, over_people = getattr(one, name), getattr(many, name)
        assert np.all(over_people[0] <= independent[0])
        assert np.all(over_people[1] >= independent[1])
        assert np.any(over_people != independent)

    def both(y, s, sample_weight):
        return [
            [np.average(s[y == 0] >= t, weights=sample_weight[y == 0]) for t in (0, 1, 2, 3)],
            [np.average(s[y == 1] < t, weights=sample_weight[y == 1]) for t in (0, 1, 2, 3)],
        ]

    compared = ~np.isnan(s)
    low, high = bootstrap_interval(both, y[compared], s[compared], people[compared], random_state=0)
    np.testing.assert_allclose(many.fmr_interval[0], np.minimum(low[0], one.fmr_interval[0]))
    np.testing.assert_allclose(many.fnmr_interval[1], np.maximum(high[1], one.fnmr_interval[1]))


def test_several_curves_on_one_axes():
    y, s = scores()
    first = ErrorTradeoffDisplay.from_predictions(y, s, name="good", confidence=None)
    limits = first.ax_.get_xlim(), first.ax_.get_ylim()
    noisy = s + np.random.default_rng(1).normal(0, 2, len(s))
    second = ErrorTradeoffDisplay.from_predictions(y, noisy, name="bad", ax=first.ax_)
    assert second.ax_ is first.ax_ and second.band_ is not None
    assert first.line_.get_linestyle() != second.line_.get_linestyle()
    assert first.line_.get_color() != second.line_.get_color()
    for before, after in zip(limits, (first.ax_.get_xlim(), first.ax_.get_ylim()), strict=True):
        assert after[0] <= before[0] and after[1] >= before[1]
    labels = [text.get_text() for text in first.ax_.get_legend().get_texts()]
    assert sum(label.startswith(("good", "bad")) for label in labels) == 2
    assert_readable(second)


def test_style_of_the_curve():
    y, s = scores()
    display = ErrorTradeoffDisplay.from_predictions(y, s, c="red", lw=3, label="mine")
    assert display.line_.get_color() == "red" and display.line_.get_linewidth() == 3
    assert matplotlib.colors.same_color(display.band_.get_facecolor()[:3], "red")
    assert "mine" in words(display)


def test_rates_are_shown_down_to_a_single_pair():
    y = np.repeat([0, 1], [1000, 500])
    s = np.r_[np.arange(1000.0), np.full(250, -1.0), np.full(250, 2000.0)]  # FNMR 50 % throughout
    display = ErrorTradeoffDisplay.from_predictions(y, s)
    assert display.ax_.get_xlim()[0] == pytest.approx(1 / 2000)


def test_perfect_scores():
    display = ErrorTradeoffDisplay.from_predictions(np.repeat([0, 1], 50), np.arange(100.0))
    assert display.equal_error_rate.rate == 0
    assert display.band_ is not None  # shows that 0 among 50 is not 0
    assert display.ax_.get_xlim()[0] < 1 / 50 and display.ax_.get_ylim()[0] < 1 / 50
    assert_readable(display)


def test_many_scores_are_drawn_as_few_corners():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [100_000, 100])
    display = ErrorTradeoffDisplay.from_predictions(y, rng.normal(2.0 * y, 1.0))
    assert len(display.fmr) <= 2 * 100 + 5
    assert display.fmr_interval.shape[1] <= 200


@pytest.mark.parametrize("display", [ErrorTradeoffDisplay, TippettDisplay])
def test_rates_need_pairs_of_both_kinds(display):
    y, s = scores()
    with pytest.raises(ValueError, match="NaN for all .* genuine pairs"):
        display.from_predictions(y, np.where(y == 1, np.nan, s))
    with pytest.raises(ValueError, match="two classes"):
        display.from_predictions(np.ones(400), s)


def test_arguments_of_the_error_tradeoff():
    y, s = scores()
    with pytest.raises(ValueError, match="confidence=1.5"):
        ErrorTradeoffDisplay.from_predictions(y, s, confidence=1.5)
    with pytest.raises(ValueError, match="far"):
        ErrorTradeoffDisplay.from_predictions(y, s, far=2)
    with pytest.raises(ValueError, match="thresholds contains NaN"):
        ErrorTradeoffDisplay.from_predictions(y, s, thresholds=[0.1, np.nan])
    with pytest.raises(ValueError, match="inconsistent numbers"):
        ErrorTradeoffDisplay.from_predictions(y, s, identities=[("ann", "bob")])
