"""Compose and compare photographs."""

import numpy as np
import PIL.Image


def pasted(size, *parts):
    """Lay photos, each with its corner (x, y), on a black canvas (width, height)."""
    canvas = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    for photo, (x, y) in parts:
        canvas[y : y + photo.shape[0], x : x + photo.shape[1]] = photo
    return canvas


def resized(photo, size):
    return np.asarray(PIL.Image.fromarray(photo).resize((size, size), PIL.Image.Resampling.BICUBIC))


def likeness(crop, other):
    """Correlate pixels: 1 for the same crop, above 0.9 when landmarks differ by a pixel or two."""
    return np.corrcoef(crop.ravel(), other.ravel())[0, 1]


# ------------------------------------------------------------------------------- the geometry
