"""The faces that a network is trained on: collected from rows, held out, handed out in batches."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.utils import Bunch
from sklearn.utils.validation import column_or_1d

from skface._network import Network
from skface._validation import encode_labels, name_some
from skface.datasets import make_pairs
from skface.images import Rows, iter_batches
from skface.pairs import check_same, identities_from_pairs, row_images

_MOST_VALIDATION_PAIRS = 50_000  # of each kind: enough to tell epochs apart
_MOST_CACHED_BYTES = 2**29  # of decoded training faces
_READ_AT_A_TIME = 64


@dataclass(frozen=True)
class TrainingSet:
    """The distinct faces to train on, and what is known about them.

    Attributes
    ----------
    rows : Rows
        Where the faces are.
    places : ndarray of shape (n_faces,)
        Which images of ``rows`` they are.
    identities : ndarray of shape (n_faces,) or None
        Who they show, as integers.
    pairs : ndarray of shape (n_pairs, 3) or None
        Labelled pairs of faces: two numbers below n_faces, and 1 for the same person.
    classes : ndarray of shape (2,)
        The labels of pairs, the last one meaning the same person.
    targets : ndarray of shape (n_faces, d) or None
        What each face is to be embedded as, of unit length.
    """

    rows: Rows
    places: np.ndarray
    identities: np.ndarray | None
    pairs: np.ndarray | None
    classes: np.ndarray
    targets: np.ndarray | None = None

    @property
    def is_unlabelled(self) -> bool:
        """Whether nothing is known of who the faces show, so that embeddings are imitated."""
        return self.identities is None and self.pairs is None

    def keep(self, chosen: np.ndarray) -> "TrainingSet":
        """Keep the faces that a mask marks, and the pairs of two of them."""
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
        """Split by people: those to train on, and some with two faces or more to validate on.

        Faces of which nobody says whom they show are split one by one.

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
                f"early_stopping=True holds {n_held_out} people with two faces or more out "
                f"(validation_fraction={fraction!r}), which of the {len(people)} there are leaves "
                "too few to train on. Set early_stopping=False, or add people."
            )
        held_out = np.random.default_rng(seed).choice(people, n_held_out, replace=False)
        chosen = np.isin(self.identities, held_out)
        learnt = self.keep(~chosen)
        if learnt.pairs is not None and len(np.unique(learnt.pairs[:, 2])) < 2:
            raise ValueError(
                f"early_stopping=True holds {n_held_out} people out (validation_fraction="
                f"{fraction!r}), which leaves {len(learnt.pairs)} of the {len(self.pairs)} pairs "
                "to train on, and not both of same and of different people. Set "
                "early_stopping=False, or add pairs."
            )
        return learnt, self.keep(chosen)

    def _hold_out_faces(self, fraction: float, seed: int) -> tuple["TrainingSet", "TrainingSet"]:
        n_faces = len(self.places)
        n_held_out = max(2, round(fraction * n_faces))
        if n_held_out + 2 > n_faces:
            raise ValueError(
                f"early_stopping=True holds {n_held_out} faces out (validation_fraction="
                f"{fraction!r}), which of the {n_faces} there are leaves too few to train on. Set "
                "early_stopping=False, or add faces."
            )
        chosen = np.zeros(n_faces, dtype=bool)
        chosen[np.random.default_rng(seed).choice(n_faces, n_held_out, replace=False)] = True
        return self.keep(~chosen), self.keep(chosen)


def collect_faces(rows: Rows, y: Any, *, want_pairs: bool, want_identities: bool) -> TrainingSet:
    """Collect the distinct faces that were found, with what `y` says about them.

    Parameters
    ----------
    rows : Rows
        Faces or pairs.
    y : array-like of shape (n_rows,)
        For faces the identities; for pairs two labels, the larger one meaning the same person.
    want_pairs : bool
        Whether pairs are wanted as they are labelled.
    want_identities : bool
        Whether identities are wanted, to be recovered from pairs where rows are pairs.

    Returns
    -------
    TrainingSet
        Faces that an earlier step did not find are left out.

    Raises
    ------
    ValueError
        If `y` is not as described, or labels of pairs contradict each other.
    """
    places, inverse = row_images(rows)
    identities = pairs = None
    classes = np.array([0, 1])
    if rows.arity == 1:
        y = column_or_1d(y, warn=True)
        if len(y) != rows.n_rows:
            raise ValueError(f"y has {len(y)} labels, but X has {rows.n_rows} rows.")
        identities = encode_labels(y, "y")[1]
    else:
        same = check_same(y, rows.n_rows)
        classes = np.unique(y)
        left, right = inverse.reshape(-1, 2).T
        if want_pairs:
            pairs = np.column_stack([left, right, same])
        if want_identities:
            identities = identities_from_pairs(left, right, same, len(places))
    found = rows.images.found(places)
    return TrainingSet(rows, places, identities, pairs, classes).keep(found)


def collect_unlabelled(rows: Rows, targets: Any = None) -> TrainingSet:
    """Collect the distinct faces that were found, to be embedded as somebody says.

    Parameters
    ----------
    rows : Rows
        Faces, or pairs of them if a teacher gives the targets.
    targets : array-like of shape (n_rows, d), default=None
        What each face is to be embedded as, of any length above 0; None if a teacher says that.

    Returns
    -------
    TrainingSet
        Faces that an earlier step did not find are left out.

    Raises
    ------
    ValueError
        If `targets` are no embeddings, one for each face.
    """
    places, _ = row_images(rows)
    found = rows.images.found(places)
    if targets is not None:
        targets = _check_targets(targets, rows, found)
    faces = TrainingSet(rows, places, None, None, np.array([0, 1]), targets).keep(found)
    if len(faces.places) < 2:
        raise ValueError(
            f"X holds {len(faces.places)} face(s) to train on; batch normalisation needs two."
        )
    return faces


def _check_targets(targets: Any, rows: Rows, found: np.ndarray) -> np.ndarray:
    """Return unit vectors, one for each face; anything for faces that were not found."""
    if rows.arity != 1:
        raise ValueError(
            f"y of shape {targets.shape} holds embeddings to imitate, which belong to faces, but X "
            "holds pairs. Pass the faces, or a teacher."
        )
    if len(targets) != rows.n_rows:
        raise ValueError(f"y has {len(targets)} embeddings, but X has {rows.n_rows} rows.")
    norms = np.linalg.norm(targets.astype(np.float64), axis=1, keepdims=True)
    usable = np.isfinite(norms) & (norms > 0)
    bad = np.flatnonzero(found & ~usable[:, 0])
    if len(bad):
        raise ValueError(
            f"y holds no embedding, but NaN, infinity or only zeros, in row {name_some(bad)}. "
            "Leave these faces out."
        )
    return (targets / np.where(usable, norms, 1)).astype(np.float32)


class FaceCache:
    """Gives the faces of a training set to the network, as its input.

    All of them are read once at the start, so that a bad file is found before hours of training.
    Decoded pixels are kept, as bytes, if those of all faces fit into half a gigabyte.

    Parameters
    ----------
    network : Network
        The network.
    faces : TrainingSet
        The faces.
    device : torch.device
        Where to put them.
    """

    def __init__(self, network: Network, faces: TrainingSet, device: torch.device) -> None:
        self.network = network
        self.faces = faces
        self.device = device
        self._pixels = None
        # Convolutions follow the layout of the images, and on a CPU are faster channels last. A
        # backbone that the caller wrote may count on the usual one, such as for `view`.
        self._layout = torch.contiguous_format
        if network.preprocessing is not None:
            if device.type == "cpu" and isinstance(network.backbone, str):
                self._layout = torch.channels_last
            shape = (len(faces.places), *network.input_shape[1:], 3)
            if np.prod(shape, dtype=np.int64) <= _MOST_CACHED_BYTES:
                self._pixels = np.empty(shape, dtype=np.uint8)
        self._read_all()

    def __call__(self, rows: np.ndarray) -> torch.Tensor:
        return self._inputs(rows).contiguous(memory_format=self._layout)

    def _inputs(self, rows: np.ndarray) -> torch.Tensor:
        if self._pixels is None:
            return torch.from_numpy(self.network.inputs(self._decode(rows))).to(self.device)
        pixels = torch.from_numpy(self._pixels[rows])
        return self.network.standardize(pixels.to(self.device, non_blocking=True))

    def _read_all(self) -> None:
        start = 0
        for _, faces in iter_batches(self.faces.rows.images, self.faces.places, _READ_AT_A_TIME):
            if self._pixels is not None:
                to_bytes = self.network.preprocessing.to_bytes
                self._pixels[start : start + len(faces)] = [to_bytes(face) for face in faces]
            start += len(faces)

    def _decode(self, rows: np.ndarray) -> list[np.ndarray]:
        images, places = self.faces.rows.images, self.faces.places[rows]
        ((_, faces),) = iter_batches(images, places, len(places))
        return faces


def validation_pairs(identities: np.ndarray) -> Bunch:
    """Return all pairs of labelled faces, or a sample where there are very many."""
    counts = np.bincount(identities)
    n_genuine = int((counts * (counts - 1) // 2).sum())
    n_impostor = len(identities) * (len(identities) - 1) // 2 - n_genuine
    return make_pairs(
        identities,
        n_genuine=min(n_genuine, _MOST_VALIDATION_PAIRS),
        n_impostor=min(n_impostor, _MOST_VALIDATION_PAIRS),
        random_state=0,
    )
