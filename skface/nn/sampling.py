"""Batches of P identities times K images, the diet of the triplet loss."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
    n_identities : int, at least 2
        Identities per batch (P); all of them if there are fewer.
    n_images : int, at least 2
        Images per identity (K).
    seed : int, at least 0
        Seed of the private generator.

    Raises
    ------
    ValueError
        If P or K is below 2, or `labels` cannot give both a genuine and an impostor pair.

    Examples
    --------
    >>> sampler = IdentitySampler(["ann", "ann", "bob", "bob", "bob", "cy"], 2, 2, seed=0)
    >>> len(sampler)
    1
    >>> [batch.size for batch in sampler.batches(epoch=0)]
    [4]
    """

    def __init__(self, labels: ArrayLike, n_identities: int, n_images: int, seed: int) -> None:
        for name, value in (("n_identities", n_identities), ("n_images", n_images)):
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
        self.n_images = n_images
        self.batch_size = n_identities * n_images
        self.seed = seed
        self._repeated = [rows for rows in by_identity if len(rows) > 1]
        self._singles = np.array([rows[0] for rows in by_identity if len(rows) == 1], dtype=np.intp)
        reserved = int(n_identities > 2 and len(self._singles) > 0)
        self._n_dealt = min(n_identities - reserved, len(self._repeated))
        n_repeated_images = sum(map(len, self._repeated))
        self._n_rounds = max(1, round(n_repeated_images / (len(self._repeated) * n_images)))

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return self._n_rounds * -(-len(self._repeated) // self._n_dealt)

    def batches(self, epoch: int) -> Iterator[NDArray[np.intp]]:
        """Yield the batches of one epoch.

        Parameters
        ----------
        epoch : int, at least 0
            Number of the epoch.

        Yields
        ------
        ndarray of shape (n_batch,)
            Rows of `labels`, without duplicates; n_batch is at most P * K.
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
                chosen = [shuffled[i][: self.n_images] for i in dealt]
                n_free = self.batch_size - sum(map(len, chosen))
                # Images and singles take turns: those used go to the end of their queue.
                for i in dealt:
                    shuffled[i] = np.roll(shuffled[i], -self.n_images)
                chosen.append(singles[:n_free])
                singles = np.roll(singles, -n_free)
                yield np.concatenate(chosen)


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
