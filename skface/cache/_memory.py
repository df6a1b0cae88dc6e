"""Values of one transformer in memory."""

import threading
import time
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray


class MemoryCache:
    """Values of images in one array, by digest of the image. Threads may share it."""

    def __init__(self) -> None:
        self._place_of: dict[bytes, int] = {}
        self._values: NDArray[Any] | None = None
        self._used = np.empty(0, dtype=np.int64)  # milliseconds since 1970
        self._last_flushed = 0
        self._lock = threading.Lock()  # held while values are added

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return 0 if self._values is None else self._values.nbytes

    def __contains__(self, image: bytes | None) -> bool:
        return image in self._place_of

    def find(self, images: list[bytes | None]) -> NDArray[np.intp]:
        """Return the places of images, -1 for those that are not here."""
        place_of: Any = self._place_of.get  # None is not a key
        return np.fromiter(map(place_of, images, repeat(-1)), np.intp, len(images))

    def take(self, places: NDArray[np.intp]) -> NDArray[Any]:
        """Return the values at places, (len(places), ...)."""
        return np.empty((0,)) if self._values is None else self._values[places]

    def add(self, values: dict[bytes, NDArray[Any]]) -> None:
        """Add values by image.

        Raises
        ------
        ValueError
            If a value has another shape or type than the others.
        """
        with self._lock:
            new = [image for image in values if image not in self._place_of]
            if not new:
                return
            n_before, n_after = len(self._place_of), len(self._place_of) + len(new)
            block = np.stack(_check_alike([values[image] for image in new], self._values))
            array = self._reserve(n_after, block)
            array[n_before:n_after] = block
            self._used[n_before:n_after] = 0
            # last, so that another thread never finds a place without its value
            self._place_of.update(zip(new, range(n_before, n_after), strict=True))

    def mark_used(self, places: NDArray[np.intp]) -> None:
        """Record that values were used now."""
        self._used[places] = time.time_ns() // 1_000_000

    def pop_uses(self) -> dict[int, list[bytes]]:
        """Return the images whose values were used since the last call, by time."""
        images = list(self._place_of)
        uses: dict[int, list[bytes]] = {}
        for place in np.flatnonzero(self._used[: len(images)] > self._last_flushed):
            uses.setdefault(int(self._used[place]), []).append(images[place])
        self._last_flushed = max(uses, default=self._last_flushed)
        return uses

    def _reserve(self, n_values: int, like: NDArray[Any]) -> NDArray[Any]:
        """Return the array, with room for so many values."""
        n_before = len(self._place_of)
        if self._values is None or n_values > len(self._values):
            # new arrays, since other threads may be using the old ones
            values = np.empty((max(n_values, 2 * n_before), *like.shape[1:]), like.dtype)
            used = np.zeros(len(values), dtype=np.int64)
            if self._values is not None:
                values[:n_before] = self._values[:n_before]
                used[:n_before] = self._used[:n_before]
            self._values, self._used = values, used
        return self._values


def _check_alike(values: list[NDArray[Any]], array: NDArray[Any] | None) -> list[NDArray[Any]]:
    """Return the values if all have the shape and type of those in the array, or of the first."""
    like = values[0] if array is None else array[0]
    for value in values:
        if (value.shape, value.dtype) != (like.shape, like.dtype):
            raise ValueError(
                f"The transformer gave {value.dtype} of shape {value.shape} for a face, but "
                f"{like.dtype} of shape {like.shape} for others; such values cannot be cached: "
                "set cache=None."
            )
    return values
