"""The inference engine: the fastest backend whose vectors equal those of the plain network."""

import threading
import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from skface._utils.runtimes import is_installed
from skface.inference._batching import AdaptiveBatcher
from skface.inference._conversion import to_openvino
from skface.inference._folding import fold_batch_norm
from skface.inference._network import Network
from skface.inference._openvino import OpenVinoNetwork
from skface.inference._probes import compare_vectors, make_probes
from skface.inference._torch import TorchNetwork

RUNTIMES = ("auto", "torch", "openvino")
# Lowest mean cosine of the probes to the plain network in float32, and the lowest of a single one.
_LEAST_COSINE = {"float32": (1 - 1e-5, 1 - 4e-5), "bfloat16": (0.9995, 0.998)}

Runner = Callable[[np.ndarray], np.ndarray]


class Backend(NamedTuple):
    """What can run a network: its name, its arithmetic, and what builds it."""

    name: str
    precision: str
    build: Callable[[], Runner]


class Engine:
    """A network that embeds faces, as fast as this machine can with vectors that are the same.

    How the network is run is decided here, before the first face, and does not change. Every
    backend, the fastest first, embeds eight probe images. It is taken if the vectors equal those of
    the plain network in float32, and rejected with a warning if they do not. The last is the plain
    network itself. It is also taken if its vectors of the probes are zero or not finite, since
    these prove nothing.

    Parameters
    ----------
    network : Network
        On the CPU. Feature vectors are embedded by the plain network.
    device : torch.device
        What runs it.
    precision : {"float32", "bfloat16"}
        Arithmetic inside.
    runtime : {"auto", "torch", "openvino"}
        What runs it on a CPU; "auto" means OpenVINO if it is installed, else torch.

    Warns
    -----
    UserWarning
        If a backend is rejected.
    """

    def __init__(self, network: Network, device: torch.device, precision: str, runtime: str):
        self._network = network
        self._device = device
        self._precision = precision
        # threads that run a network at once only take the processor from each other
        self._lock = threading.Lock()
        self._run = self._torch_runner(network.module, "float32")
        if network.preprocessing is not None:
            uses_openvino = runtime == "openvino" or (
                runtime == "auto" and device.type == "cpu" and is_installed("openvino")
            )
            backends = self._openvino_backends() if uses_openvino else []
            self._run = self._first_equal([*backends, *self._torch_backends()], self._run)

    def embed(self, faces: list[np.ndarray], *, flip: bool) -> np.ndarray:
        """Embed faces, with their mirror images if asked; (n, d) of any length, float32."""
        batch = self._network.inputs(faces)
        vectors = self.run(batch)
        if flip and self._network.preprocessing is not None:
            mirrored = self.run(np.ascontiguousarray(batch[..., ::-1]))
            # each of length 1, so that neither outweighs the other
            vectors = _unit(vectors) + _unit(mirrored)
        return vectors

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Embed a float32 batch of the network's input."""
        with self._lock:
            return self._run(batch)

    def _openvino_backends(self) -> list[Backend]:
        def build() -> Runner:
            model = to_openvino(
                fold_batch_norm(self._network.module),
                self._network.input_shape,
                is_registered=isinstance(self._network.backbone, str),
            )
            n_threads = torch.get_num_threads()
            return AdaptiveBatcher(OpenVinoNetwork(model, self._precision, n_threads))

        return [Backend(f"OpenVINO in {self._precision}", self._precision, build)]

    def _torch_backends(self) -> list[Backend]:
        def build(precision: str) -> Runner:
            return self._torch_runner(
                fold_batch_norm(self._network.module),
                precision,
                is_registered=isinstance(self._network.backbone, str),
            )

        return [
            Backend(f"torch in {precision}", precision, partial(build, precision))
            for precision in dict.fromkeys((self._precision, "float32"))
        ]

    def _torch_runner(
        self, module: nn.Module, precision: str, *, is_registered: bool = False
    ) -> Runner:
        run = TorchNetwork(module, self._device, precision, is_registered=is_registered)
        size = None
        if self._device.type == "cpu" and self._network.preprocessing is not None:
            size = run.faces_at_a_time(self._network.input_shape)
        return AdaptiveBatcher(run, size)

    def _first_equal(self, backends: list[Backend], plain: Runner) -> Runner:
        """Return the first backend that gives the vectors of the plain network, else that one."""
        probes = self._network.inputs(make_probes(*self._network.input_shape[1:]))
        expected = plain(probes)
        lengths = np.linalg.norm(expected, axis=1)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            return plain
        for backend in backends:
            try:
                run = backend.build()
                cosines = compare_vectors(expected, run(probes))
            except Exception as error:  # what one runtime does not support, the next may
                self._warn(backend, f"cannot run it ({type(error).__name__}: {error})")
                continue
            least_mean, least = _LEAST_COSINE[backend.precision]
            if cosines.mean() >= least_mean and cosines.min() >= least:
                return run
            self._warn(
                backend,
                f"gives other vectors. The cosine to the plain network in float32 is "
                f"{cosines.mean():.6f} on average and {cosines.min():.6f} at least for "
                f"{len(cosines)} probe images; {least_mean:g} and {least:g} are required",
            )
        return plain

    def _warn(self, backend: Backend, problem: str) -> None:
        warnings.warn(
            f"backbone={self._network.backbone!r}: {backend.name} {problem}. It is not used; the "
            "next slower backend is tried. Set precision='float32' and runtime='torch' to avoid "
            "this warning.",
            stacklevel=2,
        )


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
