"""Sequences of images that are decoded on access, and rows of faces or pairs over them."""

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from skface._rows.decoding import decode, refuse_bomb, to_rgb
from skface._utils.digests import digest_bytes
from skface.exceptions import ImageError

#: (mtime_ns, ctime_ns, size, inode) of a file, see :func:`skface._rows.checking.stat_signature`.
FileSignature = tuple[int, int, int, int]


class ImageSequence(ABC):
    """Images that are decoded one by one, on access.

    ``sequence[i]`` is an (H, W, 3) RGB array: uint8, or floating 0..1. It is all NaN for a missing
    face, which an earlier step did not find. A file that cannot be read raises ImageError, one that
    does not exist FileNotFoundError.
    """

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abstractmethod
    def __getitem__(self, i: int) -> NDArray[Any]:
        """Decode image `i`."""

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[i] for i in range(len(self)))

    @property
    @abstractmethod
    def size(self) -> tuple[int, int] | None:
        """(H, W) if it is known, without decoding, that all images have it, else None."""

    @abstractmethod
    def key(self, i: int) -> Hashable:
        """Return a key of image `i`; equal keys mean equal pixels.

        A path is its own key, a str. The key of pixels is a tuple (digest, shape, dtype), and that
        of a PIL image that cannot be decoded is `i`.
        """

    def keys(self) -> list[Hashable]:
        """Return the key of every image; each missing face has a key of its own."""
        # the pixels of all missing faces are equal, but their photos need not be
        return [("missing", i) if self.is_missing(i) else self.key(i) for i in range(len(self))]

    @property
    def signatures(self) -> dict[str, FileSignature]:
        """Signatures, by key, of the files that existed when the rows were checked."""
        return {}

    @abstractmethod
    def name(self, i: int) -> str:
        """Return the name of image `i` for a message."""

    @abstractmethod
    def is_missing(self, i: int) -> bool:
        """Return whether image `i` is a missing face, without decoding it."""

    def found(self, indices: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return, for each of these images, whether it is not a missing face."""
        return np.array([not self.is_missing(i) for i in indices.tolist()], dtype=bool)

    @abstractmethod
    def take(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        """Return these images, not decoded, as :func:`check_images` accepts them."""


class ArrayImages(ImageSequence):
    """Images in one array, (n, H, W[, 3]) or pairs of them (n, 2, H, W[, 3])."""

    def __init__(self, array: NDArray[Any], arity: int) -> None:
        self._array = array
        self._arity = arity

    def _pixels(self, i: int | NDArray[np.intp]) -> NDArray[Any]:
        # reshaping pairs to (2n, ...) would copy an array that is not contiguous
        return self._array[i] if self._arity == 1 else self._array[i // 2, i % 2]

    def __len__(self) -> int:
        return len(self._array) * self._arity

    def __getitem__(self, i: int) -> NDArray[Any]:
        return _as_rgb(self._pixels(i))

    @property
    def size(self) -> tuple[int, int] | None:
        return self._array.shape[self._arity : self._arity + 2]

    def key(self, i: int) -> Hashable:
        return _content_key(self._pixels(i))

    def name(self, i: int) -> str:
        return row_name(i, self._arity)

    def is_missing(self, i: int) -> bool:
        return is_missing(self._pixels(i))

    def take(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        if self._arity == 1 and np.array_equal(indices, np.arange(len(self))):
            return self._array
        return self._pixels(np.asarray(indices))


class Vectors(ArrayImages):
    """Feature vectors instead of images: an array (n, d), or (n, 2, d) for pairs."""

    def __getitem__(self, i: int) -> NDArray[Any]:
        return self._pixels(i)

    def is_missing(self, i: int) -> bool:
        # unlike an image, a vector may be NaN in part; the transformer checks whether it may
        return self._array.dtype.kind == "f" and bool(np.isnan(self._pixels(i)).all())


class ItemImages(ImageSequence):
    """Images given one by one, as paths, PIL images or arrays."""

    def __init__(self, items: list[Any], arity: int, signatures: dict[str, FileSignature]) -> None:
        self._items = items
        self._arity = arity
        self._signatures = signatures
        self._pil_lock = threading.Lock()  # two threads must not load one PIL image

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, i: int) -> NDArray[Any]:
        item = self._items[i]
        if is_path(item):
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
    def size(self) -> tuple[int, int] | None:
        sizes = {self._size_of(item) for item in self._items}
        return sizes.pop() if len(sizes) == 1 else None

    @staticmethod
    def _size_of(item: Any) -> tuple[int, int] | None:
        return item.shape[:2] if isinstance(item, np.ndarray) else None

    def key(self, i: int) -> Hashable:
        item = self._items[i]
        if is_path(item):
            return os.fspath(item)
        if isinstance(item, PIL.Image.Image):
            try:
                return _content_key(self[i])  # decoded, because EXIF may rotate the image
            except ImageError:
                return i  # the error is raised when the image is used
        return _content_key(item)

    def keys(self) -> list[Hashable]:
        # a fast loop, because every fit and score of a search may pass thousands of paths
        keys = list(self._items)
        for i, item in enumerate(keys):
            if type(item) is not str:
                keys[i] = ("missing", i) if self.is_missing(i) else self.key(i)
        return keys

    @property
    def signatures(self) -> dict[str, FileSignature]:
        return self._signatures

    def name(self, i: int) -> str:
        item = self._items[i]
        return os.fspath(item) if is_path(item) else row_name(i, self._arity)

    def is_missing(self, i: int) -> bool:
        item = self._items[i]
        return isinstance(item, np.ndarray) and is_missing(item)

    def found(self, indices: NDArray[np.intp]) -> NDArray[np.bool_]:
        if set(map(type, self._items)) == {str}:
            return np.ones(len(indices), dtype=bool)
        return super().found(indices)

    def take(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        # filled one by one, because numpy would unpack a list of arrays of one shape
        taken = np.empty(len(indices), dtype=object)
        for position, i in enumerate(indices):
            taken[position] = self._items[i]
        return taken


def row_name(i: int, arity: int) -> str:
    """Return the row of image `i`, and for pairs its position in the row, for a message."""
    return f"row {i}" if arity == 1 else f"row {i // 2}, photo {i % 2}"


def is_path(item: Any) -> bool:
    """Return whether an item is a path."""
    return isinstance(item, (str, os.PathLike))  # a union takes twice the time


def is_image(item: Any) -> bool:
    """Return whether an item is a path, a PIL image, or an array that can only be one image."""
    if isinstance(item, np.ndarray):
        is_rgb = item.ndim == 3 and item.shape[-1] == 3 and item.shape[0] != 2
        return item.dtype.kind in "uif" and (item.ndim == 2 or is_rgb)
    return isinstance(item, (str, os.PathLike, PIL.Image.Image))  # a union takes twice the time


def _as_rgb(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return checked pixels with three channels, integers as uint8."""
    if pixels.dtype.kind in "ui":
        pixels = pixels.astype(np.uint8, copy=False)
    if pixels.ndim == 2:
        pixels = np.broadcast_to(pixels[..., None], (*pixels.shape, 3))
    return pixels


def _content_key(pixels: NDArray[Any]) -> tuple[bytes, tuple[int, ...], str]:
    return digest_bytes(np.ascontiguousarray(pixels).data), pixels.shape, pixels.dtype.str


def is_missing(pixels: NDArray[Any]) -> bool:
    """Return whether an image is all NaN: a face that an earlier step could not read or find."""
    return pixels.dtype.kind == "f" and bool(np.isnan(pixels.flat[0]))


def to_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert pixels, uint8 or floats in 0..1, to uint8."""
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
        """(H, W) if it is known, without decoding, that all images have it, else None."""
        return self.images.size

    @cached_property
    def distinct(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The distinct images, by path or by the content of pixels, as ``(first, inverse)``.

        `first` (n_distinct,) is the index of the first occurrence of each distinct image,
        ascending. `inverse` (len(images),) is, for every image, its position in `first`: if
        ``values`` has one entry per distinct image, ``values[inverse]`` has one per image. Every
        missing face counts as distinct.
        """
        keys = self.images.keys()
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        inverse = np.fromiter(map(numbers.__getitem__, keys), np.intp, len(keys))
        return np.unique(inverse, return_index=True)[1], inverse

    def regroup(self, values: NDArray[Any]) -> NDArray[Any]:
        """Reshape values per image to (n, ...) for faces, and (n, 2, ...) for pairs."""
        return values if self.arity == 1 else values.reshape(self.n_rows, 2, *values.shape[1:])


def vector_rows(X: NDArray[Any]) -> Rows:
    """Return rows of feature vectors, of a checked array (n, d), or (n, 2, d) for pairs."""
    arity = X.ndim - 1
    return Rows(Vectors(X, arity), arity)
