"""Drawn numbers against plain loops and scikit-learn; nothing clipped, lost or changed."""

import copy
import inspect
import sys

import numpy as np
import PIL.Image
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import DetCurveDisplay
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import skface.images
from skface import PairVerifier, make_faces, make_pairs, plotting
from skface.metrics import (
    FewImpostorsWarning,
    bootstrap_interval,
    cllr,
    equal_error_rate,
    min_cllr,
    rate_interval,
    threshold_at_far,
)
from skface.plotting import (
    EmbeddingMapDisplay,
    ErrorTradeoffDisplay,
    MistakesDisplay,
    ScoreDistributionDisplay,
    TippettDisplay,
)

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def scores(seed=0, n=400, n_failures=0):
    """Labels and scores with ties within and between the classes."""
    rng = np.random.default_rng(seed)
    y = np.r_[0, 1, rng.integers(0, 2, n - 2)]
    s = np.round(rng.normal(2.0 * y, 1.0), 1)
    s[rng.choice(n, n_failures, replace=False)] = np.nan
    return y, s


def rates_by_loop(y, s, threshold):
    """FMR and FNMR, one pair at a time; failures are in neither."""
    wrong, n = [0, 0], [0, 0]
    for label, score in zip(y, s, strict=True):
        if not np.isnan(score):
            n[label] += 1
            wrong[label] += (score >= threshold) != label
    return wrong[0] / n[0], wrong[1] / n[1]


def words(display):
    """All that is written into the picture."""
    return "\n".join(text.get_text() for text in display.figure_.findobj(matplotlib.text.Text))


def assert_readable(display):
    """Everything lies on the page, and the legend inside the axes."""
    figure = display.figure_
    figure.canvas.draw()
    width, height = figure.get_size_inches()
    box = figure.get_tightbbox()
    assert box.x0 > -0.01 and box.y0 > -0.01 and box.x1 < width + 0.01 and box.y1 < height + 0.01
    legend = display.ax_.get_legend()
    if legend is not None:
        outer, inner = display.ax_.get_window_extent(), legend.get_window_extent()
        assert outer.x0 <= inner.x0 and inner.x1 <= outer.x1
        assert outer.y0 <= inner.y0 and inner.y1 <= outer.y1


# Every display, made of the same small data


@pytest.fixture(scope="module")
def faces():
    return make_faces(n_identities=6, n_images_per_identity=4, image_size=32, random_state=0)


def draw(name, faces, **kwargs):
    """Draw one display of synthetic data with two failures."""
    if name == "EmbeddingMapDisplay":
        embeddings = faces.images.reshape(len(faces.images), -1)[:, ::50] / 255.0
        embeddings[[3, 7]] = np.nan
        return EmbeddingMapDisplay.from_embeddings(
            embeddings, faces.target, images=faces.images, n_thumbnails=3, **kwargs
        )
    pairs = make_pairs(faces.target, n_impostor=100, random_state=0)
    s = np.random.default_rng(0).normal(2.0 * pairs.target, 1.0)
    s[[4, 5]] = np.nan
    display = getattr(plotting, name)
    if name == "MistakesDisplay":
        return display.from_predictions(
            pairs.target,
            s,
            faces.images[pairs.indices],
            threshold=1.0,
            identities=pairs.identities,
            **kwargs,
        )
    if name == "ScoreDistributionDisplay":
        kwargs["threshold"] = 1.0
    if name == "ErrorTradeoffDisplay":
        kwargs |= {"thresholds": 1.0, "far": [0.1], "identities": pairs.identities}
    return display.from_predictions(pairs.target, s, **kwargs)


every_display = pytest.mark.parametrize("name", plotting.__all__)


@every_display
def test_nothing_is_clipped(name, faces):
    assert_readable(draw(name, faces))


@every_display
def test_failures_are_told(name, faces):
    text = words(draw(name, faces))
    assert "2 fail" in text or "2 faces not found" in text or "Failures" in text


@every_display
def test_plot_again_on_other_axes(name, faces):
    display = draw(name, faces)
    first = display.ax_
    stored = {key: value for key, value in vars(display).items() if not key.endswith("_")}
    before = copy.deepcopy(stored)
    figure, axes = plt.subplots(ncols=2, figsize=(12.8, 4.8), layout="constrained")
    assert display.plot(ax=axes[1]) is display
    assert display.ax_ is axes[1] is not first
    assert display.figure_ is figure
    assert not axes[0].has_data() and axes[1].has_data()
    assert_readable(display)
    for key, value in before.items():
        assert getattr(display, key) is stored[key]
        np.testing.assert_equal(getattr(display, key), value)


@every_display
def test_drawing_on_given_axes(name, faces):
    figure, ax = plt.subplots(figsize=(6.4, 6.4), layout="constrained")
    display = draw(name, faces, ax=ax)
    assert display.ax_ is ax and display.figure_ is figure
    assert_readable(display)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("name", ["ScoreDistributionDisplay", "TippettDisplay"])
def test_the_legend_covers_no_curve(name, log, faces):
    display = draw(name, faces, **({"log": log} if name == "ScoreDistributionDisplay" else {}))
    ax = display.ax_
    display.figure_.canvas.draw()
    if name == "TippettDisplay":
        highest = 100
    else:
        highest = max(
            display.impostor_.get_data().values.max(), display.genuine_.get_data()[0].max()
        )
    bottom = ax.get_legend().get_window_extent().y0
    assert ax.transData.transform((display.line_.get_xdata()[0], highest))[1] < bottom
    assert ax.transAxes.transform((0, display.line_.get_ydata()[1]))[1] < bottom


@every_display
def test_parameters_are_the_attributes(name, faces):
    display = draw(name, faces)
    parameters = inspect.signature(type(display)).parameters
    assert set(parameters) == {key for key in vars(display) if not key.endswith("_")}
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters.values())


@every_display
def test_without_matplotlib(name, faces, monkeypatch):
    display = draw(name, faces)
    with monkeypatch.context() as absent:  # matplotlib closes the figures afterwards
        absent.setitem(sys.modules, "matplotlib", None)
        absent.setitem(sys.modules, "matplotlib.pyplot", None)
        with pytest.raises(ImportError, match=rf"{name} needs matplotlib.*skface\[plot\]"):
            display.plot()
        with pytest.raises(ImportError, match=rf"{name} needs matplotlib.*skface\[plot\]"):
            draw(name, faces)


# Estimators


def verifier_data(n=300, n_failures=0, seed=0):
    """Pairs of 2-D embeddings, (n, 2, 2), as flat features too, and labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    left = rng.normal(size=(n, 2))
    right = np.where(y[:, None] == 1, left, rng.normal(size=(n, 2)))
    X = np.stack([left, right + rng.normal(0, 0.4, (n, 2))], axis=1)
    X[rng.choice(n, n_failures, replace=False), 0] = np.nan
    return X, y


def closeness(pairs):
    return -np.linalg.norm(pairs[:, 0] - pairs[:, 1], axis=1, keepdims=True)


def features():
    return FunctionTransformer(closeness)


@pytest.mark.parametrize(
    "estimator",
    [
        PairVerifier(),
        make_pipeline(FunctionTransformer(), PairVerifier(criterion="eer")),
        make_pipeline(FunctionTransformer(), PairVerifier(calibration=None, threshold=0.0)),
        GridSearchCV(make_pipeline(PairVerifier()), {"pairverifier__threshold": [0.5, 0.9]}),
        make_pipeline(features(), StandardScaler(), LogisticRegression()),
        make_pipeline(features(), RandomForestClassifier(5, max_depth=3, random_state=0)),
        FixedThresholdClassifier(make_pipeline(features(), LogisticRegression()), threshold=0.2),
        FixedThresholdClassifier(
            make_pipeline(features(), LogisticRegression()), response_method="decision_function"
        ),
        make_pipeline(
            features(), TunedThresholdClassifierCV(LogisticRegression(), scoring="accuracy")
        ),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.parametrize("labels", [(0, 1), ("different", "same")], ids=["numbers", "words"])
def test_the_threshold_drawn_is_the_one_of_predict(estimator, labels):
    X, y = verifier_data()
    target = np.array(labels)[y]
    estimator.fit(X, target)
    display = ScoreDistributionDisplay.from_estimator(estimator, X, target)
    accepted = estimator.predict(X) == labels[1]
    assert display.fmr == np.mean(accepted[y == 0])
    assert display.fnmr == np.mean(~accepted[y == 1])
    tradeoff = ErrorTradeoffDisplay.from_estimator(estimator, X, target, confidence=None)
    assert tuple(tradeoff.operating_points[0, 1:]) == (display.fmr, display.fnmr)
    assert type(estimator).__name__ in words(tradeoff)


def test_the_threshold_of_a_verifier_is_shown_on_its_own_scale():
    X, y = verifier_data(n_failures=7)
    pipe = make_pipeline(FunctionTransformer(), PairVerifier()).fit(X, y)
    display = ScoreDistributionDisplay.from_estimator(pipe, X, y)
    assert display.threshold == pipe[-1].threshold_
    assert sum(display.n_failures) == 7
    fmr, fnmr = rates_by_loop(y, pipe[-1].score_pairs(X), pipe[-1].threshold_)
    assert (display.fmr, display.fnmr) == pytest.approx((fmr, fnmr))


@pytest.mark.parametrize(
    "display", [ScoreDistributionDisplay, ErrorTradeoffDisplay, TippettDisplay, MistakesDisplay]
)
def test_estimators_that_cannot_be_drawn(display):
    X, y = verifier_data()
    with pytest.raises(NotFittedError):
        display.from_estimator(PairVerifier(), X, y)
    with pytest.raises((ValueError, TypeError), match="End the pipeline with PairVerifier"):
        display.from_estimator(PCA(1).fit(closeness(X)), closeness(X), y)


# Score distribution


@pytest.mark.parametrize("threshold", [None, 0.7, -40.0])
@pytest.mark.parametrize("n_failures", [0, 13])
def test_histograms_equal_a_loop(threshold, n_failures):
    y, s = scores(n_failures=n_failures)
    display = ScoreDistributionDisplay.from_predictions(y, s, threshold=threshold, n_bins=20)
    edges = display.bin_edges
    for label, counts in ((0, display.impostor), (1, display.genuine)):
        expected = np.zeros(len(edges) - 1, dtype=int)
        for score in s[(y == label) & ~np.isnan(s)]:
            place = max(i for i in range(len(edges) - 1) if edges[i] <= score)
            expected[place] += 1
        np.testing.assert_array_equal(counts, expected)
        assert counts.sum() + display.n_failures[1 - label] == np.sum(y == label)
    drawn = [display.impostor_.get_data().values.sum(), display.genuine_.get_data().values.sum()]
    assert drawn == pytest.approx([100, 100])


def test_what_lies_beyond_the_threshold_is_what_it_accepts():
    y, s = scores(n_failures=5)
    for threshold in np.unique(s[~np.isnan(s)])[5:-5:7]:
        display = ScoreDistributionDisplay.from_predictions(y, s, threshold=threshold)
        assert threshold in display.bin_edges
        beyond = display.bin_edges[:-1] >= threshold
        assert display.impostor[beyond].sum() == np.sum((y == 0) & (s >= threshold))
        assert display.genuine[~beyond].sum() == np.sum((y == 1) & (s < threshold))
        assert (display.fmr, display.fnmr) == rates_by_loop(y, s, threshold)


def test_failures_are_counted_as_rejections_too():
    y = np.repeat([0, 1], [10, 20])
    s = np.r_[np.full(5, 0.2), 0.8, np.full(4, np.nan), np.full(8, 0.3), np.full(12, 0.9)]
    s[10] = np.nan
    text = words(ScoreDistributionDisplay.from_predictions(y, s, threshold=0.5))
    assert "FMR 16.7 %, FNMR 36.8 %" in text  # 1 of 6 and 7 of 19
    assert "5 failed pairs (1 same, 4 different)" in text
    assert "FAR 10 %, FRR 40 %" in text  # 1 of 10 and 8 of 20


def test_all_pairs_of_a_kind_failed():
    y, s = scores()
    display = ScoreDistributionDisplay.from_predictions(
        y, np.where(y == 1, np.nan, s), threshold=0.5
    )
    assert np.isnan(display.fnmr) and display.fmr == rates_by_loop(y, s, 0.5)[0]
    assert "nan" not in words(display)
    with pytest.raises(ValueError, match="NaN for all 400 pairs"):
        ScoreDistributionDisplay.from_predictions(y, np.full(400, np.nan))


@pytest.mark.parametrize("values", [np.zeros(6), np.float32([1, 2, 3, 4, 5, 6])])
def test_extreme_histograms(values):
    display = ScoreDistributionDisplay.from_predictions([0, 1] * 3, values, threshold=values[0])
    assert display.genuine.sum() == display.impostor.sum() == 3


def test_logarithmic_heights_show_a_single_pair():
    y = np.repeat([0, 1], [1000, 10])
    s = np.r_[np.zeros(999), 5.0, np.full(10, 9.0)]
    display = ScoreDistributionDisplay.from_predictions(y, s, log=True)
    assert display.ax_.get_yscale() == "log"
    assert display.ax_.get_ylim()[0] < 100 / 1000
    assert_readable(display)


# Error trade-off


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
    assert "20 failed pairs left out" in text
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
    with pytest.raises(ValueError, match="NaN for all .* pairs of the same person"):
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


# Tippett plot


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


# Mistakes


@pytest.fixture
def photos(tmp_path):
    """Paths of ten photos of different sizes, the rows of twelve pairs, labels and scores."""
    paths = []
    for i in range(10):
        size = (40 + 10 * i, 60) if i % 2 else (30, 90)
        paths.append(str(tmp_path / f"photo_{i}.png"))
        PIL.Image.new("RGB", size, (20 * i, 90, 90)).save(paths[-1])
    rng = np.random.default_rng(0)
    rows = np.array([rng.choice(10, 2, replace=False) for _ in range(12)])
    X = np.array(paths, dtype=object)[rows]
    y = np.array([0, 1] * 6)
    #             accepted: rows 0, 2, 4, 8; rejected: rows 1, 7, 9; failed: row 5
    s = np.array([0.6, 0.1, 0.9, 0.8, 0.7, np.nan, 0.2, 0.3, 0.95, 0.05, 0.0, 0.5])
    return X, y, s


def test_worst_mistakes_equal_a_loop(photos):
    X, y, s = photos
    display = MistakesDisplay.from_predictions(y, s, X, threshold=0.5, n_mistakes=3)
    assert display.false_accepts.rows.tolist() == [8, 2, 4]
    assert display.false_rejects.rows.tolist() == [9, 1, 7]
    assert display.failures.rows.tolist() == [5]
    np.testing.assert_array_equal(display.false_accepts.scores, s[[8, 2, 4]])
    assert display.false_accepts.n_found == 4
    assert (display.false_rejects.n_found, display.failures.n_found) == (3, 1)
    text = words(display)
    assert "the worst 3 of 4 among 6 pairs" in text
    assert "all there are: 3 among 6 pairs" in text
    assert "row 8: 0.95" in text and "row 5: same" in text


def test_ties_are_shown_by_row():
    faces = make_faces(n_identities=2, n_images_per_identity=2, image_size=16, random_state=0)
    X = faces.images[[[0, 2], [1, 3], [0, 3], [0, 1]]]
    display = MistakesDisplay.from_predictions([0, 0, 0, 1], [1, 1, 1, 1], X, threshold=1)
    assert display.false_accepts.rows.tolist() == [0, 1, 2]
    assert "none among 1 pair" in words(display)


def test_no_mistakes_at_all(photos):
    X, y, _ = photos
    display = MistakesDisplay.from_predictions(y, y, X, threshold=0.5)
    assert words(display).count("none among 6 pairs") == 2
    assert "Failures" not in words(display)
    assert not display.ax_.images
    assert_readable(display)


def test_only_what_is_shown_is_decoded(photos, monkeypatch):
    X, y, s = photos
    decoded = []
    decode = skface.images.decode
    monkeypatch.setattr(skface.images, "decode", lambda path: decoded.append(path) or decode(path))
    display = MistakesDisplay.from_predictions(y, s, X, threshold=0.5, n_mistakes=1)
    assert sorted(decoded) == sorted(X[[8, 9, 5]].ravel())
    display.plot()
    assert len(decoded) == 6


def test_photos_keep_their_shape_and_are_small(tmp_path):
    PIL.Image.new("RGB", (1200, 600)).save(tmp_path / "wide.png")
    X = [[str(tmp_path / "wide.png"), np.zeros((50, 100, 3), dtype=np.uint8)]] * 2
    display = MistakesDisplay.from_predictions([0, 1], [1, 1], X, threshold=0)
    left, right = display.false_accepts.photos[0]
    assert left.shape == (128, 256, 3) and right.shape == (50, 100, 3)
    for image in display.ax_.images:
        x0, x1, y0, y1 = image.get_extent()
        assert (x1 - x0) / (y1 - y0) == pytest.approx(2)


@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_pixels_are_shown_as_they_are(kind):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (2, 2, 20, 20, 3)).astype(np.uint8)
    given = X if kind is np.uint8 else X / 255
    display = MistakesDisplay.from_predictions([0, 1], [1, 1], given, threshold=0)
    np.testing.assert_array_equal(display.false_accepts.photos[0][1], X[0, 1])


def test_photos_that_cannot_be_shown(photos, tmp_path):
    X, y, s = photos
    X = X.tolist()
    broken = tmp_path / "broken $1$.png"
    broken.write_text("no photo")
    X[8] = [str(broken), str(tmp_path / "a_photo_that_does_not_exist_anywhere.png")]
    X[5] = [np.full((30, 30, 3), np.nan), X[5][1]]
    display = MistakesDisplay.from_predictions(y, s, X, threshold=0.5)
    assert display.false_accepts.photos[0][0] == "cannot be read: broken $1$.png"
    assert display.failures.photos[0][0] == "no face was found"
    text = words(display).replace("\n", "").replace(" ", "")
    assert "broken$1$.png" in text and "does_not_exist" in text
    assert_readable(display)


def test_people_are_named_and_texts_do_not_collide(photos):
    X, y, s = photos
    names = np.array(["Ann", "A name that is too long for its place in the gallery", "Cy"])
    identities = np.column_stack([names[np.arange(12) % 3], names[(np.arange(12) + 1 - y) % 3]])
    display = MistakesDisplay.from_predictions(
        y, s, X, threshold=0.5, identities=identities, n_mistakes=6
    )
    text = words(display)
    assert "Ann" in text and "Cy" in text and "…" in text
    assert_readable(display)
    boxes = [artist.get_window_extent() for artist in display.ax_.texts]
    boxes += [image.get_window_extent() for image in display.ax_.images]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_gallery_of_a_pipeline():
    faces = make_faces(n_identities=8, n_images_per_identity=4, image_size=32, random_state=0)
    pairs = make_pairs(faces.target, n_impostor=100, random_state=0)
    X = faces.images[pairs.indices]
    pixels = FunctionTransformer(lambda X: X.reshape(len(X), 2, -1) / 255)
    pipe = make_pipeline(pixels, PairVerifier()).fit(X, pairs.target)
    display = MistakesDisplay.from_estimator(pipe, X, pairs.target)
    wrong = pipe.predict(X) != pairs.target
    assert display.false_accepts.n_found == np.sum(wrong & (pairs.target == 0))
    assert display.false_rejects.n_found == np.sum(wrong & (pairs.target == 1))
    flat = MistakesDisplay.from_predictions(
        pairs.target,
        pipe.decision_function(X),
        X.reshape(len(X), 2, -1),
        threshold=0.0,
        image_shape=(32, 32, 3),
    )
    np.testing.assert_array_equal(flat.false_accepts.rows, display.false_accepts.rows)


def test_arguments_of_the_gallery(photos):
    X, y, s = photos
    with pytest.raises(ValueError, match="X holds 11 pairs, but there are 12 scores"):
        MistakesDisplay.from_predictions(y, s, X[:11], threshold=0.5)
    with pytest.raises(ValueError, match="X holds 12 faces"):
        MistakesDisplay.from_predictions(y, s, X[:, 0], threshold=0.5)
    with pytest.raises(ValueError, match=r"identities has shape \(12,\)"):
        MistakesDisplay.from_predictions(y, s, X, threshold=0.5, identities=y)
    with pytest.raises(ValueError, match="n_mistakes"):
        MistakesDisplay.from_predictions(y, s, X, threshold=0.5, n_mistakes=0)


# Embedding map


def clusters(n_people=4, n_faces=10, seed=0):
    rng = np.random.default_rng(seed)
    people = np.repeat([f"person {i:02}" for i in range(n_people)], n_faces)
    centres = np.repeat(rng.normal(size=(n_people, 8)), n_faces, axis=0)
    return centres + rng.normal(0, 0.1, centres.shape), people


def test_positions_are_the_projection():
    embeddings, people = clusters()
    display = EmbeddingMapDisplay.from_embeddings(embeddings, people)
    expected = PCA(2, random_state=0).fit_transform(embeddings)
    np.testing.assert_allclose(display.positions, expected)
    for line, person in zip(display.lines_, np.unique(people), strict=True):
        assert line.get_label() == person
        np.testing.assert_array_equal(line.get_xydata(), display.positions[people == person])
    assert "of the variance" in words(display)


def test_any_transformer_projects_and_is_not_fitted_itself():
    embeddings, people = clusters()
    projection = TSNE(perplexity=5, max_iter=250, random_state=0)
    display = EmbeddingMapDisplay.from_embeddings(embeddings, people, projection=projection)
    assert not hasattr(projection, "embedding_")
    assert "TSNE, first coordinate" in words(display)
    chain = make_pipeline(StandardScaler(), PCA(2))
    display = EmbeddingMapDisplay.from_embeddings(embeddings, people, projection=chain)
    assert "PCA, second component" in words(display)
    with pytest.raises(ValueError, match="two columns"):
        EmbeddingMapDisplay.from_embeddings(embeddings, people, projection=PCA(3))


@pytest.mark.parametrize("n_people", [1, 10, 11, 14])
def test_up_to_ten_people_are_told_apart_without_colour(n_people):
    embeddings, people = clusters(n_people)
    embeddings, people = np.vstack([embeddings, embeddings[-1:]]), np.append(people, people[-1])
    display = EmbeddingMapDisplay.from_embeddings(embeddings, people)
    labels = [line.get_label() for line in display.lines_]
    assert len({line.get_marker() for line in display.lines_}) == len(labels)
    assert people[-1] in labels  # has the most faces
    assert len(labels) == min(n_people, 11)
    if n_people > 10:
        n_others = n_people - 10
        assert labels[0] == ("1 other person" if n_others == 1 else f"{n_others} other people")
    assert sum(len(line.get_xdata()) for line in display.lines_) == len(people)
    assert_readable(display)


@pytest.mark.parametrize("figsize", [(6.4, 4.8), (4, 6), (9, 3)])
def test_the_legend_covers_no_face(figsize):
    embeddings, people = clusters(10)
    people = np.char.add(people, " with a name that is too long")
    _, ax = plt.subplots(figsize=figsize, layout="constrained")
    display = EmbeddingMapDisplay.from_embeddings(embeddings, people, ax=ax)
    display.figure_.canvas.draw()
    at = ax.transData.transform(display.positions)
    box = ax.get_legend().get_window_extent()
    assert not np.any((at >= box.min).all(axis=1) & (at <= box.max).all(axis=1))
    assert np.all((at >= ax.bbox.min) & (at <= ax.bbox.max))


def test_faces_that_were_not_found_are_left_out_and_counted():
    embeddings, people = clusters()
    embeddings[[0, 17], 3] = np.nan
    display = EmbeddingMapDisplay.from_embeddings(embeddings, people)
    assert len(display.positions) == len(display.people) == 38
    assert "2 faces not found" in words(display)
    with pytest.raises(ValueError, match="NaN in all 40 rows"):
        EmbeddingMapDisplay.from_embeddings(np.full((40, 8), np.nan), people)


def test_thumbnails_do_not_overlap_and_only_they_are_decoded(tmp_path, monkeypatch):
    embeddings = np.random.default_rng(0).normal(size=(40, 3))
    embeddings[0] = np.nan
    people = np.repeat(list("abcde"), 8)
    paths = []
    for i in range(40):
        paths.append(str(tmp_path / f"{i}.png"))
        if i != 9:
            PIL.Image.new("RGB", (40, 20 + i)).save(paths[-1])
    decoded = []
    decode = skface.images.decode
    monkeypatch.setattr(skface.images, "decode", lambda path: decoded.append(path) or decode(path))
    display = EmbeddingMapDisplay.from_embeddings(
        embeddings, people, images=paths, n_thumbnails=1000
    )
    assert 5 <= len(display.thumbnails) < 39
    display.figure_.canvas.draw()
    boxes = [image.get_window_extent() for image in display.images_]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
    rows = display.thumbnail_faces + 1  # row 0 has no embedding
    readable = [path for path in decoded if path != paths[9]]
    assert readable == [paths[row] for row in rows]
    for row, pixels in zip(rows, display.thumbnails, strict=True):
        assert pixels.shape == (20 + row, 40, 3)
    assert len(set(display.people[display.thumbnail_faces[:3]])) == 3  # one of each at first
    assert_readable(display)


def test_map_of_an_estimator(faces):
    pixels = FunctionTransformer(lambda X: X.reshape(len(X), -1) / 255)
    embedder = make_pipeline(pixels, PCA(5, random_state=0)).fit(faces.images)
    display = EmbeddingMapDisplay.from_estimator(
        embedder, faces.images, faces.target, n_thumbnails=2
    )
    assert display.positions.shape == (24, 2) and len(display.images_) == 2
    with pytest.raises(TypeError, match=r"pass pipe\[:-1\]"):
        EmbeddingMapDisplay.from_estimator(LogisticRegression(), faces.images, faces.target)


def test_arguments_of_the_map(faces):
    embeddings, people = clusters()
    with pytest.raises(ValueError, match="of pairs there is no map"):
        EmbeddingMapDisplay.from_embeddings(embeddings.reshape(20, 2, 8), people[:20])
    with pytest.raises(ValueError, match="images=None"):
        EmbeddingMapDisplay.from_embeddings(embeddings, people, n_thumbnails=3)
    with pytest.raises(ValueError, match="images holds 24 faces, but there are 40"):
        EmbeddingMapDisplay.from_embeddings(embeddings, people, images=faces.images, n_thumbnails=3)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        EmbeddingMapDisplay.from_embeddings(embeddings, people[1:])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # no variance to share
def test_map_of_a_collapsed_network(faces):
    display = EmbeddingMapDisplay.from_embeddings(
        np.ones((24, 3)), faces.target, images=faces.images, n_thumbnails=2
    )
    assert len(display.images_) == 1 and "nan" not in words(display)
    assert_readable(display)


def test_names_are_no_formulas():
    embeddings, _ = clusters(2)
    display = EmbeddingMapDisplay.from_embeddings(embeddings, np.repeat([r"$\bad", "b$"], 10))
    display.figure_.canvas.draw()
