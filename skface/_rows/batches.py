"""Decode images in batches of bounded memory."""

from collections.abc import Iterator, Sequence
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

    def read(i: int) -> NDArray[Any] | Exception:
        try:
            return images[i]
        except (ImageError, FileNotFoundError) as error:
            return error

    with ThreadPoolExecutor(thread_share()) as pool:
        # arrays need no decoding, so threads would only cost
        read_all = map if isinstance(images, ArrayImages) else pool.map
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
