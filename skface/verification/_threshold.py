"""Threshold of a verifier: criteria, exact search, and error rates at the threshold."""

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from skface.metrics import far_frr_curve, rate_interval, threshold_at_far

CRITERIA = ("accuracy", "balanced_accuracy", "f1", "eer", "far", "cost")


def find_threshold(
    criterion: str,
    genuine: NDArray[np.bool_],
    score: NDArray[np.float64],
    weight: NDArray[np.float64],
    *,
    far: float,
    cost: tuple[float, float, float],
) -> float:
    """Find the best threshold by `criterion`.

    Error rates are step functions of the threshold. All steps are compared, so the result is exact.

    Parameters
    ----------
    criterion : {"accuracy", "balanced_accuracy", "f1", "eer", "far", "cost"}
        What is best; see :class:`PairVerifier`.
    genuine : ndarray of shape (n_pairs,)
        Which pairs are genuine.
    score : ndarray of shape (n_pairs,)
        Finite similarities.
    weight : ndarray of shape (n_pairs,)
        How often each pair counts; positive.
    far : float
        Largest allowed false match rate; not used by other criteria than "far".
    cost : tuple of 3 floats
        (C_miss, C_fa, prior); not used by other criteria than "cost".

    Returns
    -------
    float
        The threshold, on the scale of `score`.
    """
    if criterion == "far":
        return threshold_at_far(genuine, score, far, sample_weight=weight)
    # without failures, FAR is FMR and FRR is FNMR
    fmr, fnmr, thresholds = far_frr_curve(genuine, score, sample_weight=weight)
    n_genuine, n_impostor = weight[genuine].sum(), weight[~genuine].sum()
    false_matches, false_non_matches = fmr * n_impostor, fnmr * n_genuine
    errors = false_matches + false_non_matches
    if criterion == "accuracy":
        loss = errors / (n_genuine + n_impostor)
    elif criterion == "balanced_accuracy":
        loss = (fmr + fnmr) / 2
    elif criterion == "f1":
        # 1 - F1, with the denominator 2 TP + FP + FN of F1
        loss = errors / (2 * n_genuine - false_non_matches + false_matches)
    elif criterion == "eer":
        loss = np.abs(fmr - fnmr)
    else:
        loss = _relative_cost(fmr, fnmr, *cost)
    return _middle_of_widest_gap(thresholds, np.flatnonzero(loss <= loss.min() + 1e-12))


def describe_operating_point(
    threshold: float,
    criterion: str,
    genuine: NDArray[np.bool_],
    score: NDArray[np.float64],
    weight: NDArray[np.float64],
    *,
    n_failures: float,
) -> Bunch:
    """Count the errors of a threshold; see `operating_point_` of :class:`PairVerifier`.

    Parameters
    ----------
    threshold : float
        Scores of at least this are accepted.
    criterion : str
        How the threshold was chosen; "fixed" if it was given.
    genuine, score, weight : ndarray of shape (n_pairs,)
        Which pairs are genuine, their finite similarities, and how often each counts.
    n_failures : float
        Total weight of the failures, which are not among these pairs.

    Returns
    -------
    Bunch
        Counts, rates and intervals.
    """
    accepted = score >= threshold
    n_genuine, n_impostor = weight[genuine].sum(), weight[~genuine].sum()
    false_non_matches = weight[genuine & ~accepted].sum()
    false_matches = weight[~genuine & accepted].sum()
    return Bunch(
        criterion=criterion,
        threshold=threshold,
        n_genuine=_as_integer_if_whole(n_genuine),
        n_impostor=_as_integer_if_whole(n_impostor),
        n_failures=_as_integer_if_whole(n_failures),
        fmr=float(false_matches / n_impostor),
        fnmr=float(false_non_matches / n_genuine),
        # Rounding may lift a sum of fractional weights above the sum of all.
        fmr_interval=rate_interval(min(false_matches, n_impostor), n_impostor),
        fnmr_interval=rate_interval(min(false_non_matches, n_genuine), n_genuine),
    )


def _relative_cost(
    fmr: NDArray[np.float64],
    fnmr: NDArray[np.float64],
    miss_cost: float,
    false_match_cost: float,
    prior: float,
) -> NDArray[np.float64]:
    """Compute the detection cost, divided by that of the costlier constant decision."""
    miss, false_match = miss_cost * prior, false_match_cost * (1 - prior)
    return (miss * fnmr + false_match * fmr) / max(miss, false_match)


def _middle_of_widest_gap(thresholds: NDArray[np.float64], best: NDArray[np.intp]) -> float:
    """Return the middle of the widest gap below one of the thresholds numbered `best`.

    All numbers in ``(thresholds[i - 1], thresholds[i]]`` decide alike. The first threshold accepts
    everything and the last one rejects everything. Neither has a gap.
    """
    below = np.concatenate((thresholds[:1], thresholds[:-1]))
    gap = thresholds - below
    gap[-1] = 0.0
    i = best[np.argmax(gap[best])]
    middle = below[i] + gap[i] / 2
    return float(middle if middle > below[i] else thresholds[i])


def _as_integer_if_whole(count: float) -> int | float:
    """Return a count as an int if it is whole, as it is without weights."""
    return int(count) if float(count).is_integer() else float(count)
