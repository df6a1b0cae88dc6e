"""What the errors at a threshold cost."""

from typing import Any

import numpy as np

from skface.metrics._checks import check_cost, check_scores, check_threshold
from skface.metrics._rates import far_frr_curve


def detection_cost(
    y_true: Any,
    y_score: Any,
    threshold: float,
    *,
    cost: tuple[float, float, float] = (1.0, 1.0, 0.01),
    sample_weight: Any = None,
) -> float:
    """Compute the normalised detection cost of a threshold.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Labels of two kinds; the larger one means "same person".
    y_score : array-like of shape (n_pairs,)
        Similarities, larger = more alike. NaN is a failed comparison: rejected and counted.
    threshold : float
        Pairs with ``score >= threshold`` are accepted.
    cost : tuple of 3 floats, default=(1.0, 1.0, 0.01)
        Cost of a miss, cost of a false acceptance, and the prior probability of "same".
    sample_weight : array-like of shape (n_pairs,), default=None
        How often each pair counts.

    Returns
    -------
    float
        ``C_miss * prior * FRR + C_fa * (1 - prior) * FAR``, divided by the smaller of
        ``C_miss * prior`` and ``C_fa * (1 - prior)``, the cost of the better of rejecting and
        accepting everything. 0 is perfect; from 1 on the scores are of no use.

    Raises
    ------
    ValueError
        If `cost` is not two positive numbers and a probability, or the labels and scores are not
        as described.

    See Also
    --------
    min_detection_cost : The cost of the best threshold.

    Notes
    -----
    This is the detection cost function of the NIST speaker recognition evaluations. Their costs
    and priors differ from year to year, so state yours with the number. For scores that are natural
    log-likelihood ratios, the best threshold in theory is
    ``log(C_fa * (1 - prior) / (C_miss * prior))``; the cost there, against the minimum, says
    what poor calibration costs.

    Examples
    --------
    >>> from skface.metrics import detection_cost
    >>> detection_cost([0, 0, 1, 1], [0.1, 0.5, 0.4, 0.9], 0.6)
    0.5
    """
    threshold = check_threshold(threshold)
    same, score, weight = check_scores(y_true, y_score, sample_weight)
    accepted = score >= threshold  # false for NaN
    weight = np.ones(len(score)) if weight is None else weight
    far = np.average(accepted[~same], weights=weight[~same])
    frr = np.average(~accepted[same], weights=weight[same])
    return float(_normalised_cost(far, frr, cost))


def min_detection_cost(
    y_true: Any,
    y_score: Any,
    *,
    cost: tuple[float, float, float] = (1.0, 1.0, 0.01),
    sample_weight: Any = None,
) -> float:
    """Compute the smallest normalised detection cost (minDCF) that any threshold has.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Labels of two kinds; the larger one means "same person".
    y_score : array-like of shape (n_pairs,)
        Similarities, larger = more alike. NaN is a failed comparison: rejected and counted.
    cost : tuple of 3 floats, default=(1.0, 1.0, 0.01)
        Cost of a miss, cost of a false acceptance, and the prior probability of "same".
    sample_weight : array-like of shape (n_pairs,), default=None
        How often each pair counts.

    Returns
    -------
    float
        The minimum of :func:`detection_cost` over all thresholds, in [0, 1]; with failures it can
        exceed 1 where accepting everything would be cheapest.

    Raises
    ------
    ValueError
        If `cost` is not two positive numbers and a probability, or the labels and scores are not
        as described.

    See Also
    --------
    detection_cost : The cost of a given threshold.

    Examples
    --------
    >>> from skface.metrics import min_detection_cost
    >>> min_detection_cost([0, 0, 1, 1], [0.1, 0.5, 0.4, 0.9])
    0.5
    """
    far, frr, _ = far_frr_curve(y_true, y_score, sample_weight=sample_weight)
    return float(_normalised_cost(far, frr, cost).min())


def _normalised_cost(far: Any, frr: Any, cost: Any) -> Any:
    """Weigh the two rates, in units of the cheaper of the two constant decisions."""
    miss_cost, false_acceptance_cost, prior = check_cost(cost)
    miss, false_acceptance = miss_cost * prior, false_acceptance_cost * (1 - prior)
    return (miss * frr + false_acceptance * far) / min(miss, false_acceptance)
