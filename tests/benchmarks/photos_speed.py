"""From photo files to aligned faces, embeddings and decisions: rates, and what bounds them.

    python tests/benchmarks/photos_speed.py FOLDER

FOLDER holds photos as scikit-learn lays out LFW (a folder per person). Weights are looked up as
usual: set SKFACE_HOME. Every number of cores is a process of its own, held to these cores. The
time of a step is that of the processor, which other programs disturb less than the clock; rates of
whole runs are by the clock. Loops that verify pair by pair are measured on a sample of the pairs
and scaled to all of them.
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
from skface._utils.runtimes import is_installed
from skface.weights import fetch_weights

WEIGHTS = "face-reidentification-retail-0095"
# What pairs are verified with: the crop, and an embedder. Speed does not depend on weights.
NETWORKS = {
    "retail_0095": (WEIGHTS, {"weights": WEIGHTS}),
    "inception_resnet_v1": (
        "facenet-160",
        {"backbone": "inception_resnet_v1", "weights": None, "trainable": "none"},
    ),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--n-photos", type=int, default=768)
    parser.add_argument("--n-pairs", type=int, default=6000, help="0 leaves the pairs out")
    parser.add_argument("--n-loop", type=int, default=60, help="pairs that loops are timed on")
    args = parser.parse_args()
    for n_cores in args.cores:
        steps, rates = on_cores(n_cores, measure_photos, args.folder, args.n_photos)
        print(f"\n{n_cores} core(s), {args.n_photos} photos\n")
        print("| step | ms of one core per photo | photos/s |\n|---|---|---|")
        for name, seconds in steps.items():
            print(f"| {name} | {1e3 * seconds:.2f} | {1 / seconds:,.0f} |")
        print("\n| from paths to | photos/s |\n|---|---|")
        for name, rate in rates.items():
            print(f"| {name} | {rate:,.0f} |")
        print(f"\n{bound(steps, rates['embeddings'], n_cores)}", flush=True)
    if args.n_pairs:
        print(f"\n{args.n_pairs} pairs from paths to decisions, {n_cores} core(s)\n")
        print("| network | | seconds | ratio |\n|---|---|---|---|")
        for network in NETWORKS:
            seconds = on_cores(
                n_cores, measure_pairs, args.folder, args.n_pairs, args.n_loop, network
            )
            first = next(iter(seconds.values()))
            for name, value in seconds.items():
                print(f"| {network} | {name} | {value:,.1f} | {value / first:.1f} |", flush=True)


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


def measure_photos(folder: str, n_photos: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return seconds of one core per photo of each step, and photos per second of whole runs."""
    paths = _photos(folder)[0][:n_photos]
    # converted at once, so that no run has to wait for it
    runtime = "openvino" if is_installed("openvino") else "torch"
    embedder = FaceNetEmbedder(weights=WEIGHTS, runtime=runtime)
    aligner = FaceAligner(WEIGHTS, detector="yunet", on_failure="nan").fit(paths[:1])
    whole = PerFace(make_pipeline(aligner, embedder)).fit(paths[:1])
    crops = aligner.transform(paths)
    rates = {
        "aligned faces": n_photos / _least_seconds(lambda: aligner.transform(paths)),
        "embeddings": n_photos / _least_seconds(lambda: whole.transform(paths)),
    }
    crops = crops[~np.isnan(crops[:, 0, 0, 0])]
    embedder.fit(crops[:1]).transform(crops[:64])
    steps = steps_of_alignment(paths, aligner)
    steps["embed"] = _core_seconds(lambda: embedder.transform(crops)) / len(crops)
    return steps, rates


def steps_of_alignment(paths: list[str], aligner: FaceAligner) -> dict[str, float]:
    """Return seconds of one core per photo of decoding, detecting and warping."""
    from skface._rows import decode
    from skface.alignment._geometry import warp
    from skface.alignment._policies import choose_face
    from skface.alignment._yunet import YuNet, _OpenCv

    photos = [decode(path) for path in paths]
    yunet, opencv = YuNet(aligner.detector_), YuNet(aligner.detector_)
    opencv._detect = _OpenCv(aligner.detector_)
    size = aligner.detection_size
    found = [yunet(photo, 0.6, size) for photo in photos]

    def warp_all():
        for photo, faces in zip(photos, found, strict=True):
            if len(faces):
                face = choose_face(faces, photo.shape, "largest")
                warp(photo, face[4:14].reshape(5, 2), aligner.geometry_)

    def each(function, items):
        return _core_seconds(lambda: [function(item) for item in items]) / len(items)

    return {
        "decode, Pillow alone": each(_decode_by_pillow, paths),
        "decode": each(decode, paths),
        "detect by OpenCV": each(lambda photo: opencv(photo, 0.6, size), photos[:100]),
        "detect": each(lambda photo: yunet(photo, 0.6, size), photos),
        "warp": _core_seconds(warp_all) / len(photos),
    }


def bound(steps: dict[str, float], reached: float, n_cores: int) -> str:
    """Say how near a run comes to what its steps cost, and which of them costs most."""
    needed = {name: steps[name] for name in ("decode", "detect", "warp", "embed")}
    total = sum(needed.values())
    most = max(needed, key=needed.get)
    return (
        f"The steps add up to {1e3 * total:.2f} ms of one core per photo, which allows "
        f"{n_cores / total:,.0f} photos/s; {reached:,.0f} were reached. Most goes to '{most}' "
        f"({needed[most] / total:.0%})."
    )


def measure_pairs(folder: str, n_pairs: int, n_loop: int, network: str) -> dict[str, float]:
    """Return the seconds that decisions on pairs of paths take, all at once and in loops.

    All at once starts with nothing converted.
    """
    geometry, params = NETWORKS[network]
    paths, people = _photos(folder)
    drawn = make_pairs(
        people, n_genuine=n_pairs // 2, n_impostor=n_pairs - n_pairs // 2, random_state=0
    )
    pairs = np.array(paths, dtype=object)[drawn.indices]
    embed = PerFace(
        make_pipeline(
            FaceAligner(geometry, detector="yunet", on_failure="nan"),
            FaceNetEmbedder(**params),
        )
    )
    verifier = make_pipeline(embed, PairVerifier(threshold=0.3)).fit(pairs[:64], drawn.target[:64])
    seconds = {
        f"all at once, {len(set(pairs.ravel()))} photos": _seconds(lambda: verifier.predict(pairs))
    }
    sample = pairs[:n_loop]
    scale = n_pairs / n_loop
    seconds[f"this verifier pair by pair, of {n_loop} pairs"] = scale * _seconds(
        lambda: [verifier.predict(pair[None]) for pair in sample]
    )
    decide = pair_by_pair(geometry, params)
    decide(*sample[0])
    seconds[f"Pillow, OpenCV, eager PyTorch pair by pair, of {n_loop} pairs"] = scale * _seconds(
        lambda: [decide(*pair) for pair in sample]
    )
    return seconds


def pair_by_pair(geometry: str, params: dict) -> Callable[[str, str], bool]:
    """Return a function that verifies one pair as libraries do that know nothing of batches.

    Each photo is decoded, looked at as it is, as FaceAligner does with photos of this size, and
    embedded alone.
    """
    import cv2
    import torch

    from skface.alignment import fit_similarity
    from skface.embedding._network import rebuild_network

    face = np.zeros((1, 160, 160, 3), dtype=np.uint8)
    embedder = FaceNetEmbedder(**params).fit(face)
    network = rebuild_network(embedder)
    crop_of = FaceAligner(geometry).fit(face).geometry_
    detector = cv2.FaceDetectorYN.create(str(fetch_weights("yunet")[0]), "", (250, 250), 0.6)

    def embed(path: str) -> np.ndarray:
        photo = _decode_by_pillow(path)
        detector.setInputSize(photo.shape[1::-1])
        faces = detector.detect(cv2.cvtColor(photo, cv2.COLOR_RGB2BGR))[1]
        if faces is None:
            return np.full(embedder.embedding_dim_, np.nan)
        points = faces[0, 4:14].reshape(5, 2)
        crop = cv2.warpAffine(photo, fit_similarity(points, crop_of.points), crop_of.size)
        with torch.inference_mode():
            vector = network.module(torch.from_numpy(network.inputs([crop])))[0].numpy()
        return vector / np.linalg.norm(vector)

    return lambda left, right: bool(embed(left) @ embed(right) >= 0.3)


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


def _least_seconds(function: Callable, repeats: int = 3) -> float:
    """Time calls of which the first may have to build and convert the network."""
    return min(_seconds(function) for _ in range(repeats))


def _core_seconds(function: Callable) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


if __name__ == "__main__":
    main()
