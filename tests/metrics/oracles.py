"""Scores with ties and failures, and rates counted one pair at a time."""

import numpy as np


def make_scores(seed, n=60, n_failures=0):
    """Scores on a coarse grid, so that there are many ties within and between the classes."""
    rng = np.random.default_rng(seed)
    y = np.r_[0, 1, rng.integers(0, 2, n - 2)]
    s = np.round(rng.normal(y, 1.0), 1)
    s[rng.choice(n, n_failures, replace=False)] = np.nan
    return y, s


def make_gaussian_scores(separation, n=200_000, seed=0):
    """Many normal scores of two people and of one, means `separation` apart, deviation 1."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    return y, rng.normal(separation * y, 1.0)


def rates_by_loop(y, s, threshold):
    """Count one pair at a time; a failure is rejected."""
    counts = {0: [0, 0], 1: [0, 0]}
    for label, score in zip(y, s, strict=True):
        counts[label][0 if not np.isnan(score) and score >= threshold else 1] += 1
    return counts[0][0] / sum(counts[0]), counts[1][1] / sum(counts[1])


def all_thresholds(s):
    """One threshold for every way to decide."""
    return np.append(np.unique(s[~np.isnan(s)]), 99.0)


def repeat(y, s, seed):
    """Draw whole weights, and the pairs repeated as often."""
    weight = np.random.default_rng(seed).integers(0, 4, len(y))
    weight[:2] = 1
    return weight, y.repeat(weight), s.repeat(weight)
