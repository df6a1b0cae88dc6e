"""New people of known ones: faces of two people faded into each other, and bent."""

import numpy as np


def blend(
    faces: np.ndarray, others: np.ndarray, bend: float, rng: np.random.Generator
) -> np.ndarray:
    """Turn the faces of one person into those of a new one.

    What is drawn is drawn once, so that the new person looks alike on all pictures: how much of
    the other person there is, as a whole or in places, and where the features move to.

    Parameters
    ----------
    faces, others : ndarray of shape (n, H, W, 3), dtype uint8
        Pictures of two people.
    bend : float
        About the standard deviation of the shifts, as a share of half the sides.
    rng : numpy Generator
        Source of the random numbers.

    Returns
    -------
    new : ndarray of shape (n, H, W, 3), dtype uint8
    """
    import cv2

    height, width = faces.shape[1:3]

    def smooth(n_knots):
        knots = rng.normal(size=(n_knots, n_knots)).astype(np.float32)
        return cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC)

    if rng.random() < 0.5:
        share = np.full((height, width), rng.uniform(0.25, 0.6), np.float32)
    else:
        share = 1 / (1 + np.exp(-(2 * smooth(4) + rng.normal())))
    share = share[..., None].astype(np.float32)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = x + bend * width / 2 * smooth(5), y + bend * height / 2 * smooth(5)
    new = np.empty_like(faces)
    for face, other, place in zip(faces, others, new, strict=True):
        mixed = face + share * (other.astype(np.float32) - face)
        bent = cv2.remap(mixed, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        place[:] = np.rint(np.clip(bent, 0, 255))
    return new
