"""Probe images, and the similarity of the vectors that two backends give for them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

N_PROBES = 8

Point = tuple[float, float]


def make_probes(height: int, width: int) -> list[NDArray[Any]]:
    """Draw the probe images on which backends are compared: always the same simple faces.

    Rounding changes the vectors of noise or of smooth patterns much more than those of photos. The
    vectors of drawn faces change about as much as those of photos.

    Parameters
    ----------
    height, width : int
        Size in pixels.

    Returns
    -------
    list of ndarray of shape (height, width, 3), dtype uint8
        `N_PROBES` images, RGB.

    Examples
    --------
    >>> from skface.inference._probes import make_probes
    >>> probes = make_probes(32, 24)
    >>> len(probes), probes[0].shape
    (8, (32, 24, 3))
    """
    rng = np.random.default_rng(9)
    return [_draw_face(height, width, rng) for _ in range(N_PROBES)]


def compare_vectors(expected: NDArray[Any], found: NDArray[Any]) -> NDArray[Any]:
    """Return the cosine of each row of two arrays; -1 where that is undefined.

    Parameters
    ----------
    expected : ndarray of shape (n, d)
        Finite rows, none of them zero.
    found : ndarray
        Of any shape, with any values.

    Returns
    -------
    ndarray of shape (n,), dtype float64
        In [-1, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from skface.inference._probes import compare_vectors
    >>> compare_vectors(np.eye(2), np.array([[3.0, 0.0], [np.nan, 0.0]]))
    array([ 1., -1.])
    """
    if expected.shape != found.shape:
        return np.full(len(expected), -1.0)
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = (expected * found).sum(axis=1) / (
            np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
        )
    return np.clip(np.nan_to_num(cosines, nan=-1.0), -1, 1)


def _draw_face(height: int, width: int, rng: np.random.Generator) -> NDArray[Any]:
    """Draw a head with eyes, brows, nose and mouth, unevenly lit, with a grain of a few pixels."""
    y = np.linspace(0, 1, height)[:, None, None]
    x = np.linspace(0, 1, width)[None, :, None]
    skin = np.array([0.8, 0.6, 0.5]) * rng.uniform(0.5, 1.15)
    hair = np.array([1.0, 0.8, 0.65]) * rng.uniform(0.05, 0.4)
    background = rng.uniform(0.1, 0.8, 3) + 0.25 * _smooth_noise((8, 8), height, width, 3, rng)
    image = np.clip(background, 0, 1)

    def paint(opacity: float, at: Point, radii: Point, color: NDArray[Any] | float) -> None:
        """Paint an ellipse with soft edges; center and radii are (y, x) in shares of the image."""
        nonlocal image
        distance = ((y - at[0]) / radii[0]) ** 2 + ((x - at[1]) / radii[1]) ** 2
        cover = opacity * np.exp(-0.5 * distance**4)
        image = image * (1 - cover) + cover * color

    paint(1, (0.4, 0.5), (0.5, 0.45), hair)
    paint(1, (0.55 + rng.normal(0, 0.02), 0.5), (0.45, 0.34), skin)
    eye_y, eye_x = 0.37 + rng.normal(0, 0.02), 0.2 + rng.normal(0, 0.01)
    for side in (-1, 1):
        paint(0.8, (eye_y - 0.08, 0.5 + side * eye_x), (0.02, 0.09), hair)
        paint(0.6, (eye_y, 0.5 + side * eye_x), (0.03, 0.07), 0.75)
        paint(1, (eye_y, 0.5 + side * eye_x), (0.03, 0.03), 0.1)
        paint(0.3, (0.63, 0.5 + side * 0.06), (0.02, 0.03), 0.4 * skin)
    paint(0.3, (0.5, 0.5), (0.14, 0.03), 1.3 * skin)
    mouth_y, mouth_height = 0.8 + rng.normal(0, 0.02), 0.03 + abs(rng.normal(0, 0.01))
    paint(0.7, (mouth_y, 0.5), (mouth_height, 0.14), np.array([0.8, 0.45, 0.45]) * skin)
    image = image * (1 + 0.4 * _smooth_noise((2, 2), height, width, 1, rng))
    grain = _smooth_noise((height // 4 + 1, width // 4 + 1), height, width, 1, rng)
    return np.clip(np.rint(255 * image + 8 * grain), 0, 255).astype(np.uint8)


def _smooth_noise(
    cells: tuple[int, int], height: int, width: int, n_channels: int, rng: np.random.Generator
) -> NDArray[Any]:
    """Interpolate normal values at the corners of a grid of cells, (height, width, n_channels)."""
    corners = rng.standard_normal((n_channels, cells[0] + 1, cells[1] + 1))
    planes = _interpolation(cells[0], height) @ corners @ _interpolation(cells[1], width).T
    return planes.transpose(1, 2, 0)


def _interpolation(n_cells: int, n_pixels: int) -> NDArray[Any]:
    """Return the weights of n_cells + 1 corners for each pixel, (n_pixels, n_cells + 1)."""
    places = np.linspace(0, n_cells, n_pixels)[:, None]
    return np.maximum(0, 1 - np.abs(places - np.arange(n_cells + 1)))
