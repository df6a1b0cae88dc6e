"""Batches as large as memory holds."""

import math
import warnings
from collections.abc import Callable

import numpy as np


class AdaptiveBatcher:
    """Run a network on as many faces at a time as memory holds.

    Parameters
    ----------
    run : callable
        Turns a batch, an array of n inputs, into an array of n vectors.
    size : int or None, default=None
        Faces at a time to begin with; None means the whole batch.

    Warns
    -----
    UserWarning
        If memory did not hold so many: half of them were tried, and so on.
    """

    def __init__(self, run: Callable[[np.ndarray], np.ndarray], size: int | None = None):
        self.run = run
        self.size = size

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return one vector per input; at a single face, running out of memory is an error."""
        size_before = self.size
        parts, start = [], 0
        while start < len(batch):
            left = len(batch) - start
            # parts of equal size: a small one at the end would keep few threads busy
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
                f"Memory ran out, so the network now embeds {self.size} faces at a time, which "
                f"works: set batch_size={self.size} to begin with that.",
                stacklevel=2,
            )
        return np.concatenate(parts)


def _is_out_of_memory(error: Exception) -> bool:
    """Recognise what the runtimes raise, none of which is loaded here."""
    if isinstance(error, MemoryError):
        return True
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):  # torch's
        return True
    message = str(error).lower()
    return "can't allocate memory" in message or "failed to allocate memory" in message
