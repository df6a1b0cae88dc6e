"""Digests: equal content has equal digests in every process."""

import copyreg
import functools
import hashlib
import importlib.metadata
import pickle
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

_DIGEST_BYTES = 16
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
# Attributes of estimators that do not change their output, or are used by `fit` only.
_IRRELEVANT = {
    "batch_size",
    "cache",
    "device",
    "memory",
    "n_jobs",
    "random_state",
    "verbose",
}


def digest_bytes(content: Any, kind: bytes = b"") -> bytes:
    """Digest bytes.

    Parameters
    ----------
    content : bytes-like
        The bytes, or a C-contiguous array.
    kind : bytes, default=b""
        Contents of different kinds have different digests; at most 16 bytes.

    Returns
    -------
    bytes
        16 bytes.
    """
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES, person=kind).digest()


def digest_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Digest arrays by name, whatever their order and memory layout.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        The arrays.

    Returns
    -------
    str
        32 hexadecimal digits.

    Examples
    --------
    >>> import numpy as np
    >>> from skface._utils.digests import digest_arrays
    >>> a, b = np.zeros((2, 3)), np.ones(4, np.float32)
    >>> digest_arrays({"a": a, "b": b}) == digest_arrays({"b": b, "a": np.asfortranarray(a)})
    True
    >>> digest_arrays({"a": a}) == digest_arrays({"a": a.T})
    False
    """
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{len(name)} {name} {array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def digest_value(value: Any, name: str, *, allow_main: bool = False) -> bytes:
    """Digest any value: numbers, text, arrays, tensors, estimators, functions, and containers.

    Equal values have equal digests in every process: dicts and sets in any order, and whether or
    not two parts are one object. An estimator is digested by its class, parameters and fitted
    attributes, except those that do not change its output. If it has a method `_value_state`, that
    returns the attributes instead. A function or class is digested by its name and the version of
    its package, not by its code. Other objects are digested by what pickle would store of them.

    Parameters
    ----------
    value : object
        The value.
    name : str
        The name of the value in messages.
    allow_main : bool, default=False
        Whether functions and classes of the main program are accepted. Only processes that run the
        same program may then compare digests.

    Returns
    -------
    bytes
        16 bytes.

    Raises
    ------
    ValueError
        If another process cannot identify a part of the value: a lambda, a local function or
        class, an object that cannot be pickled, or one that contains itself.

    Examples
    --------
    >>> import numpy as np
    >>> from skface._utils.digests import digest_value
    >>> digest_value({"a": 1, "b": np.ones(2)}, "x") == digest_value({"b": np.ones(2), "a": 1}, "x")
    True
    >>> digest_value({"a": 1}, "x") == digest_value({"a": 1.0}, "x")
    False
    """
    try:
        return _ValueDigest(allow_main)(value, name)
    except RecursionError as error:
        raise _not_identified(value, name) from error


@functools.cache
def package_version(package: str) -> str:
    """Return the name of a package with its version, whether it is imported or not."""
    if package in sys.stdlib_module_names:
        return f"python {sys.version_info.major}.{sys.version_info.minor}"
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # not installed, or under another name
        version = getattr(sys.modules.get(package), "__version__", "")
    return f"{package} {version}"


class _ValueDigest:
    """Digests values; each kind of value has its method."""

    def __init__(self, allow_main: bool) -> None:
        self._allow_main = allow_main
        self._enclosing: list[Any] = []  # the values that hold the one being digested

    def __call__(self, value: Any, name: str) -> bytes:
        kind = type(value).__qualname__
        if type(value) in _PLAIN:
            text = value if kind == "bytes" else repr(value).encode("utf-8", "replace")
            return _join(kind, text)
        if any(value is other for other in self._enclosing):  # it contains itself
            raise _not_identified(value, name)
        self._enclosing.append(value)
        try:
            return self._compound(value, kind, name)
        finally:
            self._enclosing.pop()

    def _compound(self, value: Any, kind: str, name: str) -> bytes:
        if isinstance(value, BaseEstimator):
            return _join(
                "estimator",
                self._by_name(type(value), name),
                self._mapping(_output_state(value), name),
            )
        if isinstance(value, dict):
            return _join(kind, self._mapping(value, name))
        if isinstance(value, list | tuple):
            return _join(kind, *self._each(value, name))
        if isinstance(value, set | frozenset):
            return _join(kind, *sorted(self._each(value, name)))
        if isinstance(value, np.ndarray | np.generic):
            kind = "array" if isinstance(value, np.ndarray) else kind  # also a memory-mapped one
            if value.dtype.hasobject or value.dtype.kind == "T":  # whose bytes are addresses
                return _join(kind, repr(value.shape).encode(), self(value.tolist(), name))
            return _join(kind, f"{value.dtype} {value.shape}".encode(), value.tobytes())
        if isinstance(value, types.FunctionType | type):
            return self._by_name(value, name)
        if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
            tensor = value.detach().cpu()
            if tensor.is_floating_point():
                tensor = tensor.double()  # numpy has no bfloat16
            return _join("tensor", str(value.dtype).encode(), self(tensor.numpy(), name))
        return self._pickled(value, name)

    def _each(self, values: Iterable[Any], name: str) -> list[bytes]:
        return [self(value, f"{name}[{i}]") for i, value in enumerate(values)]

    def _mapping(self, mapping: dict[Any, Any], name: str) -> bytes:
        items = (self(key, name) + self(value, f"{name}.{key}") for key, value in mapping.items())
        return _join("mapping", *sorted(items))

    def _by_name(self, value: Any, name: str) -> bytes:
        """Digest what pickle stores by its name, such as a function or a class."""
        module = getattr(value, "__module__", None) or type(value).__module__
        try:
            content = pickle.dumps(value, protocol=4)
        except (pickle.PicklingError, AttributeError) as error:
            raise _not_identified(value, name) from error
        if module == "__main__" and not self._allow_main:
            raise _not_identified(value, name)
        bases = value.__mro__ if isinstance(value, type) else (value,)
        packages = {
            (getattr(base, "__module__", None) or module).partition(".")[0] for base in bases
        }
        return _join(
            "name", content, *(package_version(name).encode() for name in sorted(packages))
        )

    def _pickled(self, value: Any, name: str) -> bytes:
        """Digest, part by part, what pickle stores of an object of any other class."""
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            reduced = reduce(value) if reduce else value.__reduce_ex__(4)
            if isinstance(reduced, str):
                return self._by_name(value, name)
            parts = [list(part) if isinstance(part, Iterator) else part for part in reduced]
            return _join("object", *self._each(parts, name))
        except (TypeError, pickle.PicklingError) as error:
            raise _not_identified(value, name) from error


def _join(kind: str, *parts: bytes) -> bytes:
    """Digest parts with their kind and lengths, so that no two lists of parts read alike."""
    lengths = [len(part) for part in parts]
    digest = hashlib.blake2b(f"{kind} {lengths}".encode(), digest_size=_DIGEST_BYTES)
    for part in parts:
        digest.update(part)
    return digest.digest()


def _output_state(estimator: BaseEstimator) -> dict[str, Any]:
    """Return what the output of an estimator depends on, by name."""
    if hasattr(estimator, "_value_state"):
        return estimator._value_state()
    return {
        name: value
        for name, value in vars(estimator).items()
        if name not in _IRRELEVANT and not name.startswith(("_sklearn", "_skl", "_metadata"))
    }


def _not_identified(value: Any, name: str) -> ValueError:
    return ValueError(
        f"{name}={value!r} cannot be identified by another process. Use a named function or class "
        "of a module that can be imported, or an object that can be pickled."
    )
