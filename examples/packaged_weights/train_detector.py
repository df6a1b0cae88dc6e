"""Train "skface-detector", by distillation of YuNet on photos without labels.

    python examples/packaged_weights/train_detector.py OUT --photos FOLDER [FOLDER ...]

A training image is a canvas with one or several photos, rotated, scaled, blurred, and with random
brightness and contrast. The targets are the outputs of YuNet in every cell of its grids. OUT gets:

    curve.csv               one line per minute, which is printed too
    skface-detector.onnx    the averaged network, with the inputs and outputs of YuNet

Photos of some people are held out for the curve. Set SKFACE_HOME to the folder that holds YuNet.
The script needs onnx and onnxruntime.
"""

import argparse
import csv
import time
import warnings
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
from joblib import Parallel, delayed
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from training import make_optimizers, ramp, set_rate

from skface import load_face_folder
from skface._rows import decode
from skface.nn.augment import Augmentation
from skface.weights import fetch_weights

STRIDES = (8, 16, 32)
SIDE = 320  # pixels of a canvas
BATCH = 16
WIDTH = 48  # channels of the three grids
POSITIVE = 0.3  # box and points of a cell count from this score on
# Scores of a cell in the report. The teacher has found a face above SURE, and none below
# UNSURE[0]; the network has missed one below UNSURE[1].
SURE, UNSURE = 0.6, (0.3, 0.4)
AUGMENTATION = Augmentation(
    value_range=(0, 255),
    shift=0,
    zoom=0,
    rotation=0,
    brightness=0.2,
    contrast=0.5,
    blur=0.3,
    blur_sigma=0.008,
    erase=0.1,
    tint=0.15,
    gray=0.15,
)


def main() -> None:
    """Read photos, train for the given time, and save the network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", nargs="+", required=True, help="folders, one folder a person")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--hold-out", type=float, default=0.03, help="share of people per folder")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)

    photos, held_out = read(args.photos, args.hold_out)
    teacher = Teacher(fetch_weights("yunet")[0])
    watched = [Scatter(held_out, seed).canvas() for seed in range(200)]
    watched = (torch.from_numpy(np.stack(watched)).permute(0, 3, 1, 2).float(),)
    watched += (teacher(watched[0]),)
    network = Detector().to(memory_format=torch.channels_last)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.998), use_buffers=True)
    optimizers = make_optimizers(network, args.learning_rate, weight_decay=0.02)
    generator = torch.Generator().manual_seed(0)
    scatter = Scatter(photos, 1)
    start = checked = time.monotonic()
    losses = []
    while (progress := (time.monotonic() - start) / (60 * args.minutes)) < 1:
        set_rate(optimizers, args.learning_rate * ramp(progress))
        canvases = torch.from_numpy(np.stack([scatter.canvas() for _ in range(BATCH)]))
        images = canvases.permute(0, 3, 1, 2).float()
        images = AUGMENTATION(images, AUGMENTATION.draw(BATCH, generator)).round()
        network.train()
        with torch.autocast("cpu", torch.bfloat16):
            outputs = network(to_input(images))
        loss, parts = distillation_loss(outputs, teacher(images))
        network.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        average.update_parameters(network)
        losses.append(parts)
        if time.monotonic() - checked > 60:
            checked = time.monotonic()
            report(args.out / "curve.csv", progress * args.minutes, losses, average, watched)
            losses = []
            export(average.module, args.out / "skface-detector.onnx")
    if losses:
        report(args.out / "curve.csv", args.minutes, losses, average, watched)
    export(average.module, args.out / "skface-detector.onnx")


class Detector(nn.Module):
    """A fully convolutional network with one output grid per stride.

    Every cell has a score, a box and five points, encoded as in YuNet: center and points relative
    to the cell's corner, in strides; logarithms of the sides.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolve(3, 16, 2), convolve(16, 32, 2))
        self.down = nn.ModuleList(
            nn.Sequential(convolve(n_in, WIDTH, 2), *(Residual(WIDTH) for _ in range(n_blocks)))
            for n_in, n_blocks in ((32, 1), (WIDTH, 1), (WIDTH, 1))
        )
        self.lateral = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 1) for _ in STRIDES[1:])
        self.merge = nn.ModuleList(convolve(WIDTH, WIDTH, 1, 1) for _ in STRIDES)
        self.head = nn.ModuleList(nn.Conv2d(WIDTH, 15, 3, padding=1) for _ in STRIDES)
        for head in self.head:
            nn.init.zeros_(head.weight)
            nn.init.constant_(head.bias, 0)
            nn.init.constant_(head.bias[:1], -4.6)  # few cells hold a face
            nn.init.constant_(head.bias[3:5], 1)

    def forward(self, images):
        """Return score logits, boxes and points (n, 15, h, w) of each grid, from pixels 0..255."""
        x = self.stem((images - 127.5) / 64)
        levels = []
        for stage in self.down:
            x = stage(x)
            levels.append(x)
        for i in (1, 0):
            above = F.interpolate(self.lateral[i](levels[i + 1]), scale_factor=2, mode="nearest")
            levels[i] = levels[i] + above
        levels = [merge(x) for merge, x in zip(self.merge, levels, strict=True)]
        with torch.autocast(images.device.type, enabled=False):  # coordinates need more than 8 bits
            return [head(x.float()) for head, x in zip(self.head, levels, strict=True)]


def convolve(n_in, n_out, stride, size=3):
    """Return a convolution with batch normalization and ReLU."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, width) -> None:
        super().__init__()
        self.first = convolve(width, width, 1)
        self.second = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x):
        """Apply the block."""
        return F.relu(x + self.second(self.first(x)))


class Teacher:
    """YuNet, with its outputs in every cell."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        self.names = [
            f"{part}_{stride}" for stride in STRIDES for part in ("cls", "obj", "bbox", "kps")
        ]

    def __call__(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return scores, boxes and points (n, 15, h, w) of each grid, of RGB images."""
        blue_first = np.ascontiguousarray(images.flip(1).numpy())
        outputs = Parallel(n_jobs=torch.get_num_threads(), prefer="threads")(
            delayed(self.session.run)(self.names, {"input": image[None]}) for image in blue_first
        )
        grids = []
        for level, stride in enumerate(STRIDES):
            parts = [np.concatenate(part) for part in zip(*outputs, strict=True)]
            classes, objects, boxes, points = parts[4 * level : 4 * level + 4]
            scores = np.sqrt(np.clip(classes, 0, 1) * np.clip(objects, 0, 1))
            side = SIDE // stride
            grid = np.concatenate([scores, boxes, points], axis=2).transpose(0, 2, 1)
            grids.append(torch.from_numpy(grid.reshape(len(grid), 15, side, side)))
        return grids


def distillation_loss(outputs, targets):
    """Return the loss, and its three parts without gradients.

    The loss of scores is the quality focal loss (Li et al. 2020, "Generalized focal loss"). That of
    boxes and points is their distance divided by the size of the face, in cells in which the
    teacher detects one.
    """
    score = box = points = weight = 0
    for output, target in zip(outputs, targets, strict=True):
        wanted = target[:, 0]
        given = output[:, 0].sigmoid()
        entropy = F.binary_cross_entropy_with_logits(output[:, 0], wanted, reduction="none")
        score = score + (entropy * (given.detach() - wanted).square()).sum()
        positive = wanted * (wanted > POSITIVE)
        weight = weight + positive.sum()
        size = target[:, 3:5].exp()
        center = (output[:, 1:3] - target[:, 1:3]).abs() / size
        sides = (output[:, 3:5] - target[:, 3:5]).abs()
        box = box + (positive * (center + sides).sum(1)).sum()
        distance = (output[:, 5:] - target[:, 5:]).abs().unflatten(1, (5, 2)) / size[:, None]
        points = points + (positive * distance.sum((1, 2))).sum()
    parts = torch.stack([score, box / 4, points / 10]) / weight.clamp_min(1)
    return parts @ torch.tensor([1.0, 4.0, 20.0]), parts.detach()


class Scatter:
    """Draws canvases of one photo, or of several in a grid."""

    def __init__(self, photos: list[np.ndarray], seed: int) -> None:
        self.photos, self.rng = photos, np.random.default_rng(seed)

    def canvas(self) -> np.ndarray:
        """Return a canvas (SIDE, SIDE, 3) of uint8."""
        per_side = self.rng.choice([1, 2, 3, 5], p=[0.5, 0.25, 0.15, 0.1])
        canvas = np.empty((SIDE, SIDE, 3), np.uint8)
        edges = np.linspace(0, SIDE, per_side + 1).astype(int)
        for top, bottom in pairwise(edges):
            for left, right in pairwise(edges):
                canvas[top:bottom, left:right] = self.tile(right - left, bottom - top)
        return canvas

    def tile(self, width: int, height: int) -> np.ndarray:
        """Return a photo, rotated, scaled, shifted and perhaps flipped."""
        rng, photo = self.rng, self.photos[self.rng.integers(len(self.photos))]
        side = max(photo.shape[:2])
        # from a photo that fills half of the tile to a part of the photo that fills it
        scale = min(width, height) / side * 2 ** rng.uniform(-1.2, 1.3)
        angle = rng.normal(0, 12) if rng.random() < 0.92 else rng.uniform(-180, 180)
        matrix = cv2.getRotationMatrix2D((photo.shape[1] / 2, photo.shape[0] / 2), angle, scale)
        spread = 0.35 * np.array([width, height])
        matrix[:, 2] += (width / 2, height / 2) - np.array(photo.shape[1::-1]) / 2
        matrix[:, 2] += rng.uniform(-spread, spread)
        if scale < 0.6:
            photo = cv2.blur(photo, (round(1 / scale),) * 2)
        border = rng.choice([cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT])
        color = rng.integers(0, 256, 3).tolist()
        tile = cv2.warpAffine(
            photo, matrix, (int(width), int(height)), borderMode=int(border), borderValue=color
        )
        return tile[:, ::-1] if rng.random() < 0.5 else tile


def read(folders: list[str], share: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return training photos, and photos of the people held out."""
    photos, held_out, rng = [], [], np.random.default_rng(0)
    for folder in folders:
        faces = load_face_folder(folder)
        known = np.unique(faces.target)
        chosen = rng.choice(known, max(1, round(share * len(known))), replace=False)
        for path, person in zip(faces.data, faces.target, strict=True):
            (held_out if person in chosen else photos).append(decode(path))
    return photos, held_out


def to_input(images: torch.Tensor) -> torch.Tensor:
    """Return the input of the network, BGR as for YuNet."""
    return images.flip(1).contiguous(memory_format=torch.channels_last)


def report(path: Path, minutes: float, losses: list, average: nn.Module, watched: tuple) -> None:
    """Print and save the losses on training and held-out photos, and how many cells agree."""
    average.eval()
    with torch.no_grad():
        outputs = [average(to_input(images)) for images in watched[0].split(BATCH)]
        outputs = [torch.cat(grids) for grids in zip(*outputs, strict=True)]
        held_out = distillation_loss(outputs, watched[1])[1].tolist()
    wanted = torch.cat([grid[:, 0].flatten(1) for grid in watched[1]], 1)
    given = torch.cat([grid[:, 0].sigmoid().flatten(1) for grid in outputs], 1)
    found = (given > UNSURE[1]) & (wanted > SURE)
    invented = (given > SURE) & (wanted < UNSURE[0])
    n_wanted = (wanted > SURE).sum()
    trained = torch.stack(losses).mean(0)
    parts = "score", "box", "points"
    line = {
        "minutes": round(minutes, 2),
        **dict(zip(parts, trained.tolist(), strict=True)),
        **{f"{part} held out": value for part, value in zip(parts, held_out, strict=True)},
        "cells found": (found.sum() / n_wanted).item(),
        "cells invented": (invented.sum() / n_wanted).item(),
        "steps": len(losses),
    }
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, line)
        if new:
            writer.writeheader()
        writer.writerow(line)
    print(", ".join(f"{name} {value:.4g}" for name, value in line.items()), flush=True)


class AsYuNet(nn.Module):
    """The network with YuNet's twelve outputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images):
        """Return (1, cells, 1 or 4 or 10) per stride: class, object, box, points."""
        outputs = []
        for grid in self.network(images):
            cells = grid.permute(0, 2, 3, 1).reshape(1, -1, 15)
            score = cells[..., :1].sigmoid()
            outputs += [score, score * 1.0, cells[..., 1:5], cells[..., 5:]]
        return tuple(outputs)


def export(network: nn.Module, path: Path) -> None:
    """Save the network as an ONNX file for OpenCV and onnxruntime."""
    names = [f"{part}_{stride}" for stride in STRIDES for part in ("cls", "obj", "bbox", "kps")]
    axes = {"input": {2: "height", 3: "width"}} | {name: {1: "cells"} for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the tracing exporter is deprecated, but OpenCV reads its files
        torch.onnx.export(
            AsYuNet(network).eval(),
            torch.zeros(1, 3, SIDE, SIDE),
            path,
            input_names=["input"],
            output_names=names,
            dynamic_axes=axes,
            opset_version=13,
            dynamo=False,
        )
    network.train()


if __name__ == "__main__":
    main()
