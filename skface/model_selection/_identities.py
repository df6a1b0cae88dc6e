"""Identities as numbers, and the groups of people that pairs link."""

from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from skface._utils.validation import encode_labels


def encode_identities(identities: Any, name: str = "groups") -> tuple[np.ndarray, np.ndarray]:
    """Check identities and number the people from 0, in the order of their labels.

    Parameters
    ----------
    identities : array-like of shape (n_rows,) or (n_rows, 2)
        The identity of each face, or the two identities of each pair.
    name : str, default="groups"
        Name of the argument, for error messages.

    Returns
    -------
    labels : ndarray of shape (n_people,)
        The people, sorted.
    people : ndarray of shape (n_rows, 1) or (n_rows, 2)
        The numbers of the people in each row.

    Raises
    ------
    ValueError
        If the identities have another shape, are empty, lack an entry, or cannot be ordered.
    """
    identities = np.asarray(identities)
    if identities.ndim not in (1, 2) or (identities.ndim == 2 and identities.shape[1] != 2):
        raise ValueError(
            f"{name} has shape {identities.shape}: expected (n,), the identity of each face, or "
            "(n, 2), the two identities of each pair."
        )
    identities = identities.reshape(len(identities), -1)
    if len(identities) == 0:
        raise ValueError(f"{name} is empty.")
    return encode_labels(identities, name)


def linked_groups(people: np.ndarray) -> np.ndarray:
    """Find the groups of people that pairs link, directly or through others.

    Parameters
    ----------
    people : ndarray of shape (n_rows, 1) or (n_rows, 2)
        From :func:`encode_identities`.

    Returns
    -------
    groups : ndarray of shape (n_people,)
        The group of every person, from 0.
    """
    n_people = people.max() + 1
    links = coo_array((np.ones(len(people)), (people[:, 0], people[:, -1])), (n_people, n_people))
    return connected_components(links, directed=False)[1]
