"""Similarity of two embeddings, pair by pair."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skface._utils.validation import format_items

METRICS = ("cosine", "euclidean", "sqeuclidean")

#: What a user's metric does: (n_pairs, n_features) twice in, (n_pairs,) similarities out.
MetricFunction = Callable[[NDArray[Any], NDArray[Any]], ArrayLike]

_BLOCK_VALUES = 2**17  # embedding values that are converted to float64 at a time: 1 MiB


def rows_maybe_not_finite(X: NDArray[Any]) -> NDArray[np.intp]:
    """Return the rows that may hold NaN or infinite values; all other rows are finite."""
    # The sum of a row with such a value is not finite. The sum of large finite values may overflow.
    # A matrix product takes a quarter of the time of numpy's sum.
    with np.errstate(over="ignore", invalid="ignore"):
        sums = X.reshape(len(X), -1) @ np.ones(X[0].size, X.dtype)
    return np.flatnonzero(~np.isfinite(sums))


def rows_without_nan(X: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark the rows that hold no NaN."""
    complete = np.ones(len(X), dtype=bool)
    rows = rows_maybe_not_finite(X)
    complete[rows] = ~np.isnan(X[rows]).any(axis=tuple(range(1, X.ndim)))
    return complete


def similarities(
    X: NDArray[Any], complete: NDArray[np.bool_], metric: str | MetricFunction
) -> NDArray[np.float64]:
    """Compute the similarity of each pair, in float64.

    A pair has the same similarity, to the last bit, whatever the other rows are.

    Parameters
    ----------
    X : ndarray of shape (n_pairs, 2, n_features)
        Embeddings, float32 or float64.
    complete : ndarray of shape (n_pairs,)
        The rows without NaN.
    metric : {"cosine", "euclidean", "sqeuclidean"} or callable
        The similarity to compute.

    Returns
    -------
    ndarray of shape (n_pairs,)
        Similarities; NaN where a row is not complete.

    Raises
    ------
    ValueError
        If a vector without direction has no cosine, or a callable returns no finite
        similarity per pair.
    """
    score = np.full(len(X), np.nan)
    rows = np.flatnonzero(complete)
    all_complete = len(rows) == len(X)
    if callable(metric):
        score[rows] = _call_metric(metric, X if all_complete else X[rows])
        return score
    step = max(1, _BLOCK_VALUES // X.shape[2])
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        pairs = X[start : start + step] if all_complete else X[block]  # a slice copies nothing
        # numpy rounds sums differently over memory that is not contiguous
        pairs = np.ascontiguousarray(pairs, dtype=np.float64)
        if metric == "cosine":
            score[block] = _cosine(pairs, block)
        else:
            difference = pairs[:, 0] - pairs[:, 1]
            squared = np.einsum("ij,ij->i", difference, difference)
            score[block] = -squared if metric == "sqeuclidean" else -np.sqrt(squared)
    return score


def _cosine(pairs: NDArray[np.float64], rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Compute the cosine of each pair of vectors; errors name their numbers, `rows`."""
    dot, squares = _products(pairs)
    # outside these bounds, a square or the product of two may have overflowed or vanished
    extreme = ~((squares > 1e-140) & (squares < 1e140)).all(axis=1)
    if extreme.any():
        longest = np.abs(pairs[extreme]).max(axis=2)
        empty = rows[extreme][(longest == 0).any(axis=1)]
        if len(empty):
            raise ValueError(
                f"X holds an all-zero embedding in row {format_items(empty)}: it has no direction, "
                "so no cosine. If it stands for a failure, set it to NaN."
            )
        dot[extreme], squares[extreme] = _products(pairs[extreme] / longest[:, :, np.newaxis])
    # sqrt(aa * bb), not sqrt(aa) * sqrt(bb): exactly 1 for equal vectors.
    return np.clip(dot / np.sqrt(squares[:, 0] * squares[:, 1]), -1.0, 1.0)


def _products(pairs: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the dot products of pairs of vectors, (n,), and of each with itself, (n, 2)."""
    with np.errstate(over="ignore", under="ignore"):
        dot = np.einsum("ij,ij->i", pairs[:, 0], pairs[:, 1])
        return dot, np.einsum("ijk,ijk->ij", pairs, pairs)


def _call_metric(metric: MetricFunction, X: NDArray[Any]) -> NDArray[np.float64]:
    """Call the user's metric and check what it returns."""
    score = np.asarray(metric(X[:, 0], X[:, 1]), dtype=np.float64)
    if score.shape != (len(X),):
        raise ValueError(
            f"metric={metric!r} returned an array of shape {score.shape} for {len(X)} pairs, "
            f"expected {(len(X),)}."
        )
    if np.isinf(score).any():
        raise ValueError(f"metric={metric!r} returned infinite similarities.")
    return score
