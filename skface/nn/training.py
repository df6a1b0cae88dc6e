"""Training of an embedder with the triplet loss."""

import math
import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from skface.nn.losses import mean_of_active, squared_distances, triplet_terms
from skface.nn.mining import genuine_mask, impostor_mask, mine_triplets
from skface.nn.rng import private_global_rng
from skface.nn.sampling import IdentitySampler

WARMUP_SHARE = 0.1
# Squared distance: below it, two faces differ by less than two degrees.
COLLAPSED_DISTANCE = 1e-3

Record = dict[str, float]


class TrainingCollapseWarning(UserWarning):
    """Training has mapped all faces to nearly the same embedding."""


def embed(module: nn.Module, images: Tensor) -> Tensor:
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


def train_mode(module: nn.Module) -> None:
    """Put a network in training mode, all but the parts that are wholly frozen.

    A frozen batch normalisation has to keep its running statistics as well as its parameters, and
    dropout inside a frozen part would only add noise.

    Parameters
    ----------
    module : nn.Module
        Network, changed in place.

    Examples
    --------
    >>> frozen, head = nn.BatchNorm1d(2).requires_grad_(False), nn.Linear(2, 2)
    >>> train_mode(nn.Sequential(frozen, head))
    >>> frozen.training, head.training
    (False, True)
    """
    module.train()
    for part in module.modules():
        parameters = list(part.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            part.eval()


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


def train_embedder(
    module: nn.Module,
    fetch: Callable[[NDArray[np.intp]], Tensor],
    labels: ArrayLike,
    *,
    margin: float = 0.2,
    mining: str = "semi-hard",
    n_identities_per_batch: int = 16,
    n_images_per_identity: int = 4,
    max_epochs: int = 20,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-4,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
    on_epoch_end: Callable[[Record], bool | None] | None = None,
) -> list[Record]:
    """Train a network so that images of one identity embed close together.

    AdamW (no decay of biases and normalisation parameters) with a linear warm-up and a cosine
    decay, on batches of P identities times K images, with triplets mined in each batch. The same
    seed gives the same network on a CPU, and the global random state is left as it was.

    Parameters
    ----------
    module : nn.Module
        Network, trained in place: images in, (n, d) out, normalised here. Parameters that do not
        require a gradient stay as they are, and so do the running statistics of frozen parts.
        It is left on `device` in evaluation mode.
    fetch : callable
        Maps an integer array of rows to their images, a float32 Tensor of shape (n_rows, ...)
        ready for the network. It is asked for one batch at a time.
    labels : array-like of shape (n,)
        Identity of each image, of any sortable type.
    margin : float, default=0.2
        Margin of the triplet loss, in squared L2 on the unit sphere.
    mining : {"semi-hard", "hard", "all"}, default="semi-hard"
        Choice of triplets, see `skface.nn.mining.mine_triplets`.
    n_identities_per_batch, n_images_per_identity : int, default=16 and 4
        P and K, both at least 2, see `skface.nn.sampling.IdentitySampler`.
    max_epochs : int, default=20
        Epochs to train for; each is about one pass over the images, see
        `skface.nn.sampling.IdentitySampler`.
    learning_rate : float, default=1e-3
        Peak learning rate.
    weight_decay : float, default=1e-4
        Decoupled weight decay.
    augment : callable or None, default=None
        Maps a batch of images on the device and a torch.Generator to varied images, such as
        `skface.nn.augment.augment`.
    device : torch.device or str, default="cpu"
        Where to train.
    seed : int, default=0
        Seed of sampling, mining, augmentation and dropout, at least 0.
    on_epoch_end : callable or None, default=None
        Called with the record of each epoch; returning True ends the training.

    Returns
    -------
    list of dict
        One record per epoch: "epoch" (from 1), "loss", "active_fraction" (share of the anchors with
        at least one violating triplet, whatever the mining), "mean_genuine_distance" and
        "mean_impostor_distance" (squared L2, 0 to 4) and "learning_rate" (of the last step); all
        but the first and the last are means over the batches of the epoch, as seen in training.

    Raises
    ------
    ValueError
        If there are fewer than two identities or none with two images, if nothing is trainable, if
        images hold NaN or infinite values, or if an option is out of its range.
    FloatingPointError
        If training diverges.

    Warns
    -----
    TrainingCollapseWarning
        If all identities end at nearly the same embedding.

    Examples
    --------
    >>> import torch
    >>> generator = torch.Generator().manual_seed(0)
    >>> images = torch.rand(12, 5, generator=generator)
    >>> labels = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    >>> history = train_embedder(nn.Linear(5, 3), lambda rows: images[rows], labels, max_epochs=2)
    >>> [record["epoch"] for record in history]
    [1, 2]
    """
    if max_epochs < 1:
        raise ValueError(f"max_epochs={max_epochs!r} must be at least 1.")
    sampler = IdentitySampler(labels, n_identities_per_batch, n_images_per_identity, seed)
    codes = torch.from_numpy(np.unique(np.asarray(labels), return_inverse=True)[1])
    device = torch.device(device)
    module.to(device)
    optimizer = _make_optimizer(module, learning_rate, weight_decay)
    n_steps = max_epochs * len(sampler)
    history: list[Record] = []
    for epoch in range(max_epochs):
        train_mode(module)
        # Seeded by epoch, so that neither callbacks nor resumed training shift the draws.
        own_seed, layers_seed = _epoch_seeds(seed, epoch)
        generator = torch.Generator().manual_seed(own_seed)
        totals = np.zeros(4)
        with private_global_rng(layers_seed, device):
            for step, rows in enumerate(sampler.batches(epoch), start=epoch * len(sampler)):
                images = fetch(rows).to(device)
                varied = images if augment is None else augment(images, generator)
                embeddings = embed(module, varied)
                if not torch.isfinite(embeddings).all():
                    _refuse_non_finite(images, rows, epoch, learning_rate)
                loss, measures = _score_batch(
                    embeddings, codes[rows].to(device), margin, mining, generator
                )
                rate = learning_rate * learning_rate_factor(step, n_steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                totals += measures
        names = ("loss", "active_fraction", "mean_genuine_distance", "mean_impostor_distance")
        means = dict(zip(names, (totals / len(sampler)).tolist(), strict=True))
        history.append({"epoch": epoch + 1, **means, "learning_rate": rate})
        if on_epoch_end is not None and on_epoch_end(history[-1]):
            break
    module.eval()
    _warn_if_collapsed(history[-1], mining, learning_rate)
    return history


def _make_optimizer(
    module: nn.Module, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trainable:
        raise ValueError(
            "The network has no trainable parameter: all are frozen, or it has none. Unfreeze a "
            "part of it, or use it without training."
        )
    # Pulling biases, normalisation gains and PReLU slopes towards 0 regularises nothing.
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=learning_rate)


def _score_batch(
    embeddings: Tensor, labels: Tensor, margin: float, mining: str, generator: torch.Generator
) -> tuple[Tensor, list[float]]:
    """Return the loss, and loss, active fraction and mean distances as numbers."""
    triplets = mine_triplets(
        embeddings, labels, margin=margin, strategy=mining, generator=generator
    )
    distances = squared_distances(embeddings)
    terms = triplet_terms(distances, *triplets, margin=margin)
    loss = mean_of_active(terms)
    genuine, impostor = genuine_mask(labels), impostor_mask(labels)
    n_active = triplets.anchors[terms > 0].unique().numel()
    # Every batch of the sampler holds two identities, so each anchor has a negative.
    n_anchors = int(genuine.any(dim=1).sum())
    means = [distances[mask].mean().item() for mask in (genuine, impostor)]
    return loss, [loss.item(), n_active / n_anchors, *means]


def _epoch_seeds(seed: int, epoch: int) -> tuple[int, int]:
    # Mixed, so that the draws of seed 0 in epoch 1 are not those of seed 1 in epoch 0; shifted,
    # because torch takes signed seeds.
    words = np.random.SeedSequence([seed, epoch]).generate_state(2, np.uint64) >> np.uint64(1)
    return int(words[0]), int(words[1])


def _refuse_non_finite(
    images: Tensor, rows: NDArray[np.intp], epoch: int, learning_rate: float
) -> None:
    bad = ~torch.isfinite(images).flatten(1).all(dim=1).cpu().numpy()
    if bad.any():
        named = ", ".join(str(row) for row in np.sort(rows[bad])[:5])
        raise ValueError(
            f"{bad.sum()} image(s) of a training batch hold NaN or infinite values, first row(s) "
            f"{named}. Leave them out of training."
        )
    raise FloatingPointError(
        f"Training diverged in epoch {epoch + 1}: embeddings are not finite at "
        f"learning_rate={learning_rate!r}. Try a tenth of it."
    )


def _warn_if_collapsed(record: Record, mining: str, learning_rate: float) -> None:
    distance = record["mean_impostor_distance"]
    if distance < COLLAPSED_DISTANCE:
        warnings.warn(
            f"Training has collapsed: after epoch {record['epoch']:.0f} different identities embed "
            f"at nearly the same point (mean squared distance {distance:.1e}), so the embeddings "
            f"tell nobody apart. Lower learning_rate={learning_rate!r}, use mining='semi-hard' "
            f"(it is {mining!r}), put more identities into a batch, or start from pretrained "
            "weights.",
            TrainingCollapseWarning,
            stacklevel=3,
        )
