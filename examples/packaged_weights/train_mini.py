"""Train "skface-mini", by distillation of a larger network on photos without labels.

    python examples/packaged_weights/train_mini.py OUT --photos FOLDER [FOLDER ...]
        [--crops FOLDER ...]

Folders hold one folder per person. A few people are held out for the curve. OUT gets:

    crops.npz                 the aligned faces
    curve.csv                 one line per evaluation on the people held out, which is printed too
    checkpoint.pt             the same command resumes from it
    skface-mini.safetensors   the averaged weights, in half precision
    skface-mini-scores.npz    cosines of pairs of people held out, for `load_face_verifier`

Identities are used for holding out people and for these pairs only. Set SKFACE_HOME to the folder
that holds the weights of detector and teacher.
"""

import argparse
import csv
import os
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from training import make_optimizers, ramp, set_rate

from skface import FaceAligner, FaceNetEmbedder, load_face_folder, make_pairs
from skface._rows import decode, to_bytes
from skface.alignment import GEOMETRIES, fit_similarity
from skface.metrics import equal_error_rate
from skface.nn.augment import Augmentation
from skface.nn.backbones import get_backbone
from skface.nn.objectives import DistillationLoss
from skface.weights import load_state

BACKBONE = "iresnet_mini"
CROP = "open-model-zoo-128"
BATCH = 128
EVALUATE_EVERY = 5 * 60  # seconds of training
MAX_PHOTOS = 4  # per person, for the saved scores
MAX_PAIRS = 5000  # impostor pairs of the saved scores
LIGHT = Augmentation(
    value_range=(0, 255),
    flip=0,
    shift=0,
    zoom=0,
    rotation=0,
    brightness=0.12,
    contrast=0.4,
    blur=0.3,
    blur_sigma=0.02,
    erase=0,
    tint=0.1,
    gray=0.15,
)


def main() -> None:
    """Align faces, hold out people, train, and save the averaged weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", nargs="+", required=True, help="folders of photos to align")
    parser.add_argument("--crops", nargs="*", default=[], help="folders of 'arcface-112' crops")
    parser.add_argument("--test", help="folder of photos, evaluated beside the people held out")
    parser.add_argument("--teacher", default="face-reidentification-retail-0095")
    parser.add_argument("--start", help="weights of an earlier run to start from")
    parser.add_argument("--minutes", type=float, default=180, help="time of training alone")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--hold-out", type=float, default=0.05, help="share of people per folder")
    parser.add_argument("--n-jobs", type=int)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    faces, people, held_out = load_crops(args)
    teacher = FaceNetEmbedder(weights=args.teacher).fit(faces[:1])
    watched = {"held out": (faces[held_out], people[held_out])}
    if args.test:
        watched["test"] = align(load_face_folder(args.test), args.n_jobs)
    student = Student(args)
    curve = Curve(args.out / "curve.csv", teacher, watched)
    student.train(torch.from_numpy(faces[~held_out]), teacher, curve)
    store_scores(args.out, args.photos[0], people[held_out], args.n_jobs)


class Student:
    """The network, its moving average, and the state of its training."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(0)
        self.args = args
        spec = get_backbone(BACKBONE)
        self.network = spec.build(spec.embedding_dim, (3, *spec.input_size))
        if args.start:
            state = {name: torch.from_numpy(v) for name, v in load_state(args.start).items()}
            counts = {k: v for k, v in self.network.state_dict().items() if k.endswith("_tracked")}
            self.network.load_state_dict(counts | state)
        self.network.to(memory_format=torch.channels_last)
        smooth = get_ema_multi_avg_fn(0.998)
        self.average = AveragedModel(self.network, multi_avg_fn=smooth, use_buffers=True)
        self.optimizers = make_optimizers(self.network, args.learning_rate, weight_decay=0.02)
        self.rounds, self.seconds = 0, 0.0
        self.checkpoint = args.out / "checkpoint.pt"
        if self.checkpoint.exists():
            self.load()

    def train(self, faces: torch.Tensor, teacher, curve: "Curve") -> None:
        """Train until the time is over."""
        if len(faces) < BATCH:
            raise SystemExit(f"{len(faces)} training faces are fewer than a batch of {BATCH}.")
        compiled, objective = torch.compile(self.network), DistillationLoss()
        budget, evaluated = 60 * self.args.minutes, self.seconds
        while self.seconds < budget:
            generator = torch.Generator().manual_seed(self.rounds)
            order = torch.randperm(len(faces), generator=generator)
            self.network.train()
            for chosen in (batch for batch in order.split(BATCH) if len(batch) == BATCH):
                start = time.monotonic()
                rate = self.args.learning_rate * ramp(self.seconds / budget)
                set_rate(self.optimizers, rate)
                images = augment(faces[chosen].permute(0, 3, 1, 2).float(), generator)
                targets = teacher.transform(images.byte().permute(0, 2, 3, 1).numpy())
                with torch.autocast("cpu", torch.bfloat16):
                    embeddings = compiled(to_input(images))
                embeddings = F.normalize(embeddings.float())
                loss, _ = objective(embeddings, torch.from_numpy(targets), generator)
                self.network.zero_grad()
                loss.backward()
                for optimizer in self.optimizers:
                    optimizer.step()
                self.average.update_parameters(self.network)
                self.seconds += time.monotonic() - start
                if self.seconds >= budget:
                    break
            self.rounds += 1
            if self.seconds - evaluated > EVALUATE_EVERY or self.seconds >= budget:
                evaluated = self.seconds
                self.save()
                curve.add(self.average.module, self.seconds / 60)

    def save(self) -> None:
        """Save a checkpoint, and the averaged network in half precision."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "rounds": self.rounds,
            "seconds": self.seconds,
        }
        torch.save(state, self.checkpoint.with_suffix(".new"))
        os.replace(self.checkpoint.with_suffix(".new"), self.checkpoint)
        tensors = {
            name: values.half().contiguous()
            for name, values in self.average.module.state_dict().items()
            if not name.endswith("num_batches_tracked")
        }
        save_file(tensors, self.args.out / "skface-mini.safetensors")

    def load(self) -> None:
        """Resume from the checkpoint."""
        state = torch.load(self.checkpoint, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for optimizer, values in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        self.rounds, self.seconds = state["rounds"], state["seconds"]


def load_crops(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return faces (n, 128, 128, 3), their identities, and a mask of those to hold out."""
    stored, sources = args.out / "crops.npz", [str(f) for f in (*args.photos, *args.crops)]
    if not stored.exists():
        parts = [align(load_face_folder(folder), args.n_jobs) for folder in args.photos]
        parts += [recrop(load_face_folder(folder)) for folder in args.crops]
        faces, people = (np.concatenate(part) for part in zip(*parts, strict=True))
        people = people.astype(str)  # can be read without pickle
        folders = np.repeat(np.arange(len(parts)), [len(part) for part, _ in parts])
        unfinished = stored.with_suffix(".new.npz")
        np.savez(unfinished, faces=faces, people=people, folders=folders, sources=sources)
        os.replace(unfinished, stored)
    with np.load(stored) as data:
        if data["sources"].tolist() != sources:
            raise SystemExit(f"{stored} holds faces of {data['sources'].tolist()}: delete it.")
        faces, people, folders = data["faces"], data["people"], data["folders"]
    return faces, people, hold_out(people, folders, args.hold_out)


def hold_out(people: np.ndarray, folders: np.ndarray, share: float) -> np.ndarray:
    """Return a mask of the faces, in all folders, of people drawn from each folder."""
    rng, chosen = np.random.default_rng(0), []
    for folder in np.unique(folders):
        known = np.unique(people[folders == folder])
        chosen.append(rng.choice(known, max(1, round(share * len(known))), replace=False))
    return np.isin(people, np.concatenate(chosen))


def align(photos, n_jobs: int | None, detector: str = "yunet") -> tuple[np.ndarray, np.ndarray]:
    """Return a crop of the center face of every photo with a face, and their identities."""
    aligner = FaceAligner(
        CROP, detector=detector, face_policy="center", on_failure="nan", n_jobs=n_jobs
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about photos without a face, which are counted below
        crops = aligner.fit(photos.data).transform(photos.data)
    found = ~np.isnan(crops[:, 0, 0, 0])
    print(f"{found.sum()} of {len(found)} photos show a face", flush=True)
    return to_bytes(crops[found]), photos.target_names[photos.target[found]]


def recrop(crops) -> tuple[np.ndarray, np.ndarray]:
    """Warp crops for ArcFace to the crop of this network."""
    target = GEOMETRIES[CROP]
    matrix = fit_similarity(GEOMETRIES["arcface-112"].points, target.points)
    faces = [
        cv2.warpAffine(decode(path), matrix, target.size, borderMode=cv2.BORDER_REPLICATE)
        for path in crops.data
    ]
    return np.stack(faces), crops.target_names[crops.target]


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Augment faces (n, 3, H, W), pixels in 0..255, more than labels would allow.

    A face may be blended with its neighbor in the batch, as a whole or by a smooth mask. It is
    warped smoothly, which moves eyes, nose and mouth, then rotated, scaled, shifted and flipped.
    Resolution, brightness, contrast and color change too.
    """

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(len(images), *shape, generator=generator)

    def smooth(channels, points):
        knots = torch.randn(len(images), channels, points, points, generator=generator)
        return F.interpolate(knots, images.shape[-2:], mode="bicubic", align_corners=True)

    mask = torch.sigmoid(2.5 * smooth(1, 4) + uniform(-1.5, 1.5, 1, 1, 1))
    share = torch.where(uniform(0, 1, 1, 1, 1) < 0.5, uniform(0, 1, 1, 1, 1), mask)
    share = share * (uniform(0, 1, 1, 1, 1) < 0.7)
    images = images + share * (images.roll(1, 0) - images)

    angle, scale = uniform(-0.17, 0.17), uniform(0.9, 1.1)
    shift_x, shift_y = uniform(-0.05, 0.05), uniform(-0.05, 0.05)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    matrix = torch.stack([mirror * cosine, -sine, shift_x, mirror * sine, cosine, shift_y], 1)
    grid = F.affine_grid(matrix.view(-1, 2, 3), list(images.shape), align_corners=False)
    bend = uniform(0, 0.05, 1, 1, 1) * (uniform(0, 1, 1, 1, 1) < 0.6) * smooth(2, 5)
    grid = grid + bend.permute(0, 2, 3, 1)
    images = F.grid_sample(images, grid, align_corners=False, padding_mode="border")

    coarse = uniform(0, 1) < 0.2
    if coarse.any():
        side = int(torch.randint(32, 96, (), generator=generator))
        small = F.interpolate(images[coarse], (side, side), mode="bilinear", antialias=True)
        images[coarse] = F.interpolate(small, images.shape[-2:], mode="bilinear")
    return LIGHT(images, LIGHT.draw(len(images), generator)).round_()


def to_input(images: torch.Tensor) -> torch.Tensor:
    """Return the input of the network, for pixels (n, 3, H, W) in 0..255."""
    small = F.interpolate(images, (112, 112), mode="bilinear", antialias=True)
    return small.sub_(127.5).div_(128).contiguous(memory_format=torch.channels_last)


class Curve:
    """Evaluates the network, and adds a line to a CSV file."""

    def __init__(self, path: Path, teacher, watched: dict) -> None:
        self.path, self.watched = path, watched
        self.targets = {name: teacher.transform(faces) for name, (faces, _) in watched.items()}
        for name, (_, people) in watched.items():
            print(f"{name}: teacher EER {eer(self.targets[name], people):.2%}", flush=True)

    def add(self, network: torch.nn.Module, minutes: float) -> None:
        """Measure the distance to the teacher's embeddings, and the equal error rate."""
        line = {"minutes": round(minutes, 2)}
        for name, (faces, people) in self.watched.items():
            embeddings = embed(network, faces)
            gap = 1 - np.einsum("ij,ij->i", embeddings, self.targets[name]).mean()
            line |= {f"{name}: 1 - cosine": gap, f"{name}: EER": eer(embeddings, people)}
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, line)
            if new:
                writer.writeheader()
            writer.writerow(line)
        print(", ".join(f"{name} {value:.5g}" for name, value in line.items()), flush=True)


def store_scores(out: Path, folder: str, held_out: np.ndarray, n_jobs: int | None) -> None:
    """Save cosines of pairs of people held out, whose faces "skface-detector" finds.

    At most MAX_PHOTOS photos per person, so that a few people are not most of the pairs.
    """
    photos = load_face_folder(folder)
    people = photos.target_names[photos.target]
    few = [np.flatnonzero(people == person)[:MAX_PHOTOS] for person in np.unique(held_out)]
    few = np.concatenate(few)
    photos.data, photos.target = photos.data[few], photos.target[few]
    faces, people = align(photos, n_jobs, "skface-detector")
    pairs = draw_pairs(people, MAX_PAIRS)
    embedder = FaceNetEmbedder(BACKBONE, out / "skface-mini.safetensors", precision="float32")
    vectors = embedder.fit_transform(faces)
    left, right = vectors[pairs.indices].swapaxes(0, 1)
    cosines = np.einsum("ij,ij->i", left, right).astype(np.float16)
    np.savez(out / "skface-mini-scores.npz", scores=cosines, same=pairs.target.astype(np.uint8))


@torch.inference_mode()
def embed(network: torch.nn.Module, faces: np.ndarray) -> np.ndarray:
    """Return the unit vectors (n, d) of faces (n, H, W, 3)."""
    network.eval()
    batches = torch.from_numpy(faces).permute(0, 3, 1, 2).split(BATCH)
    return torch.cat([F.normalize(network(to_input(b.float()))) for b in batches]).numpy()


def draw_pairs(people: np.ndarray, max_impostor: int):
    """Return all genuine pairs, and at most this number of impostor pairs."""
    n_different = int((people[:, None] != people).sum()) // 2
    return make_pairs(people, n_impostor=min(max_impostor, n_different), random_state=0)


def eer(embeddings: np.ndarray, people: np.ndarray) -> float:
    """Return the equal error rate over pairs of unit vectors."""
    pairs = draw_pairs(people, 50_000)
    left, right = embeddings[pairs.indices].swapaxes(0, 1)
    return equal_error_rate(pairs.target, np.einsum("ij,ij->i", left, right)).rate


if __name__ == "__main__":
    main()
