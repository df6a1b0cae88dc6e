"""Checks of the parameters and the data of a verifier; errors name the row or value."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from skface._utils.validation import check_option, format_items
from skface.metrics._checks import check_cost
from skface.verification._calibration import CALIBRATIONS
from skface.verification._similarity import METRICS
from skface.verification._threshold import CRITERIA

_KINDS = {2: "scores (n_pairs, n_scores)", 3: "embeddings (n_pairs, 2, n_features)"}


def check_parameters(
    *,
    metric: object,
    threshold: object,
    criterion: object,
    far: Any,
    cost: object,
    calibration: object,
    prior: Any,
) -> None:
    """Raise a ValueError if a parameter of :class:`PairVerifier` is invalid."""
    if not callable(metric):
        check_option(metric, "metric", METRICS)
    check_option(criterion, "criterion", CRITERIA)
    if calibration is not None:
        check_option(calibration, "calibration", CALIBRATIONS)
    if threshold is not None and not _is_finite_number(threshold):
        raise ValueError(f"threshold={threshold!r} is neither None nor a finite number.")
    if prior is not None and not (_is_finite_number(prior) and 0 < prior < 1):
        raise ValueError(f"prior={prior!r} is neither None nor between 0 and 1.")
    if far is not None and not (_is_finite_number(far) and 0 < far < 1):
        raise ValueError(f"far={far!r} is not between 0 and 1.")
    if criterion == "far" and far is None and threshold is None:
        raise ValueError(
            "criterion='far' needs the largest allowed false match rate, such as far=1e-3."
        )
    if criterion == "cost":
        check_cost(cost)


def check_pair_shape(shape: tuple[int, ...], fitted_ndim: int | None) -> None:
    """Raise if X of this shape holds neither embeddings of pairs nor scores.

    Parameters
    ----------
    shape : tuple of int
        Shape of X. Fewer than two axes are left to scikit-learn's own checks.
    fitted_ndim : int or None
        Number of axes that a fitted verifier takes; None during `fit`.
    """
    ndim = len(shape)
    if ndim > 3:
        raise ValueError(
            f"X has shape {shape}: PairVerifier takes embeddings (n_pairs, 2, n_features) or "
            "scores (n_pairs, n_scores). Put an embedder before it."
        )
    if ndim == 3 and shape[1] != 2:
        raise ValueError(
            f"X has shape {shape}: the axis after the first must hold the 2 embeddings of each "
            "pair."
        )
    if fitted_ndim is not None and ndim > 1 and ndim != fitted_ndim:
        # a list of faces instead of pairs gives one embedding per row, which looks like scores
        way_out = " A single pair is [[left, right]]." if ndim == 2 else ""
        raise ValueError(
            f"X holds {_KINDS[ndim]}, but PairVerifier was fitted on {_KINDS[fitted_ndim]}."
            f"{way_out}"
        )


def encode_pair_labels(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the two labels, sorted, and which pairs have the last one: the genuine pairs."""
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) > 2:
        raise ValueError(
            "Only binary classification is supported. The type of the target is "
            f"{type_of_target(y)}: y must have two labels, one for genuine and one for impostor "
            f"pairs, but it holds {len(classes)} classes, {format_items(classes.tolist())}."
        )
    if len(classes) < 2:
        (label,) = classes.tolist()
        raise ValueError(
            f"y holds one class only, {label!r}: a threshold is learned from genuine and impostor "
            "pairs."
        )
    return classes, codes == 1


def check_sample_weight(sample_weight: ArrayLike | None, n_pairs: int) -> NDArray[np.float64]:
    """Return a weight of at least 0 per pair; None gives every pair the weight 1."""
    if sample_weight is None:
        return np.ones(n_pairs)
    weight: NDArray[np.float64] = check_array(
        sample_weight,
        dtype=np.float64,
        ensure_2d=False,
        ensure_non_negative=True,
        input_name="sample_weight",
    )
    if weight.shape != (n_pairs,):
        raise ValueError(f"sample_weight.shape == {weight.shape}, expected {(n_pairs,)}.")
    if not weight.any():
        raise ValueError("sample_weight is zero for every row, so neither class can be learned.")
    return weight


def check_both_classes(genuine: NDArray[np.bool_], classes: NDArray[Any], n_pairs: int) -> None:
    """Raise if a class has no pair without NaN and with a positive weight.

    Parameters
    ----------
    genuine : ndarray of shape (n_used,)
        Which of the pairs that are left are genuine.
    classes : ndarray of shape (2,)
        The label of impostor pairs, and that of genuine pairs.
    n_pairs : int
        Number of pairs before any was left out.
    """
    for code, label in enumerate(classes.tolist()):
        if not np.any(genuine == code):
            raise ValueError(
                f"The class {label!r} has no pair to learn from: {len(genuine)} of {n_pairs} rows "
                "are free of NaN and have a positive sample_weight."
            )


def _is_finite_number(value: object) -> bool:
    """Return whether `value` is a finite real number."""
    return isinstance(value, (int, float, np.integer, np.floating)) and bool(np.isfinite(value))
