"""Checks of images: the pixel range, the types of items, and whether files exist."""

import os
import stat
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skface._rows.sequences import FileSignature, is_image, is_path, row_name
from skface._utils.validation import format_items

# Floats that were resized or averaged may leave [0, 1] by rounding; real range mistakes are larger.
_FLOAT_SLACK = 1e-6
# Pixels are checked in chunks of this size, which bounds the memory of the check.
_CHUNK_BYTES = 2**20


def check_pixel_range(array: NDArray[Any], name: Callable[[int], str], arity: int = 1) -> None:
    """Raise ValueError for integers outside 0..255, floats outside 0..1 and partly NaN images."""
    if array.dtype == np.uint8:
        return
    top = 255 if array.dtype.kind in "ui" else 1
    slack = 0 if top == 255 else _FLOAT_SLACK
    outside, partly_nan = [], []
    lowest, highest = np.inf, -np.inf
    step = max(1, _CHUNK_BYTES // max(1, array[0].nbytes))
    for row in range(0, len(array), step):
        rows = array[row : row + step]
        chunk = rows.reshape(len(rows) * arity, -1)
        start = row * arity
        # fmin and fmax ignore NaN without a warning
        low, high = np.fmin.reduce(chunk, axis=1), np.fmax.reduce(chunk, axis=1)
        outside += (start + np.flatnonzero((low < -slack) | (high > top + slack))).tolist()
        lowest, highest = np.fmin(lowest, low.min()), np.fmax(highest, high.max())
        if array.dtype.kind == "f":
            nan = np.isnan(chunk)
            partly_nan += (start + np.flatnonzero(nan.any(axis=1) & ~nan.all(axis=1))).tolist()
    if outside:
        kind, remedy = (
            ("integer", "convert 16-bit pixels with X // 257")
            if top == 255
            else ("floating", "divide 0..255 pixels by 255, or pass them as uint8")
        )
        raise ValueError(
            f"X has {kind} pixels from {lowest:g} to {highest:g}, outside 0..{top}, in "
            f"{format_items(map(name, outside))}: {remedy}."
        )
    if partly_nan:
        raise ValueError(
            f"X contains NaN in some pixels of {format_items(map(name, partly_nan))}; only an "
            "image that is NaN as a whole stands for a face that was not found."
        )


def check_items(items: list[Any], arity: int) -> None:
    """Raise TypeError or ValueError for items that are not images."""
    if all(issubclass(kind, (str, os.PathLike)) for kind in set(map(type, items))):
        return  # fast for thousands of paths
    odd = [i for i, item in enumerate(items) if not is_image(item)]
    if odd:
        raise TypeError(
            f"X holds {type(items[odd[0]]).__name__} objects, which are not images, in "
            f"{format_items(row_name(i, arity) for i in odd)}; an image is a path, a PIL image, or "
            "an (H, W, 3) or (H, W) array."
        )
    for i, item in enumerate(items):
        if isinstance(item, np.ndarray):
            _check_array(item, row_name(i, arity))


def _check_array(item: NDArray[Any], name: str) -> None:
    if item.size == 0:
        raise ValueError(f"{name} has shape {item.shape}: no pixels.")
    check_pixel_range(item[None], lambda _: name)


def add_signatures(
    items: list[Any], must_exist: bool, signatures: dict[str, FileSignature]
) -> dict[str, FileSignature]:
    """Add the signatures of files that are not in `signatures` yet.

    Parameters
    ----------
    items : list
        Images. Items that are not paths are ignored.
    must_exist : bool
        Whether missing files are an error.
    signatures : dict
        Signatures by path. It is changed in place.

    Returns
    -------
    dict
        `signatures`.

    Raises
    ------
    FileNotFoundError
        If `must_exist` and files are missing. The message names all of them.
    """
    if set(map(type, items)) != {str}:  # fast for thousands of strings
        items = [os.fspath(item) for item in items if is_path(item)]
    paths = dict.fromkeys(items)
    missing = []
    for path in paths:
        if path not in signatures:
            signature = stat_signature(path)
            if signature is None:
                missing.append(path)
            else:
                signatures[path] = signature
    if missing and must_exist:
        raise FileNotFoundError(
            f"{len(missing)} of {len(paths)} image files do not exist, or are not files: "
            f"{', '.join(missing)}. Relative paths start at the working directory."
        )
    return signatures


def stat_signature(path: str) -> FileSignature | None:
    """Return (mtime_ns, ctime_ns, size, inode), which change with the file; None without a file.

    A program can set the modification time of a file, but not its change time.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # as os.path.isfile
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
