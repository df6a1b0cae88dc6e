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
    last = len(far) - 1
    if far[0] == 0 and frr[0] == 1:  # nothing was compared
        return np.array([last])
    # Impostor pairs just below and genuine pairs at the threshold; elsewhere the curve is straight
    # or bends the other way.
    bends = np.flatnonzero((far[1:-1] < far[:-2]) & (frr[2:] > frr[1:-1])) + 1
    corners = np.concatenate(([0], bends, [last]))
    genuine, impostor = np.diff(frr[corners]), -np.diff(far[corners])
    both = genuine + impostor
    blocks = isotonic_regression(genuine / both, weights=both).blocks
    return corners[blocks]
