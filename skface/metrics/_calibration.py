"""How much log-likelihood ratios can be trusted."""

from typing import Any

import numpy as np
from scipy.special import rel_entr

from skface.metrics._checks import check_scores
from skface.metrics._hull import convex_hull
from skface.metrics._rates import error_curve


def cllr(y_true: Any, llr: Any, *, sample_weight: Any = None) -> float:
    """Compute the cost of log-likelihood ratios, in bits per pair.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Labels of two kinds; the larger one means "same person".
    llr : array-like of shape (n_pairs,)
        Natural logarithms of likelihood ratios, same against different, as from
        :meth:`skface.PairVerifier.log_likelihood_ratio`. Infinities are allowed. NaN is a failed
        comparison: it carries no evidence, so it counts as 0, which costs one bit.
    sample_weight : array-like of shape (n_pairs,), default=None
        How often each pair counts.

    Returns
    -------
    float
        ``(mean log2(1 + exp(-llr)) of same pairs + mean log2(1 + exp(llr)) of the others) / 2``.
        0 = perfect, 1 = as good as no evidence at all, more = misleading; infinite if an infinite
        ratio has the wrong sign.

    Raises
    ------
    ValueError
        If lengths differ or there are not exactly two classes.

    See Also
    --------
    min_cllr : What remains after the best recalibration.
    calibration_loss : The difference of the two.

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


def min_cllr(y_true: Any, y_score: Any, *, sample_weight: Any = None) -> float:
    """Compute the smallest :func:`cllr` that any increasing function of the scores has.

    It measures how well the scores separate, whatever their scale. The best function is found by
    pooling adjacent violators (isotonic regression).

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Labels of two kinds; the larger one means "same person".
    y_score : array-like of shape (n_pairs,)
        Similarities, larger = more alike; log-likelihood ratios with infinities are allowed. NaN is
        a failed comparison, which costs one bit whatever the function.
    sample_weight : array-like of shape (n_pairs,), default=None
        How often each pair counts.

    Returns
    -------
    float
        In [0, 1]. 0 if a threshold separates the classes; 1 if larger scores do not go with "same".

    Raises
    ------
    ValueError
        If lengths differ or there are not exactly two classes.

    See Also
    --------
    cllr : The cost of log-likelihood ratios as they are.

    Notes
    -----
    The function is chosen on the very pairs that it is judged on, so of few pairs the result is
    too small. Scores that occur on one side only map to infinite log-likelihood ratios of the
    right sign, which cost nothing.

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


def calibration_loss(y_true: Any, llr: Any, *, sample_weight: Any = None) -> float:
    """Compute how many bits per pair are lost because log-likelihood ratios are off.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Labels of two kinds; the larger one means "same person".
    llr : array-like of shape (n_pairs,)
        Natural logarithms of likelihood ratios. Infinities are allowed; NaN counts as 0.
    sample_weight : array-like of shape (n_pairs,), default=None
        How often each pair counts.

    Returns
    -------
    float
        ``cllr - min_cllr``, at least 0 (to within rounding).

    Raises
    ------
    ValueError
        If lengths differ or there are not exactly two classes.

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
