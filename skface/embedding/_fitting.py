"""Fitting the network of an estimator."""

from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from skface._rows import Rows, check_images
from skface._utils.callbacks import epochs_as_tasks
from skface._utils.digests import digest_value
from skface._utils.estimators import pretrained_files
from skface.embedding._network import (
    BackboneChoice,
    Network,
    build_network,
    choose_backbone,
    choose_device,
    choose_input_shape,
    fitted_attributes,
    load_pretrained,
    rebuild_network,
)
from skface.embedding._tasks import Task
from skface.embedding._training_run import TrainingRun, to_arrays
from skface.nn.backbones import is_flat
from skface.nn.distributed import ProcessGroup, join_process_group

# A NetworkEstimator, which imports this module: to name the type would make a circle.
_Estimator = Any


# whatever gradient modes the caller uses
@torch.inference_mode(False)
@torch.enable_grad()
def fit_network(estimator: _Estimator, X: Any, y: Any) -> None:
    """Choose the network of an estimator, train what is trainable, and set its attributes.

    Parameters
    ----------
    estimator : NetworkEstimator
        An estimator whose parameters are checked. If fitting fails, its fitted attributes stay as
        they were.
    X : faces or pairs
        Rows of images, or of feature vectors.
    y : array-like or None
        Labels or target embeddings.
    """
    files = pretrained_files(estimator)
    if files is not None:
        rows = check_images(X, image_shape=estimator.image_shape)
        with epochs_as_tasks(estimator, X, y, 0):
            _set_attributes(estimator, load_pretrained(estimator, files, rows), None)
        return
    choice = choose_backbone(estimator.backbone, estimator.weights)
    learns = estimator._learns()
    if is_flat(choice.backbone):
        rows = estimator._check_vectors(X, reset=True, min_rows=2 if learns else 1)
    else:
        rows = check_images(X, image_shape=estimator.image_shape)
    task = estimator._make_task(rows, y) if learns else None
    device = choose_device(estimator.device)
    group = join_process_group(device) if learns else ProcessGroup()
    seed = group.broadcast(
        check_random_state(estimator.random_state).randint(np.iinfo(np.int32).max)
    )
    if task is not None:
        group.check_equal(
            digest_value((task.faces.identities, task.faces.pairs, task.faces.targets), "y"),
            "The processes of this run were given different faces or labels. Give all the same.",
        )

    network = _earlier_network(estimator, choice.backbone, rows)
    continues = network is not None
    if continues and not isinstance(estimator.random_state, Integral):
        # another seed would hold out identities that the network was trained on
        seed = estimator.training_state_["seed"]
    if network is None:
        input_shape = choose_input_shape(
            choice.backbone, estimator.image_shape, rows, estimator.batch_size
        )
        network = build_network(choice, input_shape, _width(estimator, choice, task), seed=seed)
    _check_width(network, task)
    with epochs_as_tasks(estimator, X, y, estimator.max_epochs if learns else 0) as epochs:
        run = None
        if task is not None:
            run = TrainingRun(estimator, network, task, device, group, seed)
            if continues:
                run.continue_after(estimator.training_state_)
            run.run(epochs)
        # all at the end, so that a fit that fails leaves the estimator as it was
        attributes = fitted_attributes(network) if run is None else run.fitted_attributes()
        _set_attributes(estimator, attributes, run)


def _set_attributes(
    estimator: _Estimator, attributes: dict[str, Any], run: TrainingRun | None
) -> None:
    attributes["history_"] = {} if run is None else run.history
    attributes["best_epoch_"] = None if run is None else run.best_epoch
    if run is not None and estimator.warm_start:
        attributes["training_state_"] = to_arrays(run.state())
    elif hasattr(estimator, "training_state_"):
        del estimator.training_state_
    for name, value in attributes.items():
        setattr(estimator, name, value)


def _width(estimator: _Estimator, choice: BackboneChoice, task: Task | None) -> int | None:
    """Return the length of embeddings to build the network with; None for its own."""
    is_free = choice.state is None and not callable(choice.backbone)
    if estimator.embedding_dim is None and is_free and task is not None:
        return task.embedding_dim
    return estimator.embedding_dim


def _check_width(network: Network, task: Task | None) -> None:
    wanted = None if task is None else task.embedding_dim
    if wanted is not None and network.embedding_dim != wanted:
        raise ValueError(
            f"The network returns {network.embedding_dim} values, but the target embeddings have "
            f"{wanted}. Without weights, embedding_dim=None takes their length."
        )


def _earlier_network(estimator: _Estimator, backbone: Any, rows: Rows) -> Network | None:
    """Return the network of the last fit if this is a warm start, else None."""
    if not estimator.warm_start or not hasattr(estimator, "training_state_"):
        return None
    network = rebuild_network(estimator)
    asked = (backbone, estimator.embedding_dim or network.embedding_dim)
    if asked != (network.backbone, network.embedding_dim):
        raise ValueError(
            f"warm_start=True continues with backbone={network.backbone!r} and embedding_dim="
            f"{network.embedding_dim}, but the parameters now ask for {asked[0]!r} and "
            f"{asked[1]}. Set warm_start=False, or fit a clone."
        )
    if network.preprocessing is None and rows.images[0].shape[-1:] != network.input_shape:
        raise ValueError(
            f"warm_start=True continues with vectors of length {network.input_shape[0]}, but X "
            f"holds vectors of length {rows.images[0].shape[-1]}."
        )
    return network
