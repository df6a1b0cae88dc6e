"""Speed of ``FaceNetEmbedder.fit`` beside a bare PyTorch loop over the same network.

    OMP_NUM_THREADS=1 python tests/benchmarks/training_speed.py

All train a fresh network for as many steps, on the same batches of P identities x K cartoon faces,
with the same augmentation, triplet loss and optimizer. The bare loops are what there is to write
in PyTorch: pixels wait as one float32 tensor, and no step is measured, checked or scheduled. The
faster one keeps its images channels last; one more shows what a loss written as a loop would cost.
Fits count whole, with their checks of the input, and with reading the files where X holds paths.

The methods take turns, so that a busy machine slows all of them. Besides the time on the clock
there is that of the processor, which other programs disturb less. Columns are medians over the
repetitions, with the smallest and largest for the clock; ratios are medians of the ratios within
one repetition.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torch.nn import functional as F

from skface import FaceNetEmbedder, make_faces
from skface.nn.augment import Augmentation
from skface.nn.backbones import get_backbone
from skface.nn.losses import squared_distances, triplet_loss
from skface.nn.mining import mine_triplets
from skface.nn.sampling import IdentitySampler

MARGIN = 0.2
N_IDENTITIES_PER_BATCH, N_IMAGES_PER_IDENTITY = 16, 4
N_PEOPLE, N_PICTURES = 32, 8  # full batches only
REFERENCE = "bare loop"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="small_resnet")
    parser.add_argument("--size", type=int, default=112, help="height and width of a face")
    parser.add_argument("--epochs", type=int, default=3, help="of 4 batches of 64 faces")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()

    faces = make_faces(N_PEOPLE, N_PICTURES, args.size, random_state=0)
    X, y = faces.data, faces.target
    with tempfile.TemporaryDirectory() as folder:
        paths = write_jpegs(X, Path(folder))
        methods = {
            "fit, arrays": lambda: fit(X, y, args.backbone, args.epochs),
            "fit, JPEG paths": lambda: fit(paths, y, args.backbone, args.epochs),
            REFERENCE: lambda: train(X, y, args.backbone, args.epochs),
            "bare loop, channels last": lambda: train(
                X, y, args.backbone, args.epochs, memory_format=torch.channels_last
            ),
            "bare loop, loss in loops": lambda: train(
                X, y, args.backbone, args.epochs, loss=loss_in_loops
            ),
        }
        clock, processor = measure(methods, args.repeats)

    sampler = make_sampler(y)
    n_images = args.epochs * sum(len(batch.rows) for batch in sampler.batches(0))
    print(
        f"{args.backbone}, {args.size} x {args.size} pixels, {args.epochs * len(sampler)} steps, "
        f"{n_images} images, {args.repeats} repetitions, {torch.get_num_threads()} thread(s)\n"
    )
    print("| method | images/s | slowest to fastest | images/CPU s | time | CPU time |")
    print("|---|---|---|---|---|---|")
    for method in methods:
        rates = [n_images / seconds for seconds in clock[method]]
        cpu_rate = n_images / statistics.median(processor[method])
        print(
            f"| {method} | {statistics.median(rates):.1f} | {min(rates):.1f} to {max(rates):.1f} "
            f"| {cpu_rate:.1f} | {ratio(clock, method):.3f} | {ratio(processor, method):.3f} |"
        )
    print(f"\nTime and CPU time are relative to the {REFERENCE}.")


def measure(
    methods: dict[str, Callable[[], None]], repeats: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return seconds on the clock and of the processor, by method and repetition."""
    clock, processor = ({method: [] for method in methods} for _ in range(2))
    for repeat in range(repeats + 1):
        for method, run in methods.items():
            started, cpu_started = time.perf_counter(), time.process_time()
            run()
            seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
            if repeat:  # the first time warms up
                clock[method].append(seconds)
                processor[method].append(cpu_seconds)
    return clock, processor


def ratio(seconds: dict[str, list[float]], method: str) -> float:
    """Compare a method with the reference, repetition by repetition."""
    pairs = zip(seconds[method], seconds[REFERENCE], strict=True)
    return statistics.median(own / other for own, other in pairs)


def write_jpegs(X: np.ndarray, folder: Path) -> list[Path]:
    """Save faces and return their paths."""
    paths = [folder / f"{i}.jpg" for i in range(len(X))]
    for path, face in zip(paths, X, strict=True):
        PIL.Image.fromarray(face).save(path, quality=95)
    return paths


def fit(X: np.ndarray | list[Path], y: np.ndarray, backbone: str, n_epochs: int) -> None:
    """Train by the estimator."""
    FaceNetEmbedder(
        backbone,
        weights=None,
        margin=MARGIN,
        n_identities_per_batch=N_IDENTITIES_PER_BATCH,
        n_images_per_identity=N_IMAGES_PER_IDENTITY,
        max_epochs=n_epochs,
        device="cpu",
        random_state=0,
    ).fit(X, y)


def train(
    X: np.ndarray,
    y: np.ndarray,
    backbone: str,
    n_epochs: int,
    *,
    loss: Callable[[Tensor, Tensor, torch.Generator], Tensor] | None = None,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> None:
    """Train by a loop as one writes it in PyTorch."""
    spec = get_backbone(backbone)
    images = torch.from_numpy(X).permute(0, 3, 1, 2).contiguous().float()
    network = spec.build(spec.embedding_dim, tuple(images.shape[1:])).train()
    network = network.to(memory_format=memory_format)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-4)
    black, white = (-spec.mean / spec.std, (255 - spec.mean) / spec.std)
    augmentation = Augmentation(value_range=(black, white))
    generator = torch.Generator().manual_seed(0)
    sampler = make_sampler(y)
    for epoch in range(n_epochs):
        for rows, labels in sampler.batches(epoch):
            batch = (images[rows] - spec.mean) / spec.std
            batch = augmentation(batch, augmentation.draw(len(batch), generator))
            embeddings = F.normalize(network(batch.contiguous(memory_format=memory_format)))
            optimizer.zero_grad()
            (loss or mined_loss)(embeddings, labels, generator).backward()
            optimizer.step()


def make_sampler(y: np.ndarray) -> IdentitySampler:
    """Return what deals the batches of all methods."""
    return IdentitySampler(y, N_IDENTITIES_PER_BATCH, N_IMAGES_PER_IDENTITY, seed=0)


def mined_loss(embeddings: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return the triplet loss of skface."""
    triplets = mine_triplets(embeddings, labels, margin=MARGIN, generator=generator)
    return triplet_loss(embeddings, *triplets, margin=MARGIN)


def loss_in_loops(embeddings: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return the same loss, by a loop over anchors and positives."""
    distances = squared_distances(embeddings)
    terms = []
    for anchor in range(len(labels)):
        negatives = labels != labels[anchor]
        for positive in range(len(labels)):
            if positive == anchor or negatives[positive]:
                continue
            near, far = distances[anchor, positive], distances[anchor]
            violating = negatives & (far < near + MARGIN)
            semi_hard = (violating & (far > near)).nonzero().flatten()
            if len(semi_hard):
                negative = semi_hard[torch.randint(len(semi_hard), (), generator=generator)]
            elif violating.any():
                negative = far.detach().masked_fill(~violating, -1).argmax()
            else:
                continue
            terms.append(near - far[negative] + MARGIN)
    return torch.stack(terms).mean() if terms else 0 * distances.sum()


if __name__ == "__main__":
    main()
