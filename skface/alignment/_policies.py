"""Choice of one face among several."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skface.exceptions import FaceNotFoundError

#: Part of the message about several faces with face_policy="single".
SEVERAL = "faces with face_policy='single'"

Faces = NDArray[np.float64]  # (k, 15): x, y, width, height, five points, score


def _largest(faces: Faces, shape: tuple[int, ...]) -> int:
    return int(np.argmax(faces[:, 2] * faces[:, 3]))


def _center(faces: Faces, shape: tuple[int, ...]) -> int:
    height, width = shape[:2]
    distance = np.hypot(*(faces[:, :2] + faces[:, 2:4] / 2 - (width / 2, height / 2)).T)
    size = np.sqrt(np.clip(faces[:, 2] * faces[:, 3], 0, None))
    return int(np.argmax(size - 2 * distance))


def _best_score(faces: Faces, shape: tuple[int, ...]) -> int:
    return int(np.argmax(faces[:, 14]))


def _single(faces: Faces, shape: tuple[int, ...]) -> int:
    if len(faces) > 1:
        raise FaceNotFoundError(f"{len(faces)} {SEVERAL}")
    return 0


#: Policies by name: functions of the faces and the shape of the photo that return a row.
POLICIES: dict[str, Callable[[Faces, tuple[int, ...]], int]] = {
    "largest": _largest,
    "center": _center,
    "best_score": _best_score,
    "single": _single,
}


def choose_face(faces: Faces, shape: tuple[int, ...], policy: str) -> NDArray[Any]:
    """Return one of the faces of a photo.

    Parameters
    ----------
    faces : ndarray of shape (k, 15)
        The faces of a photo.
    shape : tuple of int
        Shape of the photo.
    policy : str
        A name in `POLICIES`.

    Returns
    -------
    ndarray of shape (15,)
        The face that the policy chooses.

    Raises
    ------
    FaceNotFoundError
        If there is no face, or more than one with the policy "single".
    """
    if not len(faces):
        raise FaceNotFoundError("no face found")
    return faces[POLICIES[policy](faces, shape)]
