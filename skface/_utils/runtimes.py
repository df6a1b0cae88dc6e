"""What running a network takes, whatever runs it: threads, memory, and OpenVINO."""

import importlib.util
import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import joblib
import numpy as np

from skface.nn._locks import ProcessLock

_IMPORT_LOCK = ProcessLock()
# Small enough for the caches, and for idle threads to find work left to take.
_OPENVINO_BATCH = 8


def is_installed(runtime: str) -> bool:
    """Tell whether a runtime can be imported, without importing it."""
    return importlib.util.find_spec(runtime) is not None


def import_openvino() -> ModuleType:
    """Import OpenVINO, if nobody has yet, without the package that reports its use to its makers.

    That package sends events of every import and conversion over the network, each from a process
    that it forks for it. Whoever embeds photos of people expects none of this, and a conversion
    takes half the time without. OpenVINO runs as well if that package is missing.

    Examples
    --------
    >>> import pytest
    >>> _ = pytest.importorskip("openvino")
    >>> from skface._runtimes import import_openvino
    >>> import_openvino().__name__
    'openvino'
    """
    name = "openvino_telemetry"
    with _IMPORT_LOCK:
        hides = "openvino" not in sys.modules and name not in sys.modules
        if hides:
            sys.modules[name] = None  # which is how Python says that there is no such module
        try:
            import openvino
        finally:
            if hides:
                sys.modules.pop(name, None)
    return openvino


def thread_share() -> int:
    """Return how many threads this process may compute with.

    joblib gives its worker processes their share through the environment, which OpenMP reads but
    other runtimes do not.
    """
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(given) if given.isdigit() and int(given) > 0 else joblib.cpu_count()


class _Faces:
    """Faces that are still to be embedded by a call."""

    def __init__(self, n: int):
        self.n = n


_TO_COME: ContextVar[_Faces | None] = ContextVar("faces to come", default=None)


@contextmanager
def expecting(n_faces: int) -> Iterator[None]:
    """Say that so many faces are to be embedded in the block, batch by batch.

    In a block inside another, such as that for a batch of many, the larger number counts.

    Examples
    --------
    >>> from skface._runtimes import expecting, faces_to_come, note_embedded
    >>> with expecting(5000), expecting(256):
    ...     note_embedded(256)
    ...     faces_to_come()
    4744
    """
    if n_faces <= faces_to_come():
        yield
        return
    token = _TO_COME.set(_Faces(n_faces))
    try:
        yield
    finally:
        _TO_COME.reset(token)


def note_embedded(n_faces: int) -> None:
    """Note that so many of the faces that were expected have been embedded."""
    faces = _TO_COME.get()
    if faces is not None:
        faces.n = max(0, faces.n - n_faces)


def faces_to_come() -> int:
    """Return how many faces the calls that are under way have still to embed; 0 if none say."""
    faces = _TO_COME.get()
    return 0 if faces is None else faces.n


class InParts:
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


class OpenVinoNetwork:
    """A network that OpenVINO runs on the CPU.

    Its threads each take parts of a batch and meet only at the end, which is faster than sharing
    the work of every layer, by far so if other processes keep one of them busy.

    Parameters
    ----------
    model : openvino.Model
        With an open first axis.
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic inside.
    n_threads : int
        Threads to use.
    """

    def __init__(self, model: Any, precision: str, n_threads: int):
        openvino = import_openvino()
        element = {"float32": openvino.Type.f32, "bfloat16": openvino.Type.bf16}[precision]
        self._compiled = openvino.Core().compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": element,
                "PERFORMANCE_HINT": "THROUGHPUT",
                "INFERENCE_NUM_THREADS": n_threads,
            },
        )
        self._requests = openvino.AsyncInferQueue(self._compiled)
        self._requests.set_callback(_store)
        self._lock = threading.Lock()  # the requests serve one caller at a time

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return the network's first output for a batch."""
        share = math.ceil(len(batch) / len(self._requests))
        step = min(share, _OPENVINO_BATCH)
        parts = [None] * math.ceil(len(batch) / step)
        with self._lock:
            for i in range(len(parts)):
                part = np.ascontiguousarray(batch[i * step : (i + 1) * step])
                self._requests.start_async([part], (parts, i), share_inputs=True)
            self._requests.wait_all()
        return np.concatenate(parts)


def _store(request: Any, place: tuple[list, int]) -> None:
    parts, i = place
    # the result is a view of memory that the next request overwrites
    parts[i] = request.get_output_tensor(0).data.copy()


def _is_out_of_memory(error: Exception) -> bool:
    """Recognise what the runtimes raise, none of which is loaded here."""
    if isinstance(error, MemoryError):
        return True
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):  # torch's
        return True
    message = str(error).lower()
    return "can't allocate memory" in message or "failed to allocate memory" in message
