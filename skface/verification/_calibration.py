"""Calibration: from a score to a log-likelihood ratio."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.utils import Bunch

CALIBRATIONS = ("sigmoid", "isotonic")

_MOST_STEPS = 500  # of Newton's method; eight are usual
_ROUNDING = 1e-12  # of the cross-entropy: smaller differences between two steps mean nothing


def fit_calibrator(
    kind: str,
    genuine: NDArray[np.bool_],
    score: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> Bunch:
    """Learn the log-likelihood ratio of a score.

    Both classes get the same total weight. The log-odds of a genuine pair are then its
    log-likelihood ratio.

    Parameters
    ----------
    kind : {"sigmoid", "isotonic"}
        A linear or any increasing function of the score.
    genuine : ndarray of shape (n_pairs,)
        Which pairs are genuine.
    score : ndarray of shape (n_pairs,)
        Finite similarities.
    weight : ndarray of shape (n_pairs,)
        How often each pair counts; positive.

    Returns
    -------
    Bunch
        `kind`, and `slope` and `intercept` ("sigmoid") or `scores` and `log_likelihood_ratios`
        ("isotonic").
    """
    n_genuine, n_impostor = weight[genuine].sum(), weight[~genuine].sum()
    target = np.where(genuine, (n_genuine + 1) / (n_genuine + 2), 1 / (n_impostor + 2))
    balanced = weight / np.where(genuine, n_genuine, n_impostor)
    if kind == "isotonic":
        regression = IsotonicRegression(out_of_bounds="clip")
        regression.fit(score, target, sample_weight=balanced)
        return Bunch(
            kind=kind,
            scores=regression.X_thresholds_,
            log_likelihood_ratios=logit(regression.y_thresholds_),
        )

    slope, intercept = _fit_line(score, target, balanced)
    if slope <= 0:  # scores without evidence, or reversed ones
        slope = intercept = 0.0
    return Bunch(kind=kind, slope=slope, intercept=intercept)


def calibrate(calibrator: Bunch, score: float | NDArray[np.float64]) -> Any:
    """Return the log-likelihood ratio of each score, of the shape of `score`; NaN stays NaN."""
    if calibrator.kind == "sigmoid":
        return calibrator.slope * score + calibrator.intercept
    return np.interp(score, calibrator.scores, calibrator.log_likelihood_ratios)


def _fit_line(
    score: NDArray[np.float64], target: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[float, float]:
    """Return slope and intercept of the log-odds that minimize the weighted cross-entropy.

    The cross-entropy is convex. It is minimized by Newton's method; a step is halved until it
    lowers the loss.

    LogisticRegression takes no soft targets: it needs every score twice, and four times as long.
    scipy's root finder and its trust-region methods stop early, without an error, if one score
    is an outlier.
    """
    mean = np.average(score, weights=weight)
    spread = np.sqrt(np.average((score - mean) ** 2, weights=weight))
    if not spread > 0:
        return 0.0, 0.0
    line = np.stack(((score - mean) / spread, np.ones_like(score)))

    def loss(parameters: NDArray[np.float64]) -> float:
        log_odds = parameters @ line
        return weight @ (np.logaddexp(0, log_odds) - target * log_odds)

    parameters = np.zeros(2)
    least = loss(parameters)
    for _ in range(_MOST_STEPS):
        probability = expit(parameters @ line)
        gradient = line @ (weight * (probability - target))
        curvature = (line * (weight * probability * (1 - probability))) @ line.T
        step = np.linalg.lstsq(curvature, gradient)[0]  # singular where all is saturated
        gain = gradient @ step  # twice the expected decrease of the loss
        lower = loss(parameters - step)
        while gain > _ROUNDING and lower > least - 1e-4 * (gradient @ step):
            step /= 2
            lower = loss(parameters - step)
        parameters, least = parameters - step, lower
        if gain < _ROUNDING**2:
            break
    slope, intercept = parameters
    return float(slope / spread), float(intercept - slope / spread * mean)
