"""Speed on a GPU: embedding, and a triplet training step, as shares of the card's bfloat16 peak.

    python tests/benchmarks/gpu_speed.py [--batch-sizes 1 8 64 512 1024] [--device cuda]

The peak is what one large bfloat16 matrix product reaches in the same run. Embedding is what
estimators do, from standardized batches in the host's memory to vectors there; a training step is
one of `Trainer`, with mining, loss, optimizer and images that wait on the device. FLOPs are those
of convolutions and matrix products, three times as many for a training step as for embedding.
Weights and images are random: speed does not depend on them. It runs on a CPU too, for small batch
sizes.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from inference_speed import count_flops, make_network

from skface.embedding._network import choose_device
from skface.inference._engine import Engine
from skface.nn.objectives import Triplet
from skface.nn.options import Options
from skface.nn.sampling import IdentitySampler
from skface.nn.training import Trainer

N_IMAGES_PER_IDENTITY = 4


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="inception_resnet_v1")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[2**i for i in range(11)])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()

    device = choose_device(args.device)
    peak = measure_peak(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    flops = count_flops(make_network(args.backbone))
    print(f"{name}, bfloat16 matrix product: {peak / 1e12:.2f} TFLOP/s; {args.backbone}\n")
    print("| batch | embedded faces/s | share of peak | trained faces/s | share of peak |")
    print("|---|---|---|---|---|")
    for size in args.batch_sizes:
        embedded = size / embedding_time(args.backbone, size, device, args.repeats)
        cells = f"| {size} | {embedded:,.0f} | {embedded * flops / peak:.1%} "
        if size >= 2 * N_IMAGES_PER_IDENTITY:  # a triplet needs two identities
            trained = size / step_time(args.backbone, size, device, args.repeats)
            cells += f"| {trained:,.0f} | {3 * trained * flops / peak:.1%} |"
        else:
            cells += "| | |"
        print(cells, flush=True)


def measure_peak(device: torch.device) -> float:
    """Return the FLOP/s of a large matrix product in bfloat16."""
    side = 8192 if device.type == "cuda" else 2048
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    return 2 * side**3 / best_time(lambda: a @ a, device, repeats=10)


def embedding_time(backbone: str, size: int, device: torch.device, repeats: int) -> float:
    """Return the seconds in which the engine embeds a batch."""
    network = make_network(backbone)
    engine = Engine(network, device, "bfloat16", "torch")
    shape = (size, *network.input_shape)
    batch = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return best_time(lambda: engine.run(batch), device, repeats)


def step_time(backbone: str, size: int, device: torch.device, repeats: int) -> float:
    """Return the seconds of a training step, the first ones left out."""
    network = make_network(backbone)
    labels = np.arange(size) // N_IMAGES_PER_IDENTITY
    images = torch.randn(size, *network.input_shape, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    seconds, started = [], [0.0]
    trainer = Trainer(
        network.module.to(memory_format=torch.channels_last),
        Triplet(),
        IdentitySampler(labels, size // N_IMAGES_PER_IDENTITY, N_IMAGES_PER_IDENTITY, seed=0),
        lambda rows: images[torch.from_numpy(rows).to(device)],
        # an epoch is one step
        Options(max_epochs=repeats + 2, precision="bfloat16", chunk_size=size, device=device),
    )

    def begin() -> None:
        synchronize(device)
        started[0] = time.perf_counter()

    def end(_record: dict) -> None:
        synchronize(device)
        seconds.append(time.perf_counter() - started[0])

    trainer.run(begin, end)
    return min(seconds[2:])


def best_time(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the seconds of the fastest of some calls, after one to warm up."""
    run()
    seconds = []
    for _ in range(repeats):
        synchronize(device)
        started = time.perf_counter()
        run()
        synchronize(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
