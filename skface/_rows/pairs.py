"""Distinct faces of pairs, labels of pairs, and identities from labeled pairs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.utils import column_or_1d

from skface._rows.sequences import Rows
from skface._utils.validation import encode_labels, format_items


def distinct_indices(rows: Rows) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Choose the images to process: the distinct ones of pairs, all of single faces.

    Parameters
    ----------
    rows : Rows
        Faces or pairs.

    Returns
    -------
    chosen : ndarray of shape (n_chosen,)
        Indices of the images.
    inverse : ndarray of shape (n_images,)
        For every image, its position in `chosen`.
    """
    if rows.arity == 2:
        return rows.distinct
    every = np.arange(rows.n_rows)
    return every, every


def check_pair_labels(y: Any, n_pairs: int) -> NDArray[Any]:
    """Check labels of pairs, and return which pairs are genuine.

    Parameters
    ----------
    y : array-like of shape (n_pairs,)
        Labels of two classes. The last class in sorted order means the same person.
    n_pairs : int
        Number of pairs.

    Returns
    -------
    same : ndarray of shape (n_pairs,), dtype bool
        True for genuine pairs.

    Raises
    ------
    ValueError
        If the number of labels differs from that of pairs, or there are not exactly two classes.
    """
    y = column_or_1d(y, warn=True)
    if len(y) != n_pairs:
        raise ValueError(f"y has {len(y)} labels, but X has {n_pairs} rows.")
    classes, codes = encode_labels(y, "y")
    if len(classes) != 2:
        raise ValueError(
            f"y holds {len(classes)} classes ({format_items(classes)}); learning from pairs needs "
            "pairs of the same person and of different people."
        )
    return codes == 1


def identities_from_pairs(
    left: NDArray[Any], right: NDArray[Any], same: NDArray[Any], n_images: int
) -> NDArray[Any]:
    """Recover identities from labeled pairs: the components that genuine pairs connect.

    Images of different components are taken to show different people, even if no impostor pair
    compares them.

    Parameters
    ----------
    left, right : ndarray of shape (n_pairs,)
        The two images of each pair, as integers in [0, n_images).
    same : ndarray of shape (n_pairs,), dtype bool
        True for genuine pairs.
    n_images : int
        Number of distinct images.

    Returns
    -------
    identities : ndarray of shape (n_images,), dtype int
        Components numbered from 0.

    Raises
    ------
    ValueError
        If both images of an impostor pair are in one component: the labels contradict each other.

    Examples
    --------
    >>> import numpy as np
    >>> from skface._rows import identities_from_pairs
    >>> left, right, same = np.array([[0, 1, 1], [1, 2, 1], [0, 3, 0]]).T
    >>> identities_from_pairs(left, right, same, n_images=4)
    array([0, 0, 0, 1])
    """
    same = np.asarray(same, dtype=bool)
    links = coo_array(
        (np.ones(same.sum(), dtype=np.int8), (left[same], right[same])), shape=(n_images, n_images)
    )
    identities = connected_components(links, directed=False)[1]
    contradictions = np.flatnonzero(~same & (identities[left] == identities[right]))
    if len(contradictions):
        raise ValueError(
            f"{len(contradictions)} pairs are labeled as different people, although pairs labeled "
            f"as the same person connect their photos: rows {format_items(contradictions)}. "
            "Correct the labels."
        )
    return identities.astype(np.intp)
