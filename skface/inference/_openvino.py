"""OpenVINO: imported without its telemetry, and running a model on batches."""

import math
import sys
import threading
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skface.nn._locks import ProcessLock

_IMPORT_LOCK = ProcessLock()
# Faces of a part: few enough for the caches, and to keep all threads busy until the end.
_OPENVINO_BATCH = 8


def import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry, unless it was imported before.

    The package openvino_telemetry sends events of every import and conversion over the network,
    each from a forked process. Users who embed photos of people do not expect that, and conversion
    takes half the time without it. OpenVINO runs without that package.

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
            sys.modules[name] = None  # type: ignore[assignment]  # Python: "no such module"
        try:
            import openvino
        finally:
            if hides:
                sys.modules.pop(name, None)
    return openvino


class OpenVinoNetwork:
    """A network that OpenVINO runs on the CPU.

    Each thread takes parts of a batch. That is faster than dividing the work of every layer among
    threads, above all if other processes keep a core busy.

    Parameters
    ----------
    model : openvino.Model
        Its first axis takes any number of faces.
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic inside.
    n_threads : int
        Threads to use.
    """

    def __init__(self, model: Any, precision: str, n_threads: int) -> None:
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

    def __call__(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Return the network's first output for a batch."""
        share = math.ceil(len(batch) / len(self._requests))
        step = min(share, _OPENVINO_BATCH)
        parts: list[Any] = [None] * math.ceil(len(batch) / step)
        with self._lock:
            for i in range(len(parts)):
                part = np.ascontiguousarray(batch[i * step : (i + 1) * step])
                self._requests.start_async([part], (parts, i), share_inputs=True)
            self._requests.wait_all()
        return np.concatenate(parts)


def _store(request: Any, place: tuple[list[Any], int]) -> None:
    parts, i = place
    # the result is a view of memory that the next request overwrites
    parts[i] = request.get_output_tensor(0).data.copy()
