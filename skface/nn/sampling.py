"""Training batches: P identities times K images, labeled pairs, or faces without labels."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from skface.nn.mining import Pairs

__all__ = ["Batch", "FaceSampler", "IdentitySampler", "PairSampler", "Sampler"]


class Batch(NamedTuple):
    """Distinct rows of the training images, and the targets of the loss.

    Attributes
    ----------
    rows : ndarray of shape (n,) of int
        Rows of the training images, each once.
    targets : Tensor of shape (n,) or (n, d), Pairs or None
        The identity of each row, or a target embedding for each row, or pairs of positions in
        `rows`, or None if a teacher computes the targets.
    """

    rows: NDArray[np.intp]
    targets: Tensor | Pairs | None


class Sampler(Protocol):
    """Yields the batches of an epoch, which depend only on the number of the epoch."""

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        Parameters
        ----------
        epoch : int, at least 0
            Number of the epoch.

        Yields
        ------
        Batch
            Rows and their targets.
        """


class IdentitySampler:
    """Sample batches of P identities times K images.

    An epoch is about one pass over the images, in rounds. Each round visits every identity with two
    or more images once, in random order, and takes the next K of its shuffled images (all of them
    if it has fewer). The number of rounds is the mean number of images of these identities, divided
    by K. If the last batch of a round has fewer identities than the others, it is filled up with
    identities of earlier batches of the round.

    Identities with a single image cannot be anchors and serve as additional negatives. In every
    batch they take the place of one identity (if P > 2), and the places that identities with fewer
    than K images leave free. A batch has at most P * K images, and at least one genuine and one
    impostor pair.

    An epoch depends on the seed and its number only, so training can resume at any epoch.

    Parameters
    ----------
    labels : array-like of shape (n,)
        Identity of each image, of any sortable type.
    n_identities_per_batch : int, at least 2
        Identities per batch (P); all identities if there are fewer.
    n_images_per_identity : int, at least 2
        Images per identity (K).
    seed : int, at least 0
        Seed of the private generator.

    Attributes
    ----------
    n_identities : int
        Number of identities in `labels`, those with a single image included.

    Raises
    ------
    ValueError
        If P or K is below 2, or `labels` cannot give both a genuine and an impostor pair.

    Examples
    --------
    >>> sampler = IdentitySampler(["ann", "ann", "bob", "bob", "bob", "cy"], 2, 2, seed=0)
    >>> len(sampler)
    1
    >>> [batch] = sampler.batches(epoch=0)
    >>> sorted(batch.rows.tolist()), sorted(batch.targets.tolist())
    ([0, 1, 2, 4], [0, 0, 1, 1])
    """

    def __init__(
        self,
        labels: ArrayLike,
        n_identities_per_batch: int,
        n_images_per_identity: int,
        seed: int,
    ) -> None:
        for name, value in (
            ("n_identities_per_batch", n_identities_per_batch),
            ("n_images_per_identity", n_images_per_identity),
        ):
            if value < 2:
                raise ValueError(
                    f"{name}={value!r} must be at least 2: a triplet takes two images of one "
                    "identity and one of another."
                )
        identities, codes, counts = np.unique(
            np.asarray(labels), return_inverse=True, return_counts=True
        )
        _check_pairs(len(identities), counts)
        by_identity = np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])
        self.n_identities = len(identities)
        self.n_images_per_identity = n_images_per_identity
        self.batch_size = n_identities_per_batch * n_images_per_identity
        self.seed = seed
        self._codes = torch.from_numpy(codes)
        self._repeated = [rows for rows in by_identity if len(rows) > 1]
        self._singles = np.array([rows[0] for rows in by_identity if len(rows) == 1], dtype=np.intp)
        reserved = int(n_identities_per_batch > 2 and len(self._singles) > 0)
        self._n_identities = min(n_identities_per_batch - reserved, len(self._repeated))
        n_images = sum(map(len, self._repeated))
        n_images_per_round = len(self._repeated) * n_images_per_identity
        self._n_rounds = max(1, round(n_images / n_images_per_round))

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return self._n_rounds * -(-len(self._repeated) // self._n_identities)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        Parameters
        ----------
        epoch : int, at least 0
            Number of the epoch.

        Yields
        ------
        Batch
            `rows` of `labels`, an array of shape (n_batch,) without duplicates, with n_batch at
            most P * K; and as `targets` their identities, an int64 Tensor of shape (n_batch,) that
            numbers the sorted identities of `labels` from 0 to `n_identities` - 1.
        """
        rng = np.random.default_rng([self.seed, epoch])
        shuffled = [rng.permutation(rows) for rows in self._repeated]
        singles = rng.permutation(self._singles)
        for _ in range(self._n_rounds):
            identities = rng.permutation(len(self._repeated))
            for start in range(0, len(identities), self._n_identities):
                chosen_identities = identities[start : start + self._n_identities]
                missing = self._n_identities - len(chosen_identities)
                if missing:
                    top_up = rng.choice(identities[:start], missing, replace=False)
                    chosen_identities = np.concatenate([chosen_identities, top_up])
                chosen = [shuffled[i][: self.n_images_per_identity] for i in chosen_identities]
                n_free = self.batch_size - sum(map(len, chosen))
                # Used images and single images go to the end of their queues.
                for i in chosen_identities:
                    shuffled[i] = np.roll(shuffled[i], -self.n_images_per_identity)
                chosen.append(singles[:n_free])
                singles = np.roll(singles, -n_free)
                rows = np.concatenate(chosen)
                yield Batch(rows, self._codes[rows])


class PairSampler:
    """Sample batches of labeled pairs of faces.

    Each pair is in one batch per epoch. Genuine and impostor pairs are distributed evenly over the
    batches: every batch has both kinds if there are enough of each, and the sizes of two batches
    differ by one pair at most.

    An epoch depends on the seed and its number only, so training can resume at any epoch.

    Parameters
    ----------
    left, right : array-like of shape (n,)
        The two faces of each pair, as integers into a list of faces.
    same : array-like of shape (n,)
        Whether a pair is genuine, that is both faces show one person; booleans, or 0 and 1.
    n_pairs : int, at least 2
        Largest number of pairs in a batch.
    seed : int, at least 0
        Seed of the private generator.

    Raises
    ------
    ValueError
        If `n_pairs` is below 2, the three arrays differ in length, or all pairs are of one kind.

    Examples
    --------
    >>> sampler = PairSampler([0, 2], [1, 0], [True, False], n_pairs=2, seed=0)
    >>> len(sampler)
    1
    >>> [batch] = sampler.batches(epoch=0)
    >>> batch.rows
    array([0, 1, 2])
    >>> batch.targets
    Pairs(left=tensor([0, 2]), right=tensor([1, 0]), same=tensor([ True, False]))
    """

    def __init__(
        self, left: ArrayLike, right: ArrayLike, same: ArrayLike, n_pairs: int, seed: int
    ) -> None:
        if n_pairs < 2:
            raise ValueError(
                f"n_pairs={n_pairs!r} must be at least 2: a batch takes a genuine and an impostor "
                "pair."
            )
        left, right = np.asarray(left, dtype=np.intp), np.asarray(right, dtype=np.intp)
        same = np.asarray(same, dtype=bool)
        if not len(left) == len(right) == len(same):
            raise ValueError(
                f"left, right and same hold {len(left)}, {len(right)} and {len(same)} values: each "
                "pair takes one of all three."
            )
        n_genuine = int(same.sum())
        if n_genuine in (0, len(same)):
            raise ValueError(
                f"Training needs pairs of both kinds; of the {len(same)} pairs given {n_genuine} "
                "show one person and the others two. Add pairs of the kind that is missing."
            )
        self.seed = seed
        self._faces = np.stack([left, right])
        self._same = same
        self._n_batches = -(-len(same) // n_pairs)

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return self._n_batches

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        Parameters
        ----------
        epoch : int, at least 0
            Number of the epoch.

        Yields
        ------
        Batch
            `rows`, the distinct faces of the batch in rising order, an array of shape (n_faces,)
            with n_faces at most 2 * `n_pairs`; and as `targets` a `skface.nn.mining.Pairs` of
            positions in `rows`.
        """
        rng = np.random.default_rng([self.seed, epoch])
        genuine, impostor = np.flatnonzero(self._same), np.flatnonzero(~self._same)
        # Batch i takes every len(self)-th pair from i on, so both kinds are distributed evenly.
        pairs = np.concatenate([rng.permutation(genuine), rng.permutation(impostor)])
        for first in rng.permutation(len(self)):
            chosen = pairs[first :: len(self)]
            rows, positions = np.unique(self._faces[:, chosen].ravel(), return_inverse=True)
            left, right = torch.from_numpy(positions).chunk(2)
            yield Batch(rows, Pairs(left, right, torch.from_numpy(self._same[chosen])))


class FaceSampler:
    """Sample batches of faces without labels.

    Each face is in one batch per epoch, in random order. The sizes of two batches differ by one at
    most.

    An epoch depends on the seed and its number only, so training can resume at any epoch.

    Parameters
    ----------
    n_faces : int, at least 2
        Number of faces.
    batch_size : int, at least 4
        Largest number of faces in a batch. With at least 4, no batch has a single face.
    seed : int, at least 0
        Seed of the private generator.
    targets : array-like of shape (n_faces, d), default=None
        Target embedding of each face; None if a teacher computes them.

    Raises
    ------
    ValueError
        If `n_faces` is below 2 or `batch_size` below 4.

    Examples
    --------
    >>> sampler = FaceSampler(5, 4, seed=0)
    >>> sorted(len(batch.rows) for batch in sampler.batches(epoch=0))
    [2, 3]
    """

    def __init__(
        self, n_faces: int, batch_size: int, seed: int, targets: ArrayLike | None = None
    ) -> None:
        for name, value, least in (("n_faces", n_faces, 2), ("batch_size", batch_size, 4)):
            if value < least:
                raise ValueError(
                    f"{name}={value!r} must be at least {least}: a batch takes two faces or more."
                )
        self.n_faces = n_faces
        self.seed = seed
        self._n_batches = -(-n_faces // batch_size)
        self._targets = None if targets is None else torch.as_tensor(targets, dtype=torch.float32)

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return self._n_batches

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of one epoch.

        Parameters
        ----------
        epoch : int, at least 0
            Number of the epoch.

        Yields
        ------
        Batch
            `rows`, faces in random order, an array of shape (n_batch,) without duplicates; and as
            `targets` a float32 Tensor of shape (n_batch, d), or None.
        """
        order = np.random.default_rng([self.seed, epoch]).permutation(self.n_faces)
        for rows in np.array_split(order, len(self)):
            yield Batch(rows, None if self._targets is None else self._targets[rows])


def _check_pairs(n_identities: int, counts: NDArray[np.intp]) -> None:
    """Raise a ValueError if labels have no genuine or no impostor pair."""
    n_images = int(counts.sum())
    if n_identities < 2:
        raise ValueError(
            f"Training needs at least two identities; the {n_images} image(s) given "
            f"show {n_identities}. Add images of other people, or use pretrained weights without "
            "training."
        )
    if counts.max() < 2:
        raise ValueError(
            f"Training needs an identity with at least two images; the {n_images} images given "
            f"show {n_identities} identities with one image each. Add a second image of some "
            "people, check that the labels name people rather than images, or use pretrained "
            "weights without training."
        )
