"""What a fitted transformer is known by: a digest of all that its values depend on.

That is its class, its parameters and fitted state, and the versions of the packages that compute.
Equal state gives equal digests in every process, however dicts and sets are ordered, and whichever
of its parts are one object. Parameters that govern only how the work is done are left out. An
estimator that knows better what its values depend on has a method `_value_state`, which returns it.

Functions and classes are known by their names and the version of their package, not by their code.
"""

import copyreg
import functools
import hashlib
import importlib.metadata
import pickle
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skface._version import __version__

_FORMAT = 3  # of the encoding, and of what skface computes between two versions
_DIGEST_BYTES = 16
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
# How the work is done, or what is decided by the time an estimator is fitted.
_IRRELEVANT = {
    "batch_size",
    "cache",
    "device",
    "memory",
    "n_jobs",
    "random_state",
    "verbose",
}
# What computes, if it is installed: another version may round otherwise, or find another face.
_COMPUTES = (
    "numpy",
    "onnxruntime",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
    "opencv-python",
    "opencv-python-headless",
    "openvino",
    "pillow",
    "scikit-learn",
    "scipy",
    "torch",
)


def fingerprint(estimator: BaseEstimator, *more: Any) -> bytes:
    """Digest what the values of a fitted transformer depend on.

    Parameters
    ----------
    estimator : estimator
        A fitted transformer or pipeline.
    *more : object
        What else is to be told apart.

    Returns
    -------
    bytes
        16 of them.

    Raises
    ------
    ValueError
        If a later process could not tell a part of it from others: a lambda, a function or class
        that is local or of the main program, or what cannot be pickled.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skface.cache._fingerprint import fingerprint
    >>> X = np.random.default_rng(0).random((9, 4))
    >>> fingerprint(PCA(2).fit(X)) == fingerprint(PCA(2, random_state=1).fit(X))
    True
    >>> fingerprint(PCA(2).fit(X)) == fingerprint(PCA(2).fit(X[1:]))
    False
    """
    name = type(estimator).__name__
    return _join("values", _versions(), _digest(estimator, name), _digest(more, "more"))


def _digest(value: Any, name: str) -> bytes:
    """Digest anything; `name` says in messages where it was found."""
    kind = type(value).__qualname__
    if type(value) in _PLAIN:
        return _join(kind, value if kind == "bytes" else repr(value).encode("utf-8", "replace"))
    if isinstance(value, BaseEstimator):
        return _join("estimator", _by_name(type(value), name), _mapping(_state_of(value), name))
    if isinstance(value, dict):
        return _join(kind, _mapping(value, name))
    if isinstance(value, list | tuple):
        return _join(kind, *_each(value, name))
    if isinstance(value, set | frozenset):
        return _join(kind, *sorted(_each(value, name)))
    if isinstance(value, np.ndarray | np.generic):
        kind = "array" if isinstance(value, np.ndarray) else kind  # mapped to a file or not
        if value.dtype.hasobject or value.dtype.kind == "T":  # whose bytes are places in memory
            return _join(kind, repr(value.shape).encode(), _digest(value.tolist(), name))
        return _join(kind, f"{value.dtype} {value.shape}".encode(), value.tobytes())
    if isinstance(value, types.FunctionType | type):
        return _by_name(value, name)
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        return _join("tensor", _digest(value.detach().cpu().numpy(), name))
    return _as_pickled(value, name)


def _join(kind: str, *parts: bytes) -> bytes:
    """Digest parts with their kind and lengths, so that no two lists of parts read alike."""
    lengths = [len(part) for part in parts]
    digest = hashlib.blake2b(f"{kind} {lengths}".encode(), digest_size=_DIGEST_BYTES)
    for part in parts:
        digest.update(part)
    return digest.digest()


def _each(values: Iterable[Any], name: str) -> list[bytes]:
    return [_digest(value, f"{name}[{i}]") for i, value in enumerate(values)]


def _mapping(mapping: dict[Any, Any], name: str) -> bytes:
    items = (_digest(key, name) + _digest(value, f"{name}.{key}") for key, value in mapping.items())
    return _join("mapping", *sorted(items))


def _state_of(estimator: BaseEstimator) -> dict[str, Any]:
    """Return what the values of an estimator depend on, by name."""
    if hasattr(estimator, "_value_state"):
        return estimator._value_state()
    return {
        name: value
        for name, value in vars(estimator).items()
        if name not in _IRRELEVANT and not name.startswith(("_sklearn", "_skl", "_metadata"))
    }


def _by_name(value: Any, name: str) -> bytes:
    """Digest what pickle knows by its name, such as a function or a class."""
    module = getattr(value, "__module__", None) or type(value).__module__
    try:
        content = pickle.dumps(value, protocol=4)
    except (pickle.PicklingError, AttributeError) as error:
        raise _refusal(value, name) from error
    if module == "__main__":
        raise _refusal(value, name)
    bases = value.__mro__ if isinstance(value, type) else (value,)
    packages = {(getattr(base, "__module__", None) or module).partition(".")[0] for base in bases}
    return _join("name", content, *(_version_of(package) for package in sorted(packages)))


def _as_pickled(value: Any, name: str) -> bytes:
    """Digest, part by part, what pickle would write of an object of any other class."""
    try:
        reduce = copyreg.dispatch_table.get(type(value))
        reduced = reduce(value) if reduce else value.__reduce_ex__(4)
        if isinstance(reduced, str):
            return _by_name(value, name)
        parts = [list(part) if isinstance(part, Iterator) else part for part in reduced]
        return _join("object", *_each(parts, name))
    except (TypeError, pickle.PicklingError, RecursionError) as error:
        raise _refusal(value, name) from error


def _refusal(value: Any, name: str) -> ValueError:
    return ValueError(
        f"{name} is {value!r}, which a later process cannot tell from others, as the cache has to. "
        "Use a named function or class of a module that can be imported, not of the main program; "
        "what cannot be pickled cannot be cached. Or set cache=None."
    )


@functools.cache
def _versions() -> bytes:
    """Return the versions of what computes, whether it is loaded by now or not."""
    found = [f"format {_FORMAT}, skface {__version__}".encode()]
    return _join("versions", *found, *(_version_of(name) for name in _COMPUTES))


@functools.cache
def _version_of(package: str) -> bytes:
    """Return the version of a package, and nothing if it has none."""
    if package in sys.stdlib_module_names:
        return f"{sys.version_info.major}.{sys.version_info.minor}".encode()
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # of its own, or by another name
        version = getattr(sys.modules.get(package), "__version__", "")
    return f"{package} {version}".encode()
