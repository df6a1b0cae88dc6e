"""Error rates over thresholds: exact on ties, aware of failures."""
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_scalar

from skface.metrics._checks import check_scores


class EqualErrorRate(NamedTuple):
    """Where false acceptances and false rejections are equally frequent.

    Attributes
    ----------
    rate : float
        Mean of `far` and `frr`, in [0, 1].
    threshold : float
        The threshold at which they are closest.
    far, frr : float
        The two rates there. They differ where a step of one jumps over the other.
    """

    rate: float
    threshold: float
    far: float
    frr: float


def far_frr_curve(
    y_true: Any, y_score: Any, *, sample_weight: Any = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute false acceptance and false rejection rates at every distinct threshold.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Labels of two kinds; the larger one means "same person".
    y_score : array-like of shape (n_pairs,)
        Similarities, larger = more alike. NaN is a failed comparison: rejected and counted.
    sample_weight : array-like of shape (n_pairs,), default=None
        How often each pair counts.

    Returns
    -------
    far : ndarray of shape (n_thresholds,)
        Share of the different pairs with ``score >= threshold``; falls to 0.
    frr : ndarray of shape (n_thresholds,)
        Share of the same pairs without ``score >= threshold``; rises to 1.
    thresholds : ndarray of shape (n_thresholds,)
        The distinct scores, ascending, and then the next number above them all, which rejects
        everything. Between two of them the rates are those of the upper one.

    Raises
    ------
    ValueError
        If lengths differ, scores are infinite, or there are not exactly two classes.

    Examples
    --------
    >>> from skface.metrics import far_frr_curve
    >>> far, frr, thresholds = far_frr_curve([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9])
    >>> far
    array([1. , 0.5, 0. , 0. ])
    >>> frr
    array([0. , 0. , 0.5, 1. ])
    """
    same, score, weight = check_scores(y_true, y_score, sample_weight)
    compared = ~np.isnan(score)
    order = np.flatnonzero(compared)[np.argsort(score[compared], kind="stable")]
    ascending = score[order]
    # Weights of genuine and impostor pairs strictly below each position of the sorted scores.
    genuine_below = np.concatenate(([0.0], np.cumsum(np.where(same, weight, 0.0)[order])))
    impostor_below = np.concatenate(([0.0], np.cumsum(np.where(same, 0.0, weight)[order])))
    first_of_tie = np.flatnonzero(np.r_[True, ascending[1:] != ascending[:-1]][: len(ascending)])
    steps = np.append(first_of_tie, len(ascending))
    above_all = _next_above(ascending[-1]) if len(ascending) else score.dtype.type(np.inf)
    thresholds = np.append(ascending[first_of_tie], above_all)
    accepted_impostors = impostor_below[-1] - impostor_below[steps]
    accepted_genuine = genuine_below[-1] - genuine_below[steps]
    n_genuine, n_impostor = weight[same].sum(), weight[~same].sum()
    n_failed_genuine = weight[same & ~compared].sum()
    frr = (n_failed_genuine + genuine_below[steps]) / n_genuine
    frr[accepted_genuine == 0] = 1.0  # exactly, whatever the order in which weights were added
    return accepted_impostors / n_impostor, frr, thresholds


def equal_error_rate(y_true: Any, y_score: Any, *, sample_weight: Any = None) -> EqualErrorRate:
    """Compute the equal error rate on the step function, without interpolation.

    The threshold minimises ``|FAR - FRR|`` (the smaller mean decides a tie, then the smaller
    threshold) and the rate is the mean of the two there.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Labels of two kinds; the larger one means "same person".
    y_score : array-like of shape (n_pairs,)
        Similarities, larger = more alike. NaN is a failed comparison: rejected and counted.
    sample_weight : array-like of shape (n_pairs,), default=None
        How often each pair counts.

    Returns
    -------
    EqualErrorRate
        Named tuple of `rate`, `threshold`, `far` and `frr`.

    Examples
    --------
    >>> from skface.metrics import equal_error_rate
    >>> equal_error_rate([0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9])
    EqualErrorRate(rate=0.5, threshold=0.6, far=0.5, frr=0.5)
    """
    far, frr, thresholds = far_frr_curve(y_true, y_score, sample_weight=sample_weight)
    rate = (far + frr) / 2
    # Rounding: 0.3 - 0.2 and 0.2 - 0.1 should tie although they differ in the last bits.
    best = np.lexsort((rate, np.round(np.abs(far - frr), 12)))[0]
    return EqualErrorRate(
        float(rate[best]), float(thresholds[best]), float(far[best]), float(frr[best])
    )


def threshold_at_far(y_true: Any, y_score: Any, far: float, *, sample_weight: Any = None) -> float:
    """Find the smallest threshold whose empirical false acceptance rate is at most `far`.

    That is the next number above the highest score that may no longer be accepted, so a whole
    tie is moved past together and the largest possible share of same pairs is accepted. Nothing
    is interpolated: with fewer than ``1 / far`` different pairs no false acceptance is allowed.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Labels of two kinds; the larger one means "same person".
    y_score : array-like of shape (n_pairs,)
        Similarities, larger = more alike. NaN is a failed comparison: rejected and counted.
    far : float
        Largest allowed false acceptance rate, in [0, 1].
    sample_weight : array-like of shape (n_pairs,), default=None
        How often each pair counts.

    Returns
    -------
    float
        The threshold; the smallest score of all if everything may be accepted. It is exact in the
        precision of `y_score` (float32 or float64).

    Examples
    --------
    >>> from skface.metrics import threshold_at_far
    >>> threshold_at_far([0, 0, 0, 1, 1], [0.125, 0.25, 0.5, 0.5, 0.75], far=1 / 3) > 0.25
    True
    """
    check_scalar(far, "far", (float, int, np.floating), min_val=0, max_val=1)
    rates, _, thresholds = far_frr_curve(y_true, y_score, sample_weight=sample_weight)
    first = int(np.argmax(rates <= far))  # the last rate is 0, so there always is one
    return float(thresholds[0] if first == 0 else _next_above(thresholds[first - 1]))


def tar_at_far(y_true: Any, y_score: Any, far: float, *, sample_weight: Any = None) -> float:
    """Compute the share of same pairs accepted while at most `far` of the others are.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Labels of two kinds; the larger one means "same person".
    y_score : array-like of shape (n_pairs,)
        Similarities, larger = more alike. NaN is a failed comparison: rejected and counted.
    far : float
        Largest allowed false acceptance rate, in [0, 1].
    sample_weight : array-like of shape (n_pairs,), default=None
        How often each pair counts.

    Returns
    -------
    float
        True acceptance rate, ``1 - FRR`` at :func:`threshold_at_far`.

    Examples
    --------
    >>> from skface.metrics import tar_at_far
    >>> tar_at_far([0, 0, 0, 1, 1], [0.1, 0.2, 0.5, 0.5, 0.9], far=0.01)
    0.5
    """
    check_scalar(far, "far", (float, int, np.floating), min_val=0, max_val=1)
    rates, frr, _ = far_frr_curve(y_true, y_score, sample_weight=sample_weight)
    return float(1 - frr[np.argmax(rates <= far)])


def _next_above(value: np.floating) -> np.floating:
    """Return the next larger number in the precision of `value`."""
    return np.nextafter(value, value.dtype.type(np.inf))
