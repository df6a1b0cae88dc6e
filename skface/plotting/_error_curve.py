"""Corners of an error curve, and intervals along it."""

from typing import Any

import numpy as np
from scipy.special import ndtri

from skface.metrics import bootstrap_interval, rate_interval

_N_BAND = 200  # thresholds at which the band is computed; more would not be visible


def is_corner(fmr: np.ndarray, fnmr: np.ndarray) -> np.ndarray:
    """Mark the points that are needed to draw the steps and to choose the axis limits."""
    corner = np.ones(len(fmr), dtype=bool)
    for rate in (fmr, fnmr):
        corner[1:-1] &= (rate[:-2] != rate[1:-1]) | (rate[1:-1] != rate[2:])
    # the smallest positive rates, for the axis limits
    corner[[np.flatnonzero(fmr)[-1], np.flatnonzero(fnmr)[0]]] = True
    return corner


def spread_evenly(fmr: np.ndarray, fnmr: np.ndarray) -> np.ndarray:
    """Choose points at even distances along the curve, as drawn."""
    x, y = (ndtri(np.clip(rate, 1e-6, 1 - 1e-6)) for rate in (fmr, fnmr))
    length = np.concatenate(([0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))))
    return np.unique(np.searchsorted(length, np.linspace(0, length[-1], _N_BAND)))


def rate_intervals(
    same: np.ndarray,
    score: np.ndarray,
    thresholds: np.ndarray,
    confidence: float,
    identities: np.ndarray | None,
    random_state: Any,
) -> np.ndarray:
    """Compute the intervals of FMR and FNMR, (2 rates, 2 ends, n_thresholds)."""
    n_reached = np.searchsorted(thresholds, score, side="right")

    def rates(same: np.ndarray, n_reached: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
        """Compute FMR and FNMR at all thresholds; a pair is rejected by those above its score."""
        rejected = [
            np.cumsum(np.bincount(n_reached[kind], sample_weight[kind], len(thresholds) + 1))
            for kind in (~same, same)
        ]
        impostor, genuine = (counts[:-1] / counts[-1] for counts in rejected)
        return np.array([1 - impostor, genuine])

    estimates = rates(same, n_reached, np.ones(len(same)))
    ends = np.empty((2, 2, len(thresholds)))
    for interval, rate, n in zip(ends, estimates, (np.sum(~same), np.sum(same)), strict=True):
        interval[:] = np.transpose([rate_interval(k, n, confidence) for k in np.round(rate * n)])
    if identities is not None:
        low, high = bootstrap_interval(
            rates, same, n_reached, identities, confidence=confidence, random_state=random_state
        )
        # the ends are NaN if no resample holds both classes; fmin and fmax ignore NaN
        ends[:, 0], ends[:, 1] = np.fmin(ends[:, 0], low), np.fmax(ends[:, 1], high)
    return ends
