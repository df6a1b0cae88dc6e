"""The training loop: batches of faces, an objective, a network, and a record of every epoch."""

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from skface.nn.distillation import DistillationTargets
from skface.nn.distributed import synchronized_batch_norm, wrap_ddp
from skface.nn.embedding import Network
from skface.nn.exceptions import TrainingCollapseWarning
from skface.nn.freezing import train_mode
from skface.nn.gradients import BatchGradients, Fetch, divergence_error
from skface.nn.objectives import Measures
from skface.nn.optimization import learning_rate_factor, make_optimizer
from skface.nn.options import Options
from skface.nn.rng import private_global_rng
from skface.nn.sampling import Batch, Sampler

__all__ = ["Record", "Trainer"]

# Squared distance; below it, two embeddings differ by less than two degrees.
COLLAPSED_DISTANCE = 1e-3

Record = dict[str, float]


class Trainer:
    """Train a network epoch by epoch, with AdamW, a linear warm-up and a cosine decay.

    The same seed gives the same network on a CPU, and the global random state is restored. Random
    numbers are seeded by epoch, so they depend neither on callbacks nor on the epoch at which
    training was resumed. Training that resumes from :meth:`state` gives the same network as
    training without interruption.

    Parameters
    ----------
    module : nn.Module
        Network that maps images (n, ...) to (n, d), trained in place; its output is normalized
        here. Parameters that do not require a gradient and the running statistics of frozen parts
        are not changed.
    objective : nn.Module
        One of :mod:`skface.nn.objectives`: returns a loss and its measures. Its parameters are
        trained too.
    sampler : Sampler
        Yields the batches of an epoch.
    fetch : callable
        Maps an integer array of rows to their images, a float32 Tensor of shape (n_rows, ...): the
        input of the network, or of `distillation`. Called with at most one chunk of a batch.
    options : Options
        How to train.
    validate : callable, default=None
        Returns measures of the network, in evaluation mode: "validation_eer" (lower is better) and
        "validation_tar" (higher is better; compared where the former is equal), or
        "validation_cosine" (higher is better). After training, network and objective are those of
        the best epoch, or those before training if every epoch was worse.
    distillation : DistillationTargets, default=None
        Computes the targets of every batch, which then replace those of the sampler. It is given
        augmented and blended images.

    Attributes
    ----------
    history : list of dict
        The record of every epoch so far; see :meth:`run`.
    optimizer : torch.optim.Optimizer
        The optimizer.

    Raises
    ------
    ValueError
        If `max_epochs` is below 1, or nothing is trainable.

    Examples
    --------
    >>> import torch
    >>> from skface.nn.objectives import Triplet
    >>> from skface.nn.sampling import IdentitySampler
    >>> images = torch.rand(12, 5, generator=torch.Generator().manual_seed(0))
    >>> sampler = IdentitySampler([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], 4, 3, seed=0)
    >>> trainer = Trainer(
    ...     nn.Linear(5, 3), Triplet(), sampler, lambda rows: images[rows], Options(max_epochs=2)
    ... )
    >>> [record["epoch"] for record in trainer.run()]
    [1, 2]
    """

    def __init__(
        self,
        module: nn.Module,
        objective: nn.Module,
        sampler: Sampler,
        fetch: Fetch,
        options: Options,
        validate: Callable[[], Record] | None = None,
        distillation: DistillationTargets | None = None,
    ) -> None:
        if options.max_epochs < 1:
            raise ValueError(f"max_epochs={options.max_epochs!r} must be at least 1.")
        self.module = module.to(options.device)
        self.objective = objective.to(options.device)
        self.sampler = sampler
        self.fetch = fetch
        self.options = options
        self.validate = validate
        self.distillation = distillation
        self._trained = [
            f"{owner}.{name}"
            for owner, part in (("module", module), ("objective", objective))
            for name, parameter in part.named_parameters()
            if parameter.requires_grad
        ]
        self.optimizer = make_optimizer(
            module,
            objective,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
        )
        self._gradients = BatchGradients(module, objective, fetch, options, distillation)
        self.history: list[Record] = []
        self._first_epoch = 0  # epochs before the current call of `run` or warm start
        self._best: dict[str, Any] | None = None

    def run(
        self,
        on_epoch_begin: Callable[[], None] | None = None,
        on_epoch_end: Callable[[Record], bool | None] | None = None,
    ) -> list[Record]:
        """Train up to the last epoch.

        Parameters
        ----------
        on_epoch_begin : callable, default=None
            Called before every epoch.
        on_epoch_end : callable, default=None
            Called with the record of every epoch; returning True ends the training.

        Returns
        -------
        list of dict
            One record per epoch, those before a warm start included: "epoch" (from 1), "loss", the
            measures of the objective, "learning_rate" (of the last step), and those of `validate`.
            Loss and measures are means over the training batches of the epoch.

        Raises
        ------
        ValueError
            If images hold NaN or infinite values, or a batch is too small for the process group.
        FloatingPointError
            If training diverges.

        Warns
        -----
        TrainingCollapseWarning
            If all identities end at nearly the same embedding.
        """
        group = self.options.process_group
        with synchronized_batch_norm(self.module, group, self.options.device):
            network = wrap_ddp(self.module, group)
            if self.validate is not None and self._best is None:
                self._keep_if_best(self._validated(self.validate), may_tie=False)
            while not self._is_finished():
                if on_epoch_begin is not None:
                    on_epoch_begin()
                record = self._run_epoch(network, len(self.history))
                if self.validate is not None:
                    record |= self._validated(self.validate)
                self.history.append(record)
                if self.validate is not None:
                    self._keep_if_best(record, may_tie=self.best_epoch == self._first_epoch)
                stop = on_epoch_end is not None and bool(on_epoch_end(record))
                if group.broadcast(stop):
                    break
        if self._best is not None:
            self.module.load_state_dict(self._best["module"])
            self.objective.load_state_dict(self._best["objective"])
        self.module.eval()
        if self.history:
            self._warn_if_collapsed()
        return self.history

    @property
    def best_epoch(self) -> int | None:
        """Number of the epoch that is kept, 0 for the initial network; None without validation."""
        return None if self._best is None else self._best["epoch"]

    def state(self) -> dict[str, Any]:
        """Return everything that later epochs depend on.

        Returns
        -------
        dict
            Nested dicts and lists of tensors, numbers and strings.
        """
        return {
            "module": self.module.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "trained": self._trained,
            "history": [dict(record) for record in self.history],
            "first_epoch": self._first_epoch,
            "best": self._best,
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Restore the state of an interrupted run with the same options, to continue it.

        Parameters
        ----------
        state : dict
            What :meth:`state` returned.
        """
        self.module.load_state_dict(state["module"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = [dict(record) for record in state["history"]]
        self._first_epoch = state["first_epoch"]
        self._best = state["best"]

    def continue_after(self, state: dict[str, Any]) -> None:
        """Start a new run of `max_epochs` epochs and a new schedule after a completed run.

        The numbers of epochs continue those of the completed run. The state of the objective is
        restored if it has the same parts, and the moments of the optimizer if the same parameters
        are trained. The weights of the network are not restored; they stay those that the trainer
        was given.

        Parameters
        ----------
        state : dict
            What :meth:`state` returned.
        """
        if state["objective"].keys() == self.objective.state_dict().keys():
            self.objective.load_state_dict(state["objective"])
        if state["trained"] == self._trained:
            # Only the moments: options such as the weight decay may have changed.
            moments = {"state": state["optimizer"]["state"]}
            self.optimizer.load_state_dict(self.optimizer.state_dict() | moments)
        self.history = [dict(record) for record in state["history"]]
        self._first_epoch = len(self.history)

    def _is_finished(self) -> bool:
        n_epochs = len(self.history) - self._first_epoch
        if n_epochs >= self.options.max_epochs:
            return True
        patience, best_epoch = self.options.patience, self.best_epoch
        if best_epoch is None or patience is None:
            return False
        return len(self.history) - best_epoch >= patience

    def _run_epoch(self, network: Network, epoch: int) -> Record:
        options = self.options
        train_mode(self.module)
        self.objective.train()
        shared_seed, layer_seed = _epoch_seeds(options.seed, epoch, options.process_group.rank)
        generator = torch.Generator().manual_seed(shared_seed)
        n_steps = options.max_epochs * len(self.sampler)
        first_step = (epoch - self._first_epoch) * len(self.sampler)
        measured = []
        rate = options.learning_rate
        with private_global_rng(layer_seed, options.device):
            for step, batch in enumerate(self.sampler.batches(epoch), start=first_step):
                rate = options.learning_rate * learning_rate_factor(step, n_steps)
                for group in self.optimizer.param_groups:
                    group["lr"] = rate
                measured.append(self._run_step(network, batch, generator))
        # Outside CUDA, each process has updated running statistics with its own shards.
        options.process_group.broadcast_buffers(self.module)
        # The last step may have diverged, and no embedding has been computed since.
        if not all(torch.isfinite(tensor).all() for tensor in self.module.state_dict().values()):
            raise divergence_error("weights", epoch + 1, options.learning_rate)
        return {"epoch": epoch + 1, **_means(measured), "learning_rate": rate}

    def _run_step(self, network: Network, batch: Batch, generator: torch.Generator) -> Measures:
        self.optimizer.zero_grad()
        measures = self._gradients.backward(network, batch, generator, len(self.history) + 1)
        self.optimizer.step()
        return measures

    def _validated(self, validate: Callable[[], Record]) -> Record:
        self.module.eval()
        return self.options.process_group.broadcast(validate())

    def _keep_if_best(self, measures: Record, *, may_tie: bool) -> None:
        score: tuple[float, ...]
        if "validation_cosine" in measures:
            score = (measures["validation_cosine"],)
        else:
            score = (-measures["validation_eer"], measures["validation_tar"])
        if (
            self._best is None
            or score > self._best["score"]
            or (may_tie and score == tuple(self._best["score"]))
        ):
            self._best = {
                "epoch": len(self.history),
                "score": score,
                "module": copy.deepcopy(self.module.state_dict()),
                "objective": copy.deepcopy(self.objective.state_dict()),
            }

    def _warn_if_collapsed(self) -> None:
        if self.best_epoch == 0:
            return
        record = self.history[-1 if self.best_epoch is None else self.best_epoch - 1]
        # Distillation has no impostor pairs; its cosine shows a collapse.
        distance = record.get("mean_impostor_distance", math.inf)
        if distance < COLLAPSED_DISTANCE:
            warnings.warn(
                f"Training has collapsed: after epoch {record['epoch']:.0f} different identities "
                f"have nearly the same embedding (mean squared distance {distance:.1e}), so "
                "embeddings do not separate people. Lower "
                f"learning_rate={self.options.learning_rate!r}, use mining='semi_hard' with the "
                "triplet loss, put more identities into a batch, or start from pretrained weights.",
                TrainingCollapseWarning,
                stacklevel=3,
            )


def _epoch_seeds(seed: int, epoch: int, rank: int) -> tuple[int, int]:
    """Return a seed that all processes share, and one of this process for dropout."""
    # Hashed, so that seed 0 in epoch 1 differs from seed 1 in epoch 0; shifted by one bit, because
    # torch takes signed seeds.
    words = np.random.SeedSequence([seed, epoch]).generate_state(2 + rank, np.uint64)
    return int(words[0] >> np.uint64(1)), int(words[1 + rank] >> np.uint64(1))


def _means(measured: list[Measures]) -> Record:
    """Average each measure over the steps, without those where it is NaN."""
    means = {}
    for name in measured[0]:
        values = torch.stack([torch.as_tensor(step[name]).float().cpu() for step in measured])
        means[name] = values.nanmean().item()
    return means
