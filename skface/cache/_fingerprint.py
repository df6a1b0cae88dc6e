"""What a fitted transformer is known by: a digest of all that its values depend on.

The digest is one of a canonical encoding: equal state gives equal digests in every process, however
dicts and sets are ordered, and parameters that govern only how the work is done are left out. An
estimator that knows better what its values depend on has a method `_value_state`, which returns it.

Code counts too. What lies in installed packages is known by its name and the package's version,
anything else by its bytecode and, in turn, the functions, classes, constants, arrays and estimators
that it names. Lists, dicts and sets that a function encloses or finds among its globals are taken
for places where it keeps notes, not for what decides its values; and so is what it sets itself, as
a counter. Of all else among its globals, such as the session of another library, nothing is known.
"""

import copyreg
import dis
import functools
import hashlib
import importlib.metadata
import inspect
import os
import sys
import sysconfig
import types
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator

from skface._version import __version__

_FORMAT = 2  # of the encoding, and of what skface computes between two versions
_DIGEST_BYTES = 16
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
# What decides the values of code that finds it by name.
_DECISIVE = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    tuple,
    frozenset,
    np.ndarray,
    np.generic,
    np.ufunc,
    BaseEstimator,
    functools.partial,
    os.PathLike,
    type,
    types.FunctionType,
    types.MethodType,
    types.ModuleType,
)
_PACKAGES = {"site-packages", "dist-packages"}  # folders of installed packages
_METHODS = (types.FunctionType, property, staticmethod, classmethod)
_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_STORES = frozenset({"STORE_GLOBAL", "STORE_ATTR"})
# Arrays that are larger are hashed once, unless their sum, found in a thirtieth of the time, says
# that they were written to.
_LARGE_BYTES = 2**12
_ARRAY_DIGESTS: dict[int, tuple[weakref.ref, bytes, bytes]] = {}
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
        If a part of it cannot be told from others by a later process.

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
    encoder = _Encoder()
    encoder.add(_surroundings())
    encoder.add((estimator, *more))
    return encoder.digest()


def fingerprint_params(estimator: BaseEstimator, *more: Any) -> bytes:
    """Digest all parameters of an estimator, fitted or not, and the state of frozen parts.

    Parameters, result and errors are those of :func:`fingerprint`.
    """
    encoder = _Encoder(by_params=True)
    encoder.add((estimator, *more))
    return encoder.digest()


class _Encoder:
    """Feeds objects into a hash, each with its kind and length, so that no two read alike.

    Parameters
    ----------
    by_params : bool, default=False
        Whether estimators are known by their parameters instead of what their values depend on.
    """

    def __init__(self, *, by_params: bool = False) -> None:
        self._by_params = by_params
        self._hash = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        self._seen: dict[int, int] = {}  # what is being added, and code
        self._alive: list[Any] = []  # so that no id is given to another object meanwhile

    def digest(self) -> bytes:
        return self._hash.digest()

    def add(self, value: Any) -> None:
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            kind = type(value)
            if kind.__module__ != "builtins":  # an enum, or another subclass
                self._put("class", f"{kind.__module__}.{kind.__qualname__}".encode())
            content = value if isinstance(value, bytes) else repr(value).encode("utf-8", "replace")
            self._put(kind.__name__, content)
        elif isinstance(value, np.ndarray) and value.dtype.kind != "O":
            self._put("array", _digest_array(value))
        elif isinstance(value, np.generic):
            self._put("scalar", value.dtype.str.encode() + value.tobytes())
        elif isinstance(value, np.dtype):
            self._put("dtype", repr(value).encode())
        elif id(value) in self._seen:
            self._put("again", str(self._seen[id(value)]).encode())
        else:
            self._seen[id(value)] = len(self._seen)
            self._alive.append(value)
            self._add_object(value)
            if not isinstance(value, types.FunctionType | type):
                del self._seen[id(value)]  # a copy in another place reads like the thing itself

    def _put(self, kind: str, content: bytes = b"") -> None:
        self._hash.update(f"{kind} {len(content)} ".encode() + content)

    def _add_all(self, kind: str, values: Any) -> None:
        values = list(values)
        self._put(f"{kind} of {len(values)}")
        for value in values:
            self.add(value)

    def _add_unordered(self, kind: str, parts: Any) -> None:
        """Add parts, each a tuple, in an order that does not depend on theirs."""
        digests = []
        for part in parts:
            alone = _Encoder(by_params=self._by_params)
            alone._alive = self._alive
            alone._seen = dict(self._seen)
            alone._add_all("part", part)
            digests.append(alone.digest())
        self._put(kind, b"".join(sorted(digests)))

    def _add_object(self, value: Any) -> None:
        if isinstance(value, BaseEstimator):
            self._add_class(type(value))
            self._add_estimator(value)
        elif isinstance(value, dict):
            self._put("mapping", type(value).__qualname__.encode())
            if all(isinstance(key, str) for key in value):
                self._add_mapping("dict", value)
            else:
                self._add_unordered("dict", value.items())
        elif isinstance(value, list | tuple):
            self._add_all(type(value).__qualname__, value)
        elif isinstance(value, set | frozenset):
            self._add_unordered(type(value).__qualname__, ((item,) for item in value))
        elif isinstance(value, np.ndarray):  # of objects
            self._add_all(f"objects {value.shape}", value.ravel())
        elif isinstance(value, os.PathLike):
            self._put("path", os.fsencode(value))
        elif isinstance(value, types.ModuleType):
            self._put("module", _version_of(value.__name__).encode())
        elif isinstance(value, type):
            self._add_class(value)
        elif isinstance(value, types.FunctionType):
            self._add_function(value)
        elif isinstance(value, types.MethodType):
            self._add_all("method", (value.__func__, value.__self__))
        elif isinstance(value, types.BuiltinFunctionType | np.ufunc):
            module = getattr(value, "__module__", None) or "numpy"
            owner = getattr(value, "__self__", None)
            self._put("builtin", f"{_version_of(module)} {value.__name__}".encode())
            if owner is not None and not isinstance(owner, types.ModuleType):
                self.add(owner)
        elif isinstance(value, types.CodeType):
            self._add_code(value)
        elif isinstance(value, functools.partial):
            self._add_all("partial", (value.func, value.args, value.keywords))
        elif hasattr(value, "cache_parameters"):  # of functools.lru_cache
            self._add_all("cached", (value.__wrapped__,))
        elif isinstance(value, property):
            self._add_all("property", (value.fget,))
        elif isinstance(value, staticmethod | classmethod):
            self._add_all("wrapped", (value.__func__,))
        elif type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
            self._put("tensor")
            self.add(value.detach().cpu().numpy())
        else:
            self._add_as_pickled(value)

    def _add_estimator(self, estimator: BaseEstimator) -> None:
        by_params = self._by_params
        self._by_params = by_params and not isinstance(estimator, FrozenEstimator)
        state = estimator.get_params(deep=False) if self._by_params else _state_of(estimator)
        self._add_mapping("estimator", state)
        self._by_params = by_params

    def _add_mapping(self, kind: str, mapping: dict[str, Any]) -> None:
        self._put(f"{kind} of {len(mapping)}")
        for name in sorted(mapping):
            self._put("name", name.encode("utf-8", "replace"))
            self.add(mapping[name])

    def _add_as_pickled(self, value: Any) -> None:
        """Add what pickle would write of an object of any other class."""
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            reduced = reduce(value) if reduce else value.__reduce_ex__(4)
        except Exception as error:
            raise ValueError(
                f"{value!r} is part of the transformer, and cannot be told from others by a later "
                f"process ({error}), as the cache has to: give it another, or set cache=None."
            ) from error
        if isinstance(reduced, str):
            self._put("global", f"{_version_of(type(value).__module__)} {reduced}".encode())
            return
        self._put("object")
        for part in reduced:
            self.add(list(part) if isinstance(part, Iterator) else part)

    def _add_class(self, cls: type) -> None:
        for base in cls.__mro__:
            self._put("class", f"{_version_of(base.__module__)} {base.__qualname__}".encode())
            if _is_installed(base.__module__):
                continue
            members = vars(base)
            methods = [
                inspect.unwrap(getattr(member, "fget", None) or member)
                for member in members.values()
                if isinstance(member, _METHODS)
            ]
            notes = set().union(
                *(_names(m.__code__, _STORES) for m in methods if hasattr(m, "__code__"))
            )
            for name in sorted(members):
                member = members[name]
                is_code = isinstance(member, _METHODS)
                is_constant = not name.startswith("__") and name not in notes and _decides(member)
                if is_code or is_constant:
                    self._put("member", name.encode())
                    self.add(member)

    def _add_function(self, function: types.FunctionType) -> None:
        name = f"{_version_of(function.__module__)} {function.__qualname__}"
        self._put("function", name.encode())
        self._add_all("defaults", (function.__defaults__, function.__kwdefaults__))
        for cell in function.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:
                continue  # not assigned yet
            if not isinstance(content, list | dict | set | bytearray):
                self.add(content)
        # a wrapper has the module of what it wraps, but code of its own
        if not _is_installed(function.__globals__.get("__name__", "")):
            code = function.__code__
            self._add_code(code)
            self._add_names(
                _names(code, _LOADS) - _names(code, _STORES), function.__globals__, code, set()
            )

    def _add_names(
        self, names: set[str], namespace: dict[str, Any], code: types.CodeType, modules: set[int]
    ) -> None:
        """Add what code finds by name in its globals, and in turn in modules among them."""
        for name in sorted(names & namespace.keys()):
            content = namespace[name]
            if not _decides(content):
                continue
            self._put("global", name.encode())
            self.add(content)
            is_module = isinstance(content, types.ModuleType)
            if is_module and not _is_installed(content.__name__) and id(content) not in modules:
                modules.add(id(content))
                self._add_names(_names(code, _ATTRIBUTES), vars(content), code, modules)

    def _add_code(self, code: types.CodeType) -> None:
        self._put("code", code.co_code)
        self._add_all("names", code.co_names)
        self._add_all("constants", code.co_consts)


@functools.lru_cache(1024)
def _names(code: types.CodeType, operations: frozenset[str]) -> frozenset[str]:
    """Collect the names with which a function, and the functions inside it, do something."""
    names = {step.argval for step in dis.get_instructions(code) if step.opname in operations}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant, operations)
    return frozenset(names)


def _decides(content: Any) -> bool:
    """Tell whether something that code finds by name is known to decide its values."""
    return (
        content is None
        or isinstance(content, _DECISIVE)
        or hasattr(content, "cache_parameters")  # of functools.lru_cache
        or (type(content).__module__.partition(".")[0] == "torch" and hasattr(content, "detach"))
    )


def _state_of(estimator: BaseEstimator) -> dict[str, Any]:
    """Return what the values of an estimator depend on, by name."""
    if hasattr(estimator, "_value_state"):
        return estimator._value_state()
    return {
        name: value
        for name, value in vars(estimator).items()
        if name not in _IRRELEVANT and not name.startswith(("_sklearn", "_skl", "_metadata"))
    }


def _digest_array(array: np.ndarray) -> bytes:
    """Digest an array; a large one once."""
    is_large = array.nbytes > _LARGE_BYTES
    summary = _summary(array) if is_large else b""
    kept = _ARRAY_DIGESTS.get(id(array))
    if kept is not None and kept[0]() is array and kept[1] == summary:
        return kept[2]
    digest = hashlib.blake2b(
        f"{array.dtype.str} {array.shape} ".encode(), digest_size=_DIGEST_BYTES
    )
    content = np.ascontiguousarray(array)
    digest.update(content.tobytes() if array.dtype.kind in "MmVT" else content)
    if is_large:
        key = id(array)

        def forget(gone: weakref.ref) -> None:
            if _ARRAY_DIGESTS.get(key, (None,))[0] is gone:
                del _ARRAY_DIGESTS[key]

        _ARRAY_DIGESTS[key] = weakref.ref(array, forget), summary, digest.digest()
    return digest.digest()


def _summary(array: np.ndarray) -> bytes:
    """Add up the bytes of an array, eight at a time, and take a sample, for order is lost."""
    content = array.ravel(order="K").view(np.uint8)
    n_eights = content.size // 8 * 8
    total = content[:n_eights].view(np.uint64).sum(dtype=np.uint64)
    return (
        total.tobytes() + content[n_eights:].tobytes() + content[:: content.size // 999].tobytes()
    )


@functools.cache
def _surroundings() -> tuple:
    """Return the versions of what computes, whether it is loaded by now or not."""
    versions = []
    for name in _COMPUTES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return _FORMAT, __version__, *versions


@functools.cache
def _is_installed(module: str) -> bool:
    """Tell whether a module is Python's own, skface's, or lies among the installed packages."""
    top = module.partition(".")[0]
    if top == "skface" or top in sys.stdlib_module_names:
        return True
    if top == "__main__":  # of a worker process it is a file of joblib
        return False
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    # also those of the user (pip install --user), and of the system under a virtual environment
    return not _PACKAGES.isdisjoint(file.split(os.sep)) or any(
        file.startswith(sysconfig.get_path(name) + os.sep) for name in ("purelib", "platlib")
    )


@functools.cache
def _version_of(module: str) -> str:
    """Name a module with the version of its package, if that is installed."""
    module = module or ""
    top = module.partition(".")[0]
    if not _is_installed(module):
        return module
    if top in sys.stdlib_module_names:
        return f"{module} {sys.version_info.major}.{sys.version_info.minor}"
    version = getattr(sys.modules.get(top), "__version__", None)
    if version is None:
        try:
            version = importlib.metadata.version(top)
        except importlib.metadata.PackageNotFoundError:
            version = ""
    return f"{module} {version}"
