"""Report on LFW View 1 with intervals, and whether a threshold for FAR 1e-3 holds on strangers.

    python tests/benchmarks/lfw_report.py FOLDER

FOLDER holds ``lfw_home`` as scikit-learn lays it out. Weights are looked up as usual: set
SKFACE_HOME to the folder that holds them. Thresholds come from DevTrain, figures from DevTest,
which shares no person with it.
"""

import argparse
import warnings

import numpy as np
from sklearn.pipeline import make_pipeline

from skface import FaceAligner, OnnxEmbedder, PairVerifier, PerFace, load_lfw_pairs
from skface.metrics import rate_interval, verification_report

WEIGHTS = "face-reidentification-retail-0095"


def main() -> None:
    """Print the reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--n-jobs", type=int, default=None)
    args = parser.parse_args()
    train, test = (load_lfw_pairs(args.folder, subset) for subset in ("train", "test"))

    aligner = FaceAligner(
        WEIGHTS, detector="yunet", face_policy="center", on_failure="nan", n_jobs=args.n_jobs
    )
    embed = PerFace(make_pipeline(aligner, OnnxEmbedder(WEIGHTS))).fit(train.data[:1])
    vectors = {
        name: embed.transform(pairs.data) for name, pairs in (("train", train), ("test", test))
    }

    verifier = PairVerifier(criterion="far", far=1e-3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        verifier.fit(vectors["train"], train.target)
    for warning in caught:
        print(f"PairVerifier warns: {warning.message}\n")

    scores = verifier.score_pairs(vectors["test"])
    print("DevTest, at the threshold for FAR 1e-3 learned on DevTrain, intervals over people:\n")
    print(
        verification_report(
            test.target,
            scores,
            threshold=verifier.threshold_,
            far=(1e-1, 1e-2),
            identities=test.identities,
            random_state=0,
        )
    )
    impostor = test.target == 0
    accepted = int(np.sum(scores[impostor] >= verifier.threshold_))
    low, high = rate_interval(accepted, int(impostor.sum()))
    verdict = "agrees with" if low <= 1e-3 <= high else "contradicts"
    print(
        f"\nDoes FAR 1e-3 hold? {accepted} of {impostor.sum()} different pairs were accepted, a "
        f"rate between {low:.2%} and {high:.2%} at 95 % confidence, which {verdict} 0.1 %. It "
        "takes 3,000 pairs without a false acceptance to show a rate below 0.1 %; there are "
        f"{(train.target == 0).sum():,} in DevTrain and {impostor.sum():,} in DevTest."
    )


if __name__ == "__main__":
    main()
