"""Unit vectors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def unit_vectors(vectors: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scale vectors to length 1.

    Parameters
    ----------
    vectors : ndarray of shape (n, d)
        Vectors of any length.

    Returns
    -------
    unit : ndarray of shape (n, d)
        Vectors of length 1, in float64. Each depends on its own row only. A row that is not finite
        or all zero becomes NaN.
    usable : ndarray of shape (n,), dtype bool
        False for the rows that become NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from skface._utils.vectors import unit_vectors
    >>> unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0]]))
    (array([[0.6, 0.8],
           [nan, nan]]), array([ True, False]))
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    usable = np.isfinite(norms) & (norms > 0)
    unit = np.divide(vectors, norms, out=np.full_like(vectors, np.nan), where=usable)
    return unit, usable[:, 0]
