"""Verify LFW View 1 from raw photos: thresholds from DevTrain, figures on DevTest.

    python tests/benchmarks/lfw_view1.py FOLDER

FOLDER holds ``lfw_home`` as scikit-learn lays it out. Weights are looked up as usual: set
SKFACE_HOME to the folder that holds them. Every row of the table uses the same aligned faces, and
no figure is computed on pairs that a threshold or a PCA was learned from.
"""

import argparse
import time

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skface import (
    FaceAligner,
    FaceNetEmbedder,
    OnnxEmbedder,
    PairVerifier,
    PerFace,
    load_lfw_pairs,
)
from skface.embedding._network import rebuild_network
from skface.metrics import equal_error_rate, rate_interval, tar_at_far

WEIGHTS = "face-reidentification-retail-0095"


class PlainEmbedder(FaceNetEmbedder):
    """Embed by the module as it is, without folding or a backend."""

    def _embed(self, faces):
        network = rebuild_network(self)
        with torch.inference_mode():
            return network.module(torch.from_numpy(network.inputs(faces))).numpy()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--n-jobs", type=int, default=None)
    args = parser.parse_args()
    train, test = (load_lfw_pairs(args.folder, subset) for subset in ("train", "test"))

    started = time.perf_counter()
    aligner = FaceAligner(
        WEIGHTS, detector="yunet", face_policy="center", on_failure="nan", n_jobs=args.n_jobs
    )
    crops = [aligner.fit(train.data).transform(pairs.data) for pairs in (train, test)]
    n_photos = len(np.unique(np.concatenate([train.data.ravel(), test.data.ravel()])))
    n_failed = int(np.isnan(crops[1][:, :, 0, 0, 0]).any(axis=1).sum())
    seconds = time.perf_counter() - started
    print(f"aligned {n_photos} photos in {seconds:.0f} s; test pairs without a face: {n_failed}\n")

    methods = {
        # identity: PerFace has already flattened the pixels
        "cosine of raw pixels": PerFace(FunctionTransformer()),
        "PCA-150": PerFace(PCA(150, svd_solver="randomized", random_state=0)),
        f"FaceNetEmbedder {WEIGHTS}": FaceNetEmbedder(weights=WEIGHTS),
        "the same, flip=True": FaceNetEmbedder(weights=WEIGHTS, flip=True),
        "the same, eager float32": PlainEmbedder(weights=WEIGHTS),
        **{
            f"the same, {runtime} {precision}": FaceNetEmbedder(
                weights=WEIGHTS, runtime=runtime, precision=precision
            )
            for runtime in ("torch", "openvino")
            for precision in ("float32", "bfloat16")
        },
        f"OnnxEmbedder {WEIGHTS}": OnnxEmbedder(WEIGHTS),
    }
    print("| method | accuracy | 95 % interval | EER | TAR@FAR=1e-2 | threshold | seconds |")
    print("|---|---|---|---|---|---|---|")
    for name, embedder in methods.items():
        started = time.perf_counter()
        pipe = make_pipeline(embedder, PairVerifier()).fit(crops[0], train.target)
        right = int((pipe.predict(crops[1]) == test.target).sum())
        scores = pipe.decision_function(crops[1])
        low, high = rate_interval(right, len(test.target))
        eer = equal_error_rate(test.target, scores).rate
        tar = tar_at_far(test.target, scores, 1e-2)
        print(
            f"| {name} | {right / len(test.target):.2%} | {low:.2%} to {high:.2%} | {eer:.2%} "
            f"| {tar:.2%} | {pipe[-1].threshold_:.3f} | {time.perf_counter() - started:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
