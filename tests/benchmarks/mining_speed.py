"""Time and memory of mining and triplet loss beside those of pytorch-metric-learning.

    python tests/benchmarks/mining_speed.py

One step is mining, loss and gradient on one large batch of random embeddings, either with a center
for every person, so that mining finds what it finds in training, or without any structure. The two
libraries follow different readings of semi-hard mining: skface draws one negative for each
anchor-positive pair (FaceNet), pytorch-metric-learning takes all of them. The nearest to like for
like is "skface, all", which takes the same triplets and the harder ones.

Every row is measured in a process of its own, since freed memory may stay with a process. Memory is
how far its peak rises above what it holds before the step, as Linux counts it in /proc; a small
step comes first, so that libraries loaded on first use do not count. Time is the median of some
further steps. pytorch-metric-learning takes about 6 GB at the default size.
"""

import argparse
import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from skface.nn.losses import triplet_loss
from skface.nn.mining import mine_triplets

MARGIN = 0.2
EMBEDDING_DIM = 128
# Standard deviation of a coordinate around a center of unit length; None leaves the centers out.
NOISES = {"clustered": 0.15, "random": None}
OURS = "skface, semi_hard"
THEIRS = "pytorch-metric-learning, semihard"
METHODS = (OURS, THEIRS, "skface, hard", "skface, all")


class Cost(NamedTuple):
    """What one step takes."""

    n_triplets: int
    seconds: float
    megabytes: float


def main() -> None:
    """Print the table and the two ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-identities", type=int, default=45)
    parser.add_argument("--n-images", type=int, default=40, help="images per identity")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()

    print(
        f"{args.n_identities} identities x {args.n_images} images, {EMBEDDING_DIM} numbers each, "
        f"float32, {torch.get_num_threads()} thread(s)\n"
    )
    print("| embeddings | method | triplets | seconds | extra peak MB |")
    print("|---|---|---|---|---|")
    ratios = []
    for kind, noise in NOISES.items():
        costs = {}
        for method in METHODS:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                task = process.submit(
                    measure, method, args.n_identities, args.n_images, noise, args.repeats
                )
                cost = costs[method] = task.result()
            print(
                f"| {kind} | {method} | {cost.n_triplets:,} | {cost.seconds:.2f} "
                f"| {cost.megabytes:,.0f} |",
                flush=True,
            )
        faster = costs[THEIRS].seconds / costs[OURS].seconds
        smaller = costs[THEIRS].megabytes / costs[OURS].megabytes
        ratios.append(f"{kind}: {faster:.1f} times the time and {smaller:.1f} times the memory")
    print(f"\npytorch-metric-learning takes, on embeddings that are {'; '.join(ratios)}.")


def measure(
    method: str, n_identities: int, n_images: int, noise: float | None, repeats: int
) -> Cost:
    """Measure the steps of one method; meant for a fresh process."""
    step = make_step(method)
    step(*make_batch(4, 4, noise))
    batch = make_batch(n_identities, n_images, noise)
    # "5" sets the peak back to what is held now.
    Path("/proc/self/clear_refs").write_text("5")
    before = read_memory("VmRSS")
    n_triplets = step(*batch)
    megabytes = read_memory("VmHWM") - before
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        step(*batch)
        times.append(time.perf_counter() - started)
    return Cost(n_triplets, statistics.median(times), megabytes)


def make_batch(n_identities: int, n_images: int, noise: float | None) -> tuple[Tensor, Tensor]:
    """Draw unit embeddings and their labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n_identities).repeat_interleave(n_images)
    embeddings = torch.randn(len(labels), EMBEDDING_DIM, generator=generator)
    if noise is not None:
        centers = torch.randn(n_identities, EMBEDDING_DIM, generator=generator)
        embeddings = F.normalize(centers, dim=1)[labels] + noise * embeddings
    return F.normalize(embeddings, dim=1).requires_grad_(), labels


def make_step(method: str) -> Callable[[Tensor, Tensor], int]:
    """Return a function of embeddings and labels that returns the number of triplets."""
    if method == THEIRS:
        # Here, so that it takes nothing from the memory of skface.
        from pytorch_metric_learning.distances import LpDistance
        from pytorch_metric_learning.losses import TripletMarginLoss
        from pytorch_metric_learning.miners import TripletMarginMiner

        distance = LpDistance(power=2)
        mine = TripletMarginMiner(margin=MARGIN, type_of_triplets="semihard", distance=distance)
        score = TripletMarginLoss(margin=MARGIN, distance=distance)

        def step(embeddings, labels):
            triplets = mine(embeddings, labels)
            score(embeddings, labels, triplets).backward()
            return len(triplets[0])

    else:
        strategy = method.removeprefix("skface, ")

        def step(embeddings, labels):
            triplets = mine_triplets(
                embeddings,
                labels,
                margin=MARGIN,
                strategy=strategy,
                generator=torch.Generator().manual_seed(0),
            )
            triplet_loss(embeddings, *triplets, margin=MARGIN).backward()
            return len(triplets.anchors)

    return step


def read_memory(name: str) -> float:
    """Read one entry of this process's memory, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s*(\d+) kB", status)[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
