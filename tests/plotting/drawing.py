"""Scores and pairs to draw, and what can be read from a picture."""

import numpy as np
import PIL.Image
import pytest
from sklearn.preprocessing import FunctionTransformer

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")


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


def files_opened(monkeypatch):
    """Names of the image files that Pillow opens from now on."""
    names, open_image = [], PIL.Image.open

    def note(source, *args, **kwargs):
        names.append(source)
        return open_image(source, *args, **kwargs)

    monkeypatch.setattr(PIL.Image, "open", note)
    return names


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
