"""Photos in a folder with one subfolder per person."""

import os
import warnings
from numbers import Integral
from pathlib import Path

import numpy as np
import PIL.Image
from sklearn.utils import Bunch, check_scalar

from skface._rows.decoding import formats
from skface._utils.validation import format_items


def load_face_folder(folder: str | os.PathLike[str], *, min_images_per_identity: int = 1) -> Bunch:
    """List the photos in a folder with one subfolder per person.

    ``FOLDER/ann/1.jpg`` is a photo of ann. Hidden files and folders are skipped. Other files that
    are not images, and photos outside a subfolder, are skipped with a warning.

    Parameters
    ----------
    folder : path
        The folder with one subfolder per person.
    min_images_per_identity : int, default=1
        People with fewer photos are left out.

    Returns
    -------
    faces : Bunch
        ``data`` (n,), paths, sorted by person and name; ``target`` (n,), identities as indices into
        ``target_names``; ``target_names``, the names of the subfolders, sorted; and ``DESCR``, a
        description.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If no person has `min_images_per_identity` photos.

    Warns
    -----
    UserWarning
        If files are skipped.

    See Also
    --------
    skface.make_pairs : Draws pairs of these photos.

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
    skipped = []
    for entry in _visible(folder):
        if not entry.is_dir():
            skipped += [entry.name] if _is_photo(entry) else []
            continue
        files = [file for file in _visible(entry) if file.is_file()]
        people[entry.name] = [str(file) for file in files if _is_photo(file)]
        skipped += [f"{entry.name}/{file.name}" for file in files if not _is_photo(file)]
    if skipped:
        warnings.warn(
            f"{len(skipped)} files of {folder} are skipped: they are not images, or not in the "
            f"folder of a person: {format_items(skipped)}.",
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


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _is_photo(path: Path) -> bool:
    return PIL.Image.registered_extensions().get(path.suffix.lower()) in formats()
