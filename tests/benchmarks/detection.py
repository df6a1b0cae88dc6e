"""Measure the best photo size for detection, and what averaging the guesses at a face brings.

    python tests/benchmarks/detection.py FOLDER

FOLDER holds ``lfw_home`` as scikit-learn lays it out. Weights are looked up as usual: set
SKFACE_HOME to the folder that holds them. Every row embeds the photos of LFW's View 1, of 250 x 250
pixels, and compares its 3,200 pairs: d' is the distance of the means of genuine and impostor
cosines in standard deviations, and no threshold is learned. "best guess" is non-maximum suppression
as OpenCV has it.
"""

import argparse
import itertools
import time
from pathlib import Path
from unittest import mock

import numpy as np

from skface import FaceAligner, FaceNetEmbedder, load_lfw_pairs
from skface.alignment import _yunet
from skface.metrics import d_prime, equal_error_rate

DETECTORS = ("yunet", "skface-detector")
EMBEDDERS = ("face-reidentification-retail-0095", "skface-mini")
SIDES = (250, 320, 500)
MORE_THAN_ALL = 2.0  # an intersection over union that no two boxes have


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    subsets = [load_lfw_pairs(folder, subset) for subset in ("train", "test")]
    same = np.concatenate([subset.target for subset in subsets])
    photos, slots = np.unique(
        np.concatenate([subset.data for subset in subsets]), return_inverse=True
    )
    print(
        "| detector | longer side | landmarks | photos/s | "
        + " | ".join(f"EER, d' of {name}" for name in EMBEDDERS)
        + " |"
    )
    print("|---" * (4 + len(EMBEDDERS)) + "|")
    agreements = {"best guess": MORE_THAN_ALL, "average": _yunet._AGREEMENT}
    settings = itertools.product(DETECTORS, SIDES, agreements.items())
    for detector, side, (landmarks, agreement) in settings:
        with mock.patch.multiple(_yunet, _ENLARGED_SIDE=side, _AGREEMENT=agreement):
            per_second = detection_speed(photos, detector)
            separations = [
                separation(photos, slots.reshape(-1, 2), same, detector, name) for name in EMBEDDERS
            ]
        cells = [detector, str(side), landmarks, f"{per_second:,.0f}", *separations]
        print(f"| {' | '.join(cells)} |", flush=True)


def detection_speed(photos: np.ndarray, detector: str) -> float:
    """Return how many photos are decoded and searched for faces in a second, on all threads."""
    aligner = FaceAligner(detector=detector).fit(photos[:1])
    started = time.perf_counter()
    aligner.detect(photos)
    return len(photos) / (time.perf_counter() - started)


def separation(
    photos: np.ndarray, slots: np.ndarray, same: np.ndarray, detector: str, weights: str
) -> str:
    """Return EER and d' of pairs of photos, which are given by their places."""
    crops = FaceAligner(weights, detector=detector).fit_transform(photos)
    vectors = FaceNetEmbedder(weights=weights).fit_transform(crops)
    left, right = vectors[slots[:, 0]], vectors[slots[:, 1]]
    scores = np.einsum("ij,ij->i", left, right)
    return f"{equal_error_rate(same, scores).rate:.2%}, {d_prime(same, scores):.2f}"


if __name__ == "__main__":
    main()
