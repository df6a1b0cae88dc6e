"""Batches to train on: of P identities times K images, of labelled pairs, or of any faces."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from skface.nn.mining import Pairs


class Batch(NamedTuple):
    """Distinct rows of the training images, and what a loss is told about them.

    The targets are the identity of each row, pairs of positions in `rows`, an embedding for each
    row, or None if a teacher is to say.
    """

    rows: NDArray[np.intp]
    targets: Tensor | Pairs | None


class Sampler(Protocol):
    """What yields the batches of an epoch, which depends on the number of the epoch alone."""

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
    """Deal the images of a labelled set into batches of P identities times K images.

    An epoch is about one pass over the images: as many rounds as an identity has images, on
    average, for K at a time. Each round visits every identity that has two images or more once, in
    a new order, with the next K of its shuffled images (all of them when it has fewer). A last
    batch that falls short is topped up with identities already visited. People with a single image
    cannot be anchors: they serve as additional negatives and take the place of one identity per
    batch (when P > 2) as well as every slot that identities with fewer than K images leave free. A
    batch holds at most P * K images and always at least one genuine and one impostor pair.

    An epoch depends on the seed and its number alone, so training can resume anywhere.

    Parameters
    ----------
    labels : array-like of shape (n,)
        Identity of each image, of any sortable type.
    n_identities_per_batch : int, at least 2
        Identities per batch (P); all of them if there are fewer.
    n_images_per_identity : int, at least 2
        Images per identity (K).
    seed : int, at least 0
        Seed of the private generator.

    Attributes
    ----------
    n_identities : int
        Number of identities in `labels`, people with a single image included.

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
        self._n_dealt = min(n_identities_per_batch - reserved, len(self._repeated))
        n_images = sum(map(len, self._repeated))
        n_images_per_round = len(self._repeated) * n_images_per_identity
        self._n_rounds = max(1, round(n_images / n_images_per_round))

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return self._n_rounds * -(-len(self._repeated) // self._n_dealt)

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
            for start in range(0, len(identities), self._n_dealt):
                dealt = identities[start : start + self._n_dealt]
                missing = self._n_dealt - len(dealt)
                if missing:
                    top_up = rng.choice(identities[:start], missing, replace=False)
                    dealt = np.concatenate([dealt, top_up])
                chosen = [shuffled[i][: self.n_images_per_identity] for i in dealt]
                n_free = self.batch_size - sum(map(len, chosen))
                # Images and singles take turns: those used go to the end of their queue.
                for i in dealt:
                    shuffled[i] = np.roll(shuffled[i], -self.n_images_per_identity)
                chosen.append(singles[:n_free])
                singles = np.roll(singles, -n_free)
                rows = np.concatenate(chosen)
                yield Batch(rows, self._codes[rows])


class PairSampler:
    """Deal labelled pairs of faces into batches.

    Each pair comes once per epoch. Both kinds, genuine and impostor, are spread evenly: every
    batch holds both wherever there are enough of each, and the sizes of two batches differ by one
    pair at most.

    An epoch depends on the seed and its number alone, so training can resume anywhere.

    Parameters
    ----------
    left, right : array-like of shape (n,)
        The two faces of each pair, as integers into a list of faces.
    same : array-like of shape (n,)
        Whether both faces of a pair show one person, as booleans or 0 and 1.
    n_pairs : int, at least 2
        Most pairs of a batch.
    seed : int, at least 0
        Seed of the private generator.

    Raises
    ------
    ValueError
        If `n_pairs` is below 2, the three arrays differ in length, or one of the two kinds of
        pairs is missing.

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
        """Count the batches of an epoch."""
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
        # Dealt one by one like cards, so that each kind is spread evenly.
        deck = np.concatenate([rng.permutation(genuine), rng.permutation(impostor)])
        for first in rng.permutation(len(self)):
            dealt = deck[first :: len(self)]
            rows, positions = np.unique(self._faces[:, dealt].ravel(), return_inverse=True)
            left, right = torch.from_numpy(positions).chunk(2)
            yield Batch(rows, Pairs(left, right, torch.from_numpy(self._same[dealt])))


class FaceSampler:
    """Deal faces into batches, whoever they show.

    Each face comes once per epoch, in a new order; the sizes of two batches differ by one at most.

    An epoch depends on the seed and its number alone, so training can resume anywhere.

    Parameters
    ----------
    n_faces : int, at least 2
        Number of faces.
    batch_size : int, at least 4
        Most faces of a batch, so that none is alone in one.
    seed : int, at least 0
        Seed of the private generator.
    targets : array-like of shape (n_faces, d), default=None
        What each face is to be embedded as, if no teacher says that.

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
        """Count the batches of an epoch."""
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
    """Refuse labels without a genuine or without an impostor pair."""
    n_images = int(counts.sum())
    if n_identities < 2:
        raise ValueError(
            f"Training needs at least two identities to tell apart; the {n_images} image(s) given "
            f"show {n_identities}. Add images of other people, or use pretrained weights as they "
            "are."
        )
    if counts.max() < 2:
        raise ValueError(
            f"Training needs an identity with at least two images; the {n_images} images given "
            f"show {n_identities} identities with one image each. Add a second image of some "
            "people, check that the labels name people rather than images, or use pretrained "
            "weights as they are."
        )
