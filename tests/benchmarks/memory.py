"""Peak memory of ``transform`` on paths, for few photos and for many.

    python tests/benchmarks/memory.py FOLDER

FOLDER holds JPEG photos at any depth, such as LFW. They are linked under as many names as a run
needs, so that all paths differ. Every run is a process of its own, and its peak is the largest
resident set that the system counted. The columns beside it are what has to grow: the values that
come out, and the paths that go in. With ``--real``, PerFace runs YuNet and weights of the registry
(looked up as usual: set SKFACE_HOME); else a network and a detector that cost next to nothing.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from sklearn.pipeline import make_pipeline

from skface import FaceAligner, FaceNetEmbedder, PerFace

WEIGHTS = "face-reidentification-retail-0095"
_MB = 2**20


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2_000, 50_000])
    parser.add_argument("--real", action="store_true", help="YuNet and real weights")
    args = parser.parse_args()
    print("| transform | photos | peak, MB | values, MB | paths, MB | photos/s |")
    print("|---|---|---|---|---|---|")
    names = ["real photos"] if args.real else list(ESTIMATORS)[:2]
    for name in names:
        for n_photos in args.sizes:
            row = measure(name, args.folder, n_photos)
            print(f"| {name} | {n_photos:,} | {' | '.join(f'{x:,.0f}' for x in row)} |", flush=True)


def measure(name: str, folder: str, n_photos: int) -> tuple[float, float, float, float]:
    """Return peak, values and paths in MB, and photos per second, of a fresh process."""
    with (
        linked_photos(folder, n_photos) as paths,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process,
    ):
        return process.submit(cost, name, os.path.dirname(paths[0])).result()


@contextmanager
def linked_photos(folder: str, n_photos: int) -> Iterator[list[str]]:
    """Give `n_photos` distinct paths to the photos of a folder."""
    photos = sorted(map(str, Path(folder).resolve().rglob("*.jpg")))
    if not photos:
        raise SystemExit(f"{folder} holds no .jpg files")
    with tempfile.TemporaryDirectory() as links:
        paths = []
        for i, photo in enumerate(islice(cycle(photos), n_photos)):
            paths.append(os.path.join(links, f"{i:06d}.jpg"))
            os.symlink(photo, paths[-1])
        yield paths


def cost(name: str, folder: str) -> tuple[float, float, float, float]:
    """Run one transform in this process; see :func:`measure`."""
    paths = sorted(str(path) for path in Path(folder).iterdir())
    estimator = ESTIMATORS[name]().fit(paths[:1])
    started = time.perf_counter()
    values = estimator.transform(paths)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return peak, values.nbytes / _MB, sum(map(sys.getsizeof, paths)) / _MB, len(paths) / seconds


def tiny_network():
    """Build a network that averages a face over four quarters."""
    import torch

    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())


def middle_of(photo: np.ndarray) -> np.ndarray:
    """Report one face in the middle of any photo, as a detector does."""
    height, width = photo.shape[:2]
    at = np.array([(0.4, 0.45), (0.6, 0.45), (0.5, 0.55), (0.42, 0.65), (0.58, 0.65)])
    box = np.array([0.3, 0.25, 0.4, 0.5]) * (width, height, width, height)
    return np.concatenate([box, (at * (width, height)).ravel(), [1]])[None]


def tiny_embedder() -> FaceNetEmbedder:
    """Return an embedder that costs next to nothing."""
    return FaceNetEmbedder(tiny_network, weights=None, image_shape=(112, 112), trainable="none")


def tiny_photos() -> PerFace:
    """Return the whole path from photos to embeddings, at next to no cost."""
    return PerFace(make_pipeline(FaceAligner(detector=middle_of), tiny_embedder()))


def real_photos() -> PerFace:
    """Return the whole path from photos to embeddings."""
    return PerFace(
        make_pipeline(
            FaceAligner(WEIGHTS, detector="yunet", on_failure="nan"),
            FaceNetEmbedder(weights=WEIGHTS),
        )
    )


ESTIMATORS = {
    "FaceNetEmbedder": tiny_embedder,
    "PerFace": tiny_photos,
    "real photos": real_photos,
}

if __name__ == "__main__":
    main()
