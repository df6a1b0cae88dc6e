"""Face verification as an ordinary scikit-learn problem.

Every public name is imported when it is first used, so that ``import skface`` loads neither torch
nor OpenCV.
"""

import importlib
from typing import TYPE_CHECKING, Any

from skface._version import __version__

if TYPE_CHECKING:
    from skface import (
        align,
        base,
        cache,
        compose,
        datasets,
        embedding,
        evaluation,
        images,
        inference,
        metrics,
        model_selection,
        nn,
        onnx,
        pairs,
        plotting,
        siamese,
        verification,
        weights,
    )
    from skface.align import FaceAligner
    from skface.cache import EmbeddingCache
    from skface.compose import PerFace, load_face_verifier, make_face_verifier
    from skface.datasets import blend_people, load_face_folder, load_lfw_pairs, make_faces
    from skface.embedding import FaceNetEmbedder, SiameseEmbedder
    from skface.evaluation import cross_validate_pairs, evaluate_lfw
    from skface.model_selection import (
        IdentityGroupKFold,
        IdentityKFold,
        IdentityShuffleSplit,
        StratifiedIdentityKFold,
        audit_leakage,
        describe_folds,
    )
    from skface.onnx import OnnxEmbedder
    from skface.pairs import make_pairs
    from skface.plotting import (
        EmbeddingMapDisplay,
        ErrorTradeoffDisplay,
        MistakesDisplay,
        ScoreDistributionDisplay,
        TippettDisplay,
    )
    from skface.siamese import SiameseVerifier
    from skface.verification import PairVerifier

__all__ = [
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
    "align",
    "audit_leakage",
    "base",
    "blend_people",
    "cache",
    "compose",
    "cross_validate_pairs",
    "datasets",
    "describe_folds",
    "embedding",
    "evaluate_lfw",
    "evaluation",
    "images",
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
    "onnx",
    "pairs",
    "plotting",
    "siamese",
    "verification",
    "weights",
]

_MODULE_OF = {
    "EmbeddingCache": "cache",
    "EmbeddingMapDisplay": "plotting",
    "ErrorTradeoffDisplay": "plotting",
    "FaceAligner": "align",
    "FaceNetEmbedder": "embedding",
    "IdentityGroupKFold": "model_selection",
    "IdentityKFold": "model_selection",
    "IdentityShuffleSplit": "model_selection",
    "MistakesDisplay": "plotting",
    "OnnxEmbedder": "onnx",
    "PairVerifier": "verification",
    "PerFace": "compose",
    "ScoreDistributionDisplay": "plotting",
    "SiameseEmbedder": "embedding",
    "SiameseVerifier": "siamese",
    "StratifiedIdentityKFold": "model_selection",
    "TippettDisplay": "plotting",
    "audit_leakage": "model_selection",
    "blend_people": "datasets",
    "cross_validate_pairs": "evaluation",
    "describe_folds": "model_selection",
    "evaluate_lfw": "evaluation",
    "load_face_folder": "datasets",
    "load_face_verifier": "compose",
    "load_lfw_pairs": "datasets",
    "make_face_verifier": "compose",
    "make_faces": "datasets",
    "make_pairs": "pairs",
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
