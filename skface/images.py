"""What counts as faces and pairs of faces, and their pixels in batches of bounded memory.

The first axis of every accepted input is the sample axis. A row is one face or one pair of faces,
and a face is a path, a PIL image or an array of pixels: integers mean 0..255, floats 0..1, colour
is RGB. Anything else is an error that names the offending rows or files and the way out.
"""

import hashlib
import os
import stat
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image

from skface._decoding import ImageError, decode, refuse_bomb, to_rgb
from skface._validation import name_some
from skface.inference._threads import thread_share

# Floats that were resized or averaged may leave [0, 1] by rounding; real range mistakes are larger.
_FLOAT_SLACK = 1e-6
# Rows whose pixels are checked at a time: bounds the memory of the check, not its result.
_CHECK_BYTES = 64 * 2**20

# Images of rows that are kept to be recognised, over all rows: some 400 bytes for each photo.
_MOST_SEEN = 2**17

_ACCEPTED = (
    "faces as (n, H, W, 3) RGB, (n, H, W) grey, or a list, Series or 1-D array of paths, PIL "
    "images or arrays; pairs as (n, 2, H, W, 3), (n, 2, H, W), or an (n, 2) array or two-column "
    "DataFrame of paths or images; flattened images when image_shape is given"
)


Stamp = tuple[int, int, int, int]  # as of `look_at`


class ImageSequence(Sequence, ABC):
    """Images that are decoded one by one, when they are asked for.

    ``sequence[i]`` is an (H, W, 3) RGB array: uint8, or floating 0..1 (all NaN for a face that an
    earlier step failed to find). It raises ImageError, or FileNotFoundError, for a bad file.
    """

    @property
    @abstractmethod
    def size(self) -> tuple[int, int] | None:
        """(H, W) if all images are known to share it without decoding any, else None."""

    @abstractmethod
    def key(self, i: int) -> Hashable:
        """Return what tells image `i` from others: equal keys mean equal pixels."""

    def keys(self) -> list[Hashable]:
        """Return the key of every image; missing faces are equal to nothing."""
        # two faces that were not found are equal, but need not be of one photo
        return [("missing", i) if self.is_missing(i) else self.key(i) for i in range(len(self))]

    @property
    def stamps(self) -> dict[str, Stamp]:
        """What :func:`look_at` said of every file there is when the rows were checked, by key."""
        return {}

    @abstractmethod
    def name(self, i: int) -> str:
        """Name image `i` for a message."""

    @abstractmethod
    def is_missing(self, i: int) -> bool:
        """Tell, without decoding, whether image `i` is all NaN: a face that was not found."""

    def found(self, indices: np.ndarray) -> np.ndarray:
        """Mark those of these images that are not known to be missing."""
        return np.array([not self.is_missing(i) for i in indices.tolist()], dtype=bool)

    @abstractmethod
    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return these images, not decoded, in a form that :func:`check_images` accepts."""


class _ArrayImages(ImageSequence):
    """Images in one array, (n, H, W[, 3]) or pairs of them (n, 2, H, W[, 3])."""

    def __init__(self, array: np.ndarray, arity: int):
        self._array = array
        self._arity = arity

    def _pixels(self, i):
        # joining the first two axes of pairs would copy an array that is not contiguous
        return self._array[i] if self._arity == 1 else self._array[i // 2, i % 2]

    def __len__(self):
        return len(self._array) * self._arity

    def __getitem__(self, i):
        return _as_rgb(self._pixels(i))

    @property
    def size(self):
        return self._array.shape[self._arity : self._arity + 2]

    def key(self, i):
        return _content_key(self._pixels(i))

    def name(self, i):
        return _row_name(i, self._arity)

    def is_missing(self, i):
        return is_missing(self._pixels(i))

    def take(self, indices):
        if self._arity == 1 and np.array_equal(indices, np.arange(len(self))):
            return self._array
        return self._pixels(np.asarray(indices))


class _Vectors(_ArrayImages):
    """Feature vectors in the place of images: an array (n, d), or (n, 2, d) for pairs."""

    def __getitem__(self, i):
        return self._pixels(i)

    def is_missing(self, i):
        # unlike an image, a vector may lack some values, which is the transformer's business
        return self._array.dtype.kind == "f" and bool(np.isnan(self._pixels(i)).all())


class _ItemImages(ImageSequence):
    """Images given one by one, as paths, PIL images or arrays."""

    def __init__(self, items: list, arity: int, stamps: dict[str, Stamp]):
        self._items = items
        self._arity = arity
        self._stamps = stamps
        self._pil_lock = threading.Lock()  # one image in two rows must not be loaded twice at once

    def __len__(self):
        return len(self._items)

    def __getitem__(self, i):
        item = self._items[i]
        if _is_path(item):
            return decode(item)
        if isinstance(item, PIL.Image.Image):
            try:
                refuse_bomb(item)
                with self._pil_lock:
                    return to_rgb(item)
            except (OSError, ValueError, SyntaxError) as error:
                raise ImageError(f"{self.name(i)}: {error}") from error
        return _as_rgb(item)

    @property
    def size(self):
        sizes = {self._size_of(item) for item in self._items}
        return sizes.pop() if len(sizes) == 1 else None

    @staticmethod
    def _size_of(item):
        return item.shape[:2] if isinstance(item, np.ndarray) else None

    def key(self, i):
        item = self._items[i]
        if _is_path(item):
            return os.fspath(item)
        if isinstance(item, PIL.Image.Image):
            try:
                return _content_key(self[i])  # as it is used: turned upright, and 16 bits reduced
            except ImageError:
                return id(item)  # which whoever uses it will report
        return _content_key(item)

    def keys(self):
        # thousands of paths at every fit and score of a search: the loop that matters
        keys = list(self._items)
        for i, item in enumerate(keys):
            if type(item) is not str:
                keys[i] = ("missing", i) if self.is_missing(i) else self.key(i)
        return keys

    @property
    def stamps(self):
        return self._stamps

    def name(self, i):
        item = self._items[i]
        return os.fspath(item) if _is_path(item) else _row_name(i, self._arity)

    def is_missing(self, i):
        item = self._items[i]
        return isinstance(item, np.ndarray) and is_missing(item)

    def found(self, indices):
        if _are_paths(self._items):
            return np.ones(len(indices), dtype=bool)
        return super().found(indices)

    def take(self, indices):
        # filled one by one: numpy would unpack a list of arrays of one shape
        taken = np.empty(len(indices), dtype=object)
        for place, i in enumerate(indices):
            taken[place] = self._items[i]
        return taken


def _row_name(i: int, arity: int) -> str:
    return f"row {i}" if arity == 1 else f"row {i // 2}, photo {i % 2}"


def _is_path(item: Any) -> bool:
    return isinstance(item, (str, os.PathLike))  # a union takes twice as long


def _as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Give checked pixels three channels, integers as uint8."""
    if pixels.dtype.kind in "ui":
        pixels = pixels.astype(np.uint8, copy=False)
    if pixels.ndim == 2:
        pixels = np.broadcast_to(pixels[..., None], (*pixels.shape, 3))
    return pixels


def _content_key(pixels: np.ndarray, *more: Hashable) -> Hashable:
    digest = hashlib.blake2b(np.ascontiguousarray(pixels), digest_size=16).digest()
    return digest, pixels.shape, pixels.dtype.str, *more


def is_missing(pixels: np.ndarray) -> bool:
    """Tell whether an image is all NaN: a face that an earlier step could not read or find."""
    return pixels.dtype.kind == "f" and bool(np.isnan(pixels.flat[0]))


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as uint8, of uint8 or of floats in 0..1."""
    if pixels.dtype == np.uint8:
        return pixels
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


@dataclass(frozen=True)
class Rows:
    """Rows of faces or of pairs over a flat sequence of images.

    Attributes
    ----------
    images : ImageSequence
        ``n_rows * arity`` images; the photos of pair i are images 2i and 2i + 1.
    arity : {1, 2}
        1 for faces, 2 for pairs.
    """

    images: ImageSequence
    arity: int

    @property
    def n_rows(self) -> int:
        """Number of rows of the input."""
        return len(self.images) // self.arity

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) if all images are known to share it without decoding any, else None."""
        return self.images.size

    def regroup(self, values: np.ndarray) -> np.ndarray:
        """Turn one value per image, (n * arity, ...), into (n, ...) or (n, 2, ...)."""
        return values if self.arity == 1 else values.reshape(self.n_rows, 2, *values.shape[1:])


class SeenRows:
    """Rows of paths that were checked, to be taken as they were then.

    A search fits and scores on the same photos again and again, and asking a file system whether
    thousands of them have changed takes longer than looking their embeddings up.
    """

    def __init__(self) -> None:
        self._stamps: dict[str, Stamp] = {}
        self._rows: dict[tuple, Rows] = {}
        self._n_images_left = _MOST_SEEN

    def rows(self, paths: list[str], arity: int, check_files: bool) -> Rows:
        """Return what these rows were, or check them.

        Parameters
        ----------
        paths : list of str
            ``n_rows * arity`` of them.
        arity : {1, 2}
            As of :class:`Rows`.
        check_files : bool
            As of :func:`check_images`.

        Returns
        -------
        Rows
            The same object for equal paths, unless there are too many to be kept.

        Raises
        ------
        FileNotFoundError
            If `check_files` is True and files do not exist, or did not.
        """
        key = arity, check_files, tuple(paths)
        rows = self._rows.get(key)
        if rows is None:
            stamps = _check_files(paths, check_files, self._stamps)
            rows = Rows(_ItemImages(paths, arity, stamps), arity)
            if len(paths) <= self._n_images_left:
                self._n_images_left -= len(paths)
                self._rows[key] = rows
                self._stamps |= stamps
        return rows


def check_images(
    X: Any,
    *,
    image_shape: tuple[int, ...] | None = None,
    check_files: bool = True,
    seen: SeenRows | None = None,
) -> Rows:
    """Decide what the rows of `X` are, and refuse what is ambiguous or out of range.

    Parameters
    ----------
    X : array-like, list, Series or DataFrame
        Faces: (n, H, W, 3) RGB; (n, H, W) grey; flattened (n, H*W) or (n, H*W*3) when
        `image_shape` is given; or n paths, PIL images or arrays of differing sizes. Pairs: the
        same with an axis of length 2 after the first.
    image_shape : tuple (H, W) or (H, W, 3), default=None
        Shape of one image, needed for flattened rows only.
    check_files : bool, default=True
        Whether missing files are an error now (all of them named) or when they are read.
    seen : SeenRows, default=None
        What was checked before. Files of rows in it are not looked at again; these are added.

    Returns
    -------
    Rows
        The images, flat and not decoded yet, and how they form rows.

    Raises
    ------
    ValueError
        For no rows, ambiguous shapes, or pixels outside their range (integers 0..255, floats 0..1).
    TypeError
        For rows that are no images at all.
    FileNotFoundError
        For paths of files that do not exist.

    Examples
    --------
    >>> import numpy as np
    >>> from skface.images import check_images
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
        _check_pixel_range(array, lambda i: _row_name(i, arity), arity)
        return Rows(_ArrayImages(array, arity), arity)
    items, arity = X
    if seen is not None and _are_paths(items):
        return seen.rows(items, arity, check_files)
    _check_items(items, arity)
    return Rows(_ItemImages(items, arity, _check_files(items, check_files, {})), arity)


def vector_rows(X: np.ndarray) -> Rows:
    """Take the rows of a checked (n, d) or (n, 2, d) array as vectors instead of images."""
    arity = X.ndim - 1
    return Rows(_Vectors(X, arity), arity)


def _collect(X: Any) -> np.ndarray | tuple[list, int]:
    """Turn a list-like into an array of numbers, or into (items, arity)."""
    try:
        X = list(X)
    except TypeError:
        raise TypeError(
            f"X is a {type(X).__name__}, not rows of images. Accepted: {_ACCEPTED}."
        ) from None
    if not X:
        raise ValueError("X has 0 rows; at least one face or pair is required.")
    # numpy first looks at sizes, so asking it about paths or images would copy or misread them
    if all(_is_image(row) for row in X):
        return X, 1
    if all(_is_image_pair(row) for row in X):
        return [image for row in X for image in row], 2
    kinds = [(_is_image(row), _is_image_pair(row)) for row in X]
    if any(_is_path(row) or isinstance(row, PIL.Image.Image) or _is_image_pair(row) for row in X):
        ((usual, _),) = Counter(kinds).most_common(1)
        odd = [i for i, kind in enumerate(kinds) if kind != usual]
        raise TypeError(
            f"X mixes single images, pairs and other things: rows {name_some(odd)} differ from the "
            f"rest, the first of them being {X[odd[0]]!r}. Accepted: {_ACCEPTED}."
        )
    try:
        return np.asarray(X)
    except ValueError as error:
        raise ValueError(f"X holds rows of differing shapes ({error}). {_ACCEPTED}.") from error


def _is_image(item: Any) -> bool:
    if isinstance(item, np.ndarray):
        is_rgb = item.ndim == 3 and item.shape[-1] == 3 and item.shape[0] != 2
        return item.dtype.kind in "uif" and (item.ndim == 2 or is_rgb)
    return isinstance(item, (str, os.PathLike, PIL.Image.Image))  # a union takes twice as long


def _is_image_pair(row: Any) -> bool:
    if isinstance(row, np.ndarray):
        is_stack = row.dtype.kind in "uif" and (
            (row.ndim == 4 and row.shape[-1] == 3) or (row.ndim == 3 and row.shape[-1] != 3)
        )
        if not is_stack and row.dtype.kind not in "OUT":
            return False
    return (
        isinstance(row, list | tuple | np.ndarray)
        and len(row) == 2
        and all(_is_image(image) for image in row)
    )


def _object_rows(X: np.ndarray) -> np.ndarray | tuple[list, int]:
    """Turn an array of paths or image objects into (items, arity), or a boxed array to numbers."""
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


def _array_rows(X: np.ndarray, image_shape: tuple[int, ...] | None) -> tuple[np.ndarray, int]:
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
            f"{found}, which is ambiguous: for pairs of grey images 3 pixels wide, or RGB images 2 "
            "pixels high, pass pairs as (n, 2, H, W, 3) or larger images."
        )
    if shape[-1] == 1:
        return f"{found}: drop the last axis of grey images, X[..., 0]."
    if len(shape) in (4, 5) and shape[-3] == 3:
        return f"{found}: channels come last, np.moveaxis(X, -3, -1)."
    if shape[-1] == 4:
        return f"{found}: four channels; pass RGB, X[..., :3]."
    return f"{found}. Accepted: {_ACCEPTED}."


def _check_pixel_range(array: np.ndarray, name: Callable[[int], str], arity: int = 1) -> None:
    """Refuse integers outside 0..255, floats outside 0..1 and images that are partly NaN."""
    if array.dtype == np.uint8:
        return
    top = 255 if array.dtype.kind in "ui" else 1
    slack = 0 if top == 255 else _FLOAT_SLACK
    outside, partly_nan = [], []
    lowest, highest = np.inf, -np.inf
    step = max(1, _CHECK_BYTES // max(1, array[0].nbytes))
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
            f"{name_some(map(name, outside))}: {remedy}."
        )
    if partly_nan:
        raise ValueError(
            f"X contains NaN in some pixels of {name_some(map(name, partly_nan))}; only an image "
            "that is NaN as a whole stands for a face that was not found."
        )


def _check_items(items: list, arity: int) -> None:
    """Refuse items that are no images."""
    if all(issubclass(kind, (str, os.PathLike)) for kind in set(map(type, items))):
        return  # thousands of paths at once
    odd = [i for i, item in enumerate(items) if not _is_image(item)]
    if odd:
        raise TypeError(
            f"X holds {type(items[odd[0]]).__name__} objects, which are no images, in "
            f"{name_some(_row_name(i, arity) for i in odd)}; an image is a path, a PIL image, or "
            "an (H, W, 3) or (H, W) array."
        )
    for i, item in enumerate(items):
        if isinstance(item, np.ndarray):
            if item.size == 0:
                raise ValueError(f"{_row_name(i, arity)} has shape {item.shape}: no pixels.")
            _check_pixel_range(item[None], lambda _, i=i: _row_name(i, arity))


def _are_paths(items: list) -> bool:
    """Tell whether all items are strings, as they are by the thousand in a search."""
    return set(map(type, items)) == {str}


def _check_files(items: list, must_exist: bool, known: dict[str, Stamp]) -> dict[str, Stamp]:
    """Return the stamps of files, each looked at once; name all that are missing but must not.

    Files that are in `known` are not looked at.
    """
    stamps, missing = {}, []
    if not _are_paths(items):
        items = [os.fspath(item) for item in items if _is_path(item)]
    for path in dict.fromkeys(items):
        stamp = known.get(path) or look_at(path)
        if stamp is None:
            missing.append(path)
        else:
            stamps[path] = stamp
    if missing and must_exist:
        raise FileNotFoundError(
            f"{len(missing)} of {len(missing) + len(stamps)} image files do not exist, or are no "
            f"files: {', '.join(missing)}. Relative paths start at the working directory."
        )
    return stamps


def look_at(path: str) -> Stamp | None:
    """Return what tells whether a file has changed, or None if there is no such file.

    That is (mtime_ns, ctime_ns, size, inode): a program may set the first time, but not the second.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # as os.path.isfile
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def iter_batches(
    images: ImageSequence, indices: Sequence[int], batch_size: int
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Decode images batch by batch, in threads, never holding more than one batch.

    Parameters
    ----------
    images : ImageSequence
        From :func:`check_images`.
    indices : sequence of int
        Which images, in this order.
    batch_size : int
        Images at a time.

    Yields
    ------
    indices : ndarray of shape (b,)
        The images of this batch.
    pixels : list of b arrays (H, W, 3)
        Their pixels.

    Raises
    ------
    ImageError
        After the last image was tried, naming all files that could not be read.
    """
    indices = np.asarray(indices)
    failures: list[str] = []

    def read(i):
        try:
            return images[i]
        except (ImageError, FileNotFoundError) as error:
            return error

    with ThreadPoolExecutor(thread_share()) as pool:
        # arrays need no decoding, so threads would only cost
        read_all = map if isinstance(images, _ArrayImages) else pool.map
        for start in range(0, len(indices), batch_size):
            batch = indices[start : start + batch_size]
            pixels = list(read_all(read, batch.tolist()))
            failures += [str(item) for item in pixels if isinstance(item, Exception)]
            if not failures:
                yield batch, pixels
            # else: keep reading, so that the error names every bad file and not only the first
    if failures:
        raise ImageError(
            f"{len(failures)} of {len(indices)} images cannot be read: {' '.join(failures)} "
            "Remove or replace them, or align photos with FaceAligner(on_failure='nan')."
        )
