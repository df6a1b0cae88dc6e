"""Labeled pairs, as random scores or random embeddings, for the tests of PairVerifier."""

import numpy as np


def scored(n=300, seed=0, gap=1.5, decimals=None):
    """Single scores of pairs."""
    rng = np.random.default_rng(seed)
    y = np.r_[0, 1, rng.integers(0, 2, n - 2)]
    s = rng.normal(gap * y, 1.0)
    return (s if decimals is None else np.round(s, decimals))[:, None], y


def embedded(n=200, d=16, seed=0, dtype=np.float32):
    """Pairs of embeddings: two noisy copies of one vector, or of two."""
    rng = np.random.default_rng(seed)
    y = np.r_[0, 1, rng.integers(0, 2, n - 2)]
    first, second = rng.normal(size=(2, n, d))
    second[y == 1] = first[y == 1]
    X = np.stack([first, second], axis=1) + rng.normal(0, 0.6, (n, 2, d))
    return X.astype(dtype), y
