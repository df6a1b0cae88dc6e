"""Memory and time of FaceNet's batches of 1,800 photos, at once and in chunks.

    python tests/benchmarks/large_batch.py

Each row is one epoch of ``FaceNetEmbedder.fit`` on as many synthetic faces as make one batch, in a
process of its own. Memory is how far its peak rises above what it holds before the fit, as Linux
counts it in /proc; a fit on few faces comes first, so that libraries loaded on first use do not
count.
"""

import argparse
import re
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from skface import FaceNetEmbedder


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-identities", type=int, default=45)
    parser.add_argument("--n-images", type=int, default=40, help="images per identity")
    parser.add_argument("--size", type=int, default=112, help="height and width of a face")
    parser.add_argument("--chunk-sizes", type=int, nargs="+", default=[64, 256, 1800])
    args = parser.parse_args()
    n_faces = args.n_identities * args.n_images
    print(f"one batch of {n_faces} faces of {args.size} x {args.size} pixels, small_resnet\n")
    print("| chunk_size | extra memory, MB | seconds |\n|---|---|---|")
    for chunk_size in args.chunk_sizes:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            task = process.submit(cost, args.n_identities, args.n_images, args.size, chunk_size)
            megabytes, seconds = task.result()
        print(f"| {chunk_size} | {megabytes:,.0f} | {seconds:.1f} |", flush=True)


def cost(n_identities: int, n_images: int, size: int, chunk_size: int) -> tuple[float, float]:
    """Return the extra memory in MB and the seconds of one epoch of one batch."""
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (n_identities * n_images, size, size, 3), dtype=np.uint8)
    people = np.repeat(np.arange(n_identities), n_images)
    embedder = FaceNetEmbedder(
        weights=None,
        n_identities_per_batch=n_identities,
        n_images_per_identity=n_images,
        max_epochs=1,
        chunk_size=chunk_size,
        random_state=0,
    )
    embedder.fit(faces[: 2 * n_images], people[: 2 * n_images])
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = _kilobytes("VmRSS")
    started = time.perf_counter()
    embedder.fit(faces, people)
    seconds = time.perf_counter() - started
    return (_kilobytes("VmHWM") - before) / 1024, seconds


def _kilobytes(name: str) -> int:
    """Read a field of this process's status."""
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


if __name__ == "__main__":
    main()
