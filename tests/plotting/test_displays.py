"""What all Displays do: nothing clipped, lost or changed."""

import copy
import inspect
import sys

import numpy as np
import pytest
from drawing import assert_readable, closeness, features, rates_by_loop, verifier_data, words
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skface import PairVerifier, make_pairs, plotting
from skface.plotting import (
    EmbeddingMapDisplay,
    ErrorTradeoffDisplay,
    MistakesDisplay,
    ScoreDistributionDisplay,
    TippettDisplay,
)

plt = pytest.importorskip("matplotlib.pyplot")


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
    frozen = ScoreDistributionDisplay.from_estimator(FrozenEstimator(pipe), X, y)
    assert (frozen.threshold, frozen.fmr) == (display.threshold, display.fmr)


@pytest.mark.parametrize(
    "display", [ScoreDistributionDisplay, ErrorTradeoffDisplay, TippettDisplay, MistakesDisplay]
)
def test_estimators_that_cannot_be_drawn(display):
    X, y = verifier_data()
    with pytest.raises(NotFittedError):
        display.from_estimator(PairVerifier(), X, y)
    with pytest.raises((ValueError, TypeError), match="End the pipeline with PairVerifier"):
        display.from_estimator(PCA(1).fit(closeness(X)), closeness(X), y)
