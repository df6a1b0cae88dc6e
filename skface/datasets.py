"""Data to verify faces on: synthetic and blended faces, a folder of photos, LFW.

Every function returns a :class:`sklearn.utils.Bunch` whose ``data`` is the X and whose ``target``
is the y of an estimator. Photos stay paths: they are decoded when an estimator needs them.
"""

import os
import warnings
from collections.abc import Iterator
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from sklearn.datasets import get_data_home
from sklearn.utils import Bunch, check_random_state, check_scalar
from sklearn.utils.validation import column_or_1d

from skface._blending import blend
from skface._cartoon import draw_faces
from skface._decoding import formats
from skface._validation import check_finite, check_option, encode_labels, name_some
from skface.images import Rows, check_images, iter_batches, to_bytes

# Index file of each subset of LFW, under the names that sklearn.datasets.fetch_lfw_pairs gives it.
_LFW_INDEX = {"train": "pairsDevTrain.txt", "test": "pairsDevTest.txt", "10_folds": "pairs.txt"}


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
            data.append(blend(faces[own], faces[np.resize(theirs, len(own))], bend, rng))
            target.append(np.full(len(own), i * len(names) + person))
    description = (
        f"{len(people)} faces of {len(names)} people, and {n_blends} people blended of each by "
        "skface.blend_people."
    )
    data, target = np.concatenate(data), np.concatenate(target)
    return Bunch(data=data, target=target, target_names=names, DESCR=description)


def load_face_folder(folder: str | os.PathLike, *, min_images_per_identity: int = 1) -> Bunch:
    """List the photos of a folder that has one folder per person.

    ``FOLDER/ann/1.jpg`` is a photo of ann, whatever its name. Hidden files and folders are passed
    over; of other files that are no images, and of photos outside a person's folder, a warning
    tells.

    Parameters
    ----------
    folder : path
        The folder with one folder per person.
    min_images_per_identity : int, default=1
        People with fewer photos are left out.

    Returns
    -------
    faces : Bunch
        ``data`` (n,) paths, ``target`` (n,) identities as places in ``target_names``, the names of
        the people's folders in sorted order, and ``DESCR``. Photos are sorted by name within each
        person.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If it holds no photo in a person's folder, or nobody has enough of them.

    See Also
    --------
    skface.make_pairs : Pairs of these photos.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skface import load_face_folder
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("ann", "bob"):
    ...     (folder / name).mkdir()
    ...     Image.new("RGB", (32, 32)).save(folder / name / "passport.png")
    >>> faces = load_face_folder(folder)
    >>> faces.target, faces.target_names
    (array([0, 1]), array(['ann', 'bob'], dtype=object))
    """
    check_scalar(min_images_per_identity, "min_images_per_identity", Integral, min_val=1)
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"folder={str(folder)!r} is not a folder.")
    people: dict[str, list[str]] = {}
    passed_over = []
    for entry in _visible(folder):
        if not entry.is_dir():
            passed_over += [entry.name] if _is_photo(entry) else []
            continue
        files = [file for file in _visible(entry) if file.is_file()]
        people[entry.name] = [str(file) for file in files if _is_photo(file)]
        passed_over += [f"{entry.name}/{file.name}" for file in files if not _is_photo(file)]
    if passed_over:
        warnings.warn(
            f"{len(passed_over)} files of {folder} are passed over, being no images or in no "
            f"person's folder: {name_some(passed_over)}.",
            stacklevel=2,
        )
    photos = {
        name: paths for name, paths in people.items() if len(paths) >= min_images_per_identity
    }
    if not photos:
        most = max(map(len, people.values()), default=0)
        raise ValueError(
            f"folder={str(folder)!r} holds {len(people)} folders, none with "
            f"min_images_per_identity={min_images_per_identity} images (the fullest has {most}). "
            "Expected one folder per person, FOLDER/PERSON/PHOTO.jpg."
        )
    paths = np.array([path for paths in photos.values() for path in paths], dtype=object)
    target = np.repeat(np.arange(len(photos)), [len(paths) for paths in photos.values()])
    description = f"{len(paths)} photos of {len(photos)} people from {folder}."
    names = np.array(list(photos), dtype=object)
    return Bunch(data=paths, target=target, target_names=names, DESCR=description)


def load_lfw_pairs(
    data_home: str | os.PathLike | None = None, subset: str = "train", *, funneled: bool = True
) -> Bunch:
    """List the pairs of Labeled Faces in the Wild [1]_ by path, with identities and folds.

    The folder is the one that :func:`sklearn.datasets.fetch_lfw_pairs` makes and reads:
    ``lfw_home/`` with ``pairsDevTrain.txt``, ``pairsDevTest.txt``, ``pairs.txt`` and the photos,
    ``lfw_funneled/NAME/NAME_0001.jpg``. Nothing is downloaded. Photos are chosen by number, so a
    missing file is an error and shifts no other pair.

    Parameters
    ----------
    data_home : path, default=None
        The folder that holds ``lfw_home``, or ``lfw_home`` itself; None means
        :func:`sklearn.datasets.get_data_home`.
    subset : {"train", "test", "10_folds"}, default="train"
        View 1, for development: "train" (2,200 pairs) and "test" (1,000). View 2, for the final
        report: "10_folds" (6,000 pairs in ten folds that share nobody), to be used once.
    funneled : bool, default=True
        Whether to use the photos in ``lfw_funneled`` or those in ``lfw``.

    Returns
    -------
    pairs : Bunch
        ``data`` (n, 2) paths; ``target`` (n,) 1 = same person, 0 = different; ``target_names``,
        ``identities`` (n, 2) names, which serve as `groups` of :class:`skface.IdentityKFold`;
        ``folds`` (n,) from 0 for :class:`sklearn.model_selection.PredefinedSplit`, None for View 1;
        and ``DESCR``.

    Raises
    ------
    FileNotFoundError
        If the folder, the index file or photos are missing.
    ValueError
        If the index file is not what LFW publishes.

    References
    ----------
    .. [1] G. B. Huang, M. Ramesh, T. Berg, E. Learned-Miller. Labeled Faces in the Wild: A Database
       for Studying Face Recognition in Unconstrained Environments. University of Massachusetts,
       Amherst, Technical Report 07-49, 2007.

    Examples
    --------
    >>> from skface import load_lfw_pairs
    >>> pairs = load_lfw_pairs(subset="test")  # doctest: +SKIP
    >>> pairs.data.shape, pairs.target.sum()  # doctest: +SKIP
    ((1000, 2), 500)
    """
    check_option(subset, "subset", tuple(_LFW_INDEX))
    home = Path(get_data_home() if data_home is None else data_home)
    home = home / "lfw_home" if (home / "lfw_home").is_dir() else home
    index = home / _LFW_INDEX[subset]
    photos = home / ("lfw_funneled" if funneled else "lfw")
    if not index.is_file() or not photos.is_dir():
        absent = index if not index.is_file() else photos
        raise FileNotFoundError(
            f"{absent} does not exist. data_home is to hold lfw_home/ with {index.name} and "
            f"{photos.name}/NAME/NAME_0001.jpg, as sklearn.datasets.fetch_lfw_pairs lays it out."
        )
    n_folds, n_per_class, pairs = _read_lfw_index(index)
    names = np.array([(left, right) for left, _, right, _ in pairs])
    paths = np.array(
        [
            [
                str(photos / name / f"{name}_{number:04d}.jpg")
                for name, number in (pair[:2], pair[2:])
            ]
            for pair in pairs
        ],
        dtype=object,
    )
    missing = [path for path in dict.fromkeys(paths.ravel()) if not os.path.isfile(path)]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} photos of {index} do not exist: {', '.join(missing)}. The download "
            "is incomplete; unpack it anew."
        )
    target = np.tile(np.repeat([1, 0], n_per_class), n_folds)
    folds = np.repeat(np.arange(n_folds), 2 * n_per_class) if subset == "10_folds" else None
    return Bunch(
        data=paths,
        target=target,
        target_names=np.array(["different", "same"]),
        identities=names,
        folds=folds,
        DESCR=f"{len(target)} pairs of Labeled Faces in the Wild, subset {subset}, from {photos}.",
    )


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


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _is_photo(path: Path) -> bool:
    return PIL.Image.registered_extensions().get(path.suffix.lower()) in formats()


def _read_lfw_index(path: Path) -> tuple[int, int, list[tuple[str, int, str, int]]]:
    """Read an index file: numbers of folds and of pairs per fold and class, then the pairs.

    Each fold lists its genuine pairs (name, number, number) and then as many impostor pairs (name,
    number, name, number), separated by tabs.
    """
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    rows = [(number, line.split("\t")) for number, line in lines if line.strip()]
    try:
        *folds, n_per_class = (int(field) for field in rows[0][1])
        n_folds = folds[0] if folds else 1
        pairs = list(_parse_lfw_pairs(rows[1:], n_per_class))
    except (IndexError, ValueError) as error:
        raise ValueError(f"{path} is no index of LFW pairs: {error}.") from error
    if len(pairs) != 2 * n_folds * n_per_class:
        raise ValueError(
            f"{path} announces {2 * n_folds * n_per_class} pairs and holds {len(pairs)}: the file "
            "is incomplete."
        )
    return n_folds, n_per_class, pairs


def _parse_lfw_pairs(
    rows: list[tuple[int, list[str]]], n_per_class: int
) -> Iterator[tuple[str, int, str, int]]:
    for place, (number, fields) in enumerate(rows):
        n_fields = 3 if place // n_per_class % 2 == 0 else 4
        if len(fields) != n_fields:
            raise ValueError(f"line {number} has {len(fields)} fields instead of {n_fields}")
        name, *others = fields
        other = others.pop(1) if n_fields == 4 else name
        yield name, int(others[0]), other, int(others[1])
