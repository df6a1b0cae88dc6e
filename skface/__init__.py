"""Face verification as an ordinary scikit-learn problem.

Every public name is imported when it is first used, so that ``import skface`` loads neither torch
nor OpenCV.
"""

import importlib
from typing import TYPE_CHECKING, Any

from skface._version import __version__

if TYPE_CHECKING:
    from skface import (
        alignment,
        cache,
        datasets,
        embedding,
        exceptions,
        inference,
        metrics,
        model_selection,
        nn,
        per_face,
        pipeline,
        plotting,
        verification,
        weights,
    )
    from skface.alignment import FaceAligner
    from skface.cache import EmbeddingCache
    from skface.datasets import (
        blend_people,
        load_face_folder,
        load_lfw_pairs,
        make_faces,
        make_pairs,
    )
    from skface.embedding import (
        DistilledEmbedder,
        FaceNetEmbedder,
        OnnxEmbedder,
        SiameseEmbedder,
    )
    from skface.model_selection import (
        IdentityGroupKFold,
        IdentityKFold,
        IdentityShuffleSplit,
        StratifiedIdentityKFold,
        audit_leakage,
        cross_validate_pairs,
        describe_folds,
        evaluate_lfw,
    )
    from skface.per_face import PerFace
    from skface.pipeline import load_face_verifier, make_face_verifier
    from skface.plotting import (
        EmbeddingMapDisplay,
        ErrorTradeoffDisplay,
        MistakesDisplay,
        ScoreDistributionDisplay,
        TippettDisplay,
    )
    from skface.verification import PairVerifier, SiameseVerifier

__all__ = [
    "DistilledEmbedder",
    "EmbeddingCache",
    "EmbeddingMapDisplay",
    "ErrorTradeoffDisplay",
    "FaceAligner",
    "FaceNetEmbedder",
    "IdentityGroupKFold",
    "IdentityKFold",
    "IdentityShuffleSplit",
    "MistakesDisplay",
    "OnnxEmbedder",
    "PairVerifier",
    "PerFace",
    "ScoreDistributionDisplay",
    "SiameseEmbedder",
    "SiameseVerifier",
    "StratifiedIdentityKFold",
    "TippettDisplay",
    "__version__",
    "alignment",
    "audit_leakage",
    "blend_people",
    "cache",
    "cross_validate_pairs",
    "datasets",
    "describe_folds",
    "embedding",
    "evaluate_lfw",
    "exceptions",
    "inference",
    "load_face_folder",
    "load_face_verifier",
    "load_lfw_pairs",
    "make_face_verifier",
    "make_faces",
    "make_pairs",
    "metrics",
    "model_selection",
    "nn",
    "per_face",
    "pipeline",
    "plotting",
    "verification",
    "weights",
]

_MODULE_OF = {
    "DistilledEmbedder": "embedding",
    "EmbeddingCache": "cache",
    "EmbeddingMapDisplay": "plotting",
    "ErrorTradeoffDisplay": "plotting",
    "FaceAligner": "alignment",
    "FaceNetEmbedder": "embedding",
    "IdentityGroupKFold": "model_selection",
    "IdentityKFold": "model_selection",
    "IdentityShuffleSplit": "model_selection",
    "MistakesDisplay": "plotting",
    "OnnxEmbedder": "embedding",
    "PairVerifier": "verification",
    "PerFace": "per_face",
    "ScoreDistributionDisplay": "plotting",
    "SiameseEmbedder": "embedding",
    "SiameseVerifier": "verification",
    "StratifiedIdentityKFold": "model_selection",
    "TippettDisplay": "plotting",
    "audit_leakage": "model_selection",
    "blend_people": "datasets",
    "cross_validate_pairs": "model_selection",
    "describe_folds": "model_selection",
    "evaluate_lfw": "model_selection",
    "load_face_folder": "datasets",
    "load_face_verifier": "pipeline",
    "load_lfw_pairs": "datasets",
    "make_face_verifier": "pipeline",
    "make_faces": "datasets",
    "make_pairs": "datasets",
}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = getattr(importlib.import_module(f"skface.{_MODULE_OF[name]}"), name)
    elif name in __all__:
        value = importlib.import_module(f"skface.{name}")
    else:
        raise AttributeError(f"module 'skface' has no attribute {name!r}")
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return __all__
