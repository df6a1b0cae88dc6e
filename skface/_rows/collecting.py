"""Decide what the rows of X are.

The first axis of every accepted input is the sample axis. A row is one face or one pair of faces.
A face is a path, a PIL image or an array of pixels: integers are 0..255, floats are 0..1, and color
is RGB. Anything else raises an error that names the rows or files, and how to correct them.
"""

import os
from collections import Counter
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from skface._rows.checking import add_signatures, check_items, check_pixel_range
from skface._rows.sequences import (
    ArrayImages,
    FileSignature,
    ItemImages,
    Rows,
    is_image,
    is_path,
    row_name,
)
from skface._utils.validation import format_items

_ACCEPTED = (
    "faces as (n, H, W, 3) RGB, (n, H, W) gray, or a list, Series or 1-D array of paths, PIL "
    "images or arrays; pairs as (n, 2, H, W, 3), (n, 2, H, W), or an (n, 2) array or two-column "
    "DataFrame of paths or images; flattened images when image_shape is given"
)


def check_images(
    X: Any,
    *,
    image_shape: tuple[int, ...] | None = None,
    check_files: bool = True,
    known_files: dict[str, FileSignature] | None = None,
) -> Rows:
    """Decide what the rows of `X` are; raise an error if that is ambiguous, or out of range.

    Parameters
    ----------
    X : array-like, list, Series or DataFrame
        Faces: (n, H, W, 3) RGB; (n, H, W) gray; flattened (n, H*W) or (n, H*W*3) when
        `image_shape` is given; or n paths, PIL images or arrays of differing sizes. Pairs: the
        same with an axis of length 2 after the first.
    image_shape : tuple (H, W) or (H, W, 3), default=None
        Shape of one image, needed for flattened rows only.
    check_files : bool, default=True
        Whether missing files raise an error now, which names all of them. Otherwise a missing
        file raises one when it is read.
    known_files : dict, default=None
        Signatures of files by path, from an earlier call. The file system is not asked about
        these files again; the signatures of other files are added. None checks every file.

    Returns
    -------
    Rows
        The images, flat and not decoded yet, and how they form rows.

    Raises
    ------
    ValueError
        For no rows, ambiguous shapes, or pixels outside their range (integers 0..255, floats 0..1).
    TypeError
        For rows that are not images.
    FileNotFoundError
        For paths of files that do not exist.

    Examples
    --------
    >>> import numpy as np
    >>> from skface._rows import check_images
    >>> rows = check_images(np.zeros((5, 2, 8, 6, 3), dtype=np.uint8))
    >>> rows.arity, rows.n_rows, rows.size
    (2, 5, (8, 6))
    """
    if hasattr(X, "toarray"):
        raise TypeError("X is sparse, but images are dense: pass X.toarray().")
    if hasattr(X, "to_numpy"):
        X = X.to_numpy()
    if isinstance(X, str | bytes | os.PathLike | PIL.Image.Image):
        name = str(X) if isinstance(X, str) else X  # numpy's strings show their type
        raise TypeError(f"X is a single image, not rows of images: pass [{name!r}].")
    if not isinstance(X, np.ndarray):
        X = _collect(X)
    if isinstance(X, np.ndarray) and X.dtype.kind in "OUST":
        X = _object_rows(X)
    if isinstance(X, np.ndarray):
        array, arity = _array_rows(X, image_shape)
        check_pixel_range(array, lambda i: row_name(i, arity), arity)
        return Rows(ArrayImages(array, arity), arity)
    items, arity = X
    check_items(items, arity)
    signatures = add_signatures(items, check_files, {} if known_files is None else known_files)
    return Rows(ItemImages(items, arity, signatures), arity)


def _collect(X: Any) -> NDArray[Any] | tuple[list[Any], int]:
    """Turn a list-like into an array of numbers, or into (items, arity)."""
    try:
        X = list(X)
    except TypeError:
        raise TypeError(
            f"X is of type {type(X).__name__}, not rows of images. Accepted: {_ACCEPTED}."
        ) from None
    if not X:
        raise ValueError("X has 0 rows; at least one face or pair is required.")
    # without numpy, which would copy images, or take their axes for those of the rows
    if all(is_image(row) for row in X):
        return X, 1
    if all(_is_image_pair(row) for row in X):
        return [image for row in X for image in row], 2
    kinds = [(is_image(row), _is_image_pair(row)) for row in X]
    if any(is_path(row) or isinstance(row, PIL.Image.Image) or _is_image_pair(row) for row in X):
        ((usual, _),) = Counter(kinds).most_common(1)
        odd = [i for i, kind in enumerate(kinds) if kind != usual]
        raise TypeError(
            f"X mixes single images, pairs and other things: rows {format_items(odd)} differ from "
            f"the rest, and the first of these rows is {X[odd[0]]!r}. Accepted: {_ACCEPTED}."
        )
    try:
        return np.asarray(X)
    except ValueError as error:
        raise ValueError(
            f"X holds rows of differing shapes ({str(error).rstrip('.')}). Accepted: {_ACCEPTED}."
        ) from error


def _is_image_pair(row: Any) -> bool:
    """Return whether a row can only be two images."""
    if isinstance(row, np.ndarray):
        is_stack = row.dtype.kind in "uif" and (
            (row.ndim == 4 and row.shape[-1] == 3) or (row.ndim == 3 and row.shape[-1] != 3)
        )
        if not is_stack and row.dtype.kind not in "OUT":
            return False
    return (
        isinstance(row, list | tuple | np.ndarray)
        and len(row) == 2
        and all(is_image(image) for image in row)
    )


def _object_rows(X: NDArray[Any]) -> NDArray[Any] | tuple[list[Any], int]:
    """Turn an array of paths or images into (items, arity), and one of numbers to float64."""
    if len(X) == 0:
        raise ValueError("X has 0 rows; at least one face or pair is required.")
    if X.dtype.kind == "S":
        raise TypeError("X holds byte strings; paths are str or os.PathLike.")
    if X.ndim == 1:
        return _collect(X.tolist())
    if X.ndim == 2 and X.shape[1] == 1:
        return _collect(X[:, 0].tolist())
    if X.ndim == 2 and X.shape[1] == 2:
        return X.ravel().tolist(), 2
    try:
        return X.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"X has shape {X.shape} and holds objects: faces are (n,), pairs are (n, 2)."
        ) from None


def _array_rows(X: NDArray[Any], image_shape: tuple[int, ...] | None) -> tuple[NDArray[Any], int]:
    """Return a numeric array as (n, H, W[, 3]) or (n, 2, H, W[, 3]), and the arity."""
    if len(X) == 0:
        raise ValueError(f"X has 0 rows (shape {X.shape}); at least one face or pair is required.")
    if X.dtype.kind not in "uif":
        raise TypeError(f"X has dtype {X.dtype}; pixels are integers 0..255 or floats 0..1.")
    if image_shape is not None:
        image_shape = _check_image_shape(image_shape)
        n_values = int(np.prod(image_shape))
        if X.ndim == 2 and X.shape[1] == n_values:
            return X.reshape(len(X), *image_shape), 1
        if X.ndim == 3 and X.shape[1:] == (2, n_values):
            return X.reshape(len(X), 2, *image_shape), 2
    shape = X.shape
    if 0 in shape:
        raise ValueError(f"X has shape {shape}: images without pixels.")
    if X.ndim == 5 and shape[1] == 2 and shape[4] == 3:
        return X, 2
    if X.ndim == 4 and shape[3] == 3 and shape[1] != 2:
        return X, 1
    if X.ndim == 4 and shape[1] == 2 and shape[3] != 3:
        return X, 2
    if X.ndim == 3 and shape[1] != 2 and shape[2] != 3:
        return X, 1
    raise ValueError(_shape_advice(shape, image_shape))


def _check_image_shape(image_shape: Any) -> tuple[int, ...]:
    try:
        shape = tuple(int(n) for n in image_shape)
    except (TypeError, ValueError):
        shape = ()
    if len(shape) not in (2, 3) or min(shape) < 1 or (len(shape) == 3 and shape[2] != 3):
        raise ValueError(
            f"image_shape={image_shape!r} is neither (H, W) nor (H, W, 3) with positive integers."
        )
    return shape


def _shape_advice(shape: tuple[int, ...], image_shape: tuple[int, ...] | None) -> str:
    """Return the message about an array that is neither faces nor pairs."""
    found = f"X has shape {shape}"
    if len(shape) == 1:
        return f"{found}. Expected rows of images; reshape your data: {_ACCEPTED}."
    if len(shape) == 2 and image_shape is None:
        return f"{found}: flattened images need image_shape=(H, W) or (H, W, 3)."
    if len(shape) == 3 and shape[2] == 3:
        return f"{found}, which looks like a single RGB image: pass X[np.newaxis]."
    if len(shape) == 3 and image_shape is None:
        return (
            f"{found}, which is ambiguous: for pairs of flattened images pass image_shape=(H, W) "
            "or (H, W, 3); images 2 pixels high are not accepted."
        )
    if image_shape is not None and len(shape) in (2, 3):
        return (
            f"{found}, but image_shape={image_shape} asks for {int(np.prod(image_shape))} values "
            "an image."
        )
    if len(shape) == 4 and shape[1] == 2 and shape[3] == 3:
        return (
            f"{found}, which is ambiguous: for pairs of gray images 3 pixels wide, or RGB images 2 "
            "pixels high, pass pairs as (n, 2, H, W, 3) or larger images."
        )
    if shape[-1] == 1:
        return f"{found}: drop the last axis of gray images, X[..., 0]."
    if len(shape) in (4, 5) and shape[-3] == 3:
        return f"{found}: channels come last, np.moveaxis(X, -3, -1)."
    if shape[-1] == 4:
        return f"{found}: four channels; pass RGB, X[..., :3]."
    return f"{found}. Accepted: {_ACCEPTED}."
