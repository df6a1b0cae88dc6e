"""Scores of pairs: from an estimator, with its threshold, and by kind of pair."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.utils.validation import check_is_fitted

from skface._utils.unwrap import final_estimator
from skface.metrics._checks import check_scores


class PairScores(NamedTuple):
    """Checked scores of labelled pairs.

    Attributes
    ----------
    same : ndarray of shape (n_pairs,), dtype bool
        Whether the pair shows one person.
    score : ndarray of shape (n_pairs,)
        Larger = more alike; NaN for failures.
    failed : ndarray of shape (n_pairs,), dtype bool
        Whether the comparison failed.
    """

    same: np.ndarray
    score: np.ndarray
    failed: np.ndarray

    def compared(self) -> tuple[np.ndarray, np.ndarray]:
        """Return `same` and `score` of the pairs that were compared, which must be of both kinds.

        Raises
        ------
        ValueError
            If all pairs of a kind failed.
        """
        same, score = self.same[~self.failed], self.score[~self.failed]
        for kind, what in ((True, "the same person"), (False, "different people")):
            if not np.any(same == kind):
                raise ValueError(
                    f"y_score is NaN for all {np.sum(self.same == kind)} pairs of {what}: no rate "
                    "can be computed. See why the comparisons failed."
                )
        return same, score


def pair_scores(y_true: Any, y_score: Any) -> PairScores:
    """Check labels, of which the larger means "same person", and scores, of which NaN failed."""
    same, score, _ = check_scores(y_true, y_score, None)
    return PairScores(same, score, np.isnan(score))


def classifier_and_rows(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the classifier in a fitted search or pipeline, and `X` as it reaches it."""
    check_is_fitted(estimator)
    return final_estimator(estimator, X)


def scores_and_threshold(estimator: Any, X: Any) -> tuple[np.ndarray, float]:
    """Score pairs with a verifier or any binary classifier, and find where it decides.

    Similarities and `threshold_` of a PairVerifier come first, for they show where the threshold
    lies; then `decision_function` with 0, which keeps failures NaN; then `predict_proba` with 0.5.
    """
    classifier, X = classifier_and_rows(estimator, X)
    classes = getattr(classifier, "classes_", ())
    if len(classes) != 2:
        raise ValueError(
            f"estimator={type(classifier).__name__} is no classifier of pairs into same and "
            f"different: it has {len(classes)} classes. End the pipeline with PairVerifier."
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
        f"estimator={type(classifier).__name__} has none of score_pairs, {', '.join(methods)}: "
        "its decisions come without scores."
    )


def _threshold_of(classifier: Any) -> dict[str, float]:
    """Return the methods that scikit-learn's threshold classifiers may decide by, in order."""
    if isinstance(classifier, TunedThresholdClassifierCV):
        threshold = classifier.best_threshold_
    else:
        threshold = classifier.threshold
    methods = ("predict_proba", "decision_function")
    if classifier.response_method != "auto":
        methods = (classifier.response_method,)
    natural = {"predict_proba": 0.5, "decision_function": 0.0}
    return {method: natural[method] if threshold == "auto" else threshold for method in methods}
