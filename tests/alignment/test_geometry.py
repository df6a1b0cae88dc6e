"""Crops: where landmarks come to lie, and the pixels of the warp."""

import numpy as np
import pytest
from sklearn.base import clone
from toy_faces import ARCFACE, PHOTO, align, detecting, moved, reported, similarity, textured_only

from skface import FaceAligner
from skface.alignment import GEOMETRIES, fit_similarity, resolve_geometry
from skface.weights import REGISTRY


@pytest.mark.parametrize("seed", range(5))
def test_similarity_is_the_least_squares_solution(seed):
    rng = np.random.default_rng(seed)
    points, targets = rng.normal(scale=50, size=(2, 5, 2))
    rows, values = [], []
    for (x, y), (u, v) in zip(points, targets, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    a, b, c, d = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    np.testing.assert_allclose(fit_similarity(points, targets), [[a, -b, c], [b, a, d]], atol=1e-9)


@pytest.mark.parametrize(
    "geometry", [*GEOMETRIES, ([(9, 9), (40, 9), (25, 30), (9, 50), (40, 50)], (48, 64))]
)
@pytest.mark.parametrize(("scale", "degrees"), [(0.4, 0), (1, 20), (1.7, 90), (3, -35), (7, 180)])
def test_drawn_landmarks_land_on_the_template(geometry, scale, degrees):
    template, (width, height) = resolve_geometry(geometry)
    matrix = similarity(scale, degrees, (0, 0))
    matrix[:, 2] = 20 - moved(matrix, template).min(axis=0) + 8 * scale
    points = moved(matrix, template)
    sides = np.ceil(points.max(axis=0) + 20 + 8 * scale).astype(int)
    y, x = np.mgrid[: sides[1], : sides[0]]
    photo = np.zeros(x.shape)
    for px, py in points:
        photo += np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (1.5 * scale) ** 2))
    crop = align([photo.clip(0, 1)], detecting(reported(points)), geometry=geometry)[0, ..., 0]
    assert crop.shape == (height, width)
    y, x = np.mgrid[:height, :width]
    for px, py in template:
        dot = crop * (np.hypot(x - px, y - py) < 7)
        assert dot.max() > 100
        center = np.array([(dot * x).sum(), (dot * y).sum()]) / dot.sum()
        assert np.abs(center - (px, py)).max() < 0.1


@pytest.mark.parametrize(
    ("scale", "degrees", "noise", "thin"),
    [(0.5, 10, 0, 1), (1.5, -80, 3, 1), (2.5, 25, 3, 1), (9, 160, 5, 1), (9, 0, 5, 0.0285)],
)
def test_crop_is_the_photo_seen_through_the_similarity(scale, degrees, noise, thin):
    def colors(x, y):
        waves = [np.sin(x / (9 * scale)), np.sin(y / (11 * scale)), np.cos((x + y) / (15 * scale))]
        return 0.5 + 0.4 * np.stack(waves, axis=-1)

    sides = (int(200 * scale), int(200 * scale * thin))
    points = moved(similarity(scale, degrees, (0, 0)), ARCFACE - 56) + np.divide(sides, 2)
    points += scale * np.random.default_rng(0).normal(scale=noise, size=(5, 2))
    photo = colors(*np.meshgrid(np.arange(sides[0]), np.arange(sides[1])))
    crop = align([photo], detecting(reported(points)))[0]
    matrix = np.vstack([fit_similarity(points, ARCFACE), (0, 0, 1)])
    inverse = np.linalg.inv(matrix)[:2]
    grid = np.stack(np.meshgrid(np.arange(112), np.arange(112)), axis=-1)
    source = moved(inverse, grid)
    inside = ((source > scale) & (source < np.array(sides) - 1 - scale)).all(axis=-1)
    assert inside.sum() > 150
    error = crop - 255 * colors(source[..., 0], source[..., 1])
    assert np.abs(error[inside]).max() < 2


def test_shrinking_averages_pixels_instead_of_skipping_them():
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (900, 450))
    crop = align([stripes], detecting(reported(ARCFACE * 7 + 40)))[0]
    assert np.abs(crop - 127.5).max() < 25


def test_what_lies_outside_the_photo_is_black():
    white = np.full((60, 60, 3), 255, dtype=np.uint8)
    crop = align([white], detecting(reported(ARCFACE - 56)))[0]
    assert (crop[:55] == 0).all()
    assert (crop[:, :55] == 0).all()
    assert (crop[57:, 57:] == 255).all()
    assert (align([white], detecting(reported(ARCFACE + 999))) == 0).all()


def test_colors_of_the_photo_are_colors_of_the_crop():
    photo = np.full((112, 112, 3), (200, 50, 10), dtype=np.uint8)
    assert (align([photo], detecting(reported(ARCFACE))) == (200, 50, 10)).all()


def test_geometries_by_name_by_weights_and_by_points():
    for name, entry in REGISTRY.items():
        if entry.geometry is not None:
            assert resolve_geometry(name) is GEOMETRIES[entry.geometry]
    assert resolve_geometry("sphereface-112x96").size == (96, 112)
    points, size = resolve_geometry((ARCFACE.tolist(), np.array([30, 40])))
    np.testing.assert_array_equal(points, ARCFACE)
    assert size == (30, 40)
    aligner = FaceAligner((ARCFACE, (30, 40)), detector=textured_only)
    assert clone(aligner).fit_transform([PHOTO]).shape == (1, 40, 30, 3)


@pytest.mark.parametrize(
    "geometry",
    [
        "arcface",
        "yunet",
        None,
        ARCFACE,
        (ARCFACE, 112),
        (ARCFACE, (112, 0)),
        (ARCFACE, (112, 112.5)),
        (ARCFACE[:4], (112, 112)),
        (ARCFACE * np.nan, (112, 112)),
        ([(10, 20)] * 5, (112, 112)),
        (["a"] * 5, (112, 112)),
    ],
)
def test_unusable_geometries_are_refused(geometry):
    with pytest.raises(ValueError, match="geometry="):
        FaceAligner(geometry, detector=textured_only).fit([PHOTO])


# --------------------------------------------------------------------------- choosing one face
