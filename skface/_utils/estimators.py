"""Steps of pipelines: those that learn nothing from rows, and the estimator that decides."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import get_tags


def steps(transformer: BaseEstimator) -> Iterator[BaseEstimator]:
    """Yield the transformer, or in turn those of a pipeline or union, at any depth."""
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


def pretrained_files(transformer: BaseEstimator) -> tuple[Path, ...] | None:
    """Return the files that `fit` reads, or None if it learns from rows.

    Estimators of skface that may learn nothing from rows have a method `_pretrained_files`. Others
    are judged by their tag `requires_fit`.
    """
    files: list[Path] = []
    for step in steps(transformer):
        if isinstance(step, FrozenEstimator):
            continue
        if not hasattr(step, "_pretrained_files"):
            if get_tags(step).requires_fit:
                return None
            continue
        try:
            own = step._pretrained_files()
        except (TypeError, ValueError):
            return None  # invalid parameters, which `fit` refuses
        if own is None:
            return None
        files += own
    return tuple(files)


def must_be_fitted(transformer: BaseEstimator) -> bool:
    """Return whether a step that learns nothing has to be fitted, because `fit` reads its files.

    The stateless transformers of scikit-learn transform without being fitted.
    """
    # a frozen step has the methods of the estimator that it holds
    return any(
        hasattr(step, "_pretrained_files") and not isinstance(step, FrozenEstimator)
        for step in steps(transformer)
    )


def fits_to_any_rows(transformer: BaseEstimator) -> bool:
    """Return whether `fit` only reads files, so that not even the shape of the rows matters.

    This is False for Normalizer: it learns nothing, but stores the width of its rows.
    """
    return pretrained_files(transformer) is not None and all(
        hasattr(step, "_pretrained_files") for step in steps(transformer)
    )


def final_estimator(estimator: Any, X: Any, *, inside_tuners: bool = False) -> tuple[Any, Any]:
    """Find the estimator that decides, and `X` as it reaches that estimator.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator. A search is replaced by its best estimator, a pipeline by its last step,
        and a :class:`sklearn.frozen.FrozenEstimator` by the estimator inside, at any depth.
    X : object
        What `estimator` takes. The steps of a pipeline before the last one transform it.
    inside_tuners : bool, default=False
        Whether to go on to the classifier inside :class:`FixedThresholdClassifier` and
        :class:`TunedThresholdClassifierCV` of scikit-learn. Their decisions differ from those of
        the classifier inside; their scores do not.

    Returns
    -------
    estimator : estimator
        The estimator that decides.
    X : object
        What it takes.
    """
    if hasattr(estimator, "best_estimator_"):
        inner = estimator.best_estimator_
    elif isinstance(estimator, FrozenEstimator):
        inner = estimator.estimator
    elif inside_tuners and isinstance(
        estimator, FixedThresholdClassifier | TunedThresholdClassifierCV
    ):
        inner = estimator.estimator_
    elif isinstance(estimator, Pipeline):
        inner = estimator[-1]
        if len(estimator) > 1:
            X = estimator[:-1].transform(X)
    else:
        return estimator, X
    return final_estimator(inner, X, inside_tuners=inside_tuners)
