"""Pretrained weights: the registry, and finding, downloading, verifying and reading files.

An embedder, "skface-mini", and a detector, "skface-detector", come with skface. Other files
are looked up in the folder that the environment variable ``SKFACE_HOME`` names, then in the
per-user cache. A file that is in neither is downloaded into that cache, unless
``SKFACE_OFFLINE=1`` is set. Size and SHA-256 are checked every time, and nothing is unpickled. The
command line::

    python -m skface.weights list
    python -m skface.weights info NAME
    python -m skface.weights fetch NAME [--sha256 HASH]
"""

from skface.exceptions import WeightsError
from skface.weights._fetch import fetch_weights, locate_weights, weights_files
from skface.weights._load import load_state
from skface.weights._registry import (
    REGISTRY,
    WeightsEntry,
    WeightsFile,
    list_weights,
    weights_info,
)

__all__ = [
    "REGISTRY",
    "WeightsEntry",
    "WeightsError",
    "WeightsFile",
    "fetch_weights",
    "list_weights",
    "load_state",
    "locate_weights",
    "weights_files",
    "weights_info",
]
