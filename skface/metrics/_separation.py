"""The sensitivity index d'."""

import numpy as np
from numpy.typing import ArrayLike

from skface.metrics._checks import check_scores


def d_prime(
    y_true: ArrayLike, y_score: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the sensitivity index d', the distance of the two classes in standard deviations.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Two labels; the larger one marks genuine pairs (same person).
    y_score : array-like of shape (n_pairs,)
        Similarities; larger = more alike. NaN marks a failed comparison, which is left out.
    sample_weight : array-like of shape (n_pairs,), default=None
        Weight of each pair.

    Returns
    -------
    float
        Difference of the two means, divided by the root of the mean of the two population
        variances. 0 = no separation. Infinite if neither class varies but their means differ. NaN
        if a class has no compared pair, or if all scores are equal.

    Raises
    ------
    ValueError
        If lengths differ, scores are infinite, or there are not exactly two classes.

    Notes
    -----
    For normal scores of equal variance the equal error rate is ``Phi(-d' / 2)``. Unlike the error
    rates, d' changes under monotone transforms of the score.

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
    impostor_mean, impostor_variance = _moments(score[used & ~same], weight[used & ~same])
    genuine_mean, genuine_variance = _moments(score[used & same], weight[used & same])
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt((genuine_variance + impostor_variance) / 2)
        return float((genuine_mean - impostor_mean) / spread)


def _moments(score: np.ndarray, weight: np.ndarray) -> tuple[np.float64, np.float64]:
    """Return mean and population variance; NaN without scores."""
    if not len(score):
        return np.float64(np.nan), np.float64(np.nan)
    mean = np.average(score, weights=weight)
    return mean, np.average((score - mean) ** 2, weights=weight)
