"""How far apart the scores of the two classes lie."""

from typing import Any

import numpy as np

from skface.metrics._checks import check_scores


def d_prime(y_true: Any, y_score: Any, *, sample_weight: Any = None) -> float:
    """Compute the sensitivity index d', the distance of the two classes in standard deviations.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Labels of two kinds; the larger one means "same person".
    y_score : array-like of shape (n_pairs,)
        Similarities, larger = more alike. NaN is a failed comparison and left out here, for it has
        no place on the scale.
    sample_weight : array-like of shape (n_pairs,), default=None
        How often each pair counts.

    Returns
    -------
    float
        Difference of the two means, divided by the root of the mean of the two population
        variances. 0 = no separation; infinite if neither class varies but their means differ;
        NaN if a class was never compared or nothing varies at all.

    Raises
    ------
    ValueError
        If lengths differ, scores are infinite, or there are not exactly two classes.

    Notes
    -----
    For normal scores of equal variance the equal error rate is ``Phi(-d' / 2)``. It is the one
    number here that changes under monotone transforms of the score; take it as a description.

    References
    ----------
    D. M. Green and J. A. Swets (1966), Signal detection theory and psychophysics.

    Examples
    --------
    >>> from skface.metrics import d_prime
    >>> d_prime([0, 0, 1, 1], [0, 2, 4, 6])
    4.0
    """
    same, score, weight = check_scores(y_true, y_score, sample_weight)
    weight = np.ones(len(score)) if weight is None else weight
    used = (weight > 0) & ~np.isnan(score)
    different_mean, different_variance = _moments(score[used & ~same], weight[used & ~same])
    same_mean, same_variance = _moments(score[used & same], weight[used & same])
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt((same_variance + different_variance) / 2)
        return float((same_mean - different_mean) / spread)


def _moments(score: np.ndarray, weight: np.ndarray) -> tuple[np.float64, np.float64]:
    """Return mean and population variance; NaN without scores."""
    if not len(score):
        return np.float64(np.nan), np.float64(np.nan)
    mean = np.average(score, weights=weight)
    return mean, np.average((score - mean) ** 2, weights=weight)
