"""Pairs of Labeled Faces in the Wild."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.datasets import get_data_home
from sklearn.utils import Bunch

from skface._utils.validation import check_option

# Index file of each subset; subsets are named as in sklearn.datasets.fetch_lfw_pairs.
_LFW_INDEX = {"train": "pairsDevTrain.txt", "test": "pairsDevTest.txt", "10_folds": "pairs.txt"}


def load_lfw_pairs(
    data_home: str | os.PathLike[str] | None = None,
    subset: Literal["train", "test", "10_folds"] = "train",
    *,
    funneled: bool = True,
) -> Bunch:
    """List the pairs of Labeled Faces in the Wild (LFW) [1]_ as paths, with identities and folds.

    The folder is the one that :func:`sklearn.datasets.fetch_lfw_pairs` makes and reads:
    ``lfw_home/`` with ``pairsDevTrain.txt``, ``pairsDevTest.txt``, ``pairs.txt`` and the photos,
    ``lfw_funneled/NAME/NAME_0001.jpg``. Nothing is downloaded. A missing photo is an error.

    Parameters
    ----------
    data_home : path, default=None
        The folder that holds ``lfw_home``, or ``lfw_home`` itself; None means
        :func:`sklearn.datasets.get_data_home`.
    subset : {"train", "test", "10_folds"}, default="train"
        View 1, for development: "train" (2,200 pairs) and "test" (1,000). View 2, for the final
        report: "10_folds" (6,000 pairs in ten folds without a person in common), to be used only
        once.
    funneled : bool, default=True
        Whether to use the photos in ``lfw_funneled`` or those in ``lfw``.

    Returns
    -------
    pairs : Bunch
        ``data`` (n, 2), paths; ``target`` (n,), 1 for genuine pairs (same person) and 0 for
        impostor pairs; ``target_names``, "different" and "same"; ``identities`` (n, 2), names, for
        `groups` of :class:`skface.IdentityKFold`; ``folds`` (n,), from 0, for
        :class:`sklearn.model_selection.PredefinedSplit`, or None for View 1; and ``DESCR``, a
        description.

    Raises
    ------
    FileNotFoundError
        If the folder, the index file or photos are missing.
    ValueError
        If `subset` is unknown, or the index file does not have the format of LFW.

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
            f"{absent} does not exist. data_home must hold lfw_home/ with {index.name} and "
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
            "is incomplete. Unpack it again."
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
        raise ValueError(
            f"{path} is not an index of LFW pairs: {error}. Download it again."
        ) from error
    if len(pairs) != 2 * n_folds * n_per_class:
        raise ValueError(
            f"{path} announces {2 * n_folds * n_per_class} pairs and holds {len(pairs)}: the file "
            "is incomplete. Download it again."
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
