"""Train on some people and verify others: AT&T, celebrities, LFW, beside what training has to beat.

    python tests/benchmarks/training_accuracy.py FOLDER [--data att celebrities lfw] [--seeds 3]

FOLDER holds ``att_faces/s1/1.pgm``, ``celebrities/NAME/*.jpg`` (aligned, 112 x 112) and
``lfw_home`` as scikit-learn lays it out. Weights are looked up as usual: set SKFACE_HOME to the
folder that holds them. Every figure is of people that nothing was trained or chosen on.
"""

import argparse
import functools
import statistics
import time
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.pipeline import make_union
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import Bunch

from skface import (
    FaceAligner,
    FaceNetEmbedder,
    PerFace,
    blend_people,
    load_face_folder,
    load_lfw_pairs,
    make_pairs,
)
from skface._rows import decode
from skface.alignment import GEOMETRIES
from skface.metrics import equal_error_rate, tar_at_far
from skface.nn.augment import Augmentation

N_TOGETHER = 8  # as many as train in the five minutes of the task
WEIGHTS = "face-reidentification-retail-0095"
SOFTMAX = {"loss": "arcface", "margin": 0.3, "weight_decay": 0.05}
# What was best for people within the training sets, in the time that two cores have.
FROM_SCRATCH = {
    # one studio with one light: how bright a face is tells people apart
    "att": {
        **SOFTMAX,
        "image_shape": (56, 46),
        "max_epochs": 60,
        "n_identities_per_batch": 15,
        "augment": Augmentation(brightness=0.0, contrast=0.0),
    },
    "celebrities": {
        **SOFTMAX,
        "image_shape": (64, 64),
        "max_epochs": 6,  # eight people are soon known by heart
        "n_identities_per_batch": 8,
        "n_images_per_identity": 8,
    },
    # most people have one or two photos: too little for a class of their own
    "lfw": {
        "image_shape": (64, 64),
        "max_epochs": 20,
        "n_identities_per_batch": 32,
        "n_images_per_identity": 2,
    },
}
# Thirty people, and five blends of each: more to tell apart, so fewer epochs, of larger batches.
BLENDED = {**FROM_SCRATCH["att"], "max_epochs": 20, "n_identities_per_batch": 30}
FINE_TUNED = {
    "trainable": "all",
    "learning_rate": 1e-4,
    "n_identities_per_batch": 8,
    "n_images_per_identity": 4,
}


def load_att(folder: Path, seed: int) -> tuple[Bunch, Bunch]:
    """Return people s1 to s30 to train on, and all pairs of s31 to s40."""
    photos = load_face_folder(folder / "att_faces")
    photos.data = np.stack([decode(path) for path in photos.data])
    people = np.array([int(name[1:]) for name in photos.target_names])[photos.target]
    first, second = np.triu_indices(np.count_nonzero(people > 30), 1)
    test = people[people > 30]
    return (
        Bunch(data=photos.data[people <= 30], target=people[people <= 30]),
        Bunch(
            faces=photos.data[people > 30],
            indices=np.column_stack([first, second]),
            target=(test[first] == test[second]).astype(int),
        ),
    )


def load_celebrities(folder: Path, seed: int) -> tuple[Bunch, Bunch]:
    """Return 8 people to train on, other ones for each seed, and pairs of the 4 others."""
    photos = load_face_folder(folder / "celebrities")
    held_out = np.random.default_rng(seed).choice(len(photos.target_names), 4, replace=False)
    is_test = np.isin(photos.target, held_out)
    pairs = make_pairs(
        photos.target[is_test], n_genuine=20_000, n_impostor=20_000, random_state=seed
    )
    faces = [np.stack([decode(path) for path in photos.data[part]]) for part in (~is_test, is_test)]
    return (
        Bunch(data=faces[0], target=photos.target[~is_test]),
        Bunch(faces=faces[1], indices=pairs.indices, target=pairs.target),
    )


def load_lfw(folder: Path, seed: int) -> tuple[Bunch, Bunch]:
    """Return every photo of the people of DevTrain, and the pairs of DevTest, aligned."""
    return align_lfw(folder)


@functools.cache
def align_lfw(folder: Path) -> tuple[Bunch, Bunch]:
    """Find and align the faces, once for all seeds."""
    train, test = (load_lfw_pairs(folder, subset) for subset in ("train", "test"))
    people = {Path(path).parent for path in train.data.ravel()}
    photos = np.array([str(path) for person in sorted(people) for path in person.glob("*.jpg")])
    places, slots = np.unique(test.data.ravel(), return_inverse=True)
    aligner = FaceAligner("arcface-112", detector="yunet", face_policy="center").fit(photos[:1])
    learned, shown = aligner.transform(photos), aligner.transform(places)
    names = np.array([Path(path).parent.name for path in photos])
    return (
        Bunch(data=learned, target=names),
        Bunch(faces=shown, indices=slots.reshape(-1, 2), target=test.target),
    )


DATA = {"att": load_att, "celebrities": load_celebrities, "lfw": load_lfw}


class Blended(TransformerMixin, BaseEstimator):
    """An embedder that learns from people blended of those given, too."""

    def __init__(self, embedder: FaceNetEmbedder) -> None:
        self.embedder = embedder

    def fit(self, X: np.ndarray, y: np.ndarray) -> "Blended":
        """Blend people, and fit the embedder."""
        more = blend_people(X, y, random_state=self.embedder.random_state)
        self.embedder_ = clone(self.embedder).fit(more.data, more.target)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Embed faces."""
        return self.embedder_.transform(X)


def methods(name: str, seed: int) -> dict[str, object]:
    """Return what is compared on a data set, by the name of its row."""
    scratch = FaceNetEmbedder(weights=None, flip=True, random_state=seed, **FROM_SCRATCH[name])
    pretrained = FaceNetEmbedder(weights=WEIGHTS, flip=True, random_state=seed)
    pca = PCA(100, whiten=True, svd_solver="randomized", random_state=seed)
    compared = {
        "raw pixels": PerFace(FunctionTransformer()),
        "PCA, 100 components": PerFace(pca),
        "the network untrained": clone(scratch).set_params(trainable="none"),
        "trained from scratch": scratch,
    }
    if name == "att":  # so few people that networks err on different ones
        blended = [
            Blended(FaceNetEmbedder(weights=None, flip=True, random_state=8 * seed + i, **BLENDED))
            for i in range(N_TOGETHER)
        ]
        compared["trained from scratch on blended people too"] = blended[0]
        compared[f"{N_TOGETHER} such networks together"] = make_union(*blended)
    if name != "lfw":  # where these weights are at their limit already
        compared[f"{WEIGHTS}, frozen"] = pretrained
        compared["the same, fine-tuned"] = clone(pretrained).set_params(
            max_epochs=5 if name == "att" else 1, **FINE_TUNED
        )
    return compared


def embed(method: object, train: Bunch, test: Bunch) -> np.ndarray:
    """Fit a method on the people to train on, and embed the faces of the others."""
    faces = train.data, test.faces
    if getattr(method, "weights", None) is not None:
        faces = [recrop(part) for part in faces]
    return method.fit(faces[0], train.target).transform(faces[1])


def recrop(faces: np.ndarray) -> np.ndarray:
    """Warp crops to what the weights want; AT&T's photos are taken as they are, stretched."""
    if faces.shape[1:3] != (112, 112):
        return faces

    def known_landmarks(face: np.ndarray) -> np.ndarray:
        points = GEOMETRIES["arcface-112"].points
        return np.concatenate([[20, 25, 72, 80], points.ravel(), [1.0]])[None]

    return FaceAligner(WEIGHTS, detector=known_landmarks).fit(faces[:1]).transform(faces)


def main() -> None:
    """Print a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", nargs="+", default=[""], help="only rows that contain these")
    args = parser.parse_args()
    for name in args.data:
        measured: dict[str, list[tuple[float, float, float]]] = {}
        for seed in range(args.seeds):
            train, test = DATA[name](args.folder, seed)
            for row, method in methods(name, seed).items():
                if not any(part in row for part in args.rows):
                    continue
                started = time.perf_counter()
                vectors = embed(method, train, test)
                seconds = time.perf_counter() - started
                scores = cosine(vectors, test.indices)
                eer = equal_error_rate(test.target, scores).rate
                tar = tar_at_far(test.target, scores, 1e-2)
                measured.setdefault(row, []).append((eer, tar, seconds))
                print(
                    f"seed {seed}  {row}: EER {eer:.2%}, TAR {tar:.2%}, {seconds:.0f} s", flush=True
                )
        report(name, train, test, measured)


def cosine(vectors: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair; NaN for faces that were not found."""
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    left, right = indices.T
    return (vectors @ vectors.T)[left, right]  # pairs are many, and pixels are long


def report(name: str, train: Bunch, test: Bunch, measured: dict) -> None:
    """Print mean and standard deviation over the seeds."""
    n_people = len(np.unique(train.target))
    print(
        f"\n{name}: trained on {len(train.target):,} photos of {n_people} people; "
        f"{test.target.sum():,} same and {(test.target == 0).sum():,} different pairs of others\n"
    )
    print("| | EER | TAR at FAR 1 % | seconds |\n|---|---|---|---|")
    for row, figures in measured.items():
        cells = []
        for values in list(zip(*figures, strict=True))[:2]:
            spread = f" ± {statistics.stdev(values):.1%}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.1%}{spread}")
        seconds = statistics.mean(figure[2] for figure in figures)
        print(f"| {row} | {cells[0]} | {cells[1]} | {seconds:.0f} |")
    print(flush=True)


if __name__ == "__main__":
    main()
