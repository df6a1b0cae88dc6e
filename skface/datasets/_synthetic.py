"""Cartoon faces of synthetic people."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch, check_random_state, check_scalar

from skface.datasets._cartoon import draw_faces


def make_faces(
    n_identities: int = 40,
    n_images_per_identity: int = 10,
    image_size: int = 64,
    *,
    difficulty: float = 0.5,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Draw cartoon faces, several pictures of each person.

    Identities differ in the geometry and the color of their faces. Pictures of one identity differ
    in pose, light, expression, framing, background, occlusion, blur and noise. They are roughly
    aligned, like crops from a face detector. They are meant for examples and tests: results on them
    say little about photographs.

    Parameters
    ----------
    n_identities : int, default=40
        Number of people.
    n_images_per_identity : int, default=10
        Number of pictures of each.
    image_size : int, default=64
        Height and width in pixels, 16 or more.
    difficulty : float, default=0.5
        From 0 to 1. At 0 pictures of one person differ in background, clothes, gaze and noise only.
        At 1 they differ twice as much as at 0.5, and people are more alike.
    random_state : int, RandomState instance or None, default=None
        Draws the pictures; an int gives the same pictures each time.

    Returns
    -------
    faces : Bunch
        ``data`` (n, image_size, image_size, 3), uint8 RGB; ``images``, the same array, as in
        scikit-learn; ``target`` (n,), identities from 0, ascending; and ``DESCR``, a description.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    TypeError
        If a parameter is not a number of the right kind.

    See Also
    --------
    skface.make_pairs : Draws pairs of these faces.

    Examples
    --------
    >>> from skface import make_faces
    >>> faces = make_faces(n_identities=5, n_images_per_identity=3, random_state=0)
    >>> faces.data.shape, faces.target.tolist()
    ((15, 64, 64, 3), [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4])
    """
    check_scalar(n_identities, "n_identities", Integral, min_val=1)
    check_scalar(n_images_per_identity, "n_images_per_identity", Integral, min_val=1)
    check_scalar(image_size, "image_size", Integral, min_val=16)
    check_scalar(difficulty, "difficulty", Real, min_val=0, max_val=1)
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    target = np.repeat(np.arange(n_identities), n_images_per_identity)
    images = draw_faces(target, image_size, difficulty, np.random.default_rng(seed))
    description = (
        f"{len(target)} cartoon faces of {n_identities} people, difficulty {difficulty}, drawn by "
        "skface.make_faces."
    )
    return Bunch(data=images, images=images, target=target, DESCR=description)
