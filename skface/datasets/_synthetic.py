"""Cartoon faces of people who do not exist."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state, check_scalar

from skface.datasets._cartoon import draw_faces


def make_faces(
    n_identities: int = 40,
    n_images_per_identity: int = 10,
    image_size: int = 64,
    *,
    difficulty: float = 0.5,
    random_state: Any = None,
) -> Bunch:
    """Draw cartoon faces of people who do not exist, a few pictures of each.

    Identities differ in the geometry of their faces and in their colouring; pictures of one
    identity in pose, light, expression, framing, background, occlusion, blur and noise. They are
    roughly aligned, as photos of a detector are, and meant for examples and tests: how well a
    method does on them says little about photographs.

    Parameters
    ----------
    n_identities : int, default=40
        Number of people.
    n_images_per_identity : int, default=10
        Pictures of each.
    image_size : int, default=64
        Height and width in pixels, 16 or more.
    difficulty : float, default=0.5
        From 0 (pictures of one person differ in what is random in the background only) to 1
        (they differ twice as much as at 0.5, and people are more alike).
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same pictures every time.

    Returns
    -------
    faces : Bunch
        ``data`` (n, image_size, image_size, 3) uint8 RGB, ``images``, the same array under the name
        that scikit-learn uses, ``target`` (n,) identities from 0, in order, and ``DESCR``.

    Raises
    ------
    ValueError, TypeError
        If a parameter is outside its range.

    See Also
    --------
    skface.make_pairs : Pairs of these faces.

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
