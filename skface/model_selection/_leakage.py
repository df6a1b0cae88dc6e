"""People and photos that a training set and a test set share."""

import hashlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_scalar

from skface._rows import Rows, check_images, iter_batches
from skface._utils.report import Report
from skface._utils.validation import format_items
from skface.model_selection._fingerprints import N_BITS, fingerprint, near_matches
from skface.model_selection._identities import encode_identities

_BATCH_SIZE = 64  # photos decoded at a time


def audit_leakage(
    train: Any,
    test: Any,
    *,
    train_identities: ArrayLike | None = None,
    test_identities: ArrayLike | None = None,
    max_distance: int = 32,
    image_shape: tuple[int, ...] | None = None,
) -> Report:
    """Count the people and the photos that a training set and a test set share.

    People and photos that were in training make a test too easy. Photos are compared by content, so
    copies under another name, re-encoded or resized, are found.

    Parameters
    ----------
    train, test : faces or pairs, or None
        Rows of images, see the user guide; one may hold faces and the other
        pairs. Photos are compared if both are given.
    train_identities, test_identities : array-like of shape (n,) or (n, 2), default=None
        The people on the photos. People are compared if both are given. Without photos, it may be
        any list of people, such as those that a network was trained on.
    max_distance : int, default=32
        Two photos are near-identical if at most this many of the 256 bits of their fingerprints
        differ.
    image_shape : tuple (H, W) or (H, W, 3), default=None
        Shape of one image, needed for flattened rows only.

    Returns
    -------
    report : Report
        A :class:`sklearn.utils.Bunch` that prints as a summary:

        - `people`: None if people were not compared, otherwise a Bunch: `shared`, the sorted labels
          of the people in both sets; `n_test`, the number of people in the test set; `train_rows`
          and `test_rows`, the rows with shared people.
        - `photos`: None if photos were not compared, otherwise a Bunch: `n_identical`, the number
          of distinct test photos whose pixels equal those of a training photo; `n_near_identical`,
          the number of other test photos that are near-identical to one; `n_test`, the number of
          distinct test photos; `train_rows` and `test_rows`, the rows with shared photos; and
          `matches`, a list with one dict per match of a test photo with a training photo, closest
          first: `train_row` and `test_row` (the first row with the photo), `distance` in bits, and
          `identical`. :class:`pandas.DataFrame` takes this list.
        - `text`: the summary.

    Raises
    ------
    ValueError
        If there is nothing to compare; if identities do not fit the rows, or are strings in one set
        and numbers in the other; or if files cannot be decoded (all of them are listed).
    FileNotFoundError
        If image files are missing (all of them are listed).

    See Also
    --------
    describe_folds : Counts the people that training and test of each fold share.

    Notes
    -----
    The fingerprint of a photo holds the signs of its 16 x 16 lowest spatial frequencies in gray
    [1]_. Light, contrast, size and JPEG quality hardly change it.

    *Found.* 1,500 photos of Labeled Faces in the Wild (LFW) were saved again at JPEG quality 30,
    shrunk from 250 to 64 pixels, shrunk to 100 pixels and saved at quality 60, enlarged, turned
    gray, or made half as bright. No fingerprint changed by more than 9 bits.

    *Not found.* Cutting 1 % off each side changes 15 bits on average and is found. Cutting 2 % off
    changes 37 bits and is found for 3 of 10 photos. Larger crops are not found. So an aligned face
    does not match the photo that it was cut from, nor does a mirrored or rotated photo match the
    original.

    *False alarms.* The 44 million pairs of 9,426 photos of LFW have 12 matches at 32 bits, all of
    them true: LFW holds some photos twice, one of them under two names and in both training and
    test of View 1. Up to 44 bits no other photos of two people match. (A difference hash of 64 bits
    that finds the changes above has hundreds of false alarms there.) Photos of one session can
    match: in the AT&T faces 16 of 1,800 genuine pairs do. Blank images all match. Look at the
    matches before you drop any.

    Memory: a batch of decoded photos, and 32 bytes per distinct photo.

    References
    ----------
    .. [1] C. Zauner. Implementation and benchmarking of perceptual image hash functions. Upper
       Austria University of Applied Sciences, Hagenberg, 2010.

    Examples
    --------
    >>> from skface import make_faces
    >>> from skface.model_selection import audit_leakage
    >>> faces = make_faces(n_identities=6, n_images_per_identity=4, random_state=0)
    >>> train, test = slice(None, 16), slice(15, None)  # one photo too many
    >>> report = audit_leakage(
    ...     faces.data[train],
    ...     faces.data[test] // 2,  # darker
    ...     train_identities=faces.target[train],
    ...     test_identities=faces.target[test],
    ... )
    >>> print(report)
    shared people: 1 of 3 in test, in 1 of 9 test rows (3)
    shared photos: 1 of 9 in test (0 identical, 1 near-identical), in 1 of 9 test rows (0)
    >>> report.photos.matches[0]["train_row"], report.photos.matches[0]["test_row"]
    (15, 0)
    """
    check_scalar(max_distance, "max_distance", (int, np.integer), min_val=0, max_val=N_BITS)
    if (train is None or test is None) and (train_identities is None or test_identities is None):
        raise ValueError(
            "There is nothing to compare. Pass train and test, train_identities and "
            "test_identities, or all four."
        )
    train_rows, test_rows = (
        None if X is None else check_images(X, image_shape=image_shape) for X in (train, test)
    )
    report = Report(people=None, photos=None)
    texts = []
    if train_identities is not None and test_identities is not None:
        known = _check_people(train_identities, train_rows, "train")
        people = _check_people(test_identities, test_rows, "test")
        report.people = _compare_people(known, people)
        texts.append(_describe_people(report.people, len(people[1])))
    if train_rows is not None and test_rows is not None:
        report.photos = _compare_photos(
            _fingerprint_rows(train_rows), _fingerprint_rows(test_rows), max_distance
        )
        texts.append(_describe_photos(report.photos, test_rows.n_rows))
    report.text = "\n".join(texts)
    return report


def _check_people(identities: Any, rows: Rows | None, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the people, and the numbers of the people in each row."""
    labels, people = encode_identities(identities, f"{name}_identities")
    if rows is not None and len(people) != rows.n_rows:
        raise ValueError(f"{name}_identities has {len(people)} rows, but {name} has {rows.n_rows}.")
    return labels, people


def _compare_people(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
) -> Bunch:
    """Find the people of both sets and the rows that they are in."""
    is_text = [isinstance(labels.tolist()[0], str) for labels, _ in (train, test)]
    if is_text[0] != is_text[1]:
        kinds = ["strings" if text else "numbers" for text in is_text]
        raise ValueError(
            f"train_identities holds {kinds[0]} and test_identities {kinds[1]}, so they share "
            "no person. Use the same kind of label in both."
        )
    shared = np.intersect1d(train[0], test[0])
    train_rows, test_rows = (
        np.flatnonzero(np.isin(labels, shared)[people].any(axis=1))
        for labels, people in (train, test)
    )
    return Bunch(shared=shared, n_test=len(test[0]), train_rows=train_rows, test_rows=test_rows)


class _Photos(NamedTuple):
    """The distinct photos of rows, without faces that were not found."""

    fingerprints: np.ndarray  # (n_photos, 32)
    digests: list[bytes]  # equal where the pixels are
    first_row: np.ndarray  # (n_photos,), the first row that holds the photo
    of_row: np.ndarray  # (n_rows, arity), the photos of each row, -1 for none

    def rows_with(self, photos: np.ndarray) -> np.ndarray:
        """Return the rows that hold any of `photos`."""
        return np.flatnonzero(np.isin(self.of_row, photos).any(axis=1))


def _fingerprint_rows(rows: Rows) -> _Photos:
    """Decode each distinct photo once, and compute its fingerprint and the digest of its pixels."""
    first, place = rows.distinct
    found = rows.images.found(first)
    number = np.where(found, np.cumsum(found) - 1, -1)
    fingerprints = np.empty((found.sum(), N_BITS // 8), dtype=np.uint8)
    digests: list[bytes] = []
    for _, photos in iter_batches(rows.images, first[found], _BATCH_SIZE):
        for photo in photos:
            fingerprints[len(digests)] = fingerprint(photo)
            key = f"{photo.shape} {photo.dtype}".encode()
            pixels = np.ascontiguousarray(photo)
            digests.append(hashlib.blake2b(pixels.data, digest_size=16, key=key).digest())
    return _Photos(
        fingerprints,
        digests,
        first[found] // rows.arity,
        number[place].reshape(rows.n_rows, rows.arity),
    )


def _compare_photos(train: _Photos, test: _Photos, max_distance: int) -> Bunch:
    """Find the photos of both sets and the rows that they are in."""
    old, new, distance = near_matches(train.fingerprints, test.fingerprints, max_distance)
    identical = np.array(
        [train.digests[i] == test.digests[j] for i, j in zip(old, new, strict=True)], dtype=bool
    )
    copies = np.unique(new[identical])
    columns = {
        "train_row": train.first_row[old],
        "test_row": test.first_row[new],
        "distance": distance,
        "identical": identical,
    }
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return Bunch(
        n_identical=len(copies),
        n_near_identical=len(np.setdiff1d(new, copies)),
        n_test=len(test.digests),
        train_rows=train.rows_with(old),
        test_rows=test.rows_with(new),
        matches=[dict(zip(columns, match, strict=True)) for match in values],
    )


def _describe_people(people: Bunch, n_rows: int) -> str:
    """Summarize what :func:`_compare_people` found."""
    text = f"shared people: {len(people.shared):,} of {people.n_test:,} in test"
    if len(people.shared):
        text += f", in {len(people.test_rows):,} of {n_rows:,} test rows"
        text += f" ({format_items(people.shared.tolist())})"
    return text


def _describe_photos(photos: Bunch, n_rows: int) -> str:
    """Summarize what :func:`_compare_photos` found."""
    n_shared = photos.n_identical + photos.n_near_identical
    text = f"shared photos: {n_shared:,} of {photos.n_test:,} in test"
    if n_shared:
        text += (
            f" ({photos.n_identical:,} identical, {photos.n_near_identical:,} near-identical), "
            f"in {len(photos.test_rows):,} of {n_rows:,} test rows "
            f"({format_items(photos.test_rows.tolist())})"
        )
    return text
