"""Perceptual hashes of photos: fingerprints that re-encoding and resizing hardly change."""

import numpy as np

_N_FREQUENCIES = 16
N_BITS = _N_FREQUENCIES**2
# Fingerprints compared at a time, on either side; bounds memory.
_BLOCK = 4096
# Weights of red, green and blue in gray (ITU-R BT.601, as in JPEG).
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def fingerprint(pixels: np.ndarray) -> np.ndarray:
    """Compute the signs of the lowest spatial frequencies of an image.

    They are coefficients of the discrete cosine transform of the whole image, so images of any size
    are comparable without resizing.

    Parameters
    ----------
    pixels : ndarray of shape (H, W, 3)
        RGB in any range.

    Returns
    -------
    ndarray of shape (32,), dtype uint8
        256 bits, packed.
    """
    height, width = pixels.shape[:2]
    # rows first, so that the weighted sum of the channels is over a small array
    low = _cosines(height) @ pixels.reshape(height, -1).astype(np.float32)
    gray = low.reshape(_N_FREQUENCIES, width, 3) @ _LUMA
    coefficients = gray @ _cosines(width).T
    # coefficients of flat images, apart from the mean, are rounding errors of either sign
    return np.packbits(coefficients > 1e-5 * coefficients[0, 0])


def near_matches(
    a: np.ndarray, b: np.ndarray, max_distance: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the pairs of fingerprints that differ in few bits.

    Parameters
    ----------
    a, b : ndarray of shape (n_a, 32) and (n_b, 32), dtype uint8
        Fingerprints.
    max_distance : int
        Most bits that may differ.

    Returns
    -------
    i, j : ndarray of shape (n_matches,)
        Indices into `a` and `b`, closest first.
    distance : ndarray of shape (n_matches,)
        Number of bits that differ.
    """
    found = [np.empty((3, 0), dtype=np.intp)]
    for start_a in range(0, len(a), _BLOCK):
        signs_a = _signs(a[start_a : start_a + _BLOCK])
        for start_b in range(0, len(b), _BLOCK):
            # number of equal signs minus number of different ones, exact in float32
            agreement = signs_a @ _signs(b[start_b : start_b + _BLOCK]).T
            i, j = np.nonzero(agreement >= N_BITS - 2 * max_distance)
            distance = (N_BITS - agreement[i, j]).astype(np.intp) // 2
            found.append(np.stack([start_a + i, start_b + j, distance]))
    matches = np.concatenate(found, axis=1)
    i, j, distance = matches[:, np.lexsort((matches[0], matches[1], matches[2]))]
    return i, j, distance


def _cosines(size: int) -> np.ndarray:
    """Return the lowest frequencies of the discrete cosine transform, (16, size)."""
    places = (np.arange(size) + 0.5) / size
    return np.cos(np.pi * np.outer(np.arange(_N_FREQUENCIES), places)).astype(np.float32)


def _signs(bits: np.ndarray) -> np.ndarray:
    """Unpack bits to -1 and 1."""
    return np.unpackbits(bits, axis=1).astype(np.float32) * 2 - 1
