"""Transformers that learn nothing from rows: which they are, and fitting each once per process."""

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import get_tags

from skface.cache import fingerprint_params
from skface.nn._locks import ProcessLock

_N_KEPT = 4  # fitted transformers, each of which may hold the weights of a network
_FITTED: OrderedDict[bytes, tuple[BaseEstimator, Any]] = OrderedDict()
_FITTED_LOCK = ProcessLock()


def steps(transformer: BaseEstimator) -> Iterator[BaseEstimator]:
    """Yield the transformer, or those of a pipeline or union, in turn."""
    if isinstance(transformer, Pipeline):
        named = transformer.steps
    elif isinstance(transformer, FeatureUnion):
        named = transformer.transformer_list
    else:
        yield transformer
        return
    for _, step in named:
        if step is not None and not isinstance(step, str):  # "passthrough" or "drop"
            yield from steps(step)


def fit_sources(transformer: BaseEstimator) -> tuple[Path, ...] | None:
    """Name the files that `fit` reads, or return None if it learns from rows.

    Estimators of skface that may learn nothing say so by a method `_fit_sources`, others by a tag.
    """
    files: list[Path] = []
    for step in steps(transformer):
        if isinstance(step, FrozenEstimator):
            continue
        if not hasattr(step, "_fit_sources"):
            if get_tags(step).requires_fit:
                return None
            continue
        try:
            own = step._fit_sources()
        except (TypeError, ValueError):
            return None  # of parameters that fit will refuse
        if own is None:
            return None
        files += own
    return tuple(files)


def notes_shapes(transformer: BaseEstimator) -> bool:
    """Tell whether `fit`, or the shape of the values, may depend on the shape of the rows.

    Normalizer, which learns nothing, notes how wide its rows are, and gives values as wide.
    """
    return not all(
        get_tags(step).requires_fit
        if isinstance(step, FrozenEstimator)
        else hasattr(step, "_fit_sources")
        for step in steps(transformer)
    )


class FittedOnce:
    """A transformer that learns nothing from rows, and what an equal one has become by `fit`.

    Parameters
    ----------
    transformer : estimator
        Not fitted.
    sources : tuple of Path
        The files that its `fit` reads.
    rows : object
        What else the result depends on, such as the shape of the rows.
    """

    def __init__(self, transformer: BaseEstimator, sources: tuple[Path, ...], rows: Any):
        self._transformer = transformer
        stamps = []
        for path in sources:
            try:
                status = path.stat()
                stamps.append((str(path), status.st_mtime_ns, status.st_ctime_ns, status.st_size))
            except OSError:
                stamps.append((str(path), None))
        self._key = fingerprint_params(transformer, stamps, rows)

    def recall(self) -> tuple[BaseEstimator, Any] | None:
        """Return a fitted clone, which shares its fitted arrays, and what was kept with it."""
        with _FITTED_LOCK:
            if self._key not in _FITTED:
                return None
            _FITTED.move_to_end(self._key)
            fitted, kept = _FITTED[self._key]
        return _fitted_clone(self._transformer, fitted), kept

    def keep(self, fitted: BaseEstimator, kept: Any) -> None:
        """Remember the fitted transformer, and something with it."""
        if len(list(steps(fitted))) != len(list(steps(self._transformer))):
            return  # a union has put transformers in the place of "passthrough"
        fitted = _fitted_clone(self._transformer, fitted)  # whatever its owner does to his
        with _FITTED_LOCK:
            _FITTED[self._key] = fitted, kept
            while len(_FITTED) > _N_KEPT:
                _FITTED.popitem(last=False)


def _fitted_clone(transformer: BaseEstimator, fitted: BaseEstimator) -> BaseEstimator:
    copy = clone(transformer)
    for target, source in zip(steps(copy), steps(fitted), strict=True):
        given = {*vars(target), *source.get_params(deep=False)}
        learnt = {
            name: value
            for name, value in vars(source).items()
            if name not in given and not name.startswith(("_skl", "_metadata"))
        }
        vars(target).update(learnt)
    return copy
