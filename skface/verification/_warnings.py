"""Warnings of `PairVerifier.fit`. Every function is called by `fit` itself."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skface._utils.callbacks import FRAMES
from skface.exceptions import FewImpostorsWarning

_MOST_SCORES = 32  # per pair; more look like embeddings of faces
_CALLER_OF_FIT = 3 + FRAMES  # as a stack level


def warn_if_embeddings(shape: tuple[int, ...]) -> None:
    """Warn if X of this shape holds more scores per pair than is likely."""
    if shape[1] > _MOST_SCORES:
        warnings.warn(
            f"X of shape {shape} is taken as {shape[1]} scores per pair. If these are "
            "embeddings of faces, give pairs of them, (n_pairs, 2, n_features): the rows of a "
            "pipeline have to be pairs, such as [[left, right]].",
            UserWarning,
            stacklevel=_CALLER_OF_FIT,
        )


def warn_if_reversed(
    genuine: NDArray[np.bool_],
    score: NDArray[np.float64],
    weight: NDArray[np.float64],
    classes: NDArray[Any],
) -> None:
    """Warn if genuine pairs do not have the larger scores on average."""
    genuine_mean, impostor_mean = (
        np.average(score[kind], weights=weight[kind]) for kind in (genuine, ~genuine)
    )
    if genuine_mean <= impostor_mean:
        different, same = classes.tolist()
        warnings.warn(
            f"Larger scores do not go with {same!r}, which means the same person because it "
            f"comes after {different!r} in sorted order. Is the score a distance, or are the "
            "labels swapped?",
            UserWarning,
            stacklevel=_CALLER_OF_FIT,
        )


def warn_if_few_impostors(n_impostor: float, far: float) -> None:
    """Warn if `n_impostor` pairs cannot show a false match rate of at most `far`."""
    if n_impostor < 3 / far:
        warnings.warn(
            f"far={far:g} rests on {n_impostor:g} impostor pairs. With fewer than "
            f"{np.ceil(3 / far):.0f}, even a threshold without a false match does not show, at "
            "95 % confidence, that the false match rate is that small.",
            FewImpostorsWarning,
            stacklevel=_CALLER_OF_FIT,
        )
