"""The gradients of one batch, of which every process embeds its shard, in chunks if it is large."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skface.nn.distillation import DistillationTargets
from skface.nn.distributed import exchange_gradients, frozen_statistics
from skface.nn.embedding import Network, embed
from skface.nn.mining import Pairs
from skface.nn.objectives import Measures, to_device
from skface.nn.options import Options
from skface.nn.rng import layer_rng_state, restore_layer_rng
from skface.nn.sampling import Batch

__all__ = ["BatchGradients", "Fetch", "divergence_error"]

Fetch = Callable[[NDArray[np.intp]], Tensor]


class BatchGradients:
    """Compute the gradients of network and objective for one batch at a time.

    Parameters
    ----------
    module : nn.Module
        Network, in training mode.
    objective : nn.Module
        One of :mod:`skface.nn.objectives`.
    fetch : callable
        Maps an integer array of rows to their images, a float32 Tensor of shape (n_rows, ...).
    options : Options
        How to train.
    distillation : DistillationTargets, default=None
        Computes the targets of every batch, which then replace those of the sampler.

    Examples
    --------
    >>> import torch
    >>> from skface.nn.objectives import LabelLoss
    >>> module, images = nn.Linear(2, 2, bias=False), torch.eye(2)
    >>> objective = LabelLoss(lambda embeddings, labels: embeddings.square().sum())
    >>> gradients = BatchGradients(module, objective, images.__getitem__, Options())
    >>> batch = Batch(np.arange(2), torch.tensor([0, 1]))
    >>> measures = gradients.backward(module, batch, torch.Generator(), epoch=1)
    >>> module.weight.grad.shape
    torch.Size([2, 2])
    """

    def __init__(
        self,
        module: nn.Module,
        objective: nn.Module,
        fetch: Fetch,
        options: Options,
        distillation: DistillationTargets | None = None,
    ) -> None:
        self.module = module
        self.objective = objective
        self.fetch = fetch
        self.options = options
        self.distillation = distillation
        self._blends = distillation is not None and getattr(options.augmentation, "blend", 0) > 0
        # If the whole network is frozen, only the objective is trained, on its embeddings.
        self._trains_module = any(p.requires_grad for p in module.parameters())

    def backward(
        self, network: Network, batch: Batch, generator: torch.Generator, epoch: int
    ) -> Measures:
        """Backpropagate the loss of the whole batch.

        Parameters
        ----------
        network : callable
            The module, or DistributedDataParallel around it.
        batch : Batch
            Rows and targets; the same in every process.
        generator : torch.Generator
            Random numbers of augmentation and mining; in the same state in every process.
        epoch : int
            Number of the epoch, from 1, for error messages.

        Returns
        -------
        dict of str to Tensor of shape ()
            "loss" and the measures of the objective.

        Raises
        ------
        ValueError
            If images hold NaN or infinite values, or the batch is too small for the process group.
        FloatingPointError
            If embeddings, loss or gradient are not finite.
        """
        shard = self._shard(batch, generator)
        # All processes need the same number of chunks, because layers may communicate in each.
        longest = math.ceil(len(batch.rows) / self.options.process_group.size)
        n_chunks = -(-longest // self.options.chunk_size)
        if n_chunks == 1:
            return self._backward_whole(network, batch, shard, generator, epoch)
        return self._backward_in_chunks(network, batch, shard, n_chunks, generator, epoch)

    def _shard(self, batch: Batch, generator: torch.Generator) -> "_Shard":
        """Select the rows of this process, and draw the augmentation of the whole batch."""
        options, n_rows = self.options, len(batch.rows)
        group = options.process_group
        if group.size > 1 and n_rows < 2 * group.size:
            raise ValueError(
                f"A batch of {n_rows} faces gives some of {group.size} processes fewer than two, "
                "which batch normalization needs. Use larger batches or fewer processes."
            )
        own = group.shard(n_rows)
        draws = partners = None
        if options.augmentation is not None:
            draws = options.augmentation.draw(n_rows, generator)[own]
        if self._blends:
            partners = np.roll(batch.rows, 1)[own]  # the order of the rows is random
        return _Shard(batch.rows[own], draws, partners)

    def _backward_whole(
        self,
        network: Network,
        batch: Batch,
        shard: "_Shard",
        generator: torch.Generator,
        epoch: int,
    ) -> Measures:
        """Backpropagate with one pass through the network."""
        images = self._images(shard)
        targets = self._targets(batch, [self._teacher_targets(images)])
        embeddings = self._embed(network, images, shard.rows, epoch)
        gradient, measures = self._score(embeddings, targets, len(batch.rows), generator, epoch)
        if self._trains_module:
            embeddings.backward(gradient)
        return measures

    def _backward_in_chunks(
        self,
        network: Network,
        batch: Batch,
        shard: "_Shard",
        n_chunks: int,
        generator: torch.Generator,
        epoch: int,
    ) -> Measures:
        """Backpropagate with the memory of one chunk (gradient caching)."""
        device = self.options.device
        places = np.array_split(np.arange(len(shard.rows)), n_chunks)
        chunks = [shard.take(chunk_places) for chunk_places in places]
        # The second pass restores these, so that it has the dropout masks of the first.
        rng_states, parts, teacher_targets = [], [], []
        with torch.no_grad(), frozen_statistics(self.module):
            for chunk in chunks:
                rng_states.append(layer_rng_state(device))
                images = self._images(chunk)
                parts.append(self._embed(self.module, images, chunk.rows, epoch))
                teacher_targets.append(self._teacher_targets(images))
        targets = self._targets(batch, teacher_targets)
        gradient, measures = self._score(
            torch.cat(parts), targets, len(batch.rows), generator, epoch
        )
        if not self._trains_module:
            return measures
        for k, chunk in enumerate(chunks):
            restore_layer_rng(rng_states[k], device)
            with exchange_gradients(network, k == n_chunks - 1):
                embeddings = self._embed(network, self._images(chunk), chunk.rows, epoch)
                embeddings.backward(gradient[torch.from_numpy(places[k]).to(gradient.device)])
        return measures

    def _images(self, shard: "_Shard") -> Tensor:
        """Fetch training images and augment them."""
        options = self.options
        images = self.fetch(shard.rows).to(options.device, non_blocking=True)
        if options.augmentation is None or shard.draws is None:
            return images
        draws = shard.draws.to(images.device)
        if shard.partners is None:
            return options.augmentation(images, draws)
        partners = self.fetch(shard.partners).to(images.device)
        return options.augmentation(images, draws, partners)

    def _targets(self, batch: Batch, teacher_targets: list[Tensor | None]) -> Tensor | Pairs | None:
        """Return the targets of the whole batch."""
        options = self.options
        own = [targets for targets in teacher_targets if targets is not None]
        if not own:
            return None if batch.targets is None else to_device(batch.targets, options.device)
        gathered = torch.cat(own).to(options.device)
        return options.process_group.all_gather(gathered, len(batch.rows))

    @torch.no_grad()
    def _teacher_targets(self, images: Tensor) -> Tensor | None:
        return None if self.distillation is None else self.distillation.targets(images)

    def _embed(
        self, network: Network, images: Tensor, rows: NDArray[np.intp], epoch: int
    ) -> Tensor:
        """Embed augmented training images."""
        options = self.options
        inputs = images if self.distillation is None else self.distillation.inputs(images)
        device_type = torch.device(options.device).type
        in_half = options.precision == "bfloat16"
        with torch.autocast(device_type, dtype=torch.bfloat16, enabled=in_half):
            embeddings = embed(network, inputs)
        if not torch.isfinite(embeddings).all():
            raise self._non_finite_error(images, rows, epoch)
        return embeddings

    def _score(
        self,
        own: Tensor,
        targets: Tensor | Pairs | None,
        n_rows: int,
        generator: torch.Generator,
        epoch: int,
    ) -> tuple[Tensor, Measures]:
        """Return the gradient of the loss with respect to the embeddings of this process."""
        group = self.options.process_group
        embeddings = group.all_gather(own.detach(), n_rows).requires_grad_()
        loss, measures = self.objective(embeddings, targets, generator)
        loss.backward()
        gradient = embeddings.grad
        if gradient is None:
            raise TypeError(
                f"objective={self.objective!r} returned a loss that does not depend on the "
                "embeddings: compute it from them with operations of torch."
            )
        if not (torch.isfinite(loss) & torch.isfinite(gradient).all()):
            raise divergence_error("the loss and its gradient", epoch, self.options.learning_rate)
        # Each process has a part of one sum, but DistributedDataParallel averages the parts.
        return gradient[group.shard(n_rows)] * group.size, {"loss": loss.detach(), **measures}

    def _non_finite_error(self, images: Tensor, rows: NDArray[np.intp], epoch: int) -> Exception:
        bad = ~torch.isfinite(images).flatten(1).all(dim=1).cpu().numpy()
        if bad.any():
            named = ", ".join(str(row) for row in np.sort(rows[bad])[:5])
            return ValueError(
                f"{bad.sum()} image(s) of a training batch hold NaN or infinite values, first "
                f"row(s) {named}. Leave them out of training."
            )
        return divergence_error("embeddings", epoch, self.options.learning_rate)


class _Shard(NamedTuple):
    """Rows that one process embeds, and what augments them."""

    rows: NDArray[np.intp]
    draws: Tensor | None
    partners: NDArray[np.intp] | None  # rows to blend in

    def take(self, places: NDArray[np.intp]) -> "_Shard":
        """Select some of the rows."""
        return _Shard(
            self.rows[places],
            None if self.draws is None else self.draws[torch.from_numpy(places)],
            None if self.partners is None else self.partners[places],
        )


def divergence_error(what: str, epoch: int, learning_rate: float) -> FloatingPointError:
    """Return the error of training that has diverged.

    Parameters
    ----------
    what : str
        What is not finite, as a plural.
    epoch : int
        Number of the epoch, from 1.
    learning_rate : float
        Peak learning rate.

    Returns
    -------
    FloatingPointError
        To be raised.
    """
    return FloatingPointError(
        f"Training diverged in epoch {epoch}: {what} are not finite at "
        f"learning_rate={learning_rate!r}. Try a tenth of it."
    )
