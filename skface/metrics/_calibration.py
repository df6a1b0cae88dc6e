"""The cost of log-likelihood ratios (Cllr), and the part that poor calibration causes."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import rel_entr

from skface.metrics._checks import check_scores
from skface.metrics._hull import convex_hull
from skface.metrics._rates import error_curve


def cllr(y_true: ArrayLike, llr: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """Compute the cost of log-likelihood ratios, in bits per pair.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Two labels; the larger one marks genuine pairs (same person).
    llr : array-like of shape (n_pairs,)
        Natural logarithms of likelihood ratios, genuine against impostor, as from
        :meth:`skface.PairVerifier.log_likelihood_ratio`. Infinities are allowed. NaN marks a failed
        comparison. It carries no evidence, so it counts as 0, which costs one bit.
    sample_weight : array-like of shape (n_pairs,), default=None
        Weight of each pair.

    Returns
    -------
    float
        The mean of ``log2(1 + exp(-llr))`` over genuine pairs plus the mean of
        ``log2(1 + exp(llr))`` over impostor pairs, divided by 2. 0 is perfect, 1 is as good as no
        evidence, and more than 1 is misleading. Infinite if an infinite ratio has the wrong sign.

    Raises
    ------
    ValueError
        If lengths differ or there are not exactly two classes.

    See Also
    --------
    min_cllr : The cost after the best recalibration.
    calibration_loss : The cost that recalibration would save.

    References
    ----------
    N. Brümmer and J. du Preez (2006), Application-independent evaluation of speaker detection.

    Examples
    --------
    >>> from skface.metrics import cllr
    >>> cllr([0, 0, 1, 1], [0, 0, 0, 0])
    1.0
    >>> round(cllr([0, 0, 1, 1], [-5, -3, 3, 5]), 3)
    0.04
    """
    same, llr, weight = check_scores(y_true, llr, sample_weight, name="llr", allow_infinite=True)
    evidence = np.where(np.isnan(llr), 0.0, llr).astype(np.float64, copy=False)
    bits = np.logaddexp(0.0, np.where(same, -evidence, evidence)) / np.log(2)
    return float(_mean(bits, weight, same) + _mean(bits, weight, ~same)) / 2


def min_cllr(
    y_true: ArrayLike, y_score: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the smallest :func:`cllr` over all increasing functions of the scores.

    It measures how well the scores separate the two classes, whatever their scale. Isotonic
    regression (pooling adjacent violators) finds the best function.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Two labels; the larger one marks genuine pairs (same person).
    y_score : array-like of shape (n_pairs,)
        Similarities or log-likelihood ratios; larger = more alike. Infinities are allowed. NaN
        marks a failed comparison, which costs one bit.
    sample_weight : array-like of shape (n_pairs,), default=None
        Weight of each pair.

    Returns
    -------
    float
        In bits per pair, in [0, 1]. 0 if a threshold separates the classes; 1 if genuine pairs do
        not have larger scores than impostor pairs.

    Raises
    ------
    ValueError
        If lengths differ or there are not exactly two classes.

    See Also
    --------
    cllr : The cost of given log-likelihood ratios.

    Notes
    -----
    The function is fitted and judged on the same pairs, so the result is too small if there are few
    pairs. Scores at either end that only one class has map to infinite log-likelihood ratios of the
    right sign. These cost nothing.

    References
    ----------
    N. Brümmer and J. du Preez (2006), Application-independent evaluation of speaker detection.

    Examples
    --------
    >>> from skface.metrics import min_cllr
    >>> min_cllr([0, 0, 1, 1], [0.1, 0.5, 0.4, 0.9])
    0.5
    """
    same, score, weight = check_scores(y_true, y_score, sample_weight, allow_infinite=True)
    far, frr, _ = error_curve(same, score, weight)
    vertices = convex_hull(far, frr)
    failed = frr[0] + (1 - far[0])
    # An edge of the hull holds a share of either class; their ratio is the likelihood ratio.
    genuine, impostor = np.diff(frr[vertices]), -np.diff(far[vertices])
    both = genuine + impostor
    nats = -(rel_entr(genuine, both) + rel_entr(impostor, both)).sum()
    return float(nats / np.log(2) + failed) / 2


def calibration_loss(
    y_true: ArrayLike, llr: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the bits per pair that poor calibration of log-likelihood ratios costs.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Two labels; the larger one marks genuine pairs (same person).
    llr : array-like of shape (n_pairs,)
        Natural logarithms of likelihood ratios, genuine against impostor. Infinities are allowed.
        NaN marks a failed comparison and counts as 0.
    sample_weight : array-like of shape (n_pairs,), default=None
        Weight of each pair.

    Returns
    -------
    float
        ``cllr - min_cllr`` in bits per pair, at least 0 (to within rounding). Infinite if `cllr`
        is.

    Raises
    ------
    ValueError
        If lengths differ or there are not exactly two classes.

    See Also
    --------
    cllr : The cost before recalibration.
    min_cllr : The cost after it.

    Examples
    --------
    >>> from skface.metrics import calibration_loss
    >>> round(calibration_loss([0, 0, 1, 1], [-5, -3, 3, 5]), 3)  # they separate perfectly
    0.04
    """
    return cllr(y_true, llr, sample_weight=sample_weight) - min_cllr(
        y_true, llr, sample_weight=sample_weight
    )


def _mean(bits: np.ndarray, weight: np.ndarray | None, chosen: np.ndarray) -> np.floating:
    """Average over the chosen pairs."""
    if weight is None:
        return bits[chosen].mean()
    chosen = chosen & (weight > 0)  # 0 times infinity is not a number
    return np.average(bits[chosen], weights=weight[chosen])
