"""Load a detector by its name or file, or take a function."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from skface._utils.digests import digest_bytes
from skface._utils.per_process import load_once
from skface._utils.validation import format_items
from skface.alignment._yunet import N_VALUES, YuNet
from skface.exceptions import WeightsError
from skface.weights import REGISTRY, fetch_weights, locate_weights, weights_info

Detector = Callable[[NDArray[np.uint8]], NDArray[np.float64]]


def resolve_auto(detector: Any) -> Any:
    """Return the registered name that "auto" means now; other detectors are returned unchanged."""
    if not (isinstance(detector, str) and detector == "auto"):
        return detector
    is_available = any(os.path.lexists(path) for path in locate_weights("yunet"))
    return "yunet" if is_available else "skface-detector"


def load_detector(
    detector: Any, owner: object
) -> tuple[NDArray[np.uint8] | Callable[..., Any], str | None, str]:
    """Load a detector.

    Parameters
    ----------
    detector : str, path or callable
        See :class:`skface.FaceAligner`.
    owner : object
        The aligner that uses it. The file is read once per process while it does not change.

    Returns
    -------
    model : ndarray of shape (n_bytes,), dtype uint8, or callable
        The file, read-only, or the callable.
    digest : str or None
        Digest of the file; None for a callable.
    name : str
        Its registered name, its path, or the name of the callable.

    Raises
    ------
    ValueError
        If `detector` is none of these, or the file is not a YuNet model.
    WeightsError
        If the file is not available.
    """
    if callable(detector):
        return detector, None, getattr(detector, "__name__", type(detector).__name__)
    given, detector = detector, resolve_auto(detector)
    if isinstance(detector, str) and detector in REGISTRY:
        if weights_info(detector).kind != "detector":
            raise ValueError(f"detector={detector!r} names an embedder. {_known_detectors()}")
        path = locate_weights(detector)[0]
    elif isinstance(detector, str | os.PathLike) and os.path.isfile(detector):
        path = Path(detector)
    else:
        raise ValueError(
            f"detector={detector!r} is not a function, a file or a known name. {_known_detectors()}"
        )

    def read() -> tuple[NDArray[np.uint8], str]:
        is_registered = isinstance(detector, str) and detector in REGISTRY
        return _read_model(_fetch(detector, given) if is_registered else path)

    model, digest = load_once("detector file", [path], str(detector), read, owner)
    return model, digest, str(detector)


def _known_detectors() -> str:
    known = [name for name, entry in REGISTRY.items() if entry.kind == "detector"]
    return f"Known names: auto, {format_items(known)}."


def check_detector(detector: Callable[..., Any]) -> Detector:
    """Wrap a user's detector, so that the shape of its result is checked."""

    def find(photo: NDArray[np.uint8]) -> NDArray[np.float64]:
        faces = np.asarray(detector(photo), dtype=np.float64)
        if faces.size == 0:
            return np.empty((0, N_VALUES))
        if faces.ndim != 2 or faces.shape[1] != N_VALUES or not np.isfinite(faces).all():
            raise ValueError(
                f"detector={detector!r} returned shape {faces.shape}; expected finite values "
                "(k, 15): x, y, width, height, five points and a score per face."
            )
        return faces

    return find


def _read_model(path: Path) -> tuple[NDArray[np.uint8], str]:
    """Read a model file and try it; return its bytes, read-only because shared, and a digest."""
    model = np.fromfile(path, dtype=np.uint8)
    try:
        YuNet(model)(np.zeros((64, 64, 3), dtype=np.uint8), 0.5, 64)
    except cv2.error as error:
        raise ValueError(
            f"detector={str(path)!r} is not a YuNet model that OpenCV reads: {error}"
        ) from error
    model.flags.writeable = False
    return model, digest_bytes(model).hex()


def _fetch(name: str, given: str) -> Path:
    """Return the file of a registered detector; "auto" never downloads."""
    try:
        return fetch_weights(name, download=given != "auto")[0]
    except WeightsError as error:
        if given != "auto" or name != "yunet":
            raise
        raise WeightsError(
            f"detector='auto' found YuNet's file, but {error} Or set detector='skface-detector'."
        ) from error
