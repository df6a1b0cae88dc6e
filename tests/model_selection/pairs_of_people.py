"""Splitters, and pairs of people to split."""

import numpy as np
import pytest

from skface.model_selection import (
    IdentityGroupKFold,
    IdentityKFold,
    IdentityShuffleSplit,
    StratifiedIdentityKFold,
)

SPLITTERS = [
    IdentityKFold(4),
    IdentityKFold(4, shuffle=True, random_state=0),
    IdentityGroupKFold(4),
    IdentityGroupKFold(4, shuffle=True, random_state=0),
    StratifiedIdentityKFold(4),
    IdentityShuffleSplit(6, test_size=0.4, random_state=0),
]
every_splitter = pytest.mark.parametrize("cv", SPLITTERS, ids=str)


def dense_pairs(n_people=30, n_pairs=900, seed=0):
    """Pairs among everybody: the graph of people is one component."""
    rng = np.random.default_rng(seed)
    people = rng.integers(0, n_people, (n_pairs, 2))
    people[::2, 1] = people[::2, 0]
    return people, (people[:, 0] == people[:, 1]).astype(int)


def clustered_pairs(n_clusters=20, seed=0):
    """Pairs within groups of four people."""
    people, _ = dense_pairs(4, 12 * n_clusters, seed)
    people = people + 4 * np.arange(n_clusters).repeat(12)[:, None]
    return people, (people[:, 0] == people[:, 1]).astype(int)
