"""FAR and FRR over thresholds; a tie of scores is accepted or rejected together."""

import math
import warnings
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skface._utils.validation import check_option
from skface.exceptions import FewImpostorsWarning
from skface.metrics._checks import check_far, check_scores
from skface.metrics._hull import convex_hull


class EqualErrorRate(NamedTuple):
    """The operating point at which FAR and FRR are equal, or closest to each other.

    Attributes
    ----------
    rate : float
        Mean of `far` and `frr`, in [0, 1].
    threshold : float
        The threshold at which they are closest.
    far, frr : float
        The false acceptance and false rejection rate there. With ``method="closest"`` they may
        differ, because both are step functions.
    """

    rate: float
    threshold: float
    far: float
    frr: float


def far_frr_curve(
    y_true: ArrayLike, y_score: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[Any]]:
    """Compute the false acceptance and false rejection rate (FAR, FRR) at every distinct threshold.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Two labels; the larger one marks genuine pairs (same person).
    y_score : array-like of shape (n_pairs,)
        Similarities; larger = more alike. NaN marks a failed comparison, which counts as rejected.
    sample_weight : array-like of shape (n_pairs,), default=None
        Weight of each pair; 0 leaves it out.

    Returns
    -------
    far : ndarray of shape (n_thresholds,)
        Share of the impostor pairs with ``score >= threshold``, descending to 0.
    frr : ndarray of shape (n_thresholds,)
        Share of the genuine pairs with ``score < threshold`` or a failed comparison, ascending to
        1.
    thresholds : ndarray of shape (n_thresholds,)
        The distinct scores, ascending, and the next floating-point number above the largest one,
        which rejects all pairs. At a threshold between two of them the rates are those of the
        larger one.

    Raises
    ------
    ValueError
        If lengths differ, scores are infinite, or there are not exactly two classes.

    See Also
    --------
    sklearn.metrics.det_curve : The same rates, for scores without NaN.

    Examples
    --------
    >>> from skface.metrics import far_frr_curve
    >>> far, frr, thresholds = far_frr_curve([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9])
    >>> far
    array([1. , 0.5, 0. , 0. ])
    >>> frr
    array([0. , 0. , 0.5, 1. ])
    """
    return error_curve(*check_scores(y_true, y_score, sample_weight))


def equal_error_rate(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    method: Literal["closest", "convex_hull"] = "closest",
    sample_weight: ArrayLike | None = None,
) -> EqualErrorRate:
    """Compute the equal error rate (EER), at which FAR = FRR.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Two labels; the larger one marks genuine pairs (same person).
    y_score : array-like of shape (n_pairs,)
        Similarities; larger = more alike. NaN marks a failed comparison, which counts as rejected.
    method : {"closest", "convex_hull"}, default="closest"
        "closest" uses the threshold that minimizes ``|FAR - FRR|``. The rate is the mean of FAR and
        FRR there. Of several such thresholds, it takes the one with the smallest mean, and of these
        the smallest threshold.

        "convex_hull" uses the point with FAR = FRR on the convex hull of the error curve, which
        varies less with few pairs. No single threshold attains this point; a random choice between
        two thresholds does. `threshold` is the one of the two at which the rates are closer.
    sample_weight : array-like of shape (n_pairs,), default=None
        Weight of each pair.

    Returns
    -------
    EqualErrorRate
        Named tuple of `rate`, `threshold`, `far` and `frr`.

    Raises
    ------
    ValueError
        If lengths differ, scores are infinite, there are not exactly two classes, or `method` is
        unknown.

    Notes
    -----
    Failed comparisons lower the FAR and raise the FRR. If FRR exceeds FAR at every threshold, both
    methods return the smallest threshold.

    References
    ----------
    N. Brümmer and E. de Villiers (2011), The BOSARIS toolkit: theory, algorithms and code for
    surviving the new DCF (on the convex hull).

    Examples
    --------
    >>> from skface.metrics import equal_error_rate
    >>> equal_error_rate([0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9])
    EqualErrorRate(rate=0.5, threshold=0.6, far=0.5, frr=0.5)
    >>> round(equal_error_rate([0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9], method="convex_hull").rate, 3)
    0.25
    """
    check_option(method, "method", ("closest", "convex_hull"))
    far, frr, thresholds = far_frr_curve(y_true, y_score, sample_weight=sample_weight)
    if method == "convex_hull":
        return _equal_on_hull(far, frr, thresholds)
    # rounded, so that 0.3 - 0.2 and 0.2 - 0.1 tie although they differ in the last bits
    distance = np.round(np.abs(far - frr), 12)
    closest = np.flatnonzero(distance == distance.min())
    rate = (far[closest] + frr[closest]) / 2
    best = closest[np.argmin(rate)]
    return EqualErrorRate(
        float(rate.min()), float(thresholds[best]), float(far[best]), float(frr[best])
    )


def threshold_at_far(
    y_true: ArrayLike, y_score: ArrayLike, far: float, *, sample_weight: ArrayLike | None = None
) -> float:
    """Find the smallest threshold whose empirical false acceptance rate is at most `far`.

    It accepts as many genuine pairs as this rate allows. It is the next floating-point number above
    the highest score that must be rejected, so equal scores are rejected together. Nothing is
    interpolated. With fewer than ``1 / far`` impostor pairs no false acceptance is allowed.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Two labels; the larger one marks genuine pairs (same person).
    y_score : array-like of shape (n_pairs,)
        Similarities; larger = more alike. NaN marks a failed comparison, which counts as rejected.
    far : float
        Largest false acceptance rate (FAR) allowed, in [0, 1].
    sample_weight : array-like of shape (n_pairs,), default=None
        Weight of each pair.

    Returns
    -------
    float
        The threshold; the smallest score if all pairs may be accepted. It is exact in the precision
        of `y_score` (float32 or float64).

    Raises
    ------
    ValueError
        If lengths differ, scores are infinite, there are not exactly two classes, or `far` is
        outside [0, 1].

    Warns
    -----
    FewImpostorsWarning
        If `far` is positive but below 1 / (number of impostor pairs), and `sample_weight` is None.

    Examples
    --------
    >>> from skface.metrics import threshold_at_far
    >>> threshold_at_far([0, 0, 0, 1, 1], [0.125, 0.25, 0.5, 0.5, 0.75], far=1 / 3) > 0.25
    True
    """
    rates, _, thresholds = _curve_for_far(y_true, y_score, far, sample_weight)
    return smallest_threshold(rates, thresholds, far)


def tar_at_far(
    y_true: ArrayLike, y_score: ArrayLike, far: float, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the true acceptance rate (TAR) at a given false acceptance rate.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Two labels; the larger one marks genuine pairs (same person).
    y_score : array-like of shape (n_pairs,)
        Similarities; larger = more alike. NaN marks a failed comparison, which counts as rejected.
    far : float
        Largest false acceptance rate (FAR) allowed, in [0, 1].
    sample_weight : array-like of shape (n_pairs,), default=None
        Weight of each pair.

    Returns
    -------
    float
        Share of the genuine pairs accepted at :func:`threshold_at_far`, ``1 - FRR``, in [0, 1].

    Raises
    ------
    ValueError
        If lengths differ, scores are infinite, there are not exactly two classes, or `far` is
        outside [0, 1].

    Warns
    -----
    FewImpostorsWarning
        If `far` is positive but below 1 / (number of impostor pairs), and `sample_weight` is None.

    Examples
    --------
    >>> from skface.metrics import tar_at_far
    >>> tar_at_far([0, 0, 0, 1, 1], [0.1, 0.2, 0.5, 0.5, 0.9], far=1 / 3)
    1.0
    >>> tar_at_far([0, 0, 0, 1, 1], [0.1, 0.2, 0.5, 0.5, 0.9], far=0)
    0.5
    """
    rates, frr, _ = _curve_for_far(y_true, y_score, far, sample_weight)
    return float(1 - frr[np.argmax(rates <= far)])


def frr_at_far(
    y_true: ArrayLike, y_score: ArrayLike, far: float, *, sample_weight: ArrayLike | None = None
) -> float:
    """Compute the false rejection rate (FRR) at a given false acceptance rate.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Two labels; the larger one marks genuine pairs (same person).
    y_score : array-like of shape (n_pairs,)
        Similarities; larger = more alike. NaN marks a failed comparison, which counts as rejected.
    far : float
        Largest false acceptance rate (FAR) allowed, in [0, 1].
    sample_weight : array-like of shape (n_pairs,), default=None
        Weight of each pair.

    Returns
    -------
    float
        Share of the genuine pairs rejected at :func:`threshold_at_far`, in [0, 1].

    Raises
    ------
    ValueError
        If lengths differ, scores are infinite, there are not exactly two classes, or `far` is
        outside [0, 1].

    Warns
    -----
    FewImpostorsWarning
        If `far` is positive but below 1 / (number of impostor pairs), and `sample_weight` is None.

    Examples
    --------
    >>> from skface.metrics import frr_at_far
    >>> frr_at_far([0, 0, 0, 1, 1, 1, 1], [0.1, 0.2, 0.5, 0.4, 0.5, 0.8, 0.9], far=0)
    0.5
    """
    rates, frr, _ = _curve_for_far(y_true, y_score, far, sample_weight)
    return float(frr[np.argmax(rates <= far)])


def error_curve(
    same: np.ndarray, score: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute :func:`far_frr_curve` of checked arguments."""
    if weight is None:
        scores, genuine_below, impostor_below = _count_below(same, score)
        n_genuine = np.count_nonzero(same)
        n_impostor = len(same) - n_genuine
        n_failed_genuine = np.count_nonzero(same & np.isnan(score))
    else:
        scores, genuine_below, impostor_below = _weigh_below(same, score, weight)
        n_genuine, n_impostor = weight[same].sum(), weight[~same].sum()
        n_failed_genuine = weight[same & np.isnan(score)].sum()
    far = (impostor_below[-1] - impostor_below) / n_impostor
    frr = (n_failed_genuine + genuine_below) / n_genuine
    frr[genuine_below == genuine_below[-1]] = 1.0  # exactly, in whatever order weights were added
    np.minimum(frr, 1.0, out=frr)
    above_all = _next_above(scores[-1]) if len(scores) else score.dtype.type(np.inf)
    thresholds = np.append(scores, above_all)
    if weight is None:
        return far, frr, thresholds
    # drop thresholds whose weight is too small to change the sums, but not the last
    shows = np.append((np.diff(far) < 0) | (np.diff(frr) > 0), True)
    return far[shows], frr[shows], thresholds[shows]


def smallest_threshold(rates: np.ndarray, thresholds: np.ndarray, far: float) -> float:
    """Return the smallest number, not only of `thresholds`, whose rate is at most `far`."""
    first = int(np.argmax(rates <= far))  # the last rate is 0, so there always is one
    return float(thresholds[0] if first == 0 else _next_above(thresholds[first - 1]))


def warn_if_few_impostors(far: float, n_impostor: int, stacklevel: int) -> None:
    """Warn if no false acceptance is allowed although `far` is not 0."""
    if 0 < far < 1 / n_impostor:
        needed = math.ceil(1 / far)
        warnings.warn(
            f"far={far:g} is below 1 / {n_impostor}: with {n_impostor} impostor pairs no false "
            f"acceptance is allowed. Use {needed} impostor pairs or more; to show such a rate at "
            f"95 % confidence takes {3 * needed}.",
            FewImpostorsWarning,
            stacklevel=stacklevel + 1,
        )


def _curve_for_far(
    y_true: ArrayLike, y_score: ArrayLike, far: float, sample_weight: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check the arguments of a function of `far`, and compute the curve."""
    check_far(far)
    same, score, weight = check_scores(y_true, y_score, sample_weight)
    if weight is None:
        warn_if_few_impostors(far, int(np.count_nonzero(~same)), stacklevel=3)
    return error_curve(same, score, weight)


def _equal_on_hull(far: np.ndarray, frr: np.ndarray, thresholds: np.ndarray) -> EqualErrorRate:
    """Intersect the hull of the curve with the line FAR = FRR."""
    vertices = convex_hull(far, frr)
    far, frr, thresholds = far[vertices], frr[vertices], thresholds[vertices]
    lead = far - frr  # falls to -1
    after = int(np.argmax(lead <= 0))
    nearest = int(np.argmin(np.abs(lead)))
    if after == 0:
        rates = float(far[0]), float(frr[0])
    else:
        share = lead[after - 1] / (lead[after - 1] - lead[after])
        rates = (float((1 - share) * far[after - 1] + share * far[after]),) * 2
    return EqualErrorRate(sum(rates) / 2, float(thresholds[nearest]), *rates)


def _count_below(same: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct scores, and how many of either class lie below each and below infinity.

    Two sorts of values are several times faster than one argsort, and take less memory.
    """
    ascending = np.sort(score)  # NaN come last
    ascending = ascending[: len(score) - np.count_nonzero(np.isnan(score))]
    starts = np.flatnonzero(np.r_[True, ascending[1:] != ascending[:-1]][: len(ascending)])
    scores, below = ascending[starts], np.append(starts, len(ascending))
    del ascending, starts
    genuine = np.sort(score[same])
    genuine = genuine[: len(genuine) - np.count_nonzero(np.isnan(genuine))]
    at_score = np.bincount(np.searchsorted(scores, genuine), minlength=len(scores))
    genuine_below = np.zeros(len(below), dtype=below.dtype)
    np.cumsum(at_score, out=genuine_below[1:])
    below -= genuine_below
    return scores, genuine_below, below


def _weigh_below(
    same: np.ndarray, score: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the same as :func:`_count_below`, with sums of weights."""
    used = np.flatnonzero((weight > 0) & ~np.isnan(score))
    order = used[np.argsort(score[used], kind="stable")]
    ascending = score[order]
    starts = np.flatnonzero(np.r_[True, ascending[1:] != ascending[:-1]][: len(ascending)])
    places = np.append(starts, len(ascending))
    genuine_below = np.concatenate(([0.0], np.cumsum(np.where(same, weight, 0.0)[order])))
    impostor_below = np.concatenate(([0.0], np.cumsum(np.where(same, 0.0, weight)[order])))
    return ascending[starts], genuine_below[places], impostor_below[places]


def _next_above(value: np.floating) -> np.floating:
    """Return the next larger number in the precision of `value`."""
    return np.nextafter(value, value.dtype.type(np.inf))
