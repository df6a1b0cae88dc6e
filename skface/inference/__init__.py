"""Inference with a fixed network: preprocessing, backends, and a check of their vectors.

Importing this module does not import torch; that happens when :class:`Engine` is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from skface.inference._preprocessing import Preprocessing

if TYPE_CHECKING:
    from skface.inference._engine import Engine
    from skface.inference._network import Network
    from skface.inference._torch import resolve_precision

__all__ = ["Engine", "Network", "Preprocessing", "resolve_precision"]

# Names that need torch, and their modules.
_MODULES = {"Engine": "_engine", "Network": "_network", "resolve_precision": "_torch"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
