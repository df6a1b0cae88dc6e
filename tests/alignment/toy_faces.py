"""Photos of noise, detectors that need no network, and the faces that they report."""

import numpy as np

from skface import FaceAligner
from skface.alignment import GEOMETRIES

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
WALL = np.full((40, 40, 3), 90, dtype=np.uint8)
ARCFACE = GEOMETRIES["arcface-112"].points


def similarity(scale, degrees, shift):
    """Compute the 2 x 3 matrix of a similarity from its parts."""
    turn = np.radians(degrees)
    a, b = scale * np.cos(turn), scale * np.sin(turn)
    return np.array([[a, -b, shift[0]], [b, a, shift[1]]])


def moved(matrix, points):
    return points @ matrix[:, :2].T + matrix[:, 2]


BOXES = {"left": (0, 0, 80, 80), "middle": (85, 35, 30, 30), "right": (170, 60, 20, 20)}
SCORES = {"left": 0.7, "middle": 0.8, "right": 0.95}


def reported(points, box=(0, 0, 10, 10), score=0.9):
    """One face in the form that detectors report."""
    return [*box, *np.ravel(points), score]


def in_box(name):
    x, y, width, height = BOXES[name]
    return reported(ARCFACE / 112 * (width, height) + (x, y), BOXES[name], SCORES[name])


def detecting(*faces):
    """Build a detector that finds these faces in every photo."""
    return lambda photo: np.array(faces)


def textured_only(photo):
    """Find a face in every photo that is not of one color."""
    height, width = photo.shape[:2]
    points = ARCFACE / 112 * (width, height)
    return np.array([reported(points)]) if np.ptp(photo) else np.empty((0, 15))


def align(X, detector=textured_only, geometry="arcface-112", **parameters):
    return FaceAligner(geometry, detector=detector, **parameters).fit_transform(X)


def boxed(rows):
    """An object array of images, one by one, since numpy would unpack them."""
    array = np.empty((len(rows), 2), dtype=object)
    for i, row in enumerate(rows):
        array[i, 0], array[i, 1] = row
    return array
