"""TrainingRun: the data, objective, checkpoints and history of one training."""

import os
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skface._utils.callbacks import Epochs
from skface._utils.digests import digest_arrays, digest_value
from skface._version import __version__
from skface.embedding._face_loader import FaceLoader
from skface.embedding._network import Network, fitted_attributes
from skface.embedding._tasks import Task, embed_all
from skface.embedding._training_set import TrainingSet
from skface.nn.augment import Augmentation
from skface.nn.checkpoint import Checkpoint
from skface.nn.distributed import ProcessGroup
from skface.nn.freezing import freeze
from skface.nn.gradients import Fetch
from skface.nn.options import Options
from skface.nn.rng import private_global_rng
from skface.nn.training import Trainer

# A NetworkEstimator, which imports this module: to name the type would make a circle.
_Estimator = Any

# Parameters that do not affect training.
_IRRELEVANT_PARAMETERS = {
    "batch_size",
    "checkpoint_dir",
    "device",
    "flip",
    "random_state",  # its seed is part of the name
    "runtime",
    "threshold",
    "verbose",
}


class TrainingRun:
    """Train a network in place, or only the head of its objective.

    Parameters
    ----------
    estimator : NetworkEstimator
        The estimator, for its parameters.
    network : Network
        The network.
    task : Task
        The training faces and what to learn from them.
    device : torch.device
        Device to train on.
    group : ProcessGroup
        The processes that train together.
    seed : int
        Seed of all random numbers.

    Attributes
    ----------
    objective : nn.Module
        The loss, with its parameters.
    """

    def __init__(
        self,
        estimator: _Estimator,
        network: Network,
        task: Task,
        device: torch.device,
        group: ProcessGroup,
        seed: int,
    ) -> None:
        self._estimator = estimator
        self._network = network
        self._task = task
        self._seed = seed
        trainable = estimator._resolve_trainable()
        freeze(network.module, trainable)
        learned, held_out = task.faces, None
        if estimator.early_stopping:
            learned, held_out = task.faces.hold_out(estimator.validation_fraction, seed)
        sampler = task.make_sampler(learned, seed)
        with private_global_rng(seed):
            self.objective = task.make_objective(sampler, network.embedding_dim).float()
        # a frozen network embeds every face once, and only the head is trained, on the vectors
        frozen = trainable == "none"
        module = torch.nn.Identity() if frozen else network.module
        view = task.input_view(network)
        targets = task.make_distillation_targets(network)
        options = Options(
            max_epochs=estimator.max_epochs,
            # plain floats, since checkpoints hold what the optimizer was given
            learning_rate=float(estimator.learning_rate),
            weight_decay=float(estimator.weight_decay),
            augmentation=None if frozen else _choose_augmentation(estimator.augment, view),
            chunk_size=estimator.chunk_size,
            precision=_choose_precision(estimator.precision, device),
            device=device,
            seed=seed,
            patience=estimator.n_iter_no_change if estimator.early_stopping else None,
            process_group=group,
        )
        batch_size = estimator.batch_size
        validate = None
        if held_out is not None:
            fetch = _make_fetch(network, view, held_out, device, frozen, batch_size)
            validate = task.make_validation(module, fetch, held_out, self.objective, targets)
        self._trainer = Trainer(
            module,
            self.objective,
            sampler,
            _make_fetch(network, view, learned, device, frozen, batch_size),
            options,
            validate,
            targets,
        )

    @property
    def history(self) -> dict[str, NDArray[Any]]:
        """Measures by name, one value per epoch; NaN where an epoch lacks a measure."""
        records = self._trainer.history
        names = list(dict.fromkeys(name for record in records for name in record))
        return {name: np.array([record.get(name, np.nan) for record in records]) for name in names}

    @property
    def best_epoch(self) -> int | None:
        """Epoch whose network was kept, 0 for the start; None without validation."""
        return self._trainer.best_epoch

    def fitted_attributes(self) -> dict[str, Any]:
        """Return the fitted attributes of the network and its head as they are now, by name."""
        head = self._estimator._head_attributes(self.objective, self._task)
        return fitted_attributes(self._network) | head

    def state(self) -> dict[str, Any]:
        """Return the state from which a later run can continue."""
        return self._trainer.state() | {"module": {}, "best": None, "seed": self._seed}

    def continue_after(self, training_state: dict[str, Any]) -> None:
        """Continue a complete run, from its state as :func:`to_arrays` returns it.

        Raises
        ------
        ValueError
            If the loss has class weights of other identities.
        """
        earlier = to_tensors(training_state)
        for name, tensor in self.objective.state_dict().items():
            before = earlier["objective"].get(name, tensor)
            if tensor.shape != before.shape:
                raise ValueError(
                    f"warm_start=True continues with a loss that holds {name} of shape "
                    f"{tuple(before.shape)}, but this fit needs {tuple(tensor.shape)}: it has "
                    "other identities. Set warm_start=False, or use the triplet loss."
                )
        self._trainer.continue_after(earlier)

    def run(self, epochs: Epochs) -> None:
        """Train, from the last checkpoint on if there is one."""
        estimator, network, trainer = self._estimator, self._network, self._trainer
        group = trainer.options.process_group
        checkpoint = None
        if estimator.checkpoint_dir is not None:
            name = _name_run(estimator, self._task, network, self._seed)
            checkpoint = Checkpoint(estimator.checkpoint_dir, group.broadcast(name))
            saved = group.broadcast(checkpoint.load() if group.rank == 0 else None)
            if saved is not None:
                trainer.resume(saved)

        def end_epoch(record: dict[str, float]) -> bool:
            if estimator.verbose and group.rank == 0:
                print("  ".join(f"{name} {value:.4g}" for name, value in record.items()))
            if checkpoint is not None and group.rank == 0:
                checkpoint.save(trainer.state())
            return epochs.end(self.fitted_attributes)

        trainer.run(epochs.begin, end_epoch)
        network.module.to("cpu")
        self.objective.to("cpu").eval()


def _make_fetch(
    network: Network,
    view: Network,
    faces: TrainingSet,
    device: torch.device,
    frozen: bool,
    batch_size: int,
) -> Fetch:
    """Return a function that loads faces as the input of the network, or of the head alone."""
    load = FaceLoader(view, faces, device)
    if not frozen:
        return load
    vectors = embed_all(network.module.to(device), load, len(faces.places), batch_size)
    return torch.from_numpy(vectors).__getitem__


def _choose_augmentation(augment: bool | Augmentation, view: Network) -> Augmentation | None:
    """Return the augmentation of training faces, in the range of the network's input."""
    if not augment or view.preprocessing is None:
        return None
    mean, std = np.asarray(view.preprocessing.mean), np.asarray(view.preprocessing.std)
    value_range = float(((0 - mean) / std).min()), float(((255 - mean) / std).max())
    chosen = augment if isinstance(augment, Augmentation) else Augmentation()
    return replace(chosen, value_range=value_range)


def _choose_precision(precision: str, device: torch.device) -> str:
    if precision != "auto":
        return precision
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if fast else "float32"


def to_arrays(state: Any) -> Any:
    """Replace the tensors in nested containers and modules by arrays."""
    if isinstance(state, torch.Tensor):
        return state.detach().cpu().numpy().copy()
    if isinstance(state, torch.nn.Module):
        return type(state), to_arrays(vars(state))
    if isinstance(state, dict):
        return {name: to_arrays(value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(to_arrays(value) for value in state)
    return state


def to_tensors(state: Any) -> Any:
    """Undo :func:`to_arrays`."""
    if isinstance(state, np.ndarray):
        return torch.from_numpy(state.copy())
    if isinstance(state, dict):
        return {name: to_tensors(value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(to_tensors(value) for value in state)
    return state


def _name_run(estimator: _Estimator, task: Task, network: Network, seed: int) -> str:
    """Name a run by a digest of all that training depends on, equal in every process."""
    faces = task.faces
    given = estimator.get_params(deep=False) | task.fitted_parameters()
    parameters = {
        name: _digest_parameter(name, value)
        for name, value in given.items()
        if name not in _IRRELEVANT_PARAMETERS
    }
    keys = [faces.rows.images.key(place) for place in faces.places]
    # files may change
    stats = [os.stat(key) for key in keys if isinstance(key, str)]
    files = [(stat.st_size, stat.st_mtime_ns) for stat in stats]
    run = {
        "code": (__version__, type(estimator).__name__, seed),
        "parameters": parameters,
        "network": digest_arrays(network.state()),
        "data": (keys, files, faces.identities, faces.pairs, faces.targets),
    }
    return digest_value(run, "run").hex()


def _digest_parameter(name: str, value: Any) -> bytes:
    try:
        # the same program resumes the run, so its own functions are known
        return digest_value(value, name, allow_main=True)
    except ValueError as error:
        raise ValueError(f"{error} Or set checkpoint_dir=None.") from error
