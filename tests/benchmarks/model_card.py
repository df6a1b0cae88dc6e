"""Measure what comes with skface, embedder and detector, for docs/model_card.md.

    python tests/benchmarks/model_card.py FOLDER [--weights FILE] [--detector FILE]

FOLDER holds ``lfw_home`` as scikit-learn lays it out, ``att_faces`` and ``celebrities`` (crops for
ArcFace), one folder per person. Set SKFACE_HOME to the folder with YuNet and the teacher. Prints
markdown. Thresholds and PCA are learned on DevTrain, and nothing is chosen by a figure. Intervals
are of 95 %: exact for counts; for error rates the wider one of that and of resampling people.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from sklearn.decomposition import PCA

from skface import (
    FaceAligner,
    FaceNetEmbedder,
    PairVerifier,
    load_face_folder,
    load_lfw_pairs,
    make_pairs,
)
from skface._rows import decode
from skface._utils.runtimes import is_installed
from skface.alignment import GEOMETRIES, fit_similarity
from skface.alignment._geometry import warp
from skface.alignment._policies import choose_face
from skface.exceptions import FaceNotFoundError, FewImpostorsWarning
from skface.metrics import bootstrap_interval, equal_error_rate, rate_interval, tar_at_far
from skface.weights import weights_info

MINI, TEACHER, DETECTOR = "skface-mini", "face-reidentification-retail-0095", "skface-detector"
CROPS = {name: weights_info(name).geometry for name in (MINI, TEACHER)}
N_IMPOSTOR = 50_000
N_RESAMPLES = 300
N_PHOTOS_TO_TIME = 200
N_FACES_TO_TIME = 512
N_PASSES = 5


class Trial(NamedTuple):
    """Photos, and pairs of them by place."""

    photos: np.ndarray
    slots: np.ndarray
    same: np.ndarray
    people: np.ndarray
    policy: str = "center"


class Faces(NamedTuple):
    """Crops (n, H, W, 3) of the photos of a trial, and which of them were found."""

    pixels: np.ndarray
    found: np.ndarray


def main() -> None:
    """Print both sections of the card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", help="a file to measure in place of skface-mini's")
    parser.add_argument("--detector", help="a file to measure in place of skface-detector's")
    parser.add_argument("--n-jobs", type=int, help="photos looked at at a time, but for timings")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", ".*cannot be aligned")  # the tables count them
    warnings.filterwarnings("ignore", category=FewImpostorsWarning)  # in a resample

    train, test = (lfw_trial(args.folder, subset) for subset in ("train", "test"))
    att = folder_trial(args.folder / "att_faces", "largest")
    celebrities = folder_trial(args.folder / "celebrities", "given", every=4)
    backbone = weights_info(MINI).backbone if args.weights else None
    mini = partial(FaceNetEmbedder, backbone, args.weights or MINI)
    detectors = {"yunet": "yunet", DETECTOR: args.detector or DETECTOR}

    lfw = np.union1d(train.photos, test.photos)
    found = {name: find_faces(lfw, d, args.n_jobs) for name, d in detectors.items()}
    known = found["yunet"] | find_faces(att.photos, "yunet", args.n_jobs)
    faces = {
        (name, place): crop_found(trial, known, geometry)
        if trial.policy != "given"
        else crop_given(trial, geometry)
        for name, geometry in CROPS.items()
        for place, trial in enumerate((train, test, att, celebrities))
    }
    print("### Embedder\n")
    print_accuracy(faces, (train, test, att, celebrities), mini)
    print_gap(faces, mini)
    print_embedding_speed(faces[MINI, 1].pixels[:N_FACES_TO_TIME], mini)
    print("\n### Detector\n")
    print_detectors(found, (train, test), mini)
    print_landmarks(found, train.policy)
    print_detection_speed(lfw[:N_PHOTOS_TO_TIME], detectors)


# ------------------------------------------------------------------------------------- photos


def lfw_trial(folder: Path, subset: str) -> Trial:
    """Return the pairs of LFW's View 1."""
    pairs = load_lfw_pairs(folder, subset)
    photos, slots = np.unique(pairs.data.astype(str), return_inverse=True)
    return Trial(photos, slots.reshape(-1, 2), pairs.target, pairs.identities)


def folder_trial(folder: Path, policy: str, every: int = 1) -> Trial:
    """Return all same pairs, and some different ones, of every n-th photo of a folder."""
    photos = load_face_folder(folder)
    paths, target = photos.data[::every].astype(str), photos.target[::every]
    pairs = make_pairs(target, n_impostor=N_IMPOSTOR, random_state=0)
    return Trial(paths, pairs.indices, pairs.target, pairs.identities, policy)


def find_faces(paths: np.ndarray, detector: str, n_jobs: int | None) -> dict[str, np.ndarray]:
    """Return all faces (k, 15) of each photo."""
    aligner = FaceAligner(detector=detector, on_failure="nan", n_jobs=n_jobs).fit(paths[:1])
    found = aligner.detect(paths)
    rows = zip(found.boxes, found.landmarks, found.scores, strict=True)
    faces = [np.column_stack([box, at.reshape(-1, 10), score]) for box, at, score in rows]
    return dict(zip(paths, faces, strict=True))


def crop_found(trial: Trial, known: dict[str, np.ndarray], geometry: str) -> Faces:
    """Cut out the face of each photo."""
    target = GEOMETRIES[geometry]
    pixels = np.zeros((len(trial.photos), *target.size[::-1], 3), np.uint8)
    found = np.zeros(len(trial.photos), dtype=bool)
    for i, path in enumerate(trial.photos):
        photo = decode(path)
        try:
            face = choose_face(known[path], photo.shape, trial.policy)
        except FaceNotFoundError:
            continue
        pixels[i], found[i] = warp(photo, face[4:14].reshape(5, 2), target), True
    return Faces(pixels, found)


def crop_given(trial: Trial, geometry: str) -> Faces:
    """Turn crops for ArcFace into others."""
    target = GEOMETRIES[geometry]
    matrix = fit_similarity(GEOMETRIES["arcface-112"].points, target.points)
    edge = cv2.BORDER_REPLICATE
    pixels = [cv2.warpAffine(decode(p), matrix, target.size, borderMode=edge) for p in trial.photos]
    return Faces(np.stack(pixels), np.ones(len(pixels), dtype=bool))


# ----------------------------------------------------------------------------------- accuracy


def compare(trial: Trial, faces: Faces, embed: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the cosine of each pair, NaN where a face was not found."""
    vectors = np.asarray(embed(faces.pixels[faces.found]), dtype=np.float32)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    place = np.cumsum(faces.found) - 1
    scores = np.full(len(trial.slots), np.nan)
    for row, (left, right) in enumerate(trial.slots):
        if faces.found[left] and faces.found[right]:
            scores[row] = vectors[place[left]] @ vectors[place[right]]
    return scores


def decide(train: Trial, learned: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Accept or reject pairs at the threshold that DevTrain teaches."""
    verifier = PairVerifier().fit(learned[:, None], train.same)
    return verifier.predict(scores[:, None])


def as_pixels(faces: np.ndarray) -> np.ndarray:
    """Take the pixels of each face, shrunk to 64 x 64, as its vector."""
    small = [cv2.resize(face, (64, 64), interpolation=cv2.INTER_AREA) for face in faces]
    return np.stack(small).reshape(len(faces), -1) / np.float32(255)


def print_accuracy(faces: dict, trials: tuple[Trial, ...], mini: Callable) -> None:
    """Print the table of methods."""
    pca = PCA(150, svd_solver="randomized", random_state=0)
    pca.fit(as_pixels(faces[TEACHER, 0].pixels[faces[TEACHER, 0].found]))
    methods = {
        "64 x 64 pixels": (TEACHER, as_pixels),
        "PCA of these, 150 components": (TEACHER, lambda x: pca.transform(as_pixels(x))),
        MINI: (MINI, mini().fit_transform),
        f"{MINI}, flip=True": (MINI, mini(flip=True).fit_transform),
        f"its teacher, {TEACHER}": (TEACHER, FaceNetEmbedder(weights=TEACHER).fit_transform),
    }
    columns = "LFW View 1, accuracy | EER | TAR at FAR 1 % | AT&T, EER | celebrities, EER"
    print(f"| vectors | {columns} |")
    print("|---|---|---|---|---|---|", flush=True)
    for title, (name, embed) in methods.items():
        scores = [compare(trial, faces[name, place], embed) for place, trial in enumerate(trials)]
        train, test, *others = trials
        right = decide(train, scores[0], scores[1]) == test.same
        cells = [
            share(right.sum(), len(right)),
            over_people(eer, test, scores[1]),
            over_people(partial(tar_at_far, far=1e-2), test, scores[1]),
            *(over_people(eer, trial, s) for trial, s in zip(others, scores[2:], strict=True)),
        ]
        print(f"| {title} | {' | '.join(cells)} |", flush=True)
    compared = faces[MINI, 1].found[trials[1].slots].all(axis=1)
    print(f"\nFaces by YuNet; pairs of LFW's DevTest without a face: {(~compared).sum()}.")


def eer(same: np.ndarray, scores: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
    """Return the equal error rate as a number."""
    return equal_error_rate(same, scores, sample_weight=sample_weight).rate


def share(k: int, n: int) -> str:
    """Write a share with its exact interval."""
    low, high = rate_interval(int(k), int(n))
    return f"{k / n:.1%} ({low:.1%} to {high:.1%})"


def over_people(metric: Callable, trial: Trial, scores: np.ndarray) -> str:
    """Write a rate with its interval: the wider of the exact one and of that over people."""
    rate = metric(trial.same, scores)
    n_same = int(trial.same.sum())
    n_pairs = min(n_same, len(trial.same) - n_same)
    exact = rate_interval(rate * n_pairs, n_pairs)
    resampled = bootstrap_interval(
        metric, trial.same, scores, trial.people, n_resamples=N_RESAMPLES, random_state=0
    )
    return f"{rate:.2%} ({min(exact[0], resampled[0]):.2%} to {max(exact[1], resampled[1]):.2%})"


def print_gap(faces: dict, mini: Callable) -> None:
    """Print how far the network is from its teacher."""
    for place, title in ((1, "LFW DevTest"), (2, "AT&T")):
        both = faces[MINI, place].found
        learned = mini().fit_transform(faces[MINI, place].pixels[both])
        taught = FaceNetEmbedder(weights=TEACHER).fit_transform(faces[TEACHER, place].pixels[both])
        gap = 1 - np.einsum("ij,ij->i", learned, taught)
        error = 1.96 * gap.std() / np.sqrt(len(gap))
        print(f"\n1 - cosine to the teacher, {title}: {gap.mean():.4f} +- {error:.4f}")


# ------------------------------------------------------------------------------------ detector


def print_detectors(found: dict, trials: tuple[Trial, Trial], mini: Callable) -> None:
    """Print what the detectors find in LFW's View 1, and what that does to accuracy."""
    train, test = trials
    right = {}
    print("| detector | photos of View 1 with a face | accuracy of skface-mini | EER |")
    print("|---|---|---|---|")
    for name, known in found.items():
        learned, scores = (
            compare(trial, crop_found(trial, known, CROPS[MINI]), mini().fit_transform)
            for trial in trials
        )
        right[name] = decide(train, learned, scores) == test.same
        n_found = sum(len(faces) > 0 for faces in known.values())
        cells = [
            share(n_found, len(known)),
            share(right[name].sum(), len(right[name])),
            over_people(eer, test, scores),
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    only_yunet = int((right["yunet"] & ~right[DETECTOR]).sum())
    only_ours = int((~right["yunet"] & right[DETECTOR]).sum())
    # interval of Agresti and Min (2005): half a pair more in each cell, else it may be of width 0
    n, lost = len(test.same) + 2, only_yunet - only_ours
    error = 1.96 * np.sqrt(only_yunet + only_ours + 1 - lost**2 / n) / n
    print(
        f"\nAccuracy lost by {DETECTOR}: {100 * lost / len(test.same):.1f} points "
        f"({100 * (lost / n - error):.1f} to {100 * (lost / n + error):.1f}). {only_yunet} pairs "
        f"are right with yunet only, {only_ours} with {DETECTOR} only."
    )


def print_landmarks(found: dict, policy: str) -> None:
    """Print how far the chosen faces of the two are apart."""
    away, same_face = [], 0
    for path, yunet in found["yunet"].items():
        ours = found[DETECTOR][path]
        if len(yunet) and len(ours):
            shape = decode(path).shape
            first, second = (choose_face(faces, shape, policy) for faces in (yunet, ours))
            points, others = (face[4:14].reshape(5, 2) for face in (first, second))
            apart = np.linalg.norm(others - points, axis=1).mean()
            away.append(apart / np.linalg.norm(points[1] - points[0]))
            same_face += overlap(first, second) >= 0.5
    low, middle, high = np.quantile(away, (0.05, 0.5, 0.95))
    print(
        "\nBoth mean the same face (boxes that overlap by half) on "
        f"{share(same_face, len(found['yunet']))} of the photos."
    )
    print(
        f"\nLandmarks lie {middle:.1%} of the distance of the eyes away from YuNet's (median; in 5 "
        f"% of the photos less than {low:.1%}, in 5 % more than {high:.1%})."
    )


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the intersection over union of the boxes of two faces."""
    low = np.maximum(first[:2], second[:2])
    high = np.minimum(first[:2] + first[2:4], second[:2] + second[2:4])
    shared = np.prod(np.clip(high - low, 0, None))
    return shared / (np.prod(first[2:4]) + np.prod(second[2:4]) - shared)


# --------------------------------------------------------------------------------------- speed


def seconds_of(work: Callable[[], object]) -> tuple[float, float, float]:
    """Return median, least and most seconds of some passes, after one to warm up."""
    work()
    seconds = []
    for _ in range(N_PASSES):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), min(seconds), max(seconds)


def print_embedding_speed(faces: np.ndarray, mini: Callable) -> None:
    """Print how long it takes to load the network, and to embed."""
    middle, least, most = (1000 * s for s in seconds_of(lambda: mini().fit(faces)))
    n = sum(values.size for values in mini().fit(faces).weights_.values())
    print(f"\n{n:,} values, loaded in {middle:.0f} ms ({least:.0f} to {most:.0f})\n")
    print(f"| aligned faces per second, {torch.get_num_threads()} threads | |\n|---|---|")
    for runtime in ("torch", "openvino"):
        if is_installed(runtime):
            embedder = mini(runtime=runtime).fit(faces)
            seconds = seconds_of(lambda embedder=embedder: embedder.transform(faces))
            middle, most, least = (len(faces) / s for s in seconds)
            print(f"| {runtime} | {middle:.0f} ({least:.0f} to {most:.0f}) |", flush=True)


def print_detection_speed(paths: np.ndarray, detectors: dict[str, str]) -> None:
    """Print how long a photo takes on one thread, decoding included."""
    runtime = "onnxruntime" if is_installed("onnxruntime") else "OpenCV"
    print(f"\n| detector, by {runtime} on one thread | ms per photo of LFW |\n|---|---|")
    for name, detector in detectors.items():
        aligner = FaceAligner(detector=detector, on_failure="nan", n_jobs=1).fit(paths[:1])
        seconds = seconds_of(lambda aligner=aligner: aligner.detect(paths))
        middle, least, most = (1000 * s / len(paths) for s in seconds)
        print(f"| {name} | {middle:.1f} ({least:.1f} to {most:.1f}) |", flush=True)


if __name__ == "__main__":
    main()
