"""The teacher that a network learns to imitate: any transformer from faces to vectors."""

from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.nn.functional import interpolate

from skface._network import Network
from skface._validation import name_some
from skface.base import BaseEmbedder
from skface.inference import Preprocessing
from skface.nn.training import Lesson


class Teacher:
    """A fitted transformer, asked about faces as training varies them.

    Parameters
    ----------
    estimator : estimator
        Maps (n, H, W, 3) RGB faces of uint8 to (n, d) vectors. Embedders that learn nothing in
        `fit` need not be fitted.
    face : ndarray of shape (H, W, 3), dtype uint8
        A face to try it on.

    Attributes
    ----------
    embedding_dim : int
        Length of its embeddings.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If it is not fitted and would have to learn.
    ValueError
        If it does not return vectors.
    """

    def __init__(self, estimator: Any, face: np.ndarray) -> None:
        self._estimator = _fitted(estimator, face)
        self.embedding_dim = self.embed(face[None]).shape[1]

    def embed(self, faces: np.ndarray) -> np.ndarray:
        """Return unit vectors, float32 of shape (n, d), of faces (n, H, W, 3) of uint8."""
        vectors = np.asarray(self._estimator.transform(faces))
        if vectors.ndim != 2 or len(vectors) != len(faces):
            raise ValueError(
                f"teacher={self._estimator!r} returned shape {vectors.shape} for {len(faces)} "
                "face(s); expected a vector for each."
            )
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        bad = np.flatnonzero(~(np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)))
        if len(bad):
            raise ValueError(
                f"teacher={self._estimator!r} returned no embedding, but NaN, infinity or only "
                f"zeros, for face(s) {name_some(bad)} of a batch."
            )
        return (vectors / norms).astype(np.float32)


def show_pixels(network: Network, size: tuple[int, int]) -> Network:
    """Return a view of a network whose input is RGB pixels in 0..255 of size (H, W)."""
    return Network(
        network.backbone,
        (3, *size),
        Preprocessing(size, mean=0.0, std=1.0),
        network.embedding_dim,
        network.module,
    )


def make_lesson(teacher: Teacher, network: Network) -> Lesson:
    """Let a teacher and a network look at the same RGB pixels, each at its own size."""
    size = network.input_shape[1:]

    def targets(pixels: Tensor) -> Tensor:
        faces = pixels.round().to(torch.uint8).permute(0, 2, 3, 1)
        vectors = teacher.embed(np.ascontiguousarray(faces.cpu().numpy()))
        return torch.from_numpy(vectors).to(pixels.device)

    def inputs(pixels: Tensor) -> Tensor:
        if pixels.shape[-2:] != size:
            pixels = interpolate(pixels, size, mode="bilinear", antialias=True)
        batch = network.standardize(pixels.permute(0, 2, 3, 1))
        # as FaceCache lays images out, and for its reasons
        if batch.device.type == "cpu" and isinstance(network.backbone, str):
            return batch.contiguous(memory_format=torch.channels_last)
        return batch.contiguous()

    return Lesson(targets, inputs)


def _fitted(estimator: Any, face: np.ndarray) -> Any:
    """Return an estimator if it is fitted, or fit a copy if that learns nothing."""
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        if isinstance(estimator, BaseEmbedder) and not get_tags(estimator).target_tags.required:
            return clone(estimator).fit(face[None])
        raise NotFittedError(
            f"teacher={estimator!r} is not fitted. Fit it before, and wrap it into "
            "sklearn.frozen.FrozenEstimator, so that clone, and with it cross-validation, leaves "
            "it fitted."
        ) from error
    return estimator
