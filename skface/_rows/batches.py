"""Decode images in batches of bounded memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skface._rows.sequences import ArrayImages, ImageSequence
from skface._utils.runtimes import thread_share
from skface.exceptions import ImageError


def iter_batches(
    images: ImageSequence, indices: Sequence[int] | NDArray[np.intp], batch_size: int
) -> Iterator[tuple[NDArray[Any], list[NDArray[Any]]]]:
    """Decode images batch by batch, in threads, never holding more than one batch.

    Parameters
    ----------
    images : ImageSequence
        From :func:`skface._rows.check_images`.
    indices : sequence of int
        Indices of the images to decode, in this order.
    batch_size : int
        Number of images per batch.

    Yields
    ------
    indices : ndarray of shape (b,)
        Indices of the images in this batch.
    pixels : list of b arrays (H, W, 3)
        Their pixels.

    Raises
    ------
    ImageError
        After all images were tried. The message names every file that cannot be read.
    """
    every = np.asarray(indices)
    failures: list[str] = []

    def read(i: int) -> NDArray[Any] | str:
        try:
            return images[i]
        except (ImageError, FileNotFoundError) as error:
            return str(error)

    with ThreadPoolExecutor(thread_share()) as pool:
        # arrays are not decoded, so threads would only add overhead
        read_all: Callable[..., Iterable[NDArray[Any] | str]] = (
            map if isinstance(images, ArrayImages) else pool.map
        )
        for start in range(0, len(every), batch_size):
            batch = every[start : start + batch_size]
            results = list(read_all(read, batch.tolist()))
            failures += [result for result in results if isinstance(result, str)]
            if not failures:
                yield batch, [result for result in results if not isinstance(result, str)]
            # else: keep reading, so that the error names every bad file and not only the first
    if failures:
        raise ImageError(
            f"{len(failures)} of {len(every)} images cannot be read: {' '.join(failures)} "
            "Remove or replace them, or align photos with FaceAligner(on_failure='nan')."
        )
