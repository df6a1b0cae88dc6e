"""Train a small network to imitate a larger one, on photos whose labels are not used.

    python tools/train_mini.py OUT --photos FOLDER [FOLDER ...] [--crops FOLDER ...]

Folders hold one folder per person. A few people are held out to watch the training, and OUT gets:

    crops.npz                 the faces, cut out once
    curve.csv                 a line per epoch, as it is printed
    checkpoints/              from which the same command goes on if it was killed
    iresnet-mini.safetensors  the network of the last epoch, in half precision

Who a photo shows is used for nothing but holding people out. Weights are looked up as usual: set
SKFACE_HOME to the folder that holds those of the detector and the teacher.
"""

import argparse
import csv
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file

from skface import FaceAligner, FaceNetEmbedder, OnnxEmbedder, load_face_folder, make_pairs
from skface.align import GEOMETRIES, fit_similarity
from skface.images import decode
from skface.metrics import equal_error_rate
from skface.nn.augment import Augmentation

CROP = "open-model-zoo-128"
VARIATION = Augmentation(
    shift=0.03,
    zoom=0.1,
    rotation=10,
    brightness=0.12,
    contrast=0.4,
    blur=0.3,
    blur_sigma=0.02,
    erase=0,
    tint=0.1,
    grey=0.1,
    blend=0.65,
)


def main() -> None:
    """Cut faces out, hold people out, train, and store the network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", nargs="+", default=[], help="folders of photos to align")
    parser.add_argument("--crops", nargs="*", default=[], help="folders of 'arcface-112' crops")
    parser.add_argument("--test", help="photos of people to watch beside those held out")
    parser.add_argument("--teacher", default="face-reidentification-retail-0095")
    parser.add_argument("--start", help="weights of an earlier run to start from")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--hold-out", type=float, default=0.05, help="share of people per folder")
    parser.add_argument("--n-jobs", type=int)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    faces, people, held_out = load_crops(args)
    test = {"held out": (faces[held_out], people[held_out])}
    if args.test:
        test["test"] = align(load_face_folder(args.test), args.n_jobs)
    teacher = OnnxEmbedder(args.teacher).fit(faces[:1])
    embedder = FaceNetEmbedder(
        "iresnet-mini",
        args.start,
        teacher=teacher,
        augment=VARIATION,
        n_identities_per_batch=32,  # batches of 128 photos
        max_epochs=args.epochs,
        learning_rate=args.learning_rate,
        weight_decay=0.02,
        precision="bfloat16",
        checkpoint_dir=args.out / "checkpoints",
        random_state=0,
    )
    embedder.set_callbacks(Curve(args.out / "curve.csv", teacher, test))
    embedder.fit(faces[~held_out])
    save_half(embedder.weights_, args.out / "iresnet-mini.safetensors")


def load_crops(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return faces (n, 128, 128, 3), who they show, and a mask of the people to hold out."""
    stored = args.out / "crops.npz"
    if not stored.exists():
        parts = [align(load_face_folder(folder), args.n_jobs) for folder in args.photos]
        parts += [recrop(load_face_folder(folder)) for folder in args.crops]
        names = [np.char.add(f"{i}/", who.astype(str)) for i, (_, who) in enumerate(parts)]
        faces = np.concatenate([part for part, _ in parts])
        np.savez(stored, faces=faces, people=np.concatenate(names))
    with np.load(stored) as data:
        faces, people = data["faces"], data["people"]
    rng, held_out = np.random.default_rng(0), []
    folders = np.char.partition(people, "/")[:, 0]
    for folder in np.unique(folders):
        known = np.unique(people[folders == folder])
        held_out.append(rng.choice(known, max(2, round(args.hold_out * len(known))), replace=False))
    return faces, people, np.isin(people, np.concatenate(held_out))


def align(photos, n_jobs: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Cut out the middle face of every photo; leave out photos without one."""
    aligner = FaceAligner(
        CROP, detector="yunet", face_policy="centre", on_failure="nan", n_jobs=n_jobs
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the count below says as much
        crops = aligner.fit(photos.data).transform(photos.data)
    found = ~np.isnan(crops[:, 0, 0, 0])
    print(f"{found.sum()} of {len(found)} photos show a face", flush=True)
    return np.rint(255 * crops[found]).astype(np.uint8), photos.target[found]


def recrop(crops) -> tuple[np.ndarray, np.ndarray]:
    """Turn crops for ArcFace into the crop of this network."""
    target = GEOMETRIES[CROP]
    matrix = fit_similarity(GEOMETRIES["arcface-112"].points, target.points)
    faces = [
        cv2.warpAffine(decode(path), matrix, target.size, borderMode=cv2.BORDER_REPLICATE)
        for path in crops.data
    ]
    return np.stack(faces), crops.target


class Curve:
    """A callback that measures the network after every epoch, and writes a line of CSV."""

    def __init__(self, path: Path, teacher: OnnxEmbedder, test: dict) -> None:
        self.path, self.test = path, test
        self.targets = {name: teacher.transform(faces) for name, (faces, _) in test.items()}
        for name, (_, people) in test.items():
            print(f"{name}: teacher EER {eer(self.targets[name], people):.2%}", flush=True)

    def setup(self, estimator, context) -> None:
        """Start the clock."""
        self.start = time.monotonic()

    def on_fit_task_begin(self, estimator, context) -> None:
        """Do nothing."""

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None) -> None:
        """Measure the distance to the teacher, and how well people are told apart."""
        if context.task_name != "epoch":
            return
        line = {"epoch": context.task_id + 1, "minutes": (time.monotonic() - self.start) / 60}
        for name, (faces, people) in self.test.items():
            embeddings = fitted_estimator.transform(faces)
            gap = 1 - np.einsum("ij,ij->i", embeddings, self.targets[name]).mean()
            line |= {f"{name}: 1 - cosine": gap, f"{name}: EER": eer(embeddings, people)}
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, line)
            if new:
                writer.writeheader()
            writer.writerow(line)
        print(", ".join(f"{name} {value:.5g}" for name, value in line.items()), flush=True)

    def teardown(self, estimator, context) -> None:
        """Do nothing."""


def eer(embeddings: np.ndarray, people: np.ndarray) -> float:
    """Return the equal error rate over pairs of unit vectors."""
    pairs = make_pairs(people, random_state=0)
    left, right = embeddings[pairs.indices].swapaxes(0, 1)
    return equal_error_rate(pairs.target, np.einsum("ij,ij->i", left, right)).rate


def save_half(weights: dict[str, np.ndarray], path: Path) -> None:
    """Store a network in half precision, without the counters of its batch normalisation."""
    tensors = {
        name: torch.from_numpy(values).half()
        for name, values in weights.items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(tensors, path)


if __name__ == "__main__":
    main()
