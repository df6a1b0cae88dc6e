"""Averaging the embeddings of images and their mirror images."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skface._utils.vectors import unit_vectors


def embed_mirrored(
    embed: Callable[[NDArray[np.float32]], NDArray[Any]], batch: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Embed images and their mirror images, and average both.

    Parameters
    ----------
    embed : callable
        Turns a batch (n, 3, H, W) into (n, d) vectors.
    batch : ndarray of shape (n, 3, H, W)
        The images.

    Returns
    -------
    ndarray of shape (n, d)
        Means of two unit vectors, so that neither image outweighs the other. NaN where one of the
        two is zero or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from skface.inference._mirroring import embed_mirrored
    >>> image = np.array([[[[3.0, 4.0]]]], dtype=np.float32)
    >>> embed_mirrored(lambda batch: batch.reshape(1, 2), image)
    array([[0.7, 0.7]], dtype=float32)
    """
    straight, _ = unit_vectors(embed(batch))
    mirrored, _ = unit_vectors(embed(np.ascontiguousarray(batch[..., ::-1])))
    return ((straight + mirrored) / 2).astype(np.float32)
