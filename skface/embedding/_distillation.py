"""Distillation: the teacher, and the task to learn its embeddings."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.nn.functional import interpolate

from skface._utils.validation import format_items
from skface._utils.vectors import unit_vectors
from skface.embedding._base import BaseEmbedder
from skface.embedding._network import Network
from skface.embedding._tasks import Task, Validate, embed_all
from skface.embedding._training_set import TrainingSet
from skface.inference import Preprocessing
from skface.nn.distillation import DistillationTargets
from skface.nn.gradients import Fetch
from skface.nn.objectives import DistillationLoss
from skface.nn.sampling import FaceSampler, Sampler


class Teacher:
    """A fitted transformer that gives the target embeddings of training images.

    Parameters
    ----------
    estimator : estimator
        Maps (n, H, W, 3) RGB faces of uint8 to (n, d) vectors. Embedders that learn nothing in
        `fit` need not be fitted.
    size : tuple (H, W)
        Size of the faces to embed.
    face : ndarray of shape (h, w, 3)
        A face that the teacher embeds once, as a check.

    Attributes
    ----------
    size : tuple (H, W)
        Size of the faces to embed.
    embedding_dim : int
        Length of its embeddings.
    estimator : estimator
        The fitted transformer.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If it has to be fitted, and is not.
    ValueError
        If it does not return vectors.
    """

    def __init__(self, estimator: Any, size: tuple[int, int], face: NDArray[Any]) -> None:
        pixels = Preprocessing(size).to_bytes(face)[None]
        self.size = size
        self.estimator = _fitted(estimator, pixels)
        self.embedding_dim = self.embed(pixels).shape[1]

    def embed(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return unit vectors (n, d) of RGB faces (n, H, W, 3)."""
        vectors = np.asarray(self.estimator.transform(faces))
        if vectors.ndim != 2 or len(vectors) != len(faces):
            raise ValueError(
                f"teacher={self.estimator!r} returned shape {vectors.shape} for {len(faces)} "
                "face(s); expected a vector for each."
            )
        unit, usable = unit_vectors(vectors)
        if not usable.all():
            raise ValueError(
                f"teacher={self.estimator!r} returned NaN, infinity or only zeros instead of an "
                f"embedding for face(s) {format_items(np.flatnonzero(~usable))} of a batch."
            )
        return unit.astype(np.float32)


class DistillationTask(Task):
    """Learn the embeddings of a teacher, or the target embeddings of the training set.

    Parameters
    ----------
    faces : TrainingSet
        Faces without labels; with targets if there is no teacher.
    n_faces_per_batch : int
        Faces in a training batch.
    batch_size : int
        Faces embedded at a time in validation.
    teacher : Teacher, default=None
        Computes the targets of every batch.
    """

    def __init__(
        self,
        faces: TrainingSet,
        n_faces_per_batch: int,
        batch_size: int,
        teacher: Teacher | None = None,
    ) -> None:
        self.faces = faces
        self._n_faces_per_batch = n_faces_per_batch
        self._batch_size = batch_size
        self._teacher = teacher
        if teacher is not None:
            self.embedding_dim = teacher.embedding_dim
        elif faces.targets is not None:
            self.embedding_dim = faces.targets.shape[1]

    def fitted_parameters(self) -> dict[str, Any]:
        """Return the teacher, fitted."""
        return {} if self._teacher is None else {"teacher": self._teacher.estimator}

    def make_sampler(self, faces: TrainingSet, seed: int) -> Sampler:
        """Return a sampler of faces, with their targets if they have any."""
        return FaceSampler(len(faces.places), self._n_faces_per_batch, seed, faces.targets)

    def make_objective(self, sampler: Sampler, embedding_dim: int) -> nn.Module:
        """Return the loss of distillation."""
        return DistillationLoss()

    def make_validation(
        self,
        module: nn.Module,
        fetch: Fetch,
        faces: TrainingSet,
        objective: nn.Module,
        targets: DistillationTargets | None,
    ) -> Validate:
        """Return a function that computes the mean cosine of held-out faces to their targets."""
        n_faces, expected, inputs = len(faces.places), faces.targets, fetch
        if targets is not None:
            batches = np.array_split(np.arange(n_faces), -(-n_faces // self._batch_size))
            parts = [targets.targets(fetch(rows)).cpu().numpy() for rows in batches]
            expected = np.concatenate(parts)

            def inputs(rows: NDArray[np.intp]) -> Tensor:
                return targets.inputs(fetch(rows))

        def validate() -> dict[str, float]:
            vectors = embed_all(module, inputs, n_faces, self._batch_size)
            return {"validation_cosine": float((vectors * expected).sum(axis=1).mean())}

        return validate

    def input_view(self, network: Network) -> Network:
        """Return the network with raw pixels as its input if a teacher embeds them too."""
        return network if self._teacher is None else raw_pixel_view(network, self._teacher.size)

    def make_distillation_targets(self, network: Network) -> DistillationTargets | None:
        """Return functions from raw pixels to the teacher's embeddings and the network's input."""
        return None if self._teacher is None else make_distillation_targets(self._teacher, network)


def raw_pixel_view(network: Network, size: tuple[int, int]) -> Network:
    """Return a network with RGB pixels in 0..255 of size (H, W) as its input."""
    return Network(
        network.backbone,
        (3, *size),
        Preprocessing(size, mean=0.0, std=1.0),
        network.embedding_dim,
        network.module,
    )


def make_distillation_targets(teacher: Teacher, network: Network) -> DistillationTargets:
    """Return functions that give the same RGB pixels to teacher and network, at their sizes."""
    size = network.input_shape[1:]

    def targets(pixels: Tensor) -> Tensor:
        faces = pixels.round().to(torch.uint8).permute(0, 2, 3, 1)
        vectors = teacher.embed(np.ascontiguousarray(faces.cpu().numpy()))
        return torch.from_numpy(vectors).to(pixels.device)

    def inputs(pixels: Tensor) -> Tensor:
        if pixels.shape[-2:] != size:
            pixels = interpolate(pixels, size, mode="bilinear", antialias=True)
        batch = network.standardize(pixels.permute(0, 2, 3, 1))
        # the same layout as that of FaceLoader
        if batch.device.type == "cpu" and isinstance(network.backbone, str):
            return batch.contiguous(memory_format=torch.channels_last)
        return batch.contiguous()

    return DistillationTargets(targets, inputs)


def _fitted(estimator: Any, faces: NDArray[np.uint8]) -> Any:
    """Return an estimator if it is fitted, else a fitted copy if it learns nothing in `fit`."""
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        if isinstance(estimator, BaseEmbedder) and not get_tags(estimator).target_tags.required:
            return clone(estimator).fit(faces)
        raise NotFittedError(
            f"teacher={estimator!r} is not fitted. Fit it first, and wrap it in "
            "sklearn.frozen.FrozenEstimator, so that clone, and with it cross-validation, keeps it "
            "fitted."
        ) from error
    return estimator
