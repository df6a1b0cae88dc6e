"""The inference engine: the fastest backend whose vectors equal those of the plain network."""

import threading
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from skface._utils.runtimes import is_installed
from skface.inference._batching import AdaptiveBatcher, Runner
from skface.inference._conversion import to_openvino
from skface.inference._folding import fold_batch_norm
from skface.inference._mirroring import embed_mirrored
from skface.inference._network import Network
from skface.inference._openvino import OpenVinoNetwork
from skface.inference._probes import compare_vectors, make_probes
from skface.inference._torch import TorchNetwork

# Lowest mean cosine of the probes to the plain network in float32, and lowest of a single probe.
_LEAST_COSINE = {"float32": (1 - 1e-5, 1 - 4e-5), "bfloat16": (0.9995, 0.998)}


class Backend(NamedTuple):
    """A library and a precision that run a network, and a function that builds the runner."""

    name: str
    precision: str
    build: Callable[[], Runner]


class Engine:
    """A network that embeds faces by the fastest backend whose vectors are correct.

    The backend is chosen when the object is created, before the first face, and does not change.
    The backends embed eight probe images, the fastest backend first. The first one whose vectors
    equal those of the plain network in float32 is used. One whose vectors differ is rejected, with
    a warning. The plain network is used if all are rejected. It is also used if its own vectors of
    the probes are zero or not finite, because no vector can be compared with these.

    Parameters
    ----------
    network : Network
        A network on the CPU. A network of feature vectors is run as it is.
    device : torch.device
        Device that runs it.
    precision : {"float32", "bfloat16"}
        Arithmetic inside the network.
    runtime : {"auto", "torch", "openvino"}
        Library that runs it on a CPU. "auto" means OpenVINO if it is installed, else torch.

    Warns
    -----
    UserWarning
        If a backend is rejected.
    """

    def __init__(
        self, network: Network, device: torch.device, precision: str, runtime: str
    ) -> None:
        self._network = network
        self._device = device
        self._precision = precision
        # one call at a time uses all cores; several at once would only compete for them
        self._lock = threading.Lock()
        self._run = self._torch_runner(network.module, "float32")
        if network.preprocessing is not None:
            uses_openvino = runtime == "openvino" or (
                runtime == "auto" and device.type == "cpu" and is_installed("openvino")
            )
            backends = self._openvino_backends() if uses_openvino else []
            self._run = self._first_equal([*backends, *self._torch_backends()], self._run)

    def embed(self, faces: list[NDArray[Any]], *, flip: bool) -> NDArray[np.float32]:
        """Embed faces.

        Parameters
        ----------
        faces : list of ndarray
            (H, W, 3) RGB faces of uint8, or of floats in 0..1; or (d,) vectors.
        flip : bool
            Whether to average the embeddings of each face and its mirror image.

        Returns
        -------
        ndarray of shape (n, embedding_dim)
            Vectors of any length.
        """
        batch = self._network.inputs(faces)
        if flip and self._network.preprocessing is not None:
            return embed_mirrored(self.run, batch)
        return self.run(batch)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed a batch of the network's input.

        Parameters
        ----------
        batch : ndarray of shape (n, 3, H, W) or (n, d)
            The input.

        Returns
        -------
        ndarray of shape (n, embedding_dim)
            Vectors of any length.
        """
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
            except Exception as error:  # the next backend may support it
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
