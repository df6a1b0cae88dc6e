"""What a network learns: identities or pairs, or the embeddings of a teacher."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from skface.embedding._network import Network
from skface.embedding._training_set import TrainingSet, validation_pairs
from skface.exceptions import FewImpostorsWarning
from skface.metrics import equal_error_rate, tar_at_far
from skface.nn.distillation import DistillationTargets
from skface.nn.embedding import embed
from skface.nn.gradients import Fetch
from skface.nn.sampling import IdentitySampler, PairSampler, Sampler

_VALIDATION_FAR = 1e-2

Validate = Callable[[], dict[str, float]]


class Task(ABC):
    """The faces to learn from, and what is to be learned from them.

    Attributes
    ----------
    faces : TrainingSet
        The faces.
    embedding_dim : int or None
        Length that embeddings must have; None if any will do.
    """

    faces: TrainingSet
    embedding_dim: int | None = None

    @abstractmethod
    def make_sampler(self, faces: TrainingSet, seed: int) -> Sampler:
        """Return what deals faces into batches."""

    @abstractmethod
    def make_objective(self, sampler: Sampler, embedding_dim: int) -> nn.Module:
        """Return what training minimizes, see :mod:`skface.nn.objectives`."""

    @abstractmethod
    def make_validation(
        self,
        module: nn.Module,
        fetch: Fetch,
        faces: TrainingSet,
        objective: nn.Module,
        targets: DistillationTargets | None,
    ) -> Validate:
        """Return what measures the network on faces that were held out of training."""

    def input_view(self, network: Network) -> Network:
        """Return the network as training images have to be prepared for it."""
        return network

    def make_distillation_targets(self, network: Network) -> DistillationTargets | None:
        """Return what gives the targets of a batch, where its sampler does not."""
        return None


class LabelTask(Task):
    """Learn from identities, or from labeled pairs.

    Parameters
    ----------
    faces : TrainingSet
        With identities or pairs.
    make_objective : callable
        ``make_objective(n_identities, embedding_dim)`` returns the objective. n_identities is 0
        for labeled pairs.
    batch_shape : tuple of int
        Identities in a batch, and images of each.
    batch_size : int
        Faces embedded at a time in validation.
    score_pairs : callable, default=None
        ``score_pairs(left, right, objective)`` returns similarities of pairs of unit vectors for
        validation. None means their cosine.
    """

    def __init__(
        self,
        faces: TrainingSet,
        make_objective: Callable[[int, int], nn.Module],
        batch_shape: tuple[int, int],
        batch_size: int,
        score_pairs: Callable[..., NDArray[Any]] | None = None,
    ) -> None:
        self.faces = faces
        self._make_objective = make_objective
        self._batch_shape = batch_shape
        self._batch_size = batch_size
        self._score_pairs = score_pairs or _cosines

    def make_sampler(self, faces: TrainingSet, seed: int) -> Sampler:
        """Return batches of P identities times K images, or of as many faces in pairs."""
        n_identities, n_images = self._batch_shape
        if faces.pairs is None:
            return IdentitySampler(faces.identities, n_identities, n_images, seed)
        left, right, same = faces.pairs.T
        return PairSampler(left, right, same.astype(bool), n_identities * n_images // 2, seed)

    def make_objective(self, sampler: Sampler, embedding_dim: int) -> nn.Module:
        """Return the objective for the identities of the sampler."""
        return self._make_objective(getattr(sampler, "n_identities", 0), embedding_dim)

    def make_validation(
        self,
        module: nn.Module,
        fetch: Fetch,
        faces: TrainingSet,
        objective: nn.Module,
        targets: DistillationTargets | None,
    ) -> Validate:
        """Return the error rates on pairs of identities that were held out."""
        pairs = validation_pairs(faces.identities)

        def validate() -> dict[str, float]:
            vectors = embed_all(module, fetch, len(faces.places), self._batch_size)
            left, right = vectors[pairs.indices].swapaxes(0, 1)
            scores = self._score_pairs(left, right, objective)
            with warnings.catch_warnings():
                # few people are held out, and comparing epochs needs no exact rate
                warnings.simplefilter("ignore", FewImpostorsWarning)
                tar = tar_at_far(pairs.target, scores, _VALIDATION_FAR)
            eer = equal_error_rate(pairs.target, scores).rate
            return {"validation_eer": eer, "validation_tar": tar}

        return validate


def _cosines(left: NDArray[Any], right: NDArray[Any], objective: nn.Module) -> NDArray[Any]:
    return np.einsum("ij,ij->i", left, right)


def embed_all(module: nn.Module, fetch: Fetch, n_faces: int, batch_size: int) -> NDArray[Any]:
    """Embed all faces that `fetch` returns, as unit vectors (n_faces, d)."""
    with torch.inference_mode():
        parts = [
            embed(module, fetch(np.arange(start, min(start + batch_size, n_faces))))
            for start in range(0, n_faces, batch_size)
        ]
    return torch.cat(parts).cpu().numpy()
