"""Tasks: the training faces of a network and what it learns from them."""

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
    """The training faces of a network and what it learns from them.

    Attributes
    ----------
    faces : TrainingSet
        The faces.
    embedding_dim : int or None
        Length that embeddings must have; None for any.
    """

    faces: TrainingSet
    embedding_dim: int | None = None

    def fitted_parameters(self) -> dict[str, Any]:
        """Return parameters of the estimator that training uses fitted, by name."""
        return {}

    @abstractmethod
    def make_sampler(self, faces: TrainingSet, seed: int) -> Sampler:
        """Return the sampler of batches of faces."""

    @abstractmethod
    def make_objective(self, sampler: Sampler, embedding_dim: int) -> nn.Module:
        """Return the loss, see :mod:`skface.nn.objectives`."""

    @abstractmethod
    def make_validation(
        self,
        module: nn.Module,
        fetch: Fetch,
        faces: TrainingSet,
        objective: nn.Module,
        targets: DistillationTargets | None,
    ) -> Validate:
        """Return a function that measures the network on faces that are held out of training."""

    def input_view(self, network: Network) -> Network:
        """Return the network with the input that training images are loaded as."""
        return network

    def make_distillation_targets(self, network: Network) -> DistillationTargets | None:
        """Return a function that computes the targets of a batch; None if the sampler has them."""
        return None


class LabelTask(Task):
    """Learn from identities, or from labeled pairs.

    Parameters
    ----------
    faces : TrainingSet
        With identities or pairs.
    make_objective : callable
        ``make_objective(n_identities, embedding_dim)`` returns the loss. n_identities is 0 for
        labeled pairs.
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
        """Return a sampler of P identities with K images each, or of P * K / 2 labeled pairs."""
        n_identities, n_images = self._batch_shape
        if faces.pairs is not None:
            left, right, same = faces.pairs.T
            return PairSampler(left, right, same.astype(bool), n_identities * n_images // 2, seed)
        assert faces.identities is not None  # labels are identities or pairs
        return IdentitySampler(faces.identities, n_identities, n_images, seed)

    def make_objective(self, sampler: Sampler, embedding_dim: int) -> nn.Module:
        """Return the loss for the identities of the sampler."""
        n_identities = sampler.n_identities if isinstance(sampler, IdentitySampler) else 0
        return self._make_objective(n_identities, embedding_dim)

    def make_validation(
        self,
        module: nn.Module,
        fetch: Fetch,
        faces: TrainingSet,
        objective: nn.Module,
        targets: DistillationTargets | None,
    ) -> Validate:
        """Return a function that computes error rates on pairs of held-out identities."""
        assert faces.identities is not None  # early stopping collects them
        pairs = validation_pairs(faces.identities)

        def validate() -> dict[str, float]:
            vectors = embed_all(module, fetch, len(faces.places), self._batch_size)
            left, right = vectors[pairs.indices].swapaxes(0, 1)
            scores = self._score_pairs(left, right, objective)
            with warnings.catch_warnings():
                # few people are held out, and epochs can be compared without an exact rate
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
