"""TrainingSet: the distinct faces to train on, with their labels, and faces held out."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch
from sklearn.utils.validation import column_or_1d

from skface._rows import (
    Rows,
    check_pair_labels,
    distinct_indices,
    identities_from_pairs,
)
from skface._utils.validation import encode_labels, format_items
from skface._utils.vectors import unit_vectors
from skface.datasets import make_pairs

_MOST_VALIDATION_PAIRS = 50_000  # of each kind, which is enough to compare epochs


@dataclass(frozen=True)
class TrainingSet:
    """The distinct faces to train on, with their labels.

    Attributes
    ----------
    rows : Rows
        The rows that hold the faces.
    places : ndarray of shape (n_faces,)
        Index of each face among the images of `rows`.
    identities : ndarray of shape (n_faces,) or None
        Identity of each face, as integers.
    pairs : ndarray of shape (n_pairs, 3) or None
        Labeled pairs: the indices of two faces, and 1 for a genuine pair, else 0.
    classes : ndarray of shape (2,)
        The labels of pairs. The last one means the same person.
    targets : ndarray of shape (n_faces, d) or None
        Target embedding of each face, of unit length.
    """

    rows: Rows
    places: NDArray[Any]
    identities: NDArray[Any] | None
    pairs: NDArray[Any] | None
    classes: NDArray[Any]
    targets: NDArray[Any] | None = None

    def keep(self, chosen: NDArray[Any]) -> "TrainingSet":
        """Return the faces that a mask selects, and the pairs of two of them."""
        pairs = self.pairs
        if pairs is not None:
            number = np.cumsum(chosen) - 1
            kept = pairs[chosen[pairs[:, 0]] & chosen[pairs[:, 1]]]
            pairs = np.column_stack([number[kept[:, :2]], kept[:, 2]])
        identities = None if self.identities is None else self.identities[chosen]
        targets = None if self.targets is None else self.targets[chosen]
        places = self.places[chosen]
        return replace(self, places=places, identities=identities, pairs=pairs, targets=targets)

    def hold_out(self, fraction: float, seed: int) -> tuple["TrainingSet", "TrainingSet"]:
        """Split by identity into faces to train on and faces to validate on.

        Identities to validate on have two faces or more. Faces without identities are split
        individually.

        Raises
        ------
        ValueError
            If too few people or faces, or pairs of one kind only, are left to train on.
        """
        if self.identities is None:
            return self._hold_out_faces(fraction, seed)
        counts = np.bincount(self.identities)
        people = np.flatnonzero(counts >= 2)
        n_held_out = max(2, round(fraction * len(people)))
        if n_held_out >= len(people) or n_held_out + 2 > np.count_nonzero(counts):
            raise ValueError(
                f"early_stopping=True holds out {n_held_out} of {len(people)} people with two "
                f"faces or more (validation_fraction={fraction!r}), which leaves too few to train "
                "on. Set early_stopping=False, or add people."
            )
        held_out = np.random.default_rng(seed).choice(people, n_held_out, replace=False)
        chosen = np.isin(self.identities, held_out)
        learned = self.keep(~chosen)
        if learned.pairs is not None and len(np.unique(learned.pairs[:, 2])) < 2:
            raise ValueError(
                f"early_stopping=True holds out {n_held_out} people (validation_fraction="
                f"{fraction!r}), which leaves {len(learned.pairs)} pairs to train on, and not both "
                "genuine and impostor pairs. Set early_stopping=False, or add pairs."
            )
        return learned, self.keep(chosen)

    def _hold_out_faces(self, fraction: float, seed: int) -> tuple["TrainingSet", "TrainingSet"]:
        n_faces = len(self.places)
        n_held_out = max(2, round(fraction * n_faces))
        if n_held_out + 2 > n_faces:
            raise ValueError(
                f"early_stopping=True holds out {n_held_out} of {n_faces} faces "
                f"(validation_fraction={fraction!r}), which leaves too few to train on. Set "
                "early_stopping=False, or add faces."
            )
        chosen = np.zeros(n_faces, dtype=bool)
        chosen[np.random.default_rng(seed).choice(n_faces, n_held_out, replace=False)] = True
        return self.keep(~chosen), self.keep(chosen)


def collect_faces(
    rows: Rows, y: Any, name: str, *, want_pairs: bool, want_identities: bool
) -> TrainingSet:
    """Collect the distinct faces that were found, with their labels.

    Parameters
    ----------
    rows : Rows
        Faces or pairs.
    y : array-like of shape (n_rows,)
        For faces the identities; for pairs two labels, of which the last in sorted order means
        the same person.
    name : str
        Name of the estimator, for messages.
    want_pairs : bool
        Whether to keep labeled pairs as they are.
    want_identities : bool
        Whether to recover identities from labeled pairs.

    Returns
    -------
    TrainingSet
        Without the faces that an earlier step did not find.

    Raises
    ------
    ValueError
        If `y` is not as described, or labels of pairs contradict each other.
    """
    if y is None:
        raise ValueError(
            f"This {name} estimator requires y to be passed, but the target y is None: identities "
            "for faces, same or different for pairs."
        )
    if is_float_matrix(y):
        raise ValueError(
            f"y of shape {np.shape(y)} holds a vector per row, but {name} learns from labels. Use "
            "DistilledEmbedder to learn target embeddings."
        )
    places, inverse = distinct_indices(rows)
    identities = pairs = None
    classes = np.array([0, 1])
    if rows.arity == 1:
        y = column_or_1d(y, warn=True)
        if len(y) != rows.n_rows:
            raise ValueError(f"y has {len(y)} labels, but X has {rows.n_rows} rows.")
        identities = encode_labels(y, "y")[1]
    else:
        same = check_pair_labels(y, rows.n_rows)
        classes = np.unique(y)
        left, right = inverse.reshape(-1, 2).T
        if want_pairs:
            pairs = np.column_stack([left, right, same])
        if want_identities:
            identities = identities_from_pairs(left, right, same, len(places))
    found = rows.images.found(places)
    return TrainingSet(rows, places, identities, pairs, classes).keep(found)


def is_float_matrix(y: Any) -> bool:
    """Return whether targets of a fit are vectors, (n, d) floats with d above 1, not labels."""
    y = np.asarray(y)
    return y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind == "f"


def collect_unlabeled(rows: Rows, targets: NDArray[Any] | None = None) -> TrainingSet:
    """Collect the distinct faces that were found, with target embeddings if there are any.

    Parameters
    ----------
    rows : Rows
        Faces; without targets also pairs.
    targets : ndarray of shape (n_rows, d), default=None
        Target embedding of each face, of any length above 0. None if a teacher gives them.

    Returns
    -------
    TrainingSet
        Without the faces that an earlier step did not find.

    Raises
    ------
    ValueError
        If `targets` are not embeddings, one for each face, or if fewer than two faces are left.
    """
    places, _ = distinct_indices(rows)
    found = rows.images.found(places)
    if targets is not None:
        targets = _check_targets(targets, rows, found)
    faces = TrainingSet(rows, places, None, None, np.array([0, 1]), targets).keep(found)
    if len(faces.places) < 2:
        raise ValueError(
            f"X holds {len(faces.places)} distinct face(s) that were found, but training needs two."
        )
    return faces


def _check_targets(
    targets: NDArray[Any], rows: Rows, found: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the targets as unit vectors; NaN where a face was not found."""
    if rows.arity != 1:
        raise ValueError(
            f"y of shape {targets.shape} holds one embedding per row, but X holds pairs. Pass "
            "faces, or a teacher."
        )
    if len(targets) != rows.n_rows:
        raise ValueError(f"y has {len(targets)} embeddings, but X has {rows.n_rows} rows.")
    unit, usable = unit_vectors(targets)
    bad = np.flatnonzero(found & ~usable)
    if len(bad):
        raise ValueError(
            f"y holds NaN, infinity or only zeros instead of an embedding in row "
            f"{format_items(bad)}. Leave these faces out."
        )
    return unit.astype(np.float32)


def validation_pairs(identities: NDArray[Any]) -> Bunch:
    """Return all pairs of faces with identities, or a sample if there are too many."""
    counts = np.bincount(identities)
    n_genuine = int((counts * (counts - 1) // 2).sum())
    n_impostor = len(identities) * (len(identities) - 1) // 2 - n_genuine
    return make_pairs(
        identities,
        n_genuine=min(n_genuine, _MOST_VALIDATION_PAIRS),
        n_impostor=min(n_impostor, _MOST_VALIDATION_PAIRS),
        random_state=0,
    )
