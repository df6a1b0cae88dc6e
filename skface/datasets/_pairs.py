"""Random pairs of faces."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.random import sample_without_replacement

from skface._utils.validation import encode_labels


def make_pairs(
    identities: ArrayLike,
    *,
    n_genuine: int | None = None,
    n_impostor: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Draw genuine and impostor pairs of faces, without repeats.

    Parameters
    ----------
    identities : array-like of shape (n,)
        The person of each face, of any label type.
    n_genuine : int, default=None
        Number of genuine pairs (same person). None takes all; their number grows with the square of
        the number of faces per person.
    n_impostor : int, default=None
        Number of impostor pairs (two people). None takes as many as there are genuine pairs.
    random_state : int, RandomState instance or None, default=None
        Draws the pairs; an int gives the same pairs each time.

    Returns
    -------
    pairs : Bunch
        ``indices`` (m, 2), integers, so that ``faces[pairs.indices]`` is the X of a verifier;
        ``target`` (m,), 1 for genuine and 0 for impostor pairs, in random order; and
        ``identities`` (m, 2), for `groups` of :class:`skface.IdentityKFold`.

    Raises
    ------
    ValueError
        If there are fewer distinct pairs than requested, or no genuine pair and `n_genuine` is
        None; or if an identity is missing.

    Examples
    --------
    >>> from skface import make_pairs
    >>> pairs = make_pairs(["ann", "ann", "bob", "bob", "cy"], random_state=0)
    >>> pairs.target.sum(), len(pairs.target)
    (np.int64(2), 4)
    """
    identities = np.asarray(identities)
    if identities.ndim != 1 or len(identities) < 2:
        raise ValueError(
            f"identities has shape {identities.shape}; expected (n,), the person on each of two or "
            "more faces."
        )
    rng = check_random_state(random_state)
    people, codes = encode_labels(identities, "identities")
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes)
    n_all_genuine = int((counts * (counts - 1) // 2).sum())
    n_faces = len(codes)
    n_all_impostor = n_faces * (n_faces - 1) // 2 - n_all_genuine
    if n_genuine is None and n_all_genuine == 0:
        raise ValueError(
            f"identities names {len(people)} people with one face each, so there is no genuine "
            "pair. Add more faces of a person, or set n_genuine=0 and n_impostor."
        )
    n_genuine = n_all_genuine if n_genuine is None else n_genuine
    n_impostor = min(n_genuine, n_all_impostor) if n_impostor is None else n_impostor
    for name, asked, available in (
        ("n_genuine", n_genuine, n_all_genuine),
        ("n_impostor", n_impostor, n_all_impostor),
    ):
        if not 0 <= asked <= available:
            raise ValueError(
                f"{name}={asked}, but {n_faces} faces of {len(people)} people give between 0 and "
                f"{available} such pairs."
            )
    genuine = _draw_genuine(order, counts, n_genuine, n_all_genuine, rng)
    impostor = _draw_impostors(order, counts, n_impostor, n_all_impostor, rng)
    indices = np.concatenate([genuine, impostor])
    target = np.repeat([1, 0], [len(genuine), len(impostor)])
    mixed = rng.permutation(len(target))
    indices, target = indices[mixed], target[mixed]
    return Bunch(indices=indices, target=target, identities=identities[indices])


def _draw_genuine(
    order: np.ndarray,
    counts: np.ndarray,
    n_wanted: int,
    n_all: int,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Draw ranks of genuine pairs; turn each into a person and two faces of that person."""
    ranks = _draw_ranks(n_all, n_wanted, rng)
    per_person = counts * (counts - 1) // 2
    ends = np.cumsum(per_person)
    person = np.searchsorted(ends, ranks, side="right")
    second, first = _pair_of_rank(ranks - (ends - per_person)[person])
    start = (np.cumsum(counts) - counts)[person]
    return np.column_stack([order[start + first], order[start + second]])


def _draw_impostors(
    order: np.ndarray,
    counts: np.ndarray,
    n_wanted: int,
    n_all: int,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Draw ranks of impostor pairs; turn each into a face and one of people earlier in `order`."""
    ranks = _draw_ranks(n_all, n_wanted, rng)
    n_before = np.repeat(np.cumsum(counts) - counts, counts)
    ends = np.cumsum(n_before)
    second = np.searchsorted(ends, ranks, side="right")
    first = ranks - (ends - n_before)[second]
    return np.column_stack([order[first], order[second]])


def _draw_ranks(n_all: int, n_wanted: int, rng: np.random.RandomState) -> np.ndarray:
    return sample_without_replacement(n_all, n_wanted, random_state=rng).astype(np.int64)


def _pair_of_rank(rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs (i, j), i > j, that are numbered i (i - 1) / 2 + j."""
    i = ((1 + np.sqrt(1 + 8 * rank.astype(np.float64))) // 2).astype(np.int64)
    # the square root is inexact for large numbers
    i -= i * (i - 1) // 2 > rank
    i += i * (i + 1) // 2 <= rank
    return i, rank - i * (i - 1) // 2
