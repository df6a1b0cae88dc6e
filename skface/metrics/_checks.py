"""What every metric checks of its arguments."""

from typing import Any

import numpy as np
from sklearn.utils import check_array, check_consistent_length, column_or_1d


def check_scores(
    y_true: Any, y_score: Any, sample_weight: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check the arguments; return which pairs are the same person, scores and weights."""
    y_true = column_or_1d(y_true)
    y_score = check_array(
        column_or_1d(y_score),
        dtype=[np.float64, np.float32],  # kept, so that thresholds are exact in either
        ensure_2d=False,
        ensure_all_finite="allow-nan",
        input_name="y_score",
    )
    if sample_weight is None:
        weight = np.ones(len(y_score))
    else:
        weight = check_array(
            column_or_1d(sample_weight),
            dtype=np.float64,
            ensure_2d=False,
            ensure_non_negative=True,
            input_name="sample_weight",
        )
    check_consistent_length(y_true, y_score, weight)
    labels = np.unique(y_true[weight > 0])
    if len(labels) != 2:
        raise ValueError(
            f"y_true must hold two classes, same and different, but it holds {len(labels)}: "
            f"{', '.join(repr(label) for label in labels[:5].tolist())}."
        )
    return y_true == labels[-1], y_score, weight
