"""Sessions that run a network from an ONNX or OpenVINO file."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skface._utils.runtimes import thread_share
from skface.inference._batching import AdaptiveBatcher
from skface.inference._openvino import OpenVinoNetwork, import_openvino


class Session(ABC):
    """A network from a file: batches of (n, 3, H, W) in, (n, d) out.

    Parameters
    ----------
    shape : sequence of int or other
        Shape of the network's input in the file. What is not a positive int is an axis of any
        length.

    Attributes
    ----------
    input_shape : tuple of int or None
        As in the file; None for an axis of any length.
    channels_last : bool
        Whether the file takes (n, H, W, 3).

    Raises
    ------
    ValueError
        If the network does not take images.
    """

    def __init__(self, shape: Sequence[Any]) -> None:
        self.input_shape = tuple(n if isinstance(n, int) and n > 0 else None for n in shape)
        if len(self.input_shape) != 4 or 3 not in (self.input_shape[1], self.input_shape[3]):
            raise ValueError(
                f"The network's input has shape {self.input_shape}; a face embedder takes "
                "(n, 3, H, W) or (n, H, W, 3)."
            )
        self.channels_last = self.input_shape[1] != 3
        self._run_adaptively = AdaptiveBatcher(self._run)

    @abstractmethod
    def _run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Return the network's output for as many faces as the file takes, in its layout."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        """Return one vector per image of a float32 batch (n, 3, H, W)."""
        if self.channels_last:
            batch = batch.transpose(0, 2, 3, 1)
        # files exported for a number of faces take that many at a time
        step = self.input_shape[0]
        if step is None:
            return _flatten(self._run_adaptively(np.ascontiguousarray(batch)))
        padding = np.zeros((-len(batch) % step, *batch.shape[1:]), batch.dtype)
        padded = np.concatenate([batch, padding])
        parts = [self._run(padded[i : i + step]) for i in range(0, len(padded), step)]
        return _flatten(np.concatenate(parts))[: len(batch)]


class OnnxRuntimeSession(Session):
    """An ONNX file that onnxruntime runs.

    Parameters
    ----------
    model : ndarray of shape (n_bytes,), dtype uint8
        The file.
    data : None
        ONNX files have their weights inside.
    """

    def __init__(self, model: NDArray[np.uint8], data: NDArray[np.uint8] | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = thread_share()
        self._session = onnxruntime.InferenceSession(
            model.tobytes(), options, providers=onnxruntime.get_available_providers()
        )
        first = self._session.get_inputs()[0]
        self._name = first.name
        super().__init__(first.shape)

    def _run(self, batch: NDArray[Any]) -> NDArray[Any]:
        output: NDArray[Any] = self._session.run(None, {self._name: batch})[0]
        return output


class OpenVinoSession(Session):
    """An ONNX file, or an OpenVINO .xml with its .bin, that OpenVINO runs.

    Parameters
    ----------
    model : ndarray of shape (n_bytes,), dtype uint8
        The .onnx or .xml file.
    data : ndarray of shape (n_bytes,), dtype uint8, default=None
        The .bin of an .xml.
    """

    def __init__(self, model: NDArray[np.uint8], data: NDArray[np.uint8] | None = None) -> None:
        core = import_openvino().Core()
        network = core.read_model(model.tobytes(), b"" if data is None else data.tobytes())
        axes = network.inputs[0].get_partial_shape()
        shape = [axis.get_length() if axis.is_static else None for axis in axes]
        if len(shape) == 4 and shape[0] is not None:
            # OpenVINO propagates an open batch through the graph, so it need not run in steps
            shape[0] = None
            network.reshape([-1, *(n or -1 for n in shape[1:])])
        super().__init__(shape)
        # throughput must not cost precision: bfloat16 is not asked for
        self._network = OpenVinoNetwork(network, "float32", thread_share())

    def _run(self, batch: NDArray[Any]) -> NDArray[Any]:
        return self._network(batch)


def _flatten(vectors: NDArray[Any]) -> NDArray[Any]:
    return vectors.reshape(len(vectors), -1)
