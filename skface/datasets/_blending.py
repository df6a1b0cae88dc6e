"""Synthetic people: blended and warped faces of two people."""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_random_state, check_scalar
from sklearn.utils.validation import column_or_1d

from skface._rows import Rows, check_images, iter_batches, to_bytes
from skface._utils.validation import check_finite, encode_labels, format_items


def blend_people(
    X: Any,
    y: ArrayLike,
    *,
    n_blends: int = 5,
    bend: float = 0.05,
    image_shape: tuple[int, ...] | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Add synthetic people to labeled faces, to train a network on more people.

    A synthetic person is a blend of two people. The faces of one are mixed with those of the other,
    either evenly or more in some places than in others, and then warped a little. Mixture and warp
    are the same for all pictures of a synthetic person. The given faces stay in the result.

    Faces must be aligned to the same crop, as `FaceAligner` does. Blend the people of a training
    set only, never those of a test set.

    Parameters
    ----------
    X : faces
        Faces of one size: rows of images, see the user guide.
    y : array-like of shape (n,)
        The person on each face; at least two people.
    n_blends : int, default=5
        Number of synthetic people for each given person. Each is a blend with a different person,
        as long as there are enough people. Further blends of the same two people differ in mixture
        and warp only.
    bend : float, default=0.05
        Strength of the warp: about the standard deviation of the shifts, in units of half the sides
        of the face. Shifts change smoothly over the face.
    image_shape : tuple (H, W) or (H, W, 3), default=None
        Shape of one face, needed for flattened rows only.
    random_state : int, RandomState instance or None, default=None
        Draws mixtures and warps; an int gives the same faces each time.

    Returns
    -------
    faces : Bunch
        ``data`` (n * (1 + n_blends), H, W, 3), uint8 RGB, the given faces first; ``target``, their
        identities as integers; ``target_names``, the given labels, sorted; and ``DESCR``, a
        description. The target of a given face is the index of its label in ``target_names``.
        Targets of synthetic people come after these.

    Raises
    ------
    ValueError
        If `X` holds pairs, faces of differing sizes or NaN; if `y` has one person only or another
        length; or if a parameter is outside its range.

    See Also
    --------
    skface.nn.augment.Augmentation : Varies pictures without changing the person.

    Notes
    -----
    Mixup [1]_ mixes labeled images for training, and mixes their labels too. Here a mixture is a
    new identity.

    References
    ----------
    .. [1] H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz. mixup: Beyond Empirical Risk
       Minimization. ICLR 2018.

    Examples
    --------
    >>> from skface import blend_people, make_faces
    >>> few = make_faces(n_identities=5, n_images_per_identity=3, random_state=0)
    >>> more = blend_people(few.data, few.target, n_blends=2, random_state=0)
    >>> more.data.shape, len(set(more.target.tolist()))
    ((45, 64, 64, 3), 15)
    """
    check_scalar(n_blends, "n_blends", Integral, min_val=1)
    check_finite(bend, "bend", boundary="left")
    rows = check_images(X, image_shape=image_shape)
    names, people = encode_labels(column_or_1d(y, warn=True), "y")
    if len(people) != rows.n_rows:
        raise ValueError(f"y has {len(people)} labels, but X has {rows.n_rows} rows.")
    if len(names) < 2:
        raise ValueError(
            f"y names {len(names)} person, but a blend takes two. Add faces of other people."
        )
    faces = _pixels_of_one_size(rows)
    rng = np.random.default_rng(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    all_faces, targets = [faces], [people]
    for person in range(len(names)):
        (own,) = np.nonzero(people == person)
        partners = rng.permutation(np.delete(np.arange(len(names)), person))
        for i, partner in enumerate(
            np.resize(partners, n_blends), start=1
        ):  # without repeats if possible
            theirs = rng.permutation(np.flatnonzero(people == partner))
            all_faces.append(_blend(faces[own], faces[np.resize(theirs, len(own))], bend, rng))
            targets.append(np.full(len(own), i * len(names) + person))
    description = (
        f"{len(people)} faces of {len(names)} people, and {n_blends} people blended of each by "
        "skface.blend_people."
    )
    return Bunch(
        data=np.concatenate(all_faces),
        target=np.concatenate(targets),
        target_names=names,
        DESCR=description,
    )


def _pixels_of_one_size(rows: Rows) -> np.ndarray:
    """Decode faces, (n, H, W, 3) of uint8."""
    if rows.arity != 1:
        raise ValueError("X holds pairs, but blend_people takes faces. Pass each face once.")
    batches = iter_batches(rows.images, range(rows.n_rows), rows.n_rows)
    faces = [face for _, batch in batches for face in batch]
    odd = [i for i, face in enumerate(faces) if face.shape != faces[0].shape]
    if odd:
        raise ValueError(
            f"X holds faces of differing sizes, {faces[0].shape[:2]} in row 0 and others in row "
            f"{format_items(odd)}. Align them to one crop, for example with FaceAligner."
        )
    missing = [i for i in range(rows.n_rows) if rows.images.is_missing(i)]
    if missing:
        raise ValueError(f"X holds NaN, no face, in row {format_items(missing)}. Leave them out.")
    return np.stack([to_bytes(face) for face in faces])


def _blend(
    faces: np.ndarray, others: np.ndarray, bend: float, rng: np.random.Generator
) -> np.ndarray:
    """Turn the faces of one person into those of a synthetic person.

    Mixture and warp are drawn once, so that all pictures show the same synthetic person.

    Parameters
    ----------
    faces, others : ndarray of shape (n, H, W, 3), dtype uint8
        Pictures of two people.
    bend : float
        About the standard deviation of the shifts, in units of half the sides.
    rng : numpy Generator
        Source of the random numbers.

    Returns
    -------
    new : ndarray of shape (n, H, W, 3), dtype uint8
    """
    import cv2

    height, width = faces.shape[1:3]

    def smooth(n_knots: int) -> np.ndarray:
        knots = rng.normal(size=(n_knots, n_knots)).astype(np.float32)
        return cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC)

    share: np.ndarray
    if rng.random() < 0.5:
        share = np.full((height, width), rng.uniform(0.25, 0.6), np.float32)
    else:
        share = 1 / (1 + np.exp(-(2 * smooth(4) + rng.normal())))
    share = share[..., None].astype(np.float32)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    map_x, map_y = x + bend * width / 2 * smooth(5), y + bend * height / 2 * smooth(5)
    new = np.empty_like(faces)
    for face, other, place in zip(faces, others, new, strict=True):
        mixed = face + share * (other.astype(np.float32) - face)
        bent = cv2.remap(mixed, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        place[:] = np.rint(np.clip(bent, 0, 255))
    return new
