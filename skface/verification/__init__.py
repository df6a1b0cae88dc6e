"""From two face embeddings, or two faces, to a decision: same person or different people.

:class:`PairVerifier` learns a threshold and calibrated probabilities for embeddings.
:class:`SiameseVerifier` trains a network on faces, end to end. torch is loaded only when
:class:`SiameseVerifier` is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from skface.verification._pair_verifier import PairVerifier

if TYPE_CHECKING:
    from skface.verification._siamese import SiameseVerifier

__all__ = ["PairVerifier", "SiameseVerifier"]


def __getattr__(name: str) -> Any:
    if name != "SiameseVerifier":
        raise AttributeError(f"module 'skface.verification' has no attribute {name!r}")
    value = importlib.import_module("skface.verification._siamese").SiameseVerifier
    globals()[name] = value  # so that the next access finds it without this function
    return value


def __dir__() -> list[str]:
    return __all__
