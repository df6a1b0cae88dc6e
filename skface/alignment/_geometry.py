"""Crops: the positions of the landmarks in a crop, and the warp of a photo to it."""

from numbers import Integral
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from skface._utils.validation import check_option
from skface.alignment._yunet import resize
from skface.exceptions import FaceNotFoundError
from skface.weights import REGISTRY


class Geometry(NamedTuple):
    """A crop: the positions of five landmarks, and the size.

    Attributes
    ----------
    points : ndarray of shape (5, 2)
        x and y in pixels of the left eye (as the viewer sees it), right eye, nose, left and right
        mouth corner.
    size : tuple (width, height)
        Pixels of the crop.
    """

    points: NDArray[np.float64]
    size: tuple[int, int]


_ARCFACE = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)
_SPHEREFACE = _ARCFACE - (8, 0)

#: Crops by name. The first three are templates published with the networks trained on them.
GEOMETRIES = {
    "arcface-112": Geometry(_ARCFACE, (112, 112)),
    "sphereface-112x96": Geometry(_SPHEREFACE, (96, 112)),
    "open-model-zoo-128": Geometry(_SPHEREFACE / (96, 112) * 128, (128, 128)),
    # The FaceNet networks were trained on boxes of an MTCNN detector, widened by a margin, without
    # landmarks. Here an average face is in the center of such a box, and fills 0.9 of it.
    "facenet-160": Geometry((_ARCFACE - (56, 72)) * 1.65 + (80, 94), (160, 160)),
}


def resolve_geometry(geometry: Any) -> Geometry:
    """Return the geometry of a crop's name, a name of weights, or points and a size.

    Parameters
    ----------
    geometry : str or tuple (points, (width, height))
        A name in `GEOMETRIES`; the name of registered weights, for the crop that they were trained
        with; or five (x, y) points and the size of the crop, in pixels.

    Returns
    -------
    Geometry
        Points as float64.

    Raises
    ------
    ValueError
        If the name is unknown, or the points or the size are invalid.

    Examples
    --------
    >>> from skface.alignment import resolve_geometry
    >>> resolve_geometry("face-reidentification-retail-0095").size
    (128, 128)
    """
    if isinstance(geometry, str):
        by_weights = {name: entry.geometry for name, entry in REGISTRY.items() if entry.geometry}
        check_option(geometry, "geometry", (*GEOMETRIES, *by_weights))
        return GEOMETRIES[by_weights.get(geometry, geometry)]
    try:
        points, (width, height) = geometry
        points = np.array(points, dtype=np.float64)
        is_usable = points.shape == (5, 2) and np.isfinite(points).all()
        is_usable = is_usable and (points != points[0]).any()
        is_sized = all(isinstance(side, Integral) and int(side) > 0 for side in (width, height))
    except (TypeError, ValueError):
        is_usable = is_sized = False
    if not (is_usable and is_sized):
        raise ValueError(
            f"geometry={geometry!r} is neither a name nor (points, (width, height)) with five "
            "(x, y) points and a size in pixels."
        )
    return Geometry(points, (int(width), int(height)))


def warp(
    photo: NDArray[np.uint8], points: NDArray[np.float64], geometry: Geometry
) -> NDArray[np.uint8]:
    """Warp a photo to a crop, given its landmarks (5, 2)."""
    matrix = fit_similarity(points, geometry.points)
    scale = np.hypot(*matrix[:, 0])
    if scale < 0.5:
        # bilinear interpolation skips pixels if it shrinks by more than two: average them first
        small = resize(photo, 2 * scale)
        ratio = np.divide(photo.shape[1::-1], small.shape[1::-1])
        # pixel centers lie at half integers of the photo's extent
        enlarge = np.column_stack([np.diag(ratio), ratio / 2 - 0.5])
        matrix = matrix @ np.vstack([enlarge, (0, 0, 1)])
        photo = small
    crop = cv2.warpAffine(photo, matrix, geometry.size, flags=cv2.INTER_LINEAR)
    return np.asarray(crop, dtype=np.uint8)


def fit_similarity(points: ArrayLike, targets: ArrayLike) -> NDArray[np.float64]:
    """Fit the rotation, scaling and shift from points to targets, by least squares.

    With points of the plane as complex numbers, a similarity without reflection is z -> a z + b,
    and Umeyama's solution is a linear regression.

    Parameters
    ----------
    points, targets : array-like of shape (k, 2)
        Coordinates x and y of k >= 2 points.

    Returns
    -------
    matrix : ndarray of shape (2, 3)
        The transformation, for column vectors (x, y, 1).

    Raises
    ------
    FaceNotFoundError
        If all points coincide.

    Examples
    --------
    >>> import numpy as np
    >>> from skface.alignment import fit_similarity
    >>> fit_similarity(np.array([[0, 0], [2, 0]]), np.array([[1, 1], [1, 5]])).round(6) + 0
    array([[ 0., -2.,  1.],
           [ 2.,  0.,  1.]])
    """
    z, w = (np.asarray(p, dtype=np.float64) @ (1, 1j) for p in (points, targets))
    centered = z - z.mean()
    spread = np.vdot(centered, centered).real
    if spread == 0:
        raise FaceNotFoundError("the five landmarks of the face coincide")
    a = np.vdot(centered, w - w.mean()) / spread
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
