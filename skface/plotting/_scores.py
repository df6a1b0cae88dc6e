"""Scores of pairs and the threshold of an estimator."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.utils.validation import check_is_fitted

from skface._utils.estimators import final_estimator
from skface.metrics._checks import check_scores


class PairScores(NamedTuple):
    """Checked scores of labeled pairs.

    Attributes
    ----------
    same : ndarray of shape (n_pairs,), dtype bool
        Whether the pair is genuine.
    score : ndarray of shape (n_pairs,)
        Larger = more alike; NaN for failed comparisons.
    failed : ndarray of shape (n_pairs,), dtype bool
        Whether the comparison failed.
    """

    same: np.ndarray
    score: np.ndarray
    failed: np.ndarray

    def compared(self) -> tuple[np.ndarray, np.ndarray]:
        """Return `same` and `score` of the compared pairs, which must hold both classes.

        Raises
        ------
        ValueError
            If all pairs of a class failed.
        """
        same, score = self.same[~self.failed], self.score[~self.failed]
        for kind, what in ((True, "genuine"), (False, "impostor")):
            if not np.any(same == kind):
                raise ValueError(
                    f"y_score is NaN for all {np.sum(self.same == kind)} {what} pairs, so their "
                    "error rate is undefined. Find out why the comparisons failed."
                )
        return same, score


def pair_scores(y_true: ArrayLike, y_score: ArrayLike) -> PairScores:
    """Check labels and scores of pairs."""
    same, score, _ = check_scores(y_true, y_score, None)
    return PairScores(same, score, np.isnan(score))


def classifier_and_rows(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the classifier in a fitted search or pipeline, and `X` as it reaches it."""
    check_is_fitted(estimator)
    return final_estimator(estimator, X)


def scores_and_threshold(estimator: Any, X: Any) -> tuple[np.ndarray, float]:
    """Score pairs with a fitted classifier, and find its threshold on the same scale.

    Scores are, in order of preference: the similarities of a PairVerifier, with `threshold_`;
    `decision_function`, which keeps failures NaN, with 0; `predict_proba`, with 0.5.
    """
    classifier, X = classifier_and_rows(estimator, X)
    classes = getattr(classifier, "classes_", ())
    if len(classes) != 2:
        raise ValueError(
            f"estimator={type(classifier).__name__} has {len(classes)} classes, but a verifier has "
            "two, genuine and impostor. End the pipeline with PairVerifier."
        )
    if hasattr(classifier, "score_pairs"):
        return classifier.score_pairs(X), classifier.threshold_
    methods = {"decision_function": 0.0, "predict_proba": 0.5}
    if isinstance(classifier, FixedThresholdClassifier | TunedThresholdClassifierCV):
        methods = _threshold_of(classifier)
    for method, threshold in methods.items():
        if hasattr(classifier, method):
            score = getattr(classifier, method)(X)
            return (score[:, 1] if method == "predict_proba" else score), threshold
    raise TypeError(
        f"estimator={type(classifier).__name__} gives no scores: it has none of score_pairs, "
        f"{', '.join(methods)}. End the pipeline with PairVerifier."
    )


def _threshold_of(classifier: Any) -> dict[str, float]:
    """Return the score methods and thresholds of scikit-learn's threshold classifiers."""
    if isinstance(classifier, TunedThresholdClassifierCV):
        threshold = classifier.best_threshold_
    else:
        threshold = classifier.threshold
    methods: tuple[str, ...] = ("predict_proba", "decision_function")
    if classifier.response_method != "auto":
        methods = (classifier.response_method,)
    natural = {"predict_proba": 0.5, "decision_function": 0.0}
    return {method: natural[method] if threshold == "auto" else threshold for method in methods}
