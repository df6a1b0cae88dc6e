"""Six faces of pixels, and an array that holds objects."""

import numpy as np

RGB = np.random.default_rng(0).integers(0, 256, (6, 10, 8, 3), dtype=np.uint8)


def boxed(items, shape):
    """Objects in an array, one by one, since numpy would unpack images."""
    array = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        array[i] = item
    return array.reshape(shape)
