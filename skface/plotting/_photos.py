"""Thumbnails of photos."""

import os

import numpy as np
import PIL.Image

from skface._rows import ImageSequence, is_missing, to_bytes
from skface.exceptions import ImageError


def thumbnail(images: ImageSequence, i: int, side: int) -> np.ndarray | str:
    """Decode image `i` to uint8 RGB, at most `side` pixels a side, or return why that fails."""
    try:
        pixels = images[i]
    except (ImageError, FileNotFoundError):
        return f"cannot be read: {os.path.basename(images.name(i))}"
    if is_missing(pixels):
        return "no face was found"
    image = PIL.Image.fromarray(np.ascontiguousarray(to_bytes(pixels)))
    image.thumbnail((side, side))
    return np.asarray(image)
