"""The convex hull of an error curve, on which EER and minimum Cllr rest."""

import numpy as np
from scipy.optimize import isotonic_regression


def convex_hull(far: np.ndarray, frr: np.ndarray) -> np.ndarray:
    """Find the points of an error curve that lie on its lower convex hull.

    Pooling adjacent violators yields them: a block of scores that it pools is an edge of the hull,
    and the value of the block is the edge's slope (Fawcett and Niculescu-Mizil 2007, PAV and the
    ROC convex hull).

    Parameters
    ----------
    far, frr : ndarray of shape (n_thresholds,)
        From :func:`far_frr_curve`.

    Returns
    -------
    ndarray of shape (n_vertices,)
        Their places on the curve, ascending, both ends included.
    """
    genuine, impostor = np.diff(frr), -np.diff(far)  # shares of the pairs at each score
    both = genuine + impostor
    held = np.flatnonzero(both > 0)
    last = len(far) - 1
    if not len(held):  # nothing was compared
        return np.array([last])
    pooled = isotonic_regression(genuine[held] / both[held], weights=both[held])
    return np.append(held[pooled.blocks[:-1]], last)
