"""From photo files to aligned faces, embeddings and decisions: rates, and what bounds them.

    python tests/benchmarks/photos_speed.py FOLDER

FOLDER holds photos as scikit-learn lays out LFW (a folder per person). Weights are looked up as
usual: set SKFACE_HOME. Every number of cores is a process of its own, held to these cores. The
time of a step is that of the processor, which other programs disturb less than the clock; rates of
whole runs are by the clock. The loop that verifies pair by pair is measured on a sample of the
pairs and scaled to all of them.
"""

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import PIL.Image
from sklearn.pipeline import make_pipeline

from skface import FaceAligner, FaceNetEmbedder, PairVerifier, PerFace, make_pairs

WEIGHTS = "face-reidentification-retail-0095"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--detection-size", type=int, default=320, help="of FaceAligner")
    parser.add_argument("--n-photos", type=int, default=768)
    parser.add_argument("--n-pairs", type=int, default=6000, help="0 leaves the pairs out")
    parser.add_argument("--n-loop", type=int, default=60, help="pairs that the loop is timed on")
    args = parser.parse_args()
    for n_cores in args.cores:
        steps, rates = on_cores(
            n_cores, measure_photos, args.folder, args.n_photos, args.detection_size
        )
        print(
            f"\n{n_cores} core(s), {args.n_photos} photos, detection_size={args.detection_size}\n"
        )
        print("| step | ms of one core per photo | photos/s |\n|---|---|---|")
        for name, seconds in steps.items():
            print(f"| {name} | {1e3 * seconds:.2f} | {1 / seconds:,.0f} |")
        print("\n| from paths to | photos/s |\n|---|---|")
        for name, rate in rates.items():
            print(f"| {name} | {rate:,.0f} |")
        print(f"\n{bound(steps, rates, n_cores)}", flush=True)
        if args.n_pairs:
            pairs = on_cores(
                n_cores, measure_pairs, args.folder, args.n_pairs, args.n_loop, args.detection_size
            )
            print(pairs, flush=True)


def on_cores(n_cores: int, function: Callable, *args):
    """Call a function in a fresh process that may use this many cores."""
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(n_cores)
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            process.submit(
                os.sched_setaffinity, 0, sorted(os.sched_getaffinity(0))[:n_cores]
            ).result()
            return process.submit(function, *args).result()
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = threads


def measure_photos(
    folder: str, n_photos: int, detection_size: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return seconds of one core per photo of each step, and photos per second of whole runs."""
    paths = _photos(folder)[0][:n_photos]
    n_cores = len(os.sched_getaffinity(0))
    aligner = _aligner(detection_size, n_cores).fit(paths[:1])
    embedder = FaceNetEmbedder(weights=WEIGHTS).fit(aligner.transform(paths[:1]))
    whole = PerFace(make_pipeline(aligner, embedder)).fit(paths[:1])
    crops = aligner.transform(paths)
    crops = crops[~np.isnan(crops[:, 0, 0, 0])]
    embedder.transform(crops[:128])  # builds the network
    whole.transform(paths[:300])
    steps = steps_of_alignment(paths, aligner)
    steps["embed"] = _core_seconds(lambda: embedder.transform(crops)) / len(crops)
    rates = {
        "aligned faces": n_photos / _seconds(lambda: aligner.transform(paths)),
        "embeddings": n_photos / _seconds(lambda: whole.transform(paths)),
    }
    return steps, rates


def steps_of_alignment(paths: list[str], aligner: FaceAligner) -> dict[str, float]:
    """Return seconds of one core per photo of decoding, detecting and warping."""
    from skface._yunet import YuNet, _OpenCv
    from skface.align import _choose, _warp
    from skface.images import decode

    photos = [decode(path) for path in paths]
    detect = aligner._build_detector()
    found = [detect(photo) for photo in photos]
    yunet, opencv = YuNet(aligner.detector_), YuNet(aligner.detector_)
    opencv._find = _OpenCv(aligner.detector_)
    size = aligner.detection_size

    def warp_all():
        for photo, faces in zip(photos, found, strict=True):
            if len(faces):
                face = _choose(faces, photo.shape, "largest")
                _warp(photo, face[4:14].reshape(5, 2), aligner.geometry_)

    def each(function, items):
        return _core_seconds(lambda: [function(item) for item in items]) / len(items)

    return {
        "decode, Pillow alone": each(_decode_by_pillow, paths),
        "decode": each(decode, paths),
        "detect, OpenCV, detection_size=640": each(lambda x: opencv(x, 0.6, 640), photos[:100]),
        "detect, detection_size=640": each(lambda x: yunet(x, 0.6, 640), photos[:100]),
        f"detect, OpenCV, detection_size={size}": each(
            lambda x: opencv(x, 0.6, size), photos[:100]
        ),
        "detect": each(detect, photos),
        "warp": _core_seconds(warp_all) / len(photos),
    }


def bound(steps: dict[str, float], rates: dict[str, float], n_cores: int) -> str:
    """Say how near a run comes to what its steps cost, and which of them costs most."""
    needed = {name: steps[name] for name in ("decode", "detect", "warp", "embed")}
    total = sum(needed.values())
    most = max(needed, key=needed.get)
    return (
        f"The steps add up to {1e3 * total:.2f} ms of one core per photo, which allows "
        f"{n_cores / total:,.0f} photos/s; {rates['embeddings']:,.0f} were reached. "
        f"Most goes to the step '{most}' ({needed[most] / total:.0%})."
    )


def measure_pairs(folder: str, n_pairs: int, n_loop: int, detection_size: int) -> str:
    """Compare decisions on pairs of paths with the loop over pairs."""
    paths, people = _photos(folder)
    drawn = make_pairs(people, n_genuine=n_pairs // 2, n_impostor=n_pairs - n_pairs // 2)
    pairs = np.array(paths, dtype=object)[drawn.indices]
    n_jobs = len(os.sched_getaffinity(0))
    embed = PerFace(
        make_pipeline(_aligner(detection_size, n_jobs), FaceNetEmbedder(weights=WEIGHTS))
    )
    verifier = make_pipeline(embed, PairVerifier(threshold=0.3)).fit(pairs[:64], drawn.target[:64])
    all_at_once = _seconds(lambda: verifier.predict(pairs))
    sample = pairs[:n_loop]
    loop = _seconds(lambda: [verifier.predict(pair[None]) for pair in sample]) / n_loop * n_pairs
    n_photos = len(set(pairs.ravel()))
    return (
        f"\n{n_pairs} pairs of {n_photos} photos from paths to decisions: {all_at_once:.1f} s. "
        f"Pair by pair: {loop:.0f} s ({n_loop} pairs, scaled to {n_pairs}), "
        f"{loop / all_at_once:.1f} times as long."
    )


def _aligner(detection_size: int, n_jobs: int) -> FaceAligner:
    return FaceAligner(WEIGHTS, detection_size=detection_size, on_failure="nan", n_jobs=n_jobs)


def _photos(folder: str) -> tuple[list[str], list[str]]:
    """Return photos in a fixed random order, and who is on them."""
    files = sorted(Path(folder).rglob("*.jpg"))
    if not files:
        raise SystemExit(f"{folder} holds no .jpg files")
    order = np.random.default_rng(0).permutation(len(files))
    return [str(files[i]) for i in order], [files[i].parent.name for i in order]


def _decode_by_pillow(path: str) -> np.ndarray:
    with PIL.Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _seconds(function: Callable) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def _core_seconds(function: Callable) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


if __name__ == "__main__":
    main()
