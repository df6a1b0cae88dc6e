"""Measure what a grid search over a verifier costs beside embedding its photos once.

    python tests/benchmarks/grid_search.py FOLDER [--pairs 6000] [--n-jobs 1 2]

FOLDER holds ``lfw_home`` as scikit-learn lays it out. Weights are looked up as usual: set
SKFACE_HOME to the folder that holds them. The search tries 50 thresholds in 10 folds, once with an
empty cache and once with a full one; the reference embeds the distinct photos once, without one.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from joblib.externals.loky import get_reusable_executor
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline

from skface import EmbeddingCache, FaceAligner, FaceNetEmbedder, PairVerifier, PerFace, make_pairs

WEIGHTS = "face-reidentification-retail-0095"
N_FOLDS = 10
THRESHOLDS = np.linspace(-0.2, 0.8, 50)


def draw_pairs(folder: Path, n_pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw pairs of photos, half of them genuine, as LFW's View 2 has them."""
    paths = sorted((folder / "lfw_home" / "lfw_funneled").glob("*/*.jpg"))
    pairs = make_pairs(
        [path.parent.name for path in paths],
        n_genuine=n_pairs // 2,
        n_impostor=n_pairs - n_pairs // 2,
        random_state=0,
    )
    return np.array([str(path) for path in paths], dtype=object)[pairs.indices], pairs.target


def embedder(cache: EmbeddingCache | None = None) -> PerFace:
    """Build what turns photos into vectors."""
    aligner = FaceAligner(WEIGHTS, detector="yunet", on_failure="nan")
    return PerFace(make_pipeline(aligner, FaceNetEmbedder(weights=WEIGHTS)), cache=cache)


def measure(pairs: np.ndarray, same: np.ndarray, all_n_jobs: list[int]) -> Iterator[dict]:
    """Yield seconds of the reference and of every search, and their ratio.

    Each is a fresh process, which has imported what it needs but converted nothing.
    """
    photos = np.unique(pairs)
    once = in_fresh_process(embed_once, photos)
    yield {"what": f"{len(photos)} distinct photos once", "seconds": once}
    for n_jobs in all_n_jobs:
        with tempfile.TemporaryDirectory() as folder:
            for state in ("empty", "full"):
                seconds = in_fresh_process(search, pairs, same, folder, n_jobs)
                what = f"search, n_jobs={n_jobs}, {state} cache"
                yield {"what": what, "seconds": seconds, "ratio": seconds / once}


def in_fresh_process(function: Callable[..., float], *args) -> float:
    """Call a function in a process that has done nothing before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *args).result()


def embed_once(photos: np.ndarray) -> float:
    """Return the seconds that embedding photos takes, without a cache."""
    started = time.perf_counter()
    embedder().fit(photos).transform(photos)
    return time.perf_counter() - started


def search(pairs: np.ndarray, same: np.ndarray, folder: str, n_jobs: int) -> float:
    """Return the seconds that a search over thresholds takes, with a cache."""
    warnings.filterwarnings("ignore", "Larger scores")
    grid_search = GridSearchCV(
        make_pipeline(embedder(EmbeddingCache(folder)), PairVerifier()),
        {"pairverifier__threshold": THRESHOLDS},
        cv=KFold(N_FOLDS),
        n_jobs=n_jobs,
        refit=False,
        error_score="raise",
    )
    started = time.perf_counter()
    grid_search.fit(pairs, same)
    seconds = time.perf_counter() - started
    get_reusable_executor().shutdown(wait=True)
    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=6000)
    parser.add_argument("--n-jobs", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    pairs, same = draw_pairs(args.folder, args.pairs)
    n_fits = N_FOLDS * len(THRESHOLDS)
    print(f"{len(pairs)} pairs, {len(THRESHOLDS)} thresholds, {N_FOLDS} folds: {n_fits} fits\n")
    print("| what | seconds | ratio |")
    print("|---|---|---|")
    for row in measure(pairs, same, args.n_jobs):
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
        print(f"| {row['what']} | {row['seconds']:.1f} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
