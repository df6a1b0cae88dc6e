"""Transformers that learn nothing from rows: which they are."""

from collections.abc import Iterator
from pathlib import Path

from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import get_tags


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

    Estimators of skface that may learn nothing say so by a method `_fit_sources`, others by the tag
    `requires_fit`.
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


def must_be_fitted(transformer: BaseEstimator) -> bool:
    """Tell whether a step has to be fitted although it learns nothing, to read its files.

    The stateless transformers of scikit-learn transform without.
    """
    # a frozen step has the methods of what it holds
    return any(
        hasattr(step, "_fit_sources") and not isinstance(step, FrozenEstimator)
        for step in steps(transformer)
    )


def fits_to_any_rows(transformer: BaseEstimator) -> bool:
    """Tell whether `fit` only reads files, so that not even the shape of the rows matters.

    Normalizer, which learns nothing, notes how wide its rows are.
    """
    return fit_sources(transformer) is not None and all(
        hasattr(step, "_fit_sources") for step in steps(transformer)
    )
