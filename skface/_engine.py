"""The inference engine: the fastest way to run a network that proves equal to the plain one."""

import hashlib
import os
import threading
import warnings
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from skface._network import Network, State
from skface._runtimes import (
    InParts,
    OpenVinoNetwork,
    faces_to_come,
    is_installed,
    note_embedded,
)
from skface.nn._locks import ProcessLock
from skface.nn.folding import can_fuse_convolutions, fold_batch_norm, fuse_convolutions
from skface.nn.inference import TorchNetwork, cosine_gaps, to_openvino

RUNTIMES = ("auto", "torch", "openvino")
# 1 - cosine to the plain network in float32 that a faster way may reach on average; a single face,
# blank or blurred, may be four times as far.
_LARGEST_GAP = {"float32": 1e-5, "bfloat16": 5e-4}
_LARGEST_OF_A_FACE = 4
_N_CHECKED = 8  # faces: the plain network is slow, and what is wrong is wrong on all
# Conversion takes seconds, which OpenVINO earns back after about as many faces.
_CONVERSION_PAYS_AFTER = 1000

Runner = Callable[[np.ndarray], np.ndarray]


class Way(NamedTuple):
    """A way to run a network: what to call it, its arithmetic, and what builds it."""

    name: str
    precision: str
    build: Callable[[], Runner]


class Engine:
    """A network that embeds faces, as fast as this machine can with vectors that are the same.

    The first eight faces are embedded by the plain network in float32. A faster way that gives
    other vectors for them is dropped with a warning, and the next is tried; the last is the plain
    network.

    Parameters
    ----------
    network : Network
        On the CPU. Feature vectors are embedded by the plain network.
    device : torch.device
        What runs it.
    precision : {"float32", "bfloat16"}
        Arithmetic inside.
    runtime : {"auto", "torch", "openvino"}
        What runs it on a CPU; "auto" takes OpenVINO, if it is installed, once there have been, or
        are said to come, enough faces for its conversion to pay.
    """

    def __init__(self, network: Network, device: torch.device, precision: str, runtime: str):
        self._network = network
        self._device = device
        self._precision = precision
        self._converts_at_once = runtime == "openvino"
        self._converts_later = (
            runtime == "auto" and device.type == "cpu" and is_installed("openvino")
        )
        self._plain = self._in_parts(network.module, "float32")
        self._fastest: Runner | None = None
        self._first_faces = np.empty((0, *network.input_shape), dtype=np.float32)
        self._n_embedded = 0
        # threads that run a network at once only take the processor from each other
        self._lock = threading.Lock()

    def embed(self, faces: list[np.ndarray], *, flip: bool) -> np.ndarray:
        """Embed faces, with their mirror images if asked; (n, d) of any length, float32."""
        batch = self._network.inputs(faces)
        vectors = self.run(batch)
        if flip and self._network.preprocessing is not None:
            mirrored = self.run(np.ascontiguousarray(batch[..., ::-1]))
            # each of length 1, so that neither outweighs the other
            vectors = _unit(vectors) + _unit(mirrored)
        note_embedded(len(faces))
        return vectors

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Embed a float32 batch of the network's input."""
        with self._lock:
            return self._run(batch)

    def _run(self, batch: np.ndarray) -> np.ndarray:
        if self._network.preprocessing is None:
            return self._plain(batch)
        pays = self._n_embedded + faces_to_come() >= _CONVERSION_PAYS_AFTER
        converts_now = self._converts_later and pays
        if converts_now:
            self._converts_at_once, self._converts_later = True, False
        if self._fastest is None:
            self._choose(batch)
        elif converts_now:
            ways = self._openvino_ways()
            self._fastest = self._first_equal(ways, self._first_faces, self._fastest)
        vectors = (self._fastest or self._plain)(batch)
        self._n_embedded += len(batch)
        return vectors

    def _choose(self, batch: np.ndarray) -> None:
        """Choose the fastest way that proves equal, once there have been enough faces for that."""
        n_missing = _N_CHECKED - len(self._first_faces)
        self._first_faces = np.concatenate([self._first_faces, batch[:n_missing]])
        if len(self._first_faces) == _N_CHECKED:
            ways = [*self._openvino_ways(), *self._torch_ways()]
            self._fastest = self._first_equal(ways, self._first_faces, self._plain)
            if self._fastest is None:
                self._first_faces = self._first_faces[:0]

    def _openvino_ways(self) -> list[Way]:
        if not self._converts_at_once:
            return []

        def build() -> Runner:
            model = to_openvino(
                fold_batch_norm(self._network.module),
                self._network.input_shape,
                is_registered=isinstance(self._network.backbone, str),
            )
            return InParts(OpenVinoNetwork(model, self._precision, torch.get_num_threads()))

        return [Way(f"OpenVINO in {self._precision}", self._precision, build)]

    def _torch_ways(self) -> list[Way]:
        is_registered = isinstance(self._network.backbone, str)
        # a network of others may do what fusing does not stand
        may_fuse = is_registered and self._device.type == "cpu"

        def build(precision: str, fuses: bool) -> Runner:
            network = fold_batch_norm(self._network.module)
            if fuses:
                network = fuse_convolutions(network, self._network.input_shape)
            return self._in_parts(network, precision, is_registered=is_registered)

        return [
            Way(
                f"torch in {precision}{' with fused layers' * fuses}",
                precision,
                partial(build, precision, fuses),
            )
            for precision in dict.fromkeys((self._precision, "float32"))
            for fuses in dict.fromkeys((may_fuse and can_fuse_convolutions(precision), False))
        ]

    def _in_parts(
        self, module: nn.Module, precision: str, *, is_registered: bool = False
    ) -> Runner:
        run = TorchNetwork(module, self._device, precision, is_registered=is_registered)
        size = None
        if self._device.type == "cpu" and self._network.preprocessing is not None:
            size = run.faces_at_a_time(self._network.input_shape)
        return InParts(run, size)

    def _first_equal(self, ways: list[Way], faces: np.ndarray, otherwise: Runner) -> Runner | None:
        """Return the first way that proves equal; None if vectors of zero or NaN prove nothing."""
        expected = self._plain(faces)
        for way in ways:
            try:
                run = way.build()
                gaps = cosine_gaps(expected, run(faces))
            except Exception as error:  # whatever a runtime does not support, the next may
                self._warn(way, f"cannot run it ({type(error).__name__}: {error})")
                continue
            if not len(gaps):
                return None
            allowed = _LARGEST_GAP[way.precision]
            if gaps.mean() <= allowed and gaps.max() <= _LARGEST_OF_A_FACE * allowed:
                return run
            self._warn(
                way,
                "gives other vectors than the plain network in float32: 1 - cosine is "
                f"{gaps.mean():.2g} on average and {gaps.max():.2g} at most of {len(gaps)} faces, "
                f"where {allowed:.2g} and {_LARGEST_OF_A_FACE * allowed:.2g} are allowed",
            )
        return otherwise

    def _warn(self, way: Way, problem: str) -> None:
        warnings.warn(
            f"backbone={self._network.backbone!r}: {way.name} {problem}. Another way is taken; "
            "precision='float32' and runtime='torch' are the safest to ask for.",
            stacklevel=2,
        )


# Engines by what they were built from. All that are in use can be found, and the last one is kept
# for the next clone of its estimator, which a search makes after it has dropped the one before;
# by process, since one that a fork inherits must not be torn down.
_ENGINES: weakref.WeakValueDictionary[tuple, Engine] = weakref.WeakValueDictionary()
_LAST: dict[int, Engine] = {}
_ENGINES_LOCK = ProcessLock()


def shared_engine(
    build: Callable[[], Network],
    backbone: Any,
    input_shape: tuple[int, ...],
    state: State,
    device: torch.device,
    precision: str,
    runtime: str,
) -> Engine:
    """Return the engine of a network: one for all estimators of equal weights and size of faces.

    A network that a callable builds is not shared, since its weights may not be all there is to it.

    Parameters
    ----------
    build : callable
        Builds the network.
    backbone : str or callable
        The network, by name or by what builds it.
    input_shape : tuple
        (3, H, W) of its faces, which the weights of a network for any size do not tell.
    state : dict of str to ndarray
        Its weights.
    device, precision, runtime
        As of :class:`Engine`.

    Returns
    -------
    Engine
        Of this process.
    """
    if not isinstance(backbone, str):
        return Engine(build(), device, precision, runtime)
    # threads, devices and locks do not survive a fork
    key = (os.getpid(), backbone, input_shape, _digest(state), device, precision, runtime)
    with _ENGINES_LOCK:
        engine = _ENGINES.get(key)
        if engine is None:
            engine = _ENGINES[key] = Engine(build(), device, precision, runtime)
        _LAST[os.getpid()] = engine
    return engine


def _digest(state: State) -> bytes:
    digest = hashlib.sha256()
    for name, array in state.items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.digest()


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
