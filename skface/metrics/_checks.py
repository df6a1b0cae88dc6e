"""Argument checks that the metrics share."""

from typing import Any

import numpy as np
from sklearn.utils import check_array, check_consistent_length, check_scalar, column_or_1d

from skface._utils.validation import format_items


def check_scores(
    y_true: Any,
    y_score: Any,
    sample_weight: Any,
    *,
    name: str = "y_score",
    allow_infinite: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Check the arguments; return which pairs are genuine, the scores, and the weights or None."""
    y_true = column_or_1d(y_true)
    y_score = check_array(
        column_or_1d(y_score),
        dtype=[np.float64, np.float32],  # kept, so that thresholds are exact in either
        ensure_2d=False,
        ensure_all_finite=False if allow_infinite else "allow-nan",
        input_name=name,
    )
    check_consistent_length(y_true, y_score, sample_weight)
    weight = None if sample_weight is None else check_weight(sample_weight)
    return genuine_pairs(y_true, weight), y_score, weight


def check_weight(sample_weight: Any) -> np.ndarray:
    """Check that weights are finite and not negative."""
    return check_array(
        column_or_1d(sample_weight),
        dtype=np.float64,
        ensure_2d=False,
        ensure_non_negative=True,
        input_name="sample_weight",
    )


def genuine_pairs(y_true: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Return which pairs carry the larger of the two labels that have weight."""
    labels = np.unique(y_true if weight is None else y_true[weight > 0])
    if len(labels) != 2:
        raise ValueError(
            "y_true must hold two classes, genuine and impostor pairs, but it holds "
            f"{len(labels)}: {format_items(map(repr, labels.tolist()))}."
        )
    return y_true == labels[1]


def check_far(far: Any) -> float:
    """Check a false acceptance rate."""
    check_scalar(far, "far", (float, int, np.floating))
    if not 0 <= far <= 1:  # nor if it is NaN
        raise ValueError(f"far={far!r} is not between 0 and 1.")
    return float(far)


def check_threshold(threshold: Any) -> float:
    """Check that a threshold is a number, which may be infinite."""
    check_scalar(threshold, "threshold", (float, int, np.integer, np.floating))
    if np.isnan(threshold):
        raise ValueError(f"threshold={threshold!r} is not a number to compare scores with.")
    return float(threshold)


def check_cost(cost: Any) -> tuple[float, float, float]:
    """Check (C_miss, C_fa, prior)."""
    values = np.asarray(cost)
    if (
        values.shape != (3,)
        or values.dtype.kind not in "fiu"
        or not np.all(np.isfinite(values) & (values > 0))
        or not values[2] < 1
    ):
        raise ValueError(
            f"cost={cost!r} is not (C_miss, C_fa, prior): two positive costs and a prior between "
            "0 and 1."
        )
    c_miss, c_fa, prior = values.tolist()
    return c_miss, c_fa, prior


def check_confidence(confidence: Any) -> float:
    """Check the coverage of an interval."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence!r} is not between 0 and 1.")
    return float(confidence)
