"""Batches that fit into memory."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Runner = Callable[[NDArray[Any]], NDArray[Any]]


class AdaptiveBatcher:
    """Run a network on batches; halve them when memory runs out.

    Parameters
    ----------
    run : callable
        Turns a batch, an array of n inputs, into an array of n vectors.
    size : int or None, default=None
        Faces at a time at the start. None means the whole batch.

    Warns
    -----
    UserWarning
        If the batches were halved.
    """

    def __init__(self, run: Runner, size: int | None = None) -> None:
        self.run = run
        self.size = size

    def __call__(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Return one vector per input. Raises if memory does not hold a single face."""
        size_before = self.size
        parts, start = [], 0
        while start < len(batch):
            left = len(batch) - start
            # parts of equal size, because a small one at the end would leave threads idle
            step = math.ceil(left / math.ceil(left / (self.size or left)))
            try:
                parts.append(self.run(batch[start : start + step]))
            except Exception as error:
                if step == 1 or not _is_out_of_memory(error):
                    raise
                self.size = step // 2
                continue
            start += step
        if self.size != size_before:
            warnings.warn(
                f"Memory ran out, so the network now embeds {self.size} faces at a time. Set "
                f"batch_size={self.size} to start with that.",
                stacklevel=2,
            )
        return np.concatenate(parts)


def _is_out_of_memory(error: Exception) -> bool:
    """Recognize the errors of the runtimes without importing them."""
    if isinstance(error, MemoryError):
        return True
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):  # torch's
        return True
    message = str(error).lower()
    return "can't allocate memory" in message or "failed to allocate memory" in message
