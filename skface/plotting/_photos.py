"""Small copies of photos to draw."""

import os

import numpy as np
import PIL.Image

from skface.images import ImageError, ImageSequence, is_missing


def thumbnail(images: ImageSequence, i: int, side: int) -> np.ndarray | str:
    """Decode image `i` to uint8 RGB with at most `side` pixels a side, or say why there is none."""
    try:
        pixels = images[i]
    except (ImageError, FileNotFoundError):
        return f"cannot be read: {os.path.basename(images.name(i))}"
    if is_missing(pixels):
        return "no face was found"
    if pixels.dtype.kind == "f":
        pixels = np.round(255 * pixels.clip(0, 1)).astype(np.uint8)
    image = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((side, side))
    return np.asarray(image)
