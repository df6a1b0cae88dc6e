"""Detection costs: a weighted sum of FAR and FRR."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skface.metrics._checks import check_cost, check_scores, check_threshold
from skface.metrics._rates import far_frr_curve


def detection_cost(
    y_true: ArrayLike,
    y_score: ArrayLike,
    threshold: float,
    *,
    cost: tuple[float, float, float] = (1.0, 1.0, 0.01),
    sample_weight: ArrayLike | None = None,
) -> float:
    """Compute the normalized detection cost of a threshold.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Two labels; the larger one marks genuine pairs (same person).
    y_score : array-like of shape (n_pairs,)
        Similarities; larger = more alike. NaN marks a failed comparison, which counts as rejected.
    threshold : float
        Pairs with ``score >= threshold`` are accepted.
    cost : tuple of 3 floats, default=(1.0, 1.0, 0.01)
        Cost of a false rejection `C_miss`, cost of a false acceptance `C_fa`, and the prior
        probability `prior` of a genuine pair.
    sample_weight : array-like of shape (n_pairs,), default=None
        Weight of each pair.

    Returns
    -------
    float
        ``C_miss * prior * FRR + C_fa * (1 - prior) * FAR``, divided by the smaller of
        ``C_miss * prior`` (the cost of rejecting all pairs) and ``C_fa * (1 - prior)`` (the cost of
        accepting all pairs). 0 is perfect; at 1 or more the scores are useless.

    Raises
    ------
    ValueError
        If `cost` is not two positive numbers and a probability, or the labels and scores are not
        as described.

    See Also
    --------
    min_detection_cost : The cost at the best threshold.

    Notes
    -----
    This is the detection cost function of the NIST speaker recognition evaluations. Their costs and
    priors differ from year to year, so report yours with the cost.

    If scores are calibrated natural log-likelihood ratios, the best threshold is
    ``log(C_fa * (1 - prior) / (C_miss * prior))``. The cost there minus
    :func:`min_detection_cost` is what poor calibration costs.

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
    return float(_normalized_cost(far, frr, cost))


def min_detection_cost(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    cost: tuple[float, float, float] = (1.0, 1.0, 0.01),
    sample_weight: ArrayLike | None = None,
) -> float:
    """Compute the smallest normalized detection cost (minDCF) that any threshold has.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Two labels; the larger one marks genuine pairs (same person).
    y_score : array-like of shape (n_pairs,)
        Similarities; larger = more alike. NaN marks a failed comparison, which counts as rejected.
    cost : tuple of 3 floats, default=(1.0, 1.0, 0.01)
        Cost of a false rejection `C_miss`, cost of a false acceptance `C_fa`, and the prior
        probability `prior` of a genuine pair.
    sample_weight : array-like of shape (n_pairs,), default=None
        Weight of each pair.

    Returns
    -------
    float
        The minimum of :func:`detection_cost` over all thresholds, in [0, 1]. It can exceed 1 if
        comparisons failed, because failures are rejected even if accepting all pairs would cost
        least.

    Raises
    ------
    ValueError
        If `cost` is not two positive numbers and a probability, or the labels and scores are not
        as described.

    See Also
    --------
    detection_cost : The cost at a given threshold.

    Examples
    --------
    >>> from skface.metrics import min_detection_cost
    >>> min_detection_cost([0, 0, 1, 1], [0.1, 0.5, 0.4, 0.9])
    0.5
    """
    far, frr, _ = far_frr_curve(y_true, y_score, sample_weight=sample_weight)
    return float(_normalized_cost(far, frr, cost).min())


def _normalized_cost(far: Any, frr: Any, cost: Any) -> Any:
    """Weigh the two rates, in units of the cheaper of the two constant decisions."""
    miss_cost, false_acceptance_cost, prior = check_cost(cost)
    miss, false_acceptance = miss_cost * prior, false_acceptance_cost * (1 - prior)
    return (miss * frr + false_acceptance * far) / min(miss, false_acceptance)
