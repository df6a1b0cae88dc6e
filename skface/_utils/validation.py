"""Checks of arguments, and wording of errors, that the whole package shares."""

import math
from collections.abc import Collection, Iterable
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_scalar


def check_option(value: Any, name: str, options: Collection[str]) -> Any:
    """Return `value` if it is one of `options`, else raise a ValueError that lists them."""
    if not isinstance(value, str) or value not in options:
        known = ", ".join(repr(option) for option in options)
        raise ValueError(f"{name}={value!r} is not one of {known}.")
    return value


def check_finite(value: Any, name: str, *, boundary: str = "neither") -> float:
    """Return `value` if it is a finite number above 0 (or 0, with "left"), else raise."""
    check_scalar(value, name, Real, min_val=0, include_boundaries=boundary)
    if not math.isfinite(value):
        raise ValueError(f"{name}={value!r} is not a finite number.")
    return value


def format_items(items: Iterable[Any], limit: int = 5) -> str:
    """Join the first `limit` items, and count the others: ``'3, 7, 9 and 12 more'``."""
    names = [str(item) for item in items]
    if len(names) <= limit:
        return ", ".join(names)
    return f"{', '.join(names[:limit])} and {len(names) - limit} more"


def encode_labels(labels: Any, name: str) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the distinct labels, sorted, and for every entry the index of its label."""
    labels = np.asarray(labels)
    if labels.dtype.kind in "fO":
        entries = labels.reshape(len(labels), -1)
        missing = [row for row, entry in enumerate(entries) if any(map(_is_missing, entry))]
        if missing:
            raise ValueError(
                f"{name} lacks a label in row {format_items(missing)}. Add labels, or leave these "
                "rows out."
            )
    try:
        distinct, indices = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise ValueError(
            f"{name} mixes types that cannot be ordered; use numbers only or strings only."
        ) from error
    return distinct, indices.reshape(labels.shape)


def _is_missing(value: Any) -> bool:
    """Return whether `value` is None, NaN, NaT or pandas.NA (which cannot be compared)."""
    return value is None or type(value).__name__ == "NAType" or bool(value != value)
