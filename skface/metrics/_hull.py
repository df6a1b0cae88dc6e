"""The convex hull of an error curve, for the equal error rate and the minimum Cllr."""

import numpy as np
from scipy.optimize import isotonic_regression


def convex_hull(far: np.ndarray, frr: np.ndarray) -> np.ndarray:
    """Find the points of an error curve that lie on its lower convex hull.

    Isotonic regression (pooling adjacent violators, PAV) finds them. A block of scores that it
    pools is an edge of the hull, and the value of the block gives the slope of the edge (Fawcett
    and Niculescu-Mizil 2007, PAV and the ROC convex hull).

    Parameters
    ----------
    far, frr : ndarray of shape (n_thresholds,)
        From :func:`far_frr_curve`.

    Returns
    -------
    ndarray of shape (n_vertices,)
        Indices of the vertices, ascending, both ends included.
    """
    last = len(far) - 1
    if far[0] == 0 and frr[0] == 1:  # nothing was compared
        return np.array([last])
    # A vertex has impostor pairs just below and genuine pairs at the threshold. Elsewhere the curve
    # is straight or bends the other way.
    bends = np.flatnonzero((far[1:-1] < far[:-2]) & (frr[2:] > frr[1:-1])) + 1
    corners = np.concatenate(([0], bends, [last]))
    genuine, impostor = np.diff(frr[corners]), -np.diff(far[corners])
    both = genuine + impostor
    blocks = isotonic_regression(genuine / both, weights=both).blocks
    return corners[blocks]
