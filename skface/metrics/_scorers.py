"""Metrics as scorers, for ``scoring=`` in scikit-learn."""

import re
from collections.abc import Callable
from typing import Any, Self, overload

import numpy as np
import sklearn.metrics
from numpy.typing import ArrayLike
from scipy.special import logit
from sklearn.metrics import make_scorer
from sklearn.utils import column_or_1d
from sklearn.utils.metadata_routing import MetadataRequest

from skface._utils.estimators import final_estimator
from skface.metrics._calibration import cllr, min_cllr
from skface.metrics._checks import check_cost, check_far, genuine_pairs
from skface.metrics._costs import min_detection_cost
from skface.metrics._rates import equal_error_rate, frr_at_far, tar_at_far

_SCORE = ("decision_function", "predict_proba")  # the first one that the classifier has is used


@overload
def get_scorer(scoring: str | Callable[..., float]) -> Callable[..., float]: ...


@overload
def get_scorer(scoring: None) -> None: ...


def get_scorer(scoring: str | Callable[..., float] | None) -> Callable[..., float] | None:
    """Get a scorer by name.

    A scorer is called as ``scorer(estimator, X, y)``. Greater is better, as everywhere in
    scikit-learn, so scorers of error rates and costs return them with a negative sign. FAR and FRR
    count failed comparisons as rejected.

    ================ ============================================== ====================
    name             value                                          factory
    ================ ============================================== ====================
    "tar@far=1e-3"   :func:`tar_at_far`, of any FAR in [0, 1]       tar_at_far_scorer
    "frr@far=1e-3"   negative of :func:`frr_at_far`                 -
    "eer"            negative of :func:`equal_error_rate`           eer_scorer
    "min_dcf"        negative of :func:`min_detection_cost`         min_dcf_scorer
    "cllr"           negative of :func:`cllr`                       cllr_scorer
    "min_cllr"       negative of :func:`min_cllr`                   -
    ================ ============================================== ====================

    They take any binary classifier with `decision_function` or `predict_proba` (the former is
    preferred), alone, at the end of a pipeline or inside a search. The larger of the two classes
    marks genuine pairs. A score of NaN marks a failed comparison.

    Parameters
    ----------
    scoring : str, callable or None
        One of the names above. Anything else goes to :func:`sklearn.metrics.get_scorer`.

    Returns
    -------
    scorer : callable
        The scorer; None for None.

    Raises
    ------
    ValueError
        If the name is unknown, or the FAR in it is not a number in [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_validate
    >>> from skface import PairVerifier
    >>> from skface.metrics import get_scorer
    >>> rng = np.random.RandomState(0)
    >>> same = np.repeat([0, 1], 100)
    >>> scores = rng.normal(same, 0.4)[:, np.newaxis]
    >>> scoring = {name: get_scorer(name) for name in ("tar@far=0.1", "eer", "cllr")}
    >>> results = cross_validate(PairVerifier(), scores, same, scoring=scoring)
    >>> [round(float(results[f"test_{name}"].mean()), 2) for name in scoring]
    [0.87, -0.11, -0.37]
    """
    if not isinstance(scoring, str):
        return sklearn.metrics.get_scorer(scoring)
    if scoring in _FACTORIES:
        return _FACTORIES[scoring]()
    match = re.fullmatch("(tar|frr)@far=(.*)", scoring)
    if match is None:
        try:
            return sklearn.metrics.get_scorer(scoring)
        except ValueError as error:
            names = ", ".join(repr(name) for name in ("tar@far=1e-3", "frr@far=1e-3", *_FACTORIES))
            raise ValueError(
                f"scoring={scoring!r} is none of {names} (with any number for 1e-3), nor of "
                "sklearn.metrics.get_scorer_names()."
            ) from error
    try:
        far = check_far(float(match[2]))
    except ValueError as error:
        raise ValueError(
            f"scoring={scoring!r}: write a number between 0 and 1 after '=', such as "
            f"'{match[1]}@far=1e-3'."
        ) from error
    if match[1] == "tar":
        return tar_at_far_scorer(far)
    return make_scorer(frr_at_far, response_method=_SCORE, greater_is_better=False, far=far)


def tar_at_far_scorer(far: float) -> Callable[..., float]:
    """Make a scorer of :func:`tar_at_far`.

    Parameters
    ----------
    far : float
        Largest false acceptance rate (FAR) allowed, in [0, 1].

    Returns
    -------
    scorer : callable
        It returns the true acceptance rate (TAR), in [0, 1]. The threshold is chosen on the scored
        pairs, so the scorer judges the scores and not the threshold of the classifier.

    Raises
    ------
    ValueError
        If `far` is outside [0, 1].

    Examples
    --------
    >>> from skface import PairVerifier
    >>> from skface.metrics import tar_at_far_scorer
    >>> X, y = [[0.1], [0.3], [0.2], [0.8]], [0, 0, 1, 1]
    >>> tar_at_far_scorer(0.0)(PairVerifier().fit(X, y), X, y)
    0.5
    """
    return make_scorer(tar_at_far, response_method=_SCORE, far=check_far(far))


def eer_scorer() -> Callable[..., float]:
    """Make a scorer of the negative :func:`equal_error_rate`.

    Returns
    -------
    scorer : callable
        It returns minus the rate, in [-1, 0].

    Examples
    --------
    >>> from skface import PairVerifier
    >>> from skface.metrics import eer_scorer
    >>> X, y = [[0.1], [0.3], [0.2], [0.8]], [0, 0, 1, 1]
    >>> eer_scorer()(PairVerifier().fit(X, y), X, y)
    -0.5
    """
    return make_scorer(_eer, response_method=_SCORE, greater_is_better=False)


def min_dcf_scorer(cost: tuple[float, float, float] = (1.0, 1.0, 0.01)) -> Callable[..., float]:
    """Make a scorer of the negative :func:`min_detection_cost`.

    Parameters
    ----------
    cost : tuple of 3 floats, default=(1.0, 1.0, 0.01)
        Cost of a false rejection, cost of a false acceptance, and the prior probability of a
        genuine pair.

    Returns
    -------
    scorer : callable
        It returns minus the normalized cost at the best threshold on the scored pairs.

    Raises
    ------
    ValueError
        If `cost` is not two positive numbers and a probability.

    Examples
    --------
    >>> from skface import PairVerifier
    >>> from skface.metrics import min_dcf_scorer
    >>> X, y = [[0.1], [0.3], [0.2], [0.8]], [0, 0, 1, 1]
    >>> min_dcf_scorer()(PairVerifier().fit(X, y), X, y)
    -0.5
    """
    check_cost(cost)
    return make_scorer(
        min_detection_cost, response_method=_SCORE, greater_is_better=False, cost=cost
    )


def cllr_scorer(*, prior: float | None = None) -> Callable[..., float]:
    """Make a scorer of the negative :func:`cllr`.

    It calls `log_likelihood_ratio`, a method of :class:`skface.PairVerifier`. The verifier may be
    the last step of a pipeline, or inside a search or a threshold tuner. For any other classifier,
    the log-likelihood ratio is the log-odds of `predict_proba` minus the log-odds of `prior`. A
    probability of 0 or 1 gives an infinite ratio. If one of these is wrong, the cost is infinite.

    Parameters
    ----------
    prior : float, default=None
        The prior probability of a genuine pair that `predict_proba` assumes, in (0, 1): the share
        of genuine pairs in training, or 0.5 if the classifier balances the classes. None takes the
        share among the scored pairs. That is right for stratified folds and classifiers that do
        not balance. Ignored if the classifier has `log_likelihood_ratio`.

    Returns
    -------
    scorer : callable
        It returns minus the cost in bits per pair. 0 is perfect, -1 is as good as no evidence. A
        failed comparison costs one bit.

    Raises
    ------
    ValueError
        If `prior` is outside (0, 1). When called: if the classifier has neither
        `log_likelihood_ratio` nor `predict_proba`.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skface import PairVerifier
    >>> from skface.metrics import cllr_scorer
    >>> X, y = [[0.1], [0.3], [0.2], [0.8]], [0, 0, 1, 1]
    >>> round(cllr_scorer()(make_pipeline(PairVerifier()).fit(X, y), X, y), 2)
    -0.82
    >>> round(cllr_scorer()(LogisticRegression().fit(X, y), X, y), 2)
    -0.97
    """
    if prior is not None and not 0 < prior < 1:
        raise ValueError(f"prior={prior!r} is neither None nor between 0 and 1.")
    return _CllrScorer(prior)


class _CllrScorer:
    """The scorer of :func:`cllr_scorer`: make_scorer cannot call `log_likelihood_ratio`."""

    def __init__(self, prior: float | None) -> None:
        self._prior = prior
        self._weight_request: bool | str | None = None

    def __call__(
        self, estimator: Any, X: Any, y_true: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        estimator, X = final_estimator(estimator, X, inside_tuners=True)
        if hasattr(estimator, "log_likelihood_ratio"):
            llr = estimator.log_likelihood_ratio(X)
        elif hasattr(estimator, "predict_proba"):
            prior = self._prior
            if prior is None:
                weight = None if sample_weight is None else np.asarray(sample_weight)
                prior = np.average(genuine_pairs(column_or_1d(y_true)), weights=weight)
            llr = logit(estimator.predict_proba(X)[:, 1]) - logit(prior)
        else:
            raise ValueError(
                f"cllr needs log_likelihood_ratio or predict_proba, but {estimator!r} has neither. "
                "A PairVerifier has both unless calibration=None."
            )
        return -cllr(y_true, llr, sample_weight=sample_weight)

    def set_score_request(self, *, sample_weight: bool | str | None) -> Self:
        """Request weights from metadata routing, as scorers of scikit-learn do."""
        self._weight_request = sample_weight
        return self

    def get_metadata_routing(self) -> MetadataRequest:
        """Return the request, for metadata routing."""
        request = MetadataRequest(owner=self)
        request.score.add_request(param="sample_weight", alias=self._weight_request)
        return request

    def __repr__(self) -> str:
        return f"cllr_scorer(prior={self._prior!r})"


def _eer(y_true: ArrayLike, y_score: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the rate alone."""
    return equal_error_rate(y_true, y_score, sample_weight=sample_weight).rate


def _min_cllr_scorer() -> Callable[..., float]:
    """Make a scorer of the negative minimum Cllr."""
    return make_scorer(min_cllr, response_method=_SCORE, greater_is_better=False)


_FACTORIES = {
    "eer": eer_scorer,
    "min_dcf": min_dcf_scorer,
    "cllr": cllr_scorer,
    "min_cllr": _min_cllr_scorer,
}
