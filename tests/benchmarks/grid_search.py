"""Measure what a grid search over a verifier costs beside embedding its photos once.

    python tests/benchmarks/grid_search.py FOLDER [--pairs 6000] [--n-jobs 1 2]

FOLDER holds ``lfw_home`` as scikit-learn lays it out. Weights are looked up as usual: set
SKFACE_HOME to the folder that holds them. The search tries 50 thresholds in 10 folds, once with an
empty cache and once with a full one; the reference embeds the distinct photos once, without one.
A second table has the CPU time of each fit and score of three searches side by side, with a full
cache: of the verifier on vectors that were embedded once, and of the whole pipeline with
``check_files="once"`` and with "always".
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from joblib.externals.loky import get_reusable_executor
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline

from skface import EmbeddingCache, FaceAligner, FaceNetEmbedder, PairVerifier, PerFace, make_pairs

T = TypeVar("T")
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


def in_fresh_process(function: Callable[..., T], *args) -> T:
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
    pipe = make_pipeline(embedder(EmbeddingCache(folder)), PairVerifier())
    started = time.perf_counter()
    run_search(pipe, "pairverifier__threshold", pairs, same, n_jobs)
    seconds = time.perf_counter() - started
    get_reusable_executor().shutdown(wait=True)
    return seconds


def run_search(
    estimator: Any, parameter: str, X: np.ndarray, same: np.ndarray, n_jobs: int
) -> None:
    """Search over thresholds."""
    warnings.filterwarnings("ignore", "Larger scores")
    GridSearchCV(
        estimator,
        {parameter: THRESHOLDS},
        cv=KFold(N_FOLDS),
        n_jobs=n_jobs,
        refit=False,
        error_score="raise",
    ).fit(X, same)


def compare_searches(pairs: np.ndarray, same: np.ndarray) -> dict[str, float]:
    """Return the CPU milliseconds of each fit and score, with a full cache."""
    with tempfile.TemporaryDirectory() as folder:
        vectors = embedder(EmbeddingCache(folder)).fit(pairs).transform(pairs)
        searches = {"embed once, search the verifier on vectors": (PairVerifier(), vectors)}
        for check_files in ("once", "always"):
            cache = EmbeddingCache(folder, check_files=check_files)
            pipe = make_pipeline(embedder(cache), PairVerifier())
            searches[f'search the pipeline, check_files="{check_files}"'] = pipe, pairs
        spent = {}
        for name, (estimator, X) in searches.items():
            parameter = "threshold" if X is vectors else "pairverifier__threshold"
            started = time.process_time()
            run_search(estimator, parameter, X, same, 1)
            spent[name] = (time.process_time() - started) / (N_FOLDS * len(THRESHOLDS)) * 1e3
    return spent


def main() -> None:
    """Print the tables."""
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
    print("\n| full cache | CPU ms per fit and score | ratio |")
    print("|---|---|---|")
    spent = in_fresh_process(compare_searches, pairs, same)
    least = next(iter(spent.values()))
    for name, milliseconds in spent.items():
        print(f"| {name} | {milliseconds:.1f} | {milliseconds / least:.2f} |")


if __name__ == "__main__":
    main()
