"""Report of error rates at chosen operating points."""

from collections.abc import Iterable
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from skface.metrics._checks import check_far, check_scores, check_threshold
from skface.metrics._estimates import (
    count_pairs,
    estimate_rates,
    far_and_frr,
    flatten,
    fmr_and_fnmr,
)
from skface.metrics._intervals import bootstrap_interval, check_identities
from skface.metrics._rates import (
    equal_error_rate,
    error_curve,
    smallest_threshold,
    warn_if_few_impostors,
)
from skface.metrics._report_text import format_verification
from skface.metrics._separation import d_prime


@overload
def verification_report(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    threshold: float | None = None,
    far: float | Iterable[float] = (1e-1, 1e-2, 1e-3),
    identities: ArrayLike | None = None,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    random_state: int | np.random.RandomState | None = None,
    output_dict: Literal[False] = False,
) -> str: ...


@overload
def verification_report(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    threshold: float | None = None,
    far: float | Iterable[float] = (1e-1, 1e-2, 1e-3),
    identities: ArrayLike | None = None,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    random_state: int | np.random.RandomState | None = None,
    output_dict: Literal[True],
) -> dict[str, Any]: ...


@overload
def verification_report(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    threshold: float | None = None,
    far: float | Iterable[float] = (1e-1, 1e-2, 1e-3),
    identities: ArrayLike | None = None,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    random_state: int | np.random.RandomState | None = None,
    output_dict: bool = False,
) -> str | dict[str, Any]: ...


def verification_report(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    threshold: float | None = None,
    far: float | Iterable[float] = (1e-1, 1e-2, 1e-3),
    identities: ArrayLike | None = None,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    random_state: int | np.random.RandomState | None = None,
    output_dict: bool = False,
) -> str | dict[str, Any]:
    """Build a report of error rates at chosen operating points, with intervals.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Two labels; the larger one marks genuine pairs (same person).
    y_score : array-like of shape (n_pairs,)
        Similarities; larger = more alike. NaN marks a failed comparison.
    threshold : float, default=None
        A threshold to report on, such as `threshold_` of a verifier fitted on other pairs.
    far : float or iterable of floats, default=(1e-1, 1e-2, 1e-3)
        False acceptance rates to report on. :func:`threshold_at_far` chooses their thresholds on
        the given pairs, so expect somewhat larger rates on other pairs.
    identities : array-like of shape (n_pairs, 2), default=None
        The two people of each pair. With them, the intervals come from a bootstrap over people,
        which is right if pairs share people. Without them, they are Clopper-Pearson intervals,
        which are right if pairs are independent.
    confidence : float, default=0.95
        Coverage of the intervals, in (0, 1).
    n_resamples : int, default=1000
        Number of resamples of the bootstrap. Ignored without `identities`.
    random_state : int, RandomState instance or None, default=None
        Draws the people; an int gives the same intervals each time.
    output_dict : bool, default=False
        Whether to return a dict instead of text.

    Returns
    -------
    report : str or dict
        Text of at most 100 columns, or with ``output_dict=True`` a dict of plain numbers, strings
        and tuples:

        - `n_people`: number of people; None without identities.
        - `n_genuine` and `n_impostor`: number of pairs, failures included.
        - `n_failed_genuine` and `n_failed_impostor`: number of failed comparisons among them.
        - `confidence`, and `interval_over`: "people" or "pairs".
        - `eer` and `eer_threshold`, where FAR = FRR, and `eer_interval`; `d_prime` and
          `d_prime_interval`. The intervals are None without identities.
        - `operating_points`: a list with one dict per threshold, which :class:`pandas.DataFrame`
          takes. It holds `far_target` (None for the given threshold); `threshold`; `far`, `frr` and
          `tar`, which count failures as rejected; `fmr` and `fnmr`, which leave failures out; and
          an interval for each rate: `far_interval` and so on.

    Raises
    ------
    ValueError
        If lengths differ, scores are infinite, there are not exactly two classes, `identities`
        contradicts `y_true`, or a parameter is out of range.

    Warns
    -----
    FewImpostorsWarning
        If a value of `far` is positive but below 1 / (number of impostor pairs).

    See Also
    --------
    group_report : FMR and FNMR of each group of people at one threshold.
    bootstrap_interval : The bootstrap over people.

    Notes
    -----
    The intervals hold the threshold fixed. At either end, an interval over people takes the end of
    the bootstrap interval or of the Clopper-Pearson interval, whichever is farther out. Without
    errors, the bootstrap alone would give [0, 0].

    Examples
    --------
    >>> import numpy as np
    >>> from skface.metrics import verification_report
    >>> rng = np.random.RandomState(0)
    >>> same = np.repeat([0, 1], [1000, 200])
    >>> scores = rng.normal(0.5 * same, 0.15)
    >>> scores[-3:] = np.nan
    >>> print(verification_report(same, scores, threshold=0.3, far=(0.1, 0.01)))
    pairs               all  failed
    genuine             200       3
    impostor          1,000       0
    <BLANKLINE>
    equal error rate 4.50 % at threshold 0.257938
    d'               3.662
    <BLANKLINE>
    All pairs, in %. A failed comparison counts as rejected.
                     threshold                  FAR                  FRR                   TAR
    given threshold        0.3    2.30 [1.46, 3.43]   8.00 [4.64, 12.67]  92.00 [87.33, 95.36]
    FAR <= 0.1        0.184544  10.00 [8.21, 12.03]    1.50 [0.31, 4.32]  98.50 [95.68, 99.69]
    FAR <= 0.01       0.340463    1.00 [0.48, 1.83]  12.00 [7.84, 17.33]  88.00 [82.67, 92.16]
    <BLANKLINE>
    Compared pairs only, failures left out, in %.
                     threshold                  FMR                 FNMR
    given threshold        0.3    2.30 [1.46, 3.43]   6.60 [3.56, 11.02]
    FAR <= 0.1        0.184544  10.00 [8.21, 12.03]    0.00 [0.00, 1.86]
    FAR <= 0.01       0.340463    1.00 [0.48, 1.83]  10.66 [6.72, 15.83]
    <BLANKLINE>
    The thresholds for a FAR were chosen on these pairs. Expect larger rates on others.
    [95 % Clopper-Pearson intervals, too narrow if pairs share people]
    """
    same, score, _ = check_scores(y_true, y_score, None)
    values: Any = far if np.iterable(far) else [far]
    fars = [check_far(value) for value in values]
    warn_if_few_impostors(min(fars, default=1.0), int(np.count_nonzero(~same)), stacklevel=2)
    curve_far, _, curve_thresholds = error_curve(same, score, None)
    targets: list[float | None] = [*fars]
    thresholds = [smallest_threshold(curve_far, curve_thresholds, value) for value in fars]
    if threshold is not None:
        targets, thresholds = [None, *targets], [check_threshold(threshold), *thresholds]
    rates = [
        rate
        for point in thresholds
        for rate in (*far_and_frr(same, score, point), *fmr_and_fnmr(same, score, point))
    ]
    how: dict[str, Any] = {
        "confidence": confidence,
        "n_resamples": n_resamples,
        "random_state": random_state,
    }
    estimates = estimate_rates(rates, same, identities, **how)
    people = None if identities is None else check_identities(identities, same)
    eer = equal_error_rate(same, score)
    report: dict[str, Any] = {
        **count_pairs(same, score, people),
        "confidence": confidence,
        "interval_over": "pairs" if identities is None else "people",
        "eer": eer.rate,
        "eer_threshold": eer.threshold,
        "eer_interval": None,
        "d_prime": d_prime(same, score),
        "d_prime_interval": None,
        "operating_points": [
            {"far_target": target, "threshold": point, **_describe_point(*estimates[i : i + 4])}
            for target, point, i in zip(targets, thresholds, range(0, len(rates), 4), strict=True)
        ],
    }
    if identities is not None:
        low, high = bootstrap_interval(_eer_and_d_prime, same, score, identities, **how)
        ends = np.broadcast_to(low, 2).tolist(), np.broadcast_to(high, 2).tolist()
        report["eer_interval"], report["d_prime_interval"] = zip(*ends, strict=True)
    return report if output_dict else format_verification(report)


def _eer_and_d_prime(y_true: Any, y_score: Any, sample_weight: Any) -> tuple[float, float]:
    """Return the two numbers of a report that have no threshold of their own."""
    eer = equal_error_rate(y_true, y_score, sample_weight=sample_weight)
    return eer.rate, d_prime(y_true, y_score, sample_weight=sample_weight)


def _describe_point(far: Any, frr: Any, fmr: Any, fnmr: Any) -> dict[str, Any]:
    """Return the rates of an operating point, TAR included."""
    value, (low, high) = frr
    return flatten(far=far, frr=frr, tar=(1 - value, (1 - high, 1 - low)), fmr=fmr, fnmr=fnmr)
