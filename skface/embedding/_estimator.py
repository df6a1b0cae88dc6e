"""NetworkEstimator: base of the estimators that hold and train a PyTorch network.

This module does not import torch. Modules that need torch are imported when a network is built.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.callback import CallbackSupportMixin
from sklearn.utils.validation import validate_data

from skface._rows import Rows, check_images, vector_rows
from skface.embedding._parameters import check_network_parameters, check_running
from skface.nn.backbones import BACKBONES, is_flat
from skface.weights import REGISTRY, weights_files, weights_info

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from skface.embedding._tasks import Task
    from skface.inference import Preprocessing


class NetworkEstimator(CallbackSupportMixin, ABC):
    """Base of the estimators that train a network, or use one with given weights.

    A subclass has the parameters that :mod:`skface.embedding._parameters` documents, and returns in
    `_make_task` what the network learns. Its `fit`, decorated with
    :func:`sklearn.callback.with_callbacks`, calls `_fit_network`.
    """

    _has_head = False  # a head is trained even if the network is frozen

    # set by `fit`
    backbone_: "str | Callable[[], nn.Module]"
    input_shape_: tuple[int, ...]
    preprocessing_: "Preprocessing | None"
    embedding_dim_: int
    weights_: dict[str, NDArray[Any]]
    weights_digest_: str
    history_: dict[str, NDArray[Any]]
    best_epoch_: int | None

    @abstractmethod
    def _make_task(self, rows: Rows, y: Any) -> "Task":
        """Return the task that the network is trained on."""

    def _fit_network(self, X: Any, y: Any) -> None:
        """Choose the network, train what is trainable, and set the fitted attributes."""
        from skface.embedding._fitting import fit_network

        self._check_parameters()
        with _features_restored_on_failure(self):
            fit_network(self, X, y)

    def _check_parameters(self) -> None:
        """Check the parameters, without the data."""
        check_network_parameters(self)

    def _resolve_trainable(self) -> str | int:
        """Return `trainable`, with "auto" resolved."""
        if self.trainable == "auto":
            return "all" if self.weights is None else "none"
        return self.trainable

    def _learns(self) -> bool:
        """Return whether `fit` learns from its rows."""
        return self._has_head or self._resolve_trainable() != "none"

    def _head_attributes(self, objective: "nn.Module", task: "Task") -> dict[str, Any]:
        """Return the fitted attributes of a head on top of the network, by name."""
        return {}

    def _embed(self, faces: list[NDArray[Any]]) -> NDArray[np.float32]:
        from skface.embedding._network import engine_for

        check_running(self)
        return engine_for(self).embed(faces, flip=getattr(self, "flip", False))

    def _value_state(self) -> dict[str, Any]:
        """Return what the embeddings depend on beside the faces."""
        from skface.embedding._network import embedding_device
        from skface.inference import resolve_precision

        names = ("backbone_", "input_shape_", "embedding_dim_", "preprocessing_", "weights_digest_")
        state = {name: getattr(self, name) for name in (*names, "image_shape")}
        device = embedding_device(self.device, self.runtime)
        precision = resolve_precision(self.precision, device)
        return state | {"flip": getattr(self, "flip", False), "precision": precision}

    def _has_known_input(self) -> bool:
        """Return whether the shape of the network's input does not depend on the rows of `fit`."""
        if is_flat(self.backbone):
            return False
        backbone = self.backbone
        if backbone is None and isinstance(self.weights, str) and self.weights in REGISTRY:
            backbone = weights_info(self.weights).backbone
        spec = BACKBONES.get(backbone) if isinstance(backbone, str) else None
        is_fixed = spec is not None and spec.input_size is not None
        return is_fixed or self.image_shape is not None or Path(self.weights).suffix == ".xml"

    def _pretrained_files(self) -> tuple[Path, ...] | None:
        """Name the files that `fit` reads, or return None if it learns from its rows."""
        if self.weights is None or self._learns() or self.warm_start:
            return None
        if not self._has_known_input():
            return None
        return weights_files(self.weights)

    def _check_rows(self, X: Any) -> Rows:
        if self.preprocessing_ is None:
            return self._check_vectors(X, reset=False)
        return check_images(X, image_shape=self.image_shape)

    def _check_vectors(self, X: Any, *, reset: bool, min_rows: int = 1) -> Rows:
        """Check feature vectors in 2-D, so that n_features_in_ is the length of one vector."""
        rules = {"reset": reset, "dtype": np.float32, "ensure_min_samples": min_rows}
        X = X if hasattr(X, "columns") or hasattr(X, "toarray") else np.asarray(X)
        if getattr(X, "ndim", 2) != 3:
            return vector_rows(validate_data(self, X, **rules))
        if X.shape[1] != 2:
            raise ValueError(f"X has shape {X.shape}; pairs of feature vectors are (n, 2, d).")
        flat = validate_data(self, X.reshape(-1, X.shape[2]), **rules)
        return vector_rows(flat.reshape(X.shape))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        flat = is_flat(self.backbone)
        tags.input_tags.one_d_array = tags.input_tags.string = not flat
        tags.input_tags.allow_nan = not flat
        tags.input_tags.two_d_array = flat or self.image_shape is not None
        tags.target_tags.required = self._learns()
        return tags


@contextmanager
def _features_restored_on_failure(estimator: NetworkEstimator) -> Iterator[None]:
    """Restore the attributes that scikit-learn sets at the start of `fit`, if the block fails."""
    names = ("n_features_in_", "feature_names_in_")
    before = {name: getattr(estimator, name) for name in names if hasattr(estimator, name)}
    try:
        yield
    except BaseException:
        for name in names:
            if name in before:
                setattr(estimator, name, before[name])
            elif hasattr(estimator, name):
                delattr(estimator, name)
        raise
