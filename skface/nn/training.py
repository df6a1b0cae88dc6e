"""The training loop: batches of faces, an objective, a network, and a history of its epochs."""

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from skface.nn.augment import Augmentation
from skface.nn.distributed import (
    Team,
    exchange_gradients,
    frozen_statistics,
    global_batch_norm,
    in_one_team,
)
from skface.nn.freezing import train_mode
from skface.nn.objectives import to_device
from skface.nn.rng import layer_rng_state, private_global_rng, restore_layer_rng
from skface.nn.sampling import Batch

WARMUP_SHARE = 0.1
# Squared distance: below it, two faces differ by less than two degrees.
COLLAPSED_DISTANCE = 1e-3

Record = dict[str, float]
Fetch = Callable[[NDArray[np.intp]], Tensor]
Network = Callable[[Tensor], Tensor]  # a module, or a wrapper around it
Share = tuple[NDArray[np.intp], Tensor | None, NDArray[np.intp] | None]  # rows, draws, partners


class TrainingCollapseWarning(UserWarning):
    """Training has mapped all faces to nearly the same embedding."""


class Sampler(Protocol):
    """Deals faces into batches; an epoch depends on its number alone."""

    def __len__(self) -> int:
        """Count the batches of an epoch."""

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield batches of rows and their targets, None if a lesson gives them."""


@dataclass(frozen=True)
class Lesson:
    """How a teacher and the network that imitates it look at the same varied images.

    Parameters
    ----------
    targets : callable
        Maps images to the (n, d) Tensor that the objective receives as their targets.
    inputs : callable
        Maps images to what the network takes, such as another size.
    """

    targets: Callable[[Tensor], Tensor]
    inputs: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Options:
    """How a network is trained.

    Parameters
    ----------
    max_epochs : int, default=30
        Passes over the faces.
    learning_rate : float, default=1e-3
        Highest learning rate, see :func:`learning_rate_factor`.
    weight_decay : float, default=1e-4
        Decay of weight matrices and kernels (AdamW); biases, normalisation and slopes have none.
    augmentation : Augmentation or None, default=None
        Random variation of the images of each batch.
    chunk_size : int, default=256
        Faces that go through the network at a time. A larger batch is embedded in chunks, twice:
        first to find the gradient of the loss with respect to every embedding, then to carry it
        into the network (gradient caching, Gao et al., 2021). Memory is that of one chunk, and the
        gradient that of the whole batch, but for batch normalisation, which sees one chunk.
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the network; losses are computed in float32 always.
    device : torch.device or str, default="cpu"
        Where to train.
    seed : int, default=0
        Governs augmentation, mining and dropout.
    patience : int or None, default=None
        Epochs without a better validation after which training stops; None trains to the end.
    team : Team
        The processes that train together, each on its share of every batch.
    """

    max_epochs: int = 30
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    augmentation: Augmentation | None = None
    chunk_size: int = 256
    precision: str = "float32"
    device: torch.device | str = "cpu"
    seed: int = 0
    patience: int | None = None
    team: Team = field(default_factory=Team)


def embed(module: Network, images: Tensor) -> Tensor:
    """Map images to the unit sphere.

    Parameters
    ----------
    module : nn.Module
        Network whose output need not be normalised.
    images : Tensor of shape (n, ...)
        Input of the network.

    Returns
    -------
    Tensor of shape (n, d)
        Embeddings of unit length, in single precision at least.

    Examples
    --------
    >>> import torch
    >>> embed(nn.Identity(), torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    outputs = module(images)
    return F.normalize(outputs.to(torch.promote_types(outputs.dtype, torch.float32)), dim=1)


def learning_rate_factor(step: int, n_steps: int) -> float:
    """Linear warm-up over the first tenth of the steps, then half a cosine towards 0.

    Parameters
    ----------
    step : int
        Number of the step, 0 to `n_steps` - 1.
    n_steps : int
        Steps of the whole training.

    Returns
    -------
    float
        What the learning rate is multiplied by, above 0 and at most 1.

    Examples
    --------
    >>> [round(learning_rate_factor(step, 20), 2) for step in (0, 1, 2, 11, 19)]
    [0.5, 1.0, 1.0, 0.5, 0.01]
    """
    n_warmup = round(WARMUP_SHARE * n_steps)
    if step < n_warmup:
        return (step + 1) / n_warmup
    return 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / (n_steps - n_warmup)))


class Trainer:
    """Train a network, epoch by epoch, from any epoch on.

    AdamW with a linear warm-up and a cosine decay. The same seed gives the same network on a CPU,
    and the global random state is left as it was. Draws are seeded by epoch, so that neither
    callbacks nor resumed training shift them: training that goes on from :meth:`state` ends at the
    same network as training that was never interrupted.

    Parameters
    ----------
    module : nn.Module
        Network, trained in place: images in, (n, d) out, normalised here. Parameters that do not
        require a gradient stay as they are, and so do the running statistics of frozen parts.
    objective : nn.Module
        Loss with its measures, one of :mod:`skface.nn.objectives`; its parameters are trained too.
    sampler : Sampler
        Deals rows into batches.
    fetch : callable
        Maps an integer array of rows to their images, a float32 Tensor of shape (n_rows, ...)
        ready for the network, or for the lesson. It is asked for one batch, or one chunk of it, at
        a time.
    options : Options
        How to train.
    validate : callable, default=None
        Returns measures of the network, in evaluation mode: "validation_eer" (smaller is better)
        and "validation_tar" (larger is better, where the former is equal), or "validation_cosine"
        (larger is better). After training, network and objective are those of the best epoch; if
        no epoch was as good as the start, they are as they were.
    lesson : Lesson, default=None
        Gives the targets of every batch in place of the sampler's. Images are varied, and blended
        if the augmentation says so, before the lesson sees them.

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
        lesson: Lesson | None = None,
    ) -> None:
        if options.max_epochs < 1:
            raise ValueError(f"max_epochs={options.max_epochs!r} must be at least 1.")
        self.module = module.to(options.device)
        self.objective = objective.to(options.device)
        self.sampler = sampler
        self.fetch = fetch
        self.options = options
        self.validate = validate
        self.lesson = lesson
        self._blends = lesson is not None and getattr(options.augmentation, "blend", 0) > 0
        self._trained = [
            f"{owner}.{name}"
            for owner, part in (("module", module), ("objective", objective))
            for name, parameter in part.named_parameters()
            if parameter.requires_grad
        ]
        self.optimizer = _make_optimizer(module, objective, options)
        # a network without trainable parts is one whose vectors the objective learns from
        self._module_learns = any(p.requires_grad for p in module.parameters())
        self.history: list[Record] = []
        self._first_epoch = 0  # since the start or the last warm start
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
            Loss and measures are means over the batches, as seen in training.

        Raises
        ------
        ValueError
            If nothing is trainable, or if images hold NaN or infinite values.
        FloatingPointError
            If training diverges.

        Warns
        -----
        TrainingCollapseWarning
            If all identities end at nearly the same embedding.
        """
        team = self.options.team
        with global_batch_norm(self.module, team):
            network = in_one_team(self.module, team)
            if self.validate is not None and self._best is None:
                self._keep_if_best(self._validated(), may_tie=False)
            while not self._is_finished():
                if on_epoch_begin is not None:
                    on_epoch_begin()
                record = self._run_epoch(network, len(self.history))
                if self.validate is not None:
                    record |= self._validated()
                self.history.append(record)
                if self.validate is not None:
                    self._keep_if_best(record, may_tie=self._best["epoch"] == self._first_epoch)
                stop = on_epoch_end is not None and bool(on_epoch_end(record))
                if team.agree(stop):
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
        """Number of the epoch whose network is kept, 0 for the start; None without validation."""
        return None if self._best is None else self._best["epoch"]

    def state(self) -> dict[str, Any]:
        """Return everything that later epochs depend on, as nested dicts of tensors and numbers."""
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
        """Go on where a run with the same options stopped.

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
        """Train for as many epochs again, with a new schedule, after a run that is complete.

        Epochs are counted on. An objective of the same parts goes on, and so do the moments of the
        optimiser if the same parameters are trained. The network is not loaded: it is the one that
        the trainer was given.

        Parameters
        ----------
        state : dict
            What :meth:`state` returned.
        """
        if state["objective"].keys() == self.objective.state_dict().keys():
            self.objective.load_state_dict(state["objective"])
        if state["trained"] == self._trained:
            # its moments only: what weight decay is asked for may be another now
            moments = {"state": state["optimizer"]["state"]}
            self.optimizer.load_state_dict(self.optimizer.state_dict() | moments)
        self.history = [dict(record) for record in state["history"]]
        self._first_epoch = len(self.history)

    def _is_finished(self) -> bool:
        n_epochs = len(self.history) - self._first_epoch
        if n_epochs >= self.options.max_epochs:
            return True
        patience = self.options.patience
        if self._best is None or patience is None:
            return False
        return len(self.history) - self._best["epoch"] >= patience

    def _run_epoch(self, network: Network, epoch: int) -> Record:
        options = self.options
        train_mode(self.module)
        self.objective.train()
        own_seed, layers_seed = _epoch_seeds(options.seed, epoch, options.team.rank)
        generator = torch.Generator().manual_seed(own_seed)
        n_steps = options.max_epochs * len(self.sampler)
        first_step = (epoch - self._first_epoch) * len(self.sampler)
        measured = []
        with private_global_rng(layers_seed, options.device):
            for step, batch in enumerate(self.sampler.batches(epoch), start=first_step):
                rate = options.learning_rate * learning_rate_factor(step, n_steps)
                for group in self.optimizer.param_groups:
                    group["lr"] = rate
                measured.append(self._run_step(network, batch, generator))
        # the last step may have done it, which no embedding has shown yet
        if not all(torch.isfinite(tensor).all() for tensor in self.module.state_dict().values()):
            raise self._divergence("weights")
        return {"epoch": epoch + 1, **_means(measured), "learning_rate": rate}

    def _run_step(
        self, network: Network, batch: Batch, generator: torch.Generator
    ) -> dict[str, Tensor | float]:
        """Learn from one batch: every process embeds its share, and all score the whole."""
        options, n_rows = self.options, len(batch.rows)
        share = options.team.share(n_rows)
        rows, draws, partners = batch.rows[share], None, None
        if options.augmentation is not None:
            draws = options.augmentation.draw(n_rows, generator)[share]
        if self._blends:
            partners = np.roll(batch.rows, 1)[share]  # rows are in no order
        # as many chunks in every process, since they may exchange statistics in each
        n_chunks = -(-math.ceil(n_rows / options.team.size) // options.chunk_size)
        self.optimizer.zero_grad()
        if n_chunks == 1:
            images = self._images((rows, draws, partners))
            targets = self._targets(batch, [self._teach(images)])
            embeddings = self._embed(network, images, rows)
            gradient, measures = self._score(embeddings, targets, n_rows, generator)
            if self._module_learns:
                embeddings.backward(gradient)
        else:
            places = torch.arange(len(rows)).tensor_split(n_chunks)
            chunks = [
                (
                    rows[i.numpy()],
                    None if draws is None else draws[i],
                    None if partners is None else partners[i.numpy()],
                )
                for i in places
            ]
            # dropout has to fall alike when a chunk comes by again
            random_states, parts, taught = [], [], []
            with torch.no_grad(), frozen_statistics(self.module):
                for chunk in chunks:
                    random_states.append(layer_rng_state(options.device))
                    images = self._images(chunk)
                    parts.append(self._embed(self.module, images, chunk[0]))
                    taught.append(self._teach(images))
            targets = self._targets(batch, taught)
            gradient, measures = self._score(torch.cat(parts), targets, n_rows, generator)
            for k, chunk in enumerate(chunks if self._module_learns else []):
                restore_layer_rng(random_states[k], options.device)
                with exchange_gradients(network, k == n_chunks - 1):
                    embeddings = self._embed(network, self._images(chunk), chunk[0])
                    embeddings.backward(gradient[places[k].to(gradient.device)])
        self.optimizer.step()
        return measures

    def _images(self, share: Share) -> Tensor:
        """Fetch training images, and vary them as the draws say."""
        rows, draws, partners = share
        options = self.options
        images = self.fetch(rows).to(options.device, non_blocking=True)
        if draws is None:
            return images
        draws = draws.to(images.device)
        if partners is None:
            return options.augmentation(images, draws)
        return options.augmentation(images, draws, self.fetch(partners).to(images.device))

    def _targets(self, batch: Batch, taught: list[Tensor | None]) -> Any:
        """Return what the objective is told about the whole batch."""
        options = self.options
        if self.lesson is None:
            return to_device(batch.targets, options.device)
        return options.team.gather(torch.cat(taught).to(options.device), len(batch.rows))

    @torch.no_grad()
    def _teach(self, images: Tensor) -> Tensor | None:
        return None if self.lesson is None else self.lesson.targets(images)

    def _embed(self, network: Network, images: Tensor, rows: NDArray[np.intp]) -> Tensor:
        """Embed varied training images."""
        options = self.options
        inputs = images if self.lesson is None else self.lesson.inputs(images)
        device_type = torch.device(options.device).type
        in_half = options.precision == "bfloat16"
        with torch.autocast(device_type, dtype=torch.bfloat16, enabled=in_half):
            embeddings = embed(network, inputs)
        if not torch.isfinite(embeddings).all():
            self._refuse_non_finite(images, rows)
        return embeddings

    def _score(
        self, own: Tensor, targets: Any, n_rows: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor | float]]:
        """Return the gradient of the loss with respect to the embeddings of this process."""
        team = self.options.team
        embeddings = team.gather(own.detach(), n_rows).requires_grad_()
        loss, measures = self.objective(embeddings, targets, generator)
        loss.backward()
        if not (torch.isfinite(loss) & torch.isfinite(embeddings.grad).all()):
            raise self._divergence("the loss and its gradient")
        # the processes average the gradients of their networks, which are parts of one sum
        gradient = embeddings.grad[team.share(n_rows)] * team.size
        return gradient, {"loss": loss.detach(), **measures}

    def _validated(self) -> Record:
        self.module.eval()
        return self.options.team.agree(self.validate())

    def _keep_if_best(self, measures: Record, *, may_tie: bool) -> None:
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

    def _refuse_non_finite(self, images: Tensor, rows: NDArray[np.intp]) -> None:
        bad = ~torch.isfinite(images).flatten(1).all(dim=1).cpu().numpy()
        if bad.any():
            named = ", ".join(str(row) for row in np.sort(rows[bad])[:5])
            raise ValueError(
                f"{bad.sum()} image(s) of a training batch hold NaN or infinite values, first "
                f"row(s) {named}. Leave them out of training."
            )
        raise self._divergence("embeddings")

    def _divergence(self, of: str) -> FloatingPointError:
        return FloatingPointError(
            f"Training diverged in epoch {len(self.history) + 1}: {of} are not finite at "
            f"learning_rate={self.options.learning_rate!r}. Try a tenth of it."
        )

    def _warn_if_collapsed(self) -> None:
        if self.best_epoch == 0:
            return
        record = self.history[-1 if self.best_epoch is None else self.best_epoch - 1]
        # who imitates a teacher has no impostors, and a cosine that tells
        distance = record.get("mean_impostor_distance", math.inf)
        if distance < COLLAPSED_DISTANCE:
            warnings.warn(
                f"Training has collapsed: after epoch {record['epoch']:.0f} different identities "
                f"embed at nearly the same point (mean squared distance {distance:.1e}), so the "
                "embeddings tell nobody apart. Lower "
                f"learning_rate={self.options.learning_rate!r}, use mining='semi-hard' with the "
                "triplet loss, put more identities into a batch, or start from pretrained weights.",
                TrainingCollapseWarning,
                stacklevel=3,
            )


def _make_optimizer(
    module: nn.Module, objective: nn.Module, options: Options
) -> torch.optim.Optimizer:
    parameters = [p for part in (module, objective) for p in part.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(
            "The network has no trainable parameter: all are frozen, or it has none. Unfreeze a "
            "part of it, or use it without training."
        )
    # Pulling biases, normalisation gains and PReLU slopes towards 0 regularises nothing.
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)


def _epoch_seeds(seed: int, epoch: int, rank: int) -> tuple[int, int]:
    """Return a seed that all processes share, and one of this process for dropout."""
    # Mixed, so that the draws of seed 0 in epoch 1 are not those of seed 1 in epoch 0; shifted,
    # because torch takes signed seeds.
    words = np.random.SeedSequence([seed, epoch]).generate_state(2 + rank, np.uint64)
    return int(words[0] >> np.uint64(1)), int(words[1 + rank] >> np.uint64(1))


def _means(measured: list[dict[str, Tensor | float]]) -> Record:
    """Average each measure over the steps that have it."""
    means = {}
    for name in measured[0]:
        values = torch.stack([torch.as_tensor(step[name]).float().cpu() for step in measured])
        means[name] = values.nanmean().item()
    return means
