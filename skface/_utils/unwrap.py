"""The classifier inside searches, pipelines, frozen estimators and threshold tuners."""

from typing import Any

from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline


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
