"""Metrics as scorers, for ``scoring=`` of scikit-learn."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.metrics
from scipy.special import logit
from sklearn.metrics import make_scorer
from sklearn.utils import column_or_1d
from sklearn.utils.metadata_routing import MetadataRequest

from skface._utils.unwrap import final_estimator
from skface.metrics._calibration import cllr, min_cllr
from skface.metrics._checks import check_cost, check_far, which_are_same
from skface.metrics._costs import min_detection_cost
from skface.metrics._rates import equal_error_rate, frr_at_far, tar_at_far

_SCORE = ("decision_function", "predict_proba")  # the first of them that the classifier has


def get_scorer(scoring: Any) -> Callable[..., float]:
    """Get a scorer by name.

    A scorer is called as ``scorer(estimator, X, y)`` and greater is better, as everywhere in
    scikit-learn: what counts errors or costs comes out negative.

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
    means "same person", and scores of NaN are failed comparisons.

    Parameters
    ----------
    scoring : str, callable or None
        One of the names above. Anything else goes to :func:`sklearn.metrics.get_scorer`.

    Returns
    -------
    scorer : callable
        The scorer.

    Raises
    ------
    ValueError
        If nobody knows the name, or the FAR in it is not a number in [0, 1].

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
        Largest allowed false acceptance rate, in [0, 1].

    Returns
    -------
    scorer : callable
        True acceptance rate, in [0, 1]. On each test set the threshold is chosen anew, so it
        judges the scores, not the threshold of the classifier.

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
        Minus the rate, in [-1, 0].

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
        Cost of a miss, cost of a false acceptance, and the prior probability of "same".

    Returns
    -------
    scorer : callable
        Minus the normalised cost of the best threshold on each test set.

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

    It looks for `log_likelihood_ratio`, as :class:`skface.PairVerifier` has it, in the last step
    of a pipeline, in the best estimator of a search, and in a threshold tuner. For any other
    classifier the log-likelihood ratio is the log-odds of `predict_proba` less the log-odds of
    `prior`. Probabilities of 0 or 1 are infinite ratios, and one mistake among them makes the cost
    infinite.

    Parameters
    ----------
    prior : float, default=None
        The share of same pairs that `predict_proba` is for, in (0, 1): that of the training
        pairs, or 0.5 if the classifier balances the classes. None takes the share among the
        scored pairs, right for stratified folds and classifiers that do not balance. Not used
        where `log_likelihood_ratio` is found.

    Returns
    -------
    scorer : callable
        Minus the cost in bits per pair; 0 is perfect, -1 is as good as no evidence. A failure
        counts -1.

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
    """What :func:`cllr_scorer` makes; make_scorer knows no `log_likelihood_ratio`."""

    def __init__(self, prior: float | None) -> None:
        self._prior = prior
        self._weight_request: bool | str | None = None

    def __call__(self, estimator: Any, X: Any, y_true: Any, sample_weight: Any = None) -> float:
        estimator, X = final_estimator(estimator, X, inside_tuners=True)
        if hasattr(estimator, "log_likelihood_ratio"):
            llr = estimator.log_likelihood_ratio(X)
        elif hasattr(estimator, "predict_proba"):
            prior = self._prior
            if prior is None:
                prior = np.average(which_are_same(column_or_1d(y_true)), weights=sample_weight)
            llr = logit(estimator.predict_proba(X)[:, 1]) - logit(prior)
        else:
            raise ValueError(
                f"cllr needs log_likelihood_ratio or predict_proba, but {estimator!r} has neither. "
                "A PairVerifier has both unless calibration=None."
            )
        return -cllr(y_true, llr, sample_weight=sample_weight)

    def set_score_request(self, *, sample_weight: bool | str | None) -> "_CllrScorer":
        """Request weights from metadata routing, as scorers of scikit-learn do."""
        self._weight_request = sample_weight
        return self

    def get_metadata_routing(self) -> MetadataRequest:
        """Tell metadata routing what was requested."""
        request = MetadataRequest(owner=self)
        request.score.add_request(param="sample_weight", alias=self._weight_request)
        return request

    def __repr__(self) -> str:
        return f"cllr_scorer(prior={self._prior!r})"


def _eer(y_true: Any, y_score: Any, sample_weight: Any = None) -> float:
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
