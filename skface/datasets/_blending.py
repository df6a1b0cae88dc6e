"""New people of known ones: faces of two people faded into each other, and bent."""

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state, check_scalar
from sklearn.utils.validation import column_or_1d

from skface._validation import check_finite, encode_labels, name_some
from skface.images import Rows, check_images, iter_batches, to_bytes


def blend_people(
    X: Any,
    y: Any,
    *,
    n_blends: int = 5,
    bend: float = 0.05,
    image_shape: tuple[int, ...] | None = None,
    random_state: Any = None,
) -> Bunch:
    """Add people who do not exist to labelled faces, for a network that has few to learn from.

    The pictures of every person are faded into those of another, as a whole or in places, and eyes,
    nose and mouth are moved a little: in one way for all pictures, which thus show one new person.
    The known people stay. Cut the faces out alike before, as `FaceAligner` does, or as one camera
    took them; and blend the people of a training set only, never those of a test set.

    Parameters
    ----------
    X : faces
        Any faces of one size that :func:`skface.images.check_images` accepts.
    y : array-like of shape (n,)
        Who they show, two people at least.
    n_blends : int, default=5
        New people for every known one, each with another partner while there are some. With few
        people, blends of the same two differ in shares and shifts only.
    bend : float, default=0.05
        How far features move: about the standard deviation, as a share of half the sides, of shifts
        that change smoothly over the face.
    image_shape : tuple (H, W) or (H, W, 3), default=None
        Shape of one face, needed for flattened rows only.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same faces every time.

    Returns
    -------
    faces : Bunch
        ``data`` (n * (1 + n_blends), H, W, 3) uint8 RGB and ``target``, its identities as integers:
        first the faces given, with the number of their label in ``target_names``, then the new
        ones, with numbers above; and ``DESCR``.

    Raises
    ------
    ValueError
        If `X` holds pairs, faces of differing sizes or faces that were not found, or `y` one person
        only.

    See Also
    --------
    skface.nn.augment.Augmentation : Varies pictures of a person who stays the same.

    Notes
    -----
    Mixing labelled images for training goes back to mixup [1]_, which mixes their labels too. Here
    a mixture is a class of its own.

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
        raise ValueError(f"y names {len(names)} person, but a blend takes two.")
    faces = _pixels_of_one_size(rows)
    rng = np.random.default_rng(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    data, target = [faces], [people]
    for person in range(len(names)):
        (own,) = np.nonzero(people == person)
        partners = rng.permutation(np.delete(np.arange(len(names)), person))
        for i, partner in enumerate(np.resize(partners, n_blends), start=1):  # each once, if it can
            theirs = rng.permutation(np.flatnonzero(people == partner))
            data.append(_blend(faces[own], faces[np.resize(theirs, len(own))], bend, rng))
            target.append(np.full(len(own), i * len(names) + person))
    description = (
        f"{len(people)} faces of {len(names)} people, and {n_blends} people blended of each by "
        "skface.blend_people."
    )
    data, target = np.concatenate(data), np.concatenate(target)
    return Bunch(data=data, target=target, target_names=names, DESCR=description)


def _pixels_of_one_size(rows: Rows) -> np.ndarray:
    """Decode faces, (n, H, W, 3) of uint8."""
    if rows.arity != 1:
        raise ValueError("X holds pairs; blends are made of faces: pass each face once.")
    batches = iter_batches(rows.images, range(rows.n_rows), rows.n_rows)
    faces = [face for _, batch in batches for face in batch]
    odd = [i for i, face in enumerate(faces) if face.shape != faces[0].shape]
    if odd:
        raise ValueError(
            f"X holds faces of differing sizes, {faces[0].shape[:2]} in row 0 and others in row "
            f"{name_some(odd)}. Cut them out alike, with FaceAligner for instance."
        )
    missing = [i for i in range(rows.n_rows) if rows.images.is_missing(i)]
    if missing:
        raise ValueError(f"X holds NaN, no face, in row {name_some(missing)}. Leave these out.")
    return np.stack([to_bytes(face) for face in faces])


def _blend(
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
