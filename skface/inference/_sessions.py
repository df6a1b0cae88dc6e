"""Sessions that run a network from an ONNX or OpenVINO file."""

from functools import cached_property

import numpy as np

from skface._utils.runtimes import thread_share
from skface.inference._batching import AdaptiveBatcher
from skface.inference._openvino import OpenVinoNetwork, import_openvino


class Session:
    """A network from a file: batches of (n, 3, H, W) in, (n, d) out.

    A subclass runs an array of as many faces as the file takes in `_run`.

    Attributes
    ----------
    input_shape : tuple of int or None
        As in the file; None for an axis of any length.
    channels_last : bool
        Whether the file takes (n, H, W, 3).
    """

    input_shape: tuple
    channels_last: bool

    def _read_shape(self, shape):
        self.input_shape = tuple(n if isinstance(n, int) and n > 0 else None for n in shape)
        if len(self.input_shape) != 4 or 3 not in (self.input_shape[1], self.input_shape[3]):
            raise ValueError(
                f"The network's input has shape {self.input_shape}; a face embedder takes "
                "(n, 3, H, W) or (n, H, W, 3)."
            )
        self.channels_last = self.input_shape[1] != 3

    def run(self, batch):
        """Return one vector per image of a float32 batch (n, 3, H, W)."""
        if self.channels_last:
            batch = batch.transpose(0, 2, 3, 1)
        # files exported for a number of faces take that many at a time
        step = self.input_shape[0]
        if step is None:
            return _flatten(self._run_batches(np.ascontiguousarray(batch)))
        padding = np.zeros((-len(batch) % step, *batch.shape[1:]), batch.dtype)
        padded = np.concatenate([batch, padding])
        parts = [self._run(padded[i : i + step]) for i in range(0, len(padded), step)]
        return _flatten(np.concatenate(parts))[: len(batch)]

    @cached_property
    def _run_batches(self):
        return AdaptiveBatcher(self._run)


class OnnxRuntimeSession(Session):
    """An ONNX file that onnxruntime runs."""

    def __init__(self, model, _):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = thread_share()
        self._session = onnxruntime.InferenceSession(
            model.tobytes(), options, providers=onnxruntime.get_available_providers()
        )
        first = self._session.get_inputs()[0]
        self._name = first.name
        self._read_shape(first.shape)

    def _run(self, batch):
        return self._session.run(None, {self._name: batch})[0]


class OpenVinoSession(Session):
    """An ONNX file, or an OpenVINO .xml with its .bin, that OpenVINO runs."""

    def __init__(self, model, data):
        core = import_openvino().Core()
        network = core.read_model(model.tobytes(), b"" if data is None else data.tobytes())
        shape = network.inputs[0].get_partial_shape()
        self._read_shape([d.get_length() if d.is_static else None for d in shape])
        if self.input_shape[0] is not None:
            # OpenVINO propagates an open batch through the graph, so one face at a time is no need
            network.reshape([-1, *(n or -1 for n in self.input_shape[1:])])
            self.input_shape = (None, *self.input_shape[1:])
        # throughput must not cost precision: bfloat16 is not asked for
        self._run = OpenVinoNetwork(network, "float32", thread_share())


def _flatten(vectors):
    return vectors.reshape(len(vectors), -1)
