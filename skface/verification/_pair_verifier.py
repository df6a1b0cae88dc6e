"""PairVerifier: same person or different people, at a threshold learned from labeled pairs."""

from collections.abc import Callable
from typing import Any, Self, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import Bunch, check_consistent_length
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from skface._utils.callbacks import fit_as_one_task
from skface.verification._calibration import calibrate, fit_calibrator
from skface.verification._checks import (
    check_both_classes,
    check_pair_shape,
    check_parameters,
    check_sample_weight,
    encode_pair_labels,
)
from skface.verification._fusion import fit_fusion, fuse
from skface.verification._similarity import (
    MetricFunction,
    rows_maybe_not_finite,
    rows_without_nan,
    similarities,
)
from skface.verification._threshold import describe_operating_point, find_threshold
from skface.verification._warnings import (
    warn_if_embeddings,
    warn_if_few_impostors,
    warn_if_reversed,
)

_FLOATS = [np.float64, np.float32]  # X of another type becomes the first

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _has_calibrator(verifier: "PairVerifier") -> bool:
    """Return True if `verifier` is calibrated, or will be by `fit`; else raise."""
    if getattr(verifier, "calibrator_", verifier.calibration) is None:
        raise AttributeError("PairVerifier(calibration=None) learns no probabilities.")
    return True


def _if_calibrated(method: _Method) -> _Method:
    """Hide `method` if there is no calibrator. Unlike `available_if`, it keeps the type."""
    return cast(_Method, available_if(_has_calibrator)(method))


class PairVerifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):
    """Decide whether two embeddings show the same person, at a threshold learned from pairs.

    The score of a pair is the similarity of its two embeddings. A pair is accepted as "same" if its
    score is at least `threshold_`. `fit` learns the threshold from genuine pairs (one person) and
    impostor pairs (two people). It also learns log-likelihood ratios and probabilities.

    Parameters
    ----------
    metric : {"cosine", "euclidean", "sqeuclidean"} or callable, default="cosine"
        Similarity of two embeddings. "cosine" is 1 for two equal embeddings. "euclidean" and
        "sqeuclidean" are the negative distance and the negative squared distance, 0 for two equal
        embeddings. A callable takes two arrays of shape (n_pairs, n_features) and returns
        similarities of shape (n_pairs,), larger = more similar. Ignored if X holds scores.
    threshold : float, default=None
        A fixed threshold, on the scale of :meth:`score_pairs`. None learns one.
    criterion : {"accuracy", "balanced_accuracy", "f1", "eer", "far", "cost"}, default="accuracy"
        What the learned threshold optimizes on the training pairs:

        - "accuracy", "balanced_accuracy", "f1": the largest score of this name in scikit-learn;
        - "eer": the smallest difference of false match rate (FMR) and false non-match rate (FNMR);
        - "far": the smallest FNMR with an FMR of at most `far`;
        - "cost": the smallest detection cost, see `cost`.
    far : float, default=None
        Largest allowed false match rate, in (0, 1). Required by ``criterion="far"``, else ignored.
    cost : tuple of 3 floats, default=(1.0, 1.0, 0.5)
        (C_miss, C_fa, prior) of ``criterion="cost"``: the cost of a false non-match, the cost of a
        false match, and the prior probability of a genuine pair. The detection cost is
        ``C_miss * prior * FNMR + C_fa * (1 - prior) * FMR``.
    calibration : {"sigmoid", "isotonic"} or None, default="sigmoid"
        How a score becomes a log-likelihood ratio. "sigmoid" learns a line, "isotonic" any
        increasing function, which takes about a thousand pairs. None learns neither log-likelihood
        ratios nor probabilities.
    prior : float, default=None
        Prior probability of a genuine pair, in (0, 1), for :meth:`predict_proba`. Set it to the
        share of genuine pairs that you expect. With None and a learned threshold, it is the prior
        for which `threshold_` is the Bayes decision: a probability above 0.5 then means that
        `predict` says "same". With None and a fixed `threshold`, it is the share of genuine pairs
        in training.

    Attributes
    ----------
    metric_ : str or callable
        The metric in use.
    classes_ : ndarray of shape (2,)
        The two labels, sorted: first that of impostor pairs, then that of genuine pairs. Examples
        are (0, 1), (False, True) and ("different", "same").
    threshold_ : float
        Smallest score that is accepted.
    operating_point_ : Bunch
        Error rates of the threshold on the training pairs, with these entries:

        - `criterion`: the criterion, or "fixed" if `threshold` was given;
        - `threshold`: the threshold;
        - `n_genuine`, `n_impostor`: numbers of compared genuine and impostor pairs, as sums of
          `sample_weight` if that was given;
        - `n_failures`: number of rows with NaN, likewise; they are not among the compared pairs;
        - `fmr`, `fnmr`: false match rate and false non-match rate, in [0, 1];
        - `fmr_interval`, `fnmr_interval`: their 95 % intervals. They hold for independent pairs
          and are too narrow if pairs share people.
    calibrator_ : Bunch or None
        The learned calibration, None with ``calibration=None``. It has these entries:

        - `kind`: "sigmoid" or "isotonic";
        - `slope`, `intercept`: the line, with "sigmoid";
        - `scores`, `log_likelihood_ratios`: points to interpolate between, with "isotonic";
        - `prior_log_odds`: what `predict_proba` adds to a log-likelihood ratio.
    fusion_ : Bunch or None
        `coef` (n_scores,) and `intercept` of the fused score. None unless X holds several scores
        per pair.
    input_ndim_ : int
        3 if fitted on embeddings, 2 if fitted on scores.
    n_features_in_ : int
        Length of an embedding, or number of scores per pair.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the scores. Present only if X was a data frame with string columns.

    See Also
    --------
    SiameseVerifier : Network and decision in one, trained on faces.
    sklearn.model_selection.TunedThresholdClassifierCV : Threshold of any classifier, on a grid.

    Notes
    -----
    X has shape (n_pairs, 2, n_features), two embeddings per pair, or (n_pairs, n_scores), scores
    computed elsewhere. A single score is used as it is. Several scores are standardized and fused
    by logistic regression.

    *Failures.* A row that holds NaN was not compared. `fit` leaves it out. Its score and
    `decision_function` are NaN. It is predicted as "different", with a probability of 0 for "same".

    *Threshold.* The error rates are step functions of the threshold. All steps are compared, so the
    threshold is exact. If several intervals between neighboring scores are equally good, the
    widest one is taken (the lowest of equally wide ones), and its middle is the threshold. "far"
    takes the smallest threshold with an FMR of at most `far`, as
    :func:`skface.metrics.threshold_at_far` does.

    *Log-likelihood ratios.* In calibration both classes have the same total weight. The ratios
    therefore depend neither on the share of genuine pairs in training nor on the threshold. The
    targets are ``(n_genuine + 1) / (n_genuine + 2)`` and ``1 / (n_impostor + 2)``, not 1 and 0, as
    Platt proposes. They keep the ratios finite where scores separate the classes perfectly.

    *Probabilities.* A probability also needs a prior. A threshold implies one. Suppose that the
    score at the threshold is 500 times more likely for genuine than for impostor pairs. The
    threshold is then the Bayes decision if 1 pair in 501 is genuine. By default, this implied prior
    is used, so `predict_proba` and `predict` agree. The exception is "isotonic" if the threshold
    lies on a flat step: all probabilities on that step are 0.5. With ``criterion="far"`` the
    implied prior is small, and so are the probabilities. With `prior`, `predict_proba` is right for
    the share of genuine pairs that you expect, but `predict` need not decide at 0.5.

    References
    ----------
    J. Platt (1999), Probabilistic outputs for support vector machines.

    N. Brümmer and J. du Preez (2006), Application-independent evaluation of speaker detection.

    Examples
    --------
    >>> import numpy as np
    >>> from skface.verification import PairVerifier
    >>> left = [[1, 0], [0, 1], [1, 0], [1, 1]]
    >>> right = [[1, 0.1], [0.2, 1], [0, 1], [1, -1]]
    >>> pairs = np.stack([left, right], axis=1)
    >>> verifier = PairVerifier().fit(pairs, [1, 1, 0, 0])
    >>> verifier.predict(pairs)
    array([1, 1, 0, 0])
    >>> verifier.score_pairs(pairs).round(3)
    array([0.995, 0.981, 0.   , 0.   ])
    >>> round(verifier.threshold_, 3)
    0.49
    """

    metric_: str | MetricFunction
    classes_: NDArray[Any]
    threshold_: float
    operating_point_: Bunch
    calibrator_: Any  # Bunch, or None with calibration=None
    fusion_: Any  # Bunch, or None without several scores
    input_ndim_: int
    n_features_in_: int
    feature_names_in_: NDArray[Any]

    def __init__(
        self,
        metric: str | MetricFunction = "cosine",
        *,
        threshold: float | None = None,
        criterion: str = "accuracy",
        far: float | None = None,
        cost: tuple[float, float, float] = (1.0, 1.0, 0.5),
        calibration: str | None = "sigmoid",
        prior: float | None = None,
    ) -> None:
        self.metric = metric
        self.threshold = threshold
        self.criterion = criterion
        self.far = far
        self.cost = cost
        self.calibration = calibration
        self.prior = prior

    @fit_as_one_task
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn the fusion of scores, the threshold, and the calibration.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features) or (n_pairs, n_scores)
            Embeddings, or scores, larger = more similar. NaN marks failures.
        y : array-like of shape (n_pairs,)
            Two distinct labels; the one that sorts last marks genuine pairs.
        sample_weight : array-like of shape (n_pairs,), default=None
            How often each pair counts: 2 is the pair given twice, 0 leaves it out.

        Returns
        -------
        self : PairVerifier
            The fitted verifier.

        Raises
        ------
        ValueError
            If a parameter, X, y or `sample_weight` is invalid, or if a class has no pair to learn
            from.

        Warns
        -----
        FewImpostorsWarning
            If there are fewer than ``3 / far`` impostor pairs.
        UserWarning
            If impostor pairs have the larger scores on average, or if X has so many scores per
            pair that they look like embeddings.
        """
        check_parameters(
            metric=self.metric,
            threshold=self.threshold,
            criterion=self.criterion,
            far=self.far,
            cost=self.cost,
            calibration=self.calibration,
            prior=self.prior,
        )
        self.metric_ = self.metric
        labels = validate_data(self, y=y)  # before X, because it forgets feature names
        pairs = self._check_pairs(X, reset=True)
        check_consistent_length(pairs, labels)
        n_pairs = len(labels)
        weight = check_sample_weight(sample_weight, n_pairs)
        self.classes_, genuine = encode_pair_labels(labels)

        complete = rows_without_nan(pairs)
        used = (weight > 0) & complete
        check_both_classes(genuine[used], self.classes_, n_pairs)
        self.fusion_ = None
        if pairs.ndim == 2 and pairs.shape[1] > 1:
            warn_if_embeddings(pairs.shape)
            self.fusion_ = fit_fusion(pairs[used], genuine[used], weight[used])
        score = self._compute_scores(pairs, complete)
        failed = np.isnan(score)  # a callable metric may fail on more rows
        used = (weight > 0) & ~failed
        check_both_classes(genuine[used], self.classes_, n_pairs)

        compared = genuine[used], score[used], weight[used]
        warn_if_reversed(*compared, self.classes_)
        if self.threshold is not None:
            criterion, self.threshold_ = "fixed", float(self.threshold)
        else:
            criterion = self.criterion
            far = cast(float, self.far)  # None only if the criterion does not use it
            if criterion == "far":
                warn_if_few_impostors(weight[used & ~genuine].sum(), far)
            self.threshold_ = find_threshold(criterion, *compared, far=far, cost=self.cost)
        self.operating_point_ = describe_operating_point(
            self.threshold_, criterion, *compared, n_failures=weight[failed].sum()
        )
        self.calibrator_ = None
        if self.calibration is not None:
            self.calibrator_ = fit_calibrator(self.calibration, *compared)
            self.calibrator_.prior_log_odds = self._choose_prior(genuine[used], weight[used])
        return self

    def score_pairs(self, X: ArrayLike) -> NDArray[np.float64]:
        """Compute the score of each pair, on the scale of `threshold_`.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features) or (n_pairs, n_scores)
            Embeddings, or scores, as in `fit`.

        Returns
        -------
        ndarray of shape (n_pairs,)
            Similarity, single score, or fused score; larger = more similar; NaN for failures.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If `fit` has not been called.
        ValueError
            If X is not of the kind and length that `fit` was given, or has infinite values.
        """
        check_is_fitted(self)
        checked = self._check_pairs(X, reset=False)
        return self._compute_scores(checked, rows_without_nan(checked))

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Compute how far the score of each pair is above the threshold.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features) or (n_pairs, n_scores)
            Embeddings, or scores, as in `fit`.

        Returns
        -------
        ndarray of shape (n_pairs,)
            ``score_pairs(X) - threshold_``. A pair is accepted at 0 or more. NaN for failures.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If `fit` has not been called.
        ValueError
            If X is not of the kind and length that `fit` was given, or has infinite values.
        """
        return self.score_pairs(X) - self.threshold_

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Decide whether each pair shows the same person.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features) or (n_pairs, n_scores)
            Embeddings, or scores, as in `fit`.

        Returns
        -------
        ndarray of shape (n_pairs,)
            ``classes_[1]`` where ``decision_function(X) >= 0``, else ``classes_[0]``. A failure is
            ``classes_[0]``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If `fit` has not been called.
        ValueError
            If X is not of the kind and length that `fit` was given, or has infinite values.
        """
        accepted = self.decision_function(X) >= 0  # NaN >= 0 is False
        return self.classes_[accepted.astype(np.intp)]

    @_if_calibrated
    def log_likelihood_ratio(self, X: ArrayLike) -> NDArray[np.float64]:
        """Compute how much more likely each score is for a genuine than for an impostor pair.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features) or (n_pairs, n_scores)
            Embeddings, or scores, as in `fit`.

        Returns
        -------
        ndarray of shape (n_pairs,)
            Natural logarithm of the likelihood ratio. NaN for failures.

        Raises
        ------
        AttributeError
            If ``calibration=None``.
        sklearn.exceptions.NotFittedError
            If `fit` has not been called.
        ValueError
            If X is not of the kind and length that `fit` was given, or has infinite values.
        """
        score = self.score_pairs(X)  # first: it raises if the verifier is not fitted
        return calibrate(self.calibrator_, score)

    @_if_calibrated
    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Compute the probabilities that each pair is an impostor and a genuine pair.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features) or (n_pairs, n_scores)
            Embeddings, or scores, as in `fit`.

        Returns
        -------
        ndarray of shape (n_pairs, 2)
            P(impostor) and P(genuine), as `classes_` is ordered, for the prior that `prior` sets.
            A failure has (1, 0).

        Raises
        ------
        AttributeError
            If ``calibration=None``.
        sklearn.exceptions.NotFittedError
            If `fit` has not been called.
        ValueError
            If X is not of the kind and length that `fit` was given, or has infinite values.
        """
        log_odds = self.log_likelihood_ratio(X) + self.calibrator_.prior_log_odds
        genuine = np.where(np.isnan(log_odds), 0.0, expit(log_odds))
        return np.column_stack((1 - genuine, genuine))

    def __sklearn_tags__(self) -> Any:
        """Describe the estimator to scikit-learn."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags

    def _check_pairs(self, X: Any, *, reset: bool) -> NDArray[Any]:
        """Check X and return it as (n, 2, d) embeddings or (n, k) scores, without a copy."""
        if not hasattr(X, "shape"):
            X = np.asarray(X)
        ndim = len(X.shape)
        check_pair_shape(X.shape, None if reset else self.input_ndim_)
        if reset:
            self.input_ndim_ = max(ndim, 2)
        if ndim < 3:
            return validate_data(self, X, dtype=_FLOATS, ensure_all_finite="allow-nan", reset=reset)
        # One row per face, so that n_features_in_ is the length of one embedding.
        X = np.asarray(X)
        # This check takes less time than that of scikit-learn.
        is_finite = X.dtype in _FLOATS and len(X) and not len(rows_maybe_not_finite(X))
        faces = validate_data(
            self,
            X.reshape(2 * len(X), X.shape[2]),
            dtype=_FLOATS,
            ensure_all_finite=False if is_finite else "allow-nan",
            reset=reset,
        )
        return faces.reshape(X.shape)

    def _compute_scores(self, X: NDArray[Any], complete: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Compute the scores of checked pairs; NaN where a row is not complete."""
        if X.ndim == 3:
            return similarities(X, complete, self.metric_)
        if self.fusion_ is None:
            return X[:, 0].astype(np.float64)
        return fuse(X, self.fusion_)

    def _choose_prior(self, genuine: NDArray[np.bool_], weight: NDArray[np.float64]) -> float:
        """Return the prior log-odds of a genuine pair."""
        if self.prior is not None:
            return float(logit(self.prior))
        if self.threshold is not None:  # a fixed threshold implies no prior
            return float(np.log(weight[genuine].sum() / weight[~genuine].sum()))
        return float(-calibrate(self.calibrator_, self.threshold_))
