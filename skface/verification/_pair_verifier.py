"""From similarities to decisions: PairVerifier learns a threshold and calibrates it."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch, check_array, check_consistent_length
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from skface._callbacks import FRAMES, fit_as_one_task
from skface._validation import check_option, name_some
from skface.metrics import FewImpostorsWarning, far_frr_curve, rate_interval, threshold_at_far
from skface.metrics._checks import check_cost

_CRITERIA = ("accuracy", "balanced_accuracy", "f1", "eer", "far", "cost")
_METRICS = ("cosine", "euclidean", "sqeuclidean")
_CALIBRATIONS = ("sigmoid", "isotonic")
_MOST_SCORES = 32  # per pair; more look like embeddings of faces
_MOST_STEPS = 500  # of Newton's method; eight are usual
_ROUNDING = 1e-12  # of the cross-entropy, beyond which it cannot tell a better step from a worse
_BLOCK_VALUES = 2**17  # embedding values that are converted to float64 at a time: 1 MiB


def _is_calibrated(verifier: "PairVerifier") -> bool:
    """Tell whether `verifier` has probabilities to give."""
    if getattr(verifier, "calibrator_", verifier.calibration) is None:
        raise AttributeError("PairVerifier(calibration=None) learns no probabilities.")
    return True


class PairVerifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):
    """Decide whether two embeddings show one person, at a threshold learned from labelled pairs.

    The score of a pair is a similarity: larger = more likely the same person. A pair is accepted
    as "same" if and only if its score is at least `threshold_`. Beside the decision, calibrated
    log-likelihood ratios and probabilities are learned.

    Parameters
    ----------
    metric : {"cosine", "euclidean", "sqeuclidean"} or callable, default="cosine"
        Similarity of two embeddings: their cosine (1 for two copies of one photo), or the negative
        of their Euclidean or squared Euclidean distance (0 for two copies). A callable takes the
        two arrays of shape (n_pairs, n_features) and returns similarities of shape (n_pairs,).
        Not used for X of shape (n_pairs, n_scores).
    threshold : float, default=None
        A threshold to use as it is, on the scale of :meth:`score_pairs`. None learns it.
    criterion : {"accuracy", "balanced_accuracy", "f1", "eer", "far", "cost"}, default="accuracy"
        What the learned threshold is best at, on the training pairs: three scores of
        scikit-learn, the smallest difference between false match and false non-match rate, the
        largest acceptance with a false match rate of at most `far`, or the smallest cost.
    far : float, default=None
        Largest allowed false match rate, in (0, 1), for ``criterion="far"``. Otherwise ignored.
    cost : tuple of 3 floats, default=(1.0, 1.0, 0.5)
        For ``criterion="cost"``: cost of a miss, cost of a false acceptance, and the prior
        probability of "same". The cost is ``C_miss * prior * FNMR + C_fa * (1 - prior) * FMR``.
    calibration : {"sigmoid", "isotonic"} or None, default="sigmoid"
        How scores become log-likelihood ratios: linearly, or by any increasing function (which
        wants a thousand pairs or more). None leaves out `predict_proba`.
    prior : float, default=None
        Prior probability of "same", in (0, 1), that `predict_proba` assumes: the share of same
        pairs that you expect. None takes the one for which a learned `threshold_` is the Bayes
        decision, so that a probability above 0.5 and the prediction "same" go together; with a
        given `threshold`, the share of same pairs in training.

    Attributes
    ----------
    metric_ : str or callable
        The metric in use.
    classes_ : ndarray of shape (2,)
        The two labels sorted; the last one means "same" (0/1, False/True, "different"/"same").
    threshold_ : float
        Similarity from which on a pair is accepted.
    operating_point_ : Bunch
        What the threshold does on the training pairs: `criterion` ("fixed" if `threshold` was
        given), `threshold`, `n_genuine`, `n_impostor` (compared pairs of the same and of different
        people), `n_failures` (rows with NaN, which are not among them), the false match and false
        non-match rates `fmr` and `fnmr`, and their 95 % intervals `fmr_interval` and
        `fnmr_interval`, which hold for independent pairs and are too narrow if pairs share people.
    calibrator_ : Bunch or None
        `kind`; with "sigmoid" the `slope` and `intercept` of the log-likelihood ratio; with
        "isotonic" `scores` and `log_likelihood_ratios`, to be interpolated; and `prior_log_odds`,
        what `predict_proba` adds to the log-likelihood ratio.
    fusion_ : Bunch or None
        `coef` (n_scores,) and `intercept` of the fused score, if X holds several scores per pair.
    input_ndim_ : int
        3 if fitted on embeddings, 2 if on scores.
    n_features_in_ : int
        Length of one embedding, or number of scores per pair.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the scores, if X was a data frame with string columns.

    See Also
    --------
    sklearn.model_selection.TunedThresholdClassifierCV : Threshold of any classifier, on a grid.

    Notes
    -----
    X is (n_pairs, 2, n_features), two embeddings per pair, or (n_pairs, n_scores), similarities
    from elsewhere. A single score is used as it is; several are standardised and fused by logistic
    regression.

    *Failures.* A row that holds NaN was not compared. Nothing is learned from it; its score and
    `decision_function` are NaN, it is predicted as different, with probability 0 of "same".

    *Threshold.* The rates are step functions of the threshold, so it is found exactly, not on a
    grid. Among equally good places the widest gap between two scores is taken (the lowest of
    equally wide ones) and the threshold put into its middle; "far" takes the smallest threshold
    that keeps the promise, see :func:`skface.metrics.threshold_at_far`.

    *Probabilities.* The calibration weighs the two classes alike, so it gives log-likelihood
    ratios, which depend neither on the mixture in training nor on the threshold. A probability
    needs a prior besides. A threshold implies one: whoever accepts only what is 500 times more
    likely for the same than for different people acts as if 1 pair in 501 were the same, and that
    is the default, for which `predict_proba` and `predict` agree (on a flat step of "isotonic" that
    holds the threshold, all probabilities are 0.5). With ``criterion="far"`` such probabilities are
    low: they are those of a world in which same pairs are rare. Set `prior` to the share of same
    pairs that you expect to get probabilities for that share; then 0.5 need not be where `predict`
    decides. The targets are Platt's ``(n + 1) / (n + 2)`` and ``1 / (n + 2)`` in place of 1 and 0,
    so that probabilities stay finite where the scores separate the classes perfectly.

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
    >>> round(verifier.threshold_, 3)
    0.49
    """

    def __init__(
        self,
        metric: str | Callable[[np.ndarray, np.ndarray], np.ndarray] = "cosine",
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
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "PairVerifier":
        """Learn fusion, threshold and calibration.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features) or (n_pairs, n_scores)
            Embeddings, or similarities. NaN marks failures.
        y : array-like of shape (n_pairs,)
            Labels of two kinds; the larger one means "same".
        sample_weight : array-like of shape (n_pairs,), default=None
            How often each pair counts: a weight of 2 is the pair given twice, 0 is left out.

        Returns
        -------
        self : PairVerifier
            The fitted verifier.

        Raises
        ------
        ValueError
            If a parameter, X or y is not as described, or a class has no pair to learn from.

        Warns
        -----
        FewImpostorsWarning
            If there are too few different pairs for `far`.
        UserWarning
            If larger scores go with different people, or if X has so many scores per pair that they
            seem to be embeddings.
        """
        self._check_parameters()
        self.metric_ = self.metric
        y = validate_data(self, y=y)  # before X, because it forgets feature names
        X = self._check_pairs(X, reset=True)
        check_consistent_length(X, y)
        weight = _check_weight(sample_weight, len(y))
        same = self._encode_labels(y)

        self.fusion_ = None
        complete = _is_complete(X)
        used = (weight > 0) & complete
        self._check_both_classes(same[used], len(y))
        if X.ndim == 2 and X.shape[1] > _MOST_SCORES:
            warnings.warn(
                f"X of shape {X.shape} is taken as {X.shape[1]} scores per pair. If these are "
                "embeddings of faces, give pairs of them, (n_pairs, 2, n_features): the rows of a "
                "pipeline have to be pairs, such as [[left, right]].",
                UserWarning,
                stacklevel=2 + FRAMES,
            )
        if X.ndim == 2 and X.shape[1] > 1:
            self.fusion_ = _fit_fusion(X[used], same[used], weight[used])
        score = self._score(X, complete)
        failed = np.isnan(score)  # a callable metric may fail on more rows
        used = (weight > 0) & ~failed
        self._check_both_classes(same[used], len(y))

        compared = same[used], score[used], weight[used]
        self._warn_if_reversed(*compared)
        self.threshold_ = self._choose_threshold(*compared)
        self.operating_point_ = self._describe(*compared, n_failures=weight[failed].sum())
        self.calibrator_ = None
        if self.calibration is not None:
            self.calibrator_ = _fit_calibrator(self.calibration, *compared)
            self.calibrator_.prior_log_odds = self._choose_prior(*compared)
        return self

    def score_pairs(self, X: Any) -> np.ndarray:
        """Compute the similarity of each pair, the scale on which `threshold_` lies.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features) or (n_pairs, n_scores)
            Embeddings, or similarities.

        Returns
        -------
        ndarray of shape (n_pairs,)
            Larger = more alike; NaN for failures.
        """
        check_is_fitted(self)
        X = self._check_pairs(X, reset=False)
        return self._score(X, _is_complete(X))

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute how far each pair lies above the threshold.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features) or (n_pairs, n_scores)
            Embeddings, or similarities.

        Returns
        -------
        ndarray of shape (n_pairs,)
            ``score_pairs(X) - threshold_``; 0 and more is accepted; NaN for failures.
        """
        return self.score_pairs(X) - self.threshold_

    def predict(self, X: Any) -> np.ndarray:
        """Decide whether each pair shows one person.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features) or (n_pairs, n_scores)
            Embeddings, or similarities.

        Returns
        -------
        ndarray of shape (n_pairs,)
            ``classes_[1]`` where ``decision_function(X) >= 0``, else ``classes_[0]``, which
            includes failures.
        """
        accepted = self.decision_function(X) >= 0  # NaN >= 0 is False
        return self.classes_[accepted.astype(np.intp)]

    @available_if(_is_calibrated)
    def log_likelihood_ratio(self, X: Any) -> np.ndarray:
        """Compute how much more likely each score is for the same than for different people.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features) or (n_pairs, n_scores)
            Embeddings, or similarities.

        Returns
        -------
        ndarray of shape (n_pairs,)
            Natural logarithm of the likelihood ratio; NaN for failures.
        """
        score = self.score_pairs(X)  # first, for it says if the verifier is not fitted
        return _calibrate(self.calibrator_, score)

    @available_if(_is_calibrated)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Compute the probability that each pair shows different people, and one person.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2, n_features) or (n_pairs, n_scores)
            Embeddings, or similarities.

        Returns
        -------
        ndarray of shape (n_pairs, 2)
            Columns as in `classes_`, for the prior that `prior` says; failures get (1, 0).
        """
        log_odds = self.log_likelihood_ratio(X) + self.calibrator_.prior_log_odds
        same = np.where(np.isnan(log_odds), 0.0, expit(log_odds))
        return np.column_stack((1 - same, same))

    def _check_parameters(self) -> None:
        """Check everything that does not need the data."""
        if not callable(self.metric):
            check_option(self.metric, "metric", _METRICS)
        check_option(self.criterion, "criterion", _CRITERIA)
        if self.calibration is not None:
            check_option(self.calibration, "calibration", _CALIBRATIONS)
        if self.threshold is not None and not _is_finite_number(self.threshold):
            raise ValueError(f"threshold={self.threshold!r} is neither None nor a finite number.")
        if self.prior is not None and not (_is_finite_number(self.prior) and 0 < self.prior < 1):
            raise ValueError(f"prior={self.prior!r} is neither None nor between 0 and 1.")
        if self.far is not None and not (_is_finite_number(self.far) and 0 < self.far < 1):
            raise ValueError(f"far={self.far!r} is not between 0 and 1.")
        if self.criterion == "far" and self.far is None and self.threshold is None:
            raise ValueError(
                "criterion='far' needs the largest allowed false acceptance rate, such as far=1e-3."
            )
        if self.criterion == "cost":
            check_cost(self.cost)

    def __sklearn_tags__(self) -> Any:
        """Describe the estimator to scikit-learn."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags

    def _check_pairs(self, X: Any, *, reset: bool) -> np.ndarray:
        """Check X and return it as (n, 2, d) embeddings or (n, k) scores, without a copy."""
        rules = {
            "dtype": [np.float64, np.float32],
            "ensure_all_finite": "allow-nan",
            "reset": reset,
        }
        if not hasattr(X, "shape"):
            X = np.asarray(X)
        ndim = len(X.shape)
        if ndim > 3:
            raise ValueError(
                f"X has shape {X.shape}: PairVerifier takes embeddings (n_pairs, 2, "
                "n_features) or scores (n_pairs, n_scores). Put an embedder before it."
            )
        if ndim == 3 and X.shape[1] != 2:
            raise ValueError(
                f"X has shape {X.shape}: the axis after the first must hold the 2 embeddings "
                "of each pair."
            )
        if reset:
            self.input_ndim_ = max(ndim, 2)
        elif ndim > 1 and ndim != self.input_ndim_:
            kinds = {2: "scores (n_pairs, n_scores)", 3: "embeddings (n_pairs, 2, n_features)"}
            # faces in place of pairs give one embedding per row, which looks like scores
            way_out = " A single pair is [[left, right]]." if ndim == 2 else ""
            raise ValueError(
                f"X holds {kinds[ndim]}, but PairVerifier was fitted on {kinds[self.input_ndim_]}."
                f"{way_out}"
            )
        if ndim < 3:
            return validate_data(self, X, **rules)
        # One row per face, so that n_features_in_ is the length of one embedding.
        X = np.asarray(X)
        if X.dtype in rules["dtype"] and len(X) and not len(_suspects(X)):
            rules["ensure_all_finite"] = False  # looked at already, in less time
        faces = validate_data(self, X.reshape(2 * len(X), X.shape[2]), **rules)
        return faces.reshape(X.shape)

    def _encode_labels(self, y: np.ndarray) -> np.ndarray:
        """Set `classes_`; return which pairs carry the last of them."""
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) > 2:
            raise ValueError(
                "Only binary classification is supported. The type of the target is "
                f"{type_of_target(y)}: y must say same or different, but it holds "
                f"{len(self.classes_)} classes, {name_some(self.classes_.tolist())}."
            )
        if len(self.classes_) < 2:
            (label,) = self.classes_.tolist()
            raise ValueError(
                f"y holds one class only, {label!r}: a threshold is learned from pairs of the same "
                "and of different people."
            )
        return codes == 1

    def _check_both_classes(self, same: np.ndarray, n_rows: int) -> None:
        """Raise if failures and zero weights leave a class without pairs."""
        for code, label in enumerate(self.classes_.tolist()):
            if not np.any(same == code):
                raise ValueError(
                    f"The class {label!r} has no pair to learn from: {len(same)} of {n_rows} rows "
                    "are free of NaN and have a positive sample_weight."
                )

    def _score(self, X: np.ndarray, complete: np.ndarray) -> np.ndarray:
        """Compute similarities of checked pairs, NaN where a row is not complete."""
        if X.ndim == 2:
            if self.fusion_ is None:
                return X[:, 0].astype(np.float64)
            # Not a matrix product: its rounding may depend on the position of the row, and
            # equal rows must have equal scores for ties to be seen.
            return (X * self.fusion_.coef).sum(axis=1) + self.fusion_.intercept
        score = np.full(len(X), np.nan)
        rows = np.flatnonzero(complete)
        if callable(self.metric_):
            score[rows] = _call_metric(self.metric_, X if len(rows) == len(X) else X[rows])
            return score
        step = max(1, _BLOCK_VALUES // X.shape[2])
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            # a slice is no copy, and most have no failures
            pairs = X[start : start + step] if len(rows) == len(X) else X[block]
            # sums over memory with gaps are rounded otherwise
            pairs = np.ascontiguousarray(pairs, dtype=np.float64)
            if self.metric_ == "cosine":
                score[block] = _cosine(pairs, block)
            else:
                difference = pairs[:, 0] - pairs[:, 1]
                squared = np.einsum("ij,ij->i", difference, difference)
                score[block] = -squared if self.metric_ == "sqeuclidean" else -np.sqrt(squared)
        return score

    def _choose_threshold(self, same: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
        """Return the given threshold or the best one by `criterion`."""
        if self.threshold is not None:
            return float(self.threshold)
        n_genuine, n_impostor = weight[same].sum(), weight[~same].sum()
        if self.criterion == "far":
            if n_impostor < 3 / self.far:
                warnings.warn(
                    f"far={self.far:g} rests on {n_impostor:g} pairs of different people. With "
                    f"fewer than {np.ceil(3 / self.far):.0f} even a threshold without any false "
                    "match does not show, at 95 % confidence, that the rate is that small.",
                    FewImpostorsWarning,
                    stacklevel=3 + FRAMES,
                )
            return threshold_at_far(same, score, self.far, sample_weight=weight)

        fmr, fnmr, thresholds = far_frr_curve(same, score, sample_weight=weight)
        false_matches, misses = fmr * n_impostor, fnmr * n_genuine
        loss = {
            "accuracy": lambda: (false_matches + misses) / (n_genuine + n_impostor),
            "balanced_accuracy": lambda: (fmr + fnmr) / 2,
            # 1 - F1, with the denominator 2 TP + FP + FN of F1.
            "f1": lambda: (false_matches + misses) / (2 * n_genuine - misses + false_matches),
            "eer": lambda: np.abs(fmr - fnmr),
            "cost": lambda: _relative_cost(fmr, fnmr, *self.cost),
        }[self.criterion]()
        return _middle_of_widest_gap(thresholds, np.flatnonzero(loss <= loss.min() + 1e-12))

    def _warn_if_reversed(self, same: np.ndarray, score: np.ndarray, weight: np.ndarray) -> None:
        """Warn if the scores of same pairs are not the larger ones."""
        genuine, impostor = (
            np.average(score[kind], weights=weight[kind]) for kind in (same, ~same)
        )
        if genuine <= impostor:
            different, label = self.classes_.tolist()
            warnings.warn(
                f"Larger scores do not go with {label!r}, which means the same person because it "
                f"comes after {different!r} in sorted order. Is the score a distance, or are the "
                "labels swapped?",
                UserWarning,
                stacklevel=3 + FRAMES,
            )

    def _choose_prior(self, same: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
        """Return the log-odds of "same" before the score is known."""
        if self.prior is not None:
            return float(logit(self.prior))
        if self.threshold is not None:  # it may have been chosen for any reason
            return float(np.log(weight[same].sum() / weight[~same].sum()))
        return float(-_calibrate(self.calibrator_, self.threshold_))

    def _describe(
        self, same: np.ndarray, score: np.ndarray, weight: np.ndarray, *, n_failures: float
    ) -> Bunch:
        """Say what the threshold does on the pairs it was learned from."""
        accepted = score >= self.threshold_
        n_genuine, n_impostor = weight[same].sum(), weight[~same].sum()
        misses, false_matches = weight[same & ~accepted].sum(), weight[~same & accepted].sum()
        return Bunch(
            criterion=self.criterion if self.threshold is None else "fixed",
            threshold=self.threshold_,
            n_genuine=_whole_if_possible(n_genuine),
            n_impostor=_whole_if_possible(n_impostor),
            n_failures=_whole_if_possible(n_failures),
            fmr=float(false_matches / n_impostor),
            fnmr=float(misses / n_genuine),
            # Rounding may lift a sum of fractional weights above the sum of all.
            fmr_interval=rate_interval(min(false_matches, n_impostor), n_impostor),
            fnmr_interval=rate_interval(min(misses, n_genuine), n_genuine),
        )


def _is_finite_number(value: Any) -> bool:
    """Tell whether `value` is a finite real number."""
    return isinstance(value, (int, float, np.integer, np.floating)) and bool(np.isfinite(value))


def _relative_cost(
    fmr: np.ndarray, fnmr: np.ndarray, miss_cost: float, false_match_cost: float, prior: float
) -> np.ndarray:
    """Compute the detection cost, in units of the costlier of the two constant decisions."""
    miss, false_match = miss_cost * prior, false_match_cost * (1 - prior)
    return (miss * fnmr + false_match * fmr) / max(miss, false_match)


def _whole_if_possible(count: float) -> int | float:
    """Show a count of unweighted pairs as an integer."""
    return int(count) if float(count).is_integer() else float(count)


def _check_weight(sample_weight: Any, n_rows: int) -> np.ndarray:
    """Check `sample_weight`; None weighs every row 1."""
    if sample_weight is None:
        return np.ones(n_rows)
    weight = check_array(
        sample_weight,
        dtype=np.float64,
        ensure_2d=False,
        ensure_non_negative=True,
        input_name="sample_weight",
    )
    if weight.shape != (n_rows,):
        raise ValueError(f"sample_weight.shape == {weight.shape}, expected {(n_rows,)}.")
    if not weight.any():
        raise ValueError("sample_weight is zero for every row, so neither class can be learned.")
    return weight


def _suspects(X: np.ndarray) -> np.ndarray:
    """Return the rows that may hold NaN or infinite values; the others do not."""
    # A sum of such terms is not finite; one of large finite terms may overflow. As a matrix product
    # it takes a quarter of the time that numpy's sum takes.
    with np.errstate(over="ignore", invalid="ignore"):
        sums = X.reshape(len(X), -1) @ np.ones(X[0].size, X.dtype)
    return np.flatnonzero(~np.isfinite(sums))


def _is_complete(X: np.ndarray) -> np.ndarray:
    """Mark the rows without NaN."""
    complete = np.ones(len(X), dtype=bool)
    suspects = _suspects(X)
    complete[suspects] = ~np.isnan(X[suspects]).any(axis=tuple(range(1, X.ndim)))
    return complete


def _cosine(pairs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Compute the cosine of each pair of vectors; `rows` are their numbers for error messages."""
    dot, squares = _products(pairs)
    # squares, or the product of two, may have overflowed or vanished
    extreme = ~((squares > 1e-140) & (squares < 1e140)).all(axis=1)
    if extreme.any():
        longest = np.abs(pairs[extreme]).max(axis=2)
        empty = rows[extreme][(longest == 0).any(axis=1)]
        if len(empty):
            raise ValueError(
                f"X holds an all-zero embedding in row {name_some(empty)}: it has no direction, so "
                "no cosine. If it stands for a failure, set it to NaN."
            )
        dot[extreme], squares[extreme] = _products(pairs[extreme] / longest[:, :, np.newaxis])
    # sqrt(aa * bb), not sqrt(aa) * sqrt(bb): exactly 1 for equal vectors.
    return np.clip(dot / np.sqrt(squares[:, 0] * squares[:, 1]), -1.0, 1.0)


def _products(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the dot products of pairs of vectors, (n,), and of each with itself, (n, 2)."""
    with np.errstate(over="ignore", under="ignore"):
        dot = np.einsum("ij,ij->i", pairs[:, 0], pairs[:, 1])
        return dot, np.einsum("ijk,ijk->ij", pairs, pairs)


def _call_metric(metric: Callable[..., Any], X: np.ndarray) -> np.ndarray:
    """Call the user's metric and check what it returns."""
    score = np.asarray(metric(X[:, 0], X[:, 1]), dtype=np.float64)
    if score.shape != (len(X),):
        raise ValueError(
            f"metric={metric!r} returned an array of shape {score.shape} for {len(X)} pairs, "
            f"expected {(len(X),)}."
        )
    if np.isinf(score).any():
        raise ValueError(f"metric={metric!r} returned infinite similarities.")
    return score


def _middle_of_widest_gap(thresholds: np.ndarray, best: np.ndarray) -> float:
    """Return the middle of the widest gap below one of the thresholds numbered `best`.

    Any number in ``(thresholds[i - 1], thresholds[i]]`` decides alike. The first threshold accepts
    and the last one rejects everything; neither has a gap to be in the middle of.
    """
    below = np.concatenate((thresholds[:1], thresholds[:-1]))
    gap = thresholds - below
    gap[-1] = 0.0
    i = best[np.argmax(gap[best])]
    middle = below[i] + gap[i] / 2
    return float(middle if middle > below[i] else thresholds[i])


def _fit_fusion(X: np.ndarray, same: np.ndarray, weight: np.ndarray) -> Bunch:
    """Learn one score from several, as the log-odds of a logistic regression.

    scikit-learn's default penalty, on standardised scores, keeps it finite where classes separate.
    """
    scaler = StandardScaler().fit(X, sample_weight=weight)
    # Newton's method converges to the last digits, so weights and repetitions give one result.
    regression = LogisticRegression(solver="newton-cholesky", tol=1e-8)
    regression.fit(scaler.transform(X), same, sample_weight=weight)
    coef = regression.coef_[0] / scaler.scale_
    intercept = float(regression.intercept_[0] - (coef * scaler.mean_).sum())
    return Bunch(coef=coef, intercept=intercept)


def _fit_calibrator(kind: str, same: np.ndarray, score: np.ndarray, weight: np.ndarray) -> Bunch:
    """Learn the log-likelihood ratio of a score.

    With classes of equal total weight the log-odds of "same" are the log-likelihood ratio.
    """
    n_genuine, n_impostor = weight[same].sum(), weight[~same].sum()
    target = np.where(same, (n_genuine + 1) / (n_genuine + 2), 1 / (n_impostor + 2))
    balanced = weight / np.where(same, n_genuine, n_impostor)
    if kind == "isotonic":
        regression = IsotonicRegression(out_of_bounds="clip")
        regression.fit(score, target, sample_weight=balanced)
        return Bunch(
            kind=kind,
            scores=regression.X_thresholds_,
            log_likelihood_ratios=logit(regression.y_thresholds_),
        )

    slope, intercept = _fit_line(score, target, balanced)
    if slope <= 0:  # scores that say nothing, or the opposite
        slope = intercept = 0.0
    return Bunch(kind=kind, slope=slope, intercept=intercept)


def _fit_line(score: np.ndarray, target: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Return slope and intercept of the log-odds whose probabilities come nearest to targets.

    They minimise the weighted cross-entropy, which is convex, by Newton's method with steps that
    are halved until they help. LogisticRegression knows no soft targets, so that it needs every
    score twice, and four times as long; scipy's root finder and its trust-region methods stop
    short, in silence, where scores lie far out.
    """
    mean = np.average(score, weights=weight)
    spread = np.sqrt(np.average((score - mean) ** 2, weights=weight))
    if not spread > 0:
        return 0.0, 0.0
    line = np.stack(((score - mean) / spread, np.ones_like(score)))

    def loss(parameters: np.ndarray) -> float:
        log_odds = parameters @ line
        return weight @ (np.logaddexp(0, log_odds) - target * log_odds)

    parameters = np.zeros(2)
    least = loss(parameters)
    for _ in range(_MOST_STEPS):
        probability = expit(parameters @ line)
        gradient = line @ (weight * (probability - target))
        curvature = (line * (weight * probability * (1 - probability))) @ line.T
        step = np.linalg.lstsq(curvature, gradient)[0]  # where all is saturated, it is singular
        gain = gradient @ step  # twice what the step is expected to lower the loss by
        lower = loss(parameters - step)
        while gain > _ROUNDING and lower > least - 1e-4 * (gradient @ step):
            step /= 2
            lower = loss(parameters - step)
        parameters, least = parameters - step, lower
        if gain < _ROUNDING**2:
            break
    slope, intercept = parameters
    return float(slope / spread), float(intercept - slope / spread * mean)


def _calibrate(calibrator: Bunch, score: Any) -> Any:
    """Turn scores into log-likelihood ratios."""
    if calibrator.kind == "sigmoid":
        return calibrator.slope * score + calibrator.intercept
    return np.interp(score, calibrator.scores, calibrator.log_likelihood_ratios)
