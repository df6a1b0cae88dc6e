"""OpenVINO: imported without its telemetry, and running a model on batches."""

import math
import sys
import threading
from types import ModuleType
from typing import Any

import numpy as np

from skface.nn._locks import ProcessLock

_IMPORT_LOCK = ProcessLock()
# Small enough for the caches, and for idle threads to find work left to take.
_OPENVINO_BATCH = 8


def import_openvino() -> ModuleType:
    """Import OpenVINO, if nobody has yet, without the package that reports its use to its makers.

    That package sends events of every import and conversion over the network, each from a process
    that it forks for it. Whoever embeds photos of people expects none of this, and a conversion
    takes half the time without. OpenVINO runs as well if that package is missing.

    Examples
    --------
    >>> import pytest
    >>> _ = pytest.importorskip("openvino")
    >>> from skface.inference._openvino import import_openvino
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
