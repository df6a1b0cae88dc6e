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
        compose,
        datasets,
        embedding,
        images,
        metrics,
        model_selection,
        nn,
        onnx,
        pairs,
        plotting,
        verification,
        weights,
    )
    from skface.align import FaceAligner
    from skface.compose import PerFace, make_face_verifier
    from skface.datasets import load_face_folder, load_lfw_pairs, make_faces
    from skface.embedding import FaceNetEmbedder
    from skface.model_selection import IdentityKFold
    from skface.onnx import OnnxEmbedder
    from skface.pairs import make_pairs
    from skface.plotting import (
        EmbeddingMapDisplay,
        ErrorTradeoffDisplay,
        MistakesDisplay,
        ScoreDistributionDisplay,
        TippettDisplay,
    )
    from skface.verification import PairVerifier

__all__ = [
    "EmbeddingMapDisplay",
    "ErrorTradeoffDisplay",
    "FaceAligner",
    "FaceNetEmbedder",
    "IdentityKFold",
    "MistakesDisplay",
    "OnnxEmbedder",
    "PairVerifier",
    "PerFace",
    "ScoreDistributionDisplay",
    "TippettDisplay",
    "__version__",
    "align",
    "base",
    "compose",
    "datasets",
    "embedding",
    "images",
    "load_face_folder",
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
    "verification",
    "weights",
]

_MODULE_OF = {
    "EmbeddingMapDisplay": "plotting",
    "ErrorTradeoffDisplay": "plotting",
    "FaceAligner": "align",
    "FaceNetEmbedder": "embedding",
    "IdentityKFold": "model_selection",
    "MistakesDisplay": "plotting",
    "OnnxEmbedder": "onnx",
    "PairVerifier": "verification",
    "PerFace": "compose",
    "ScoreDistributionDisplay": "plotting",
    "TippettDisplay": "plotting",
    "load_face_folder": "datasets",
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
