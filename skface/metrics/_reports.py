"""Reports: what there is to say of a verification result, as text or as a dict."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from skface._validation import encode_labels
from skface.metrics._checks import check_far, check_scores, check_threshold
from skface.metrics._intervals import bootstrap_interval, check_identities, rate_interval
from skface.metrics._rates import (
    equal_error_rate,
    error_curve,
    smallest_threshold,
    warn_if_few_impostors,
)
from skface.metrics._report_text import format_groups, format_verification
from skface.metrics._separation import d_prime


def verification_report(
    y_true: Any,
    y_score: Any,
    *,
    threshold: float | None = None,
    far: float | Iterable[float] = (1e-1, 1e-2, 1e-3),
    identities: Any = None,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    random_state: Any = None,
    output_dict: bool = False,
) -> str | dict[str, Any]:
    """Build a report of error rates at chosen operating points, with intervals.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Labels of two kinds; the larger one means "same person".
    y_score : array-like of shape (n_pairs,)
        Similarities, larger = more alike. NaN is a failed comparison.
    threshold : float, default=None
        A threshold to report on, such as `threshold_` of a verifier fitted on other pairs.
    far : float or iterable of floats, default=(1e-1, 1e-2, 1e-3)
        False acceptance rates to report on. Their thresholds are chosen on these very pairs by
        :func:`threshold_at_far`, so that on others the rates are somewhat larger.
    identities : array-like of shape (n_pairs, 2), default=None
        The two people of each pair. With them the intervals are those of a bootstrap over people,
        right when pairs share people; without them, Clopper-Pearson for independent pairs.
    confidence : float, default=0.95
        Coverage of the intervals, in (0, 1).
    n_resamples : int, default=1000
        How often people are drawn. Not used without `identities`.
    random_state : int, RandomState instance or None, default=None
        Draws the people; pass an int for the same intervals every time.
    output_dict : bool, default=False
        Whether to return a dict instead of text.

    Returns
    -------
    report : str or dict
        Text of at most 100 columns, or a dict of plain numbers, strings and tuples: `n_people`
        (None without identities); `n_genuine` and `n_impostor`, all pairs of the same and of
        different people; `n_failed_genuine` and `n_failed_impostor`, those of them that were not
        compared; `confidence`; `interval_over` ("people" or "pairs"); `eer` with `eer_threshold`,
        `d_prime`, and `eer_interval` and `d_prime_interval` (None without identities); and
        `operating_points`, a list with one dict each: `far_target` (None for the given threshold),
        `threshold`, and `far`, `frr`, `tar` (failures counted as rejections), `fmr`, `fnmr`
        (compared pairs only), each with its interval, `far_interval` and so on. A
        pandas.DataFrame takes that list as it is.

    Raises
    ------
    ValueError
        If the pairs, `far` or `confidence` are not as described.

    Warns
    -----
    FewImpostorsWarning
        If a FAR is asked for that is below one in the number of different pairs.

    See Also
    --------
    group_report : The errors of each group of people at one threshold.
    bootstrap_interval : How people are resampled.

    Notes
    -----
    The intervals are those of the rates at the threshold as printed. Where the one over people is
    narrower than Clopper-Pearson at either end, that end is moved out: a resample holds no error
    that the data lack, so without errors it would be [0, 0].

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
    same person         200       3
    different people  1,000       0
    <BLANKLINE>
    equal error rate 4.50 % at threshold 0.257938
    d'               3.662
    <BLANKLINE>
    All pairs, in %. A failed comparison is a rejection.
                     threshold                  FAR                  FRR                   TAR
    given threshold        0.3    2.30 [1.46, 3.43]   8.00 [4.64, 12.67]  92.00 [87.33, 95.36]
    FAR <= 0.1        0.184544  10.00 [8.21, 12.03]    1.50 [0.31, 4.32]  98.50 [95.68, 99.69]
    FAR <= 0.01       0.340463    1.00 [0.48, 1.83]  12.00 [7.84, 17.33]  88.00 [82.67, 92.16]
    <BLANKLINE>
    Compared pairs only, in %.
                     threshold                  FMR                 FNMR
    given threshold        0.3    2.30 [1.46, 3.43]   6.60 [3.56, 11.02]
    FAR <= 0.1        0.184544  10.00 [8.21, 12.03]    0.00 [0.00, 1.86]
    FAR <= 0.01       0.340463    1.00 [0.48, 1.83]  10.66 [6.72, 15.83]
    <BLANKLINE>
    The thresholds for a FAR were chosen on these pairs; expect more errors on others.
    [95 % Clopper-Pearson intervals, too narrow if pairs share people]
    """
    same, score, _ = check_scores(y_true, y_score, None)
    targets = [check_far(value) for value in (far if np.iterable(far) else [far])]
    warn_if_few_impostors(min(targets, default=1.0), np.count_nonzero(~same), stacklevel=2)
    curve_far, _, curve_thresholds = error_curve(same, score, None)
    thresholds = [smallest_threshold(curve_far, curve_thresholds, target) for target in targets]
    if threshold is not None:
        targets, thresholds = [None, *targets], [check_threshold(threshold), *thresholds]
    rates = [
        rate
        for point in thresholds
        for rate in (*_far_and_frr(same, score, point), *_fmr_and_fnmr(same, score, point))
    ]
    how = {"confidence": confidence, "n_resamples": n_resamples, "random_state": random_state}
    estimates = _estimate(rates, same, identities, **how)
    people = None if identities is None else check_identities(identities, same)
    eer = equal_error_rate(same, score)
    report = {
        **_count(same, score, people),
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


def group_report(
    y_true: Any,
    y_score: Any,
    groups: Any,
    *,
    threshold: float,
    identities: Any = None,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    random_state: Any = None,
    output_dict: bool = False,
) -> str | dict[str, Any]:
    """Build a report of how the errors at one threshold differ between groups of people.

    The groups are those you supply; nothing is inferred about anybody.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Labels of two kinds; the larger one means "same person".
    y_score : array-like of shape (n_pairs,)
        Similarities, larger = more alike. NaN is a failed comparison.
    groups : array-like of shape (n_pairs, 2) or (n_pairs,)
        The group of the person in each photo, or one group per pair. With two, a pair belongs to
        a group if both photos do, and otherwise to a pair of groups. What matters of impostor
        pairs are those within a group: people of one group are easier to confuse, and a pair of
        groups says little about either.
    threshold : float
        The one threshold that everybody is judged by, such as `threshold_` of a verifier.
    identities : array-like of shape (n_pairs, 2), default=None
        The two people of each pair. With them the intervals are those of a bootstrap over people,
        right when pairs share people; without them, Clopper-Pearson for independent pairs.
    confidence : float, default=0.95
        Coverage of each interval, in (0, 1).
    n_resamples : int, default=1000
        How often people are drawn. Not used without `identities`.
    random_state : int, RandomState instance or None, default=None
        Draws the people; pass an int for the same intervals every time.
    output_dict : bool, default=False
        Whether to return a dict instead of text.

    Returns
    -------
    report : str or dict
        Text, or a dict of plain numbers, strings, tuples and lists: `threshold`, `confidence` and
        `interval_over` ("people" or "pairs"); `overall`, a dict of all pairs; `groups`, a list of
        such dicts, one per group; `between_groups`, one per pair of groups that occurs, whose
        name is a tuple; `fmr_differential` and `fnmr_differential`, how the groups differ.

        The dict of a group holds `name`, `n_people` (None without identities), `n_genuine` and
        `n_impostor` (all pairs), `n_failed_genuine` and `n_failed_impostor` (those of them that
        were not compared), `fmr`, `fmr_interval`, `fnmr` and `fnmr_interval` (of compared pairs;
        NaN and (0, 1) if there are none). A differential holds `lowest` and `highest`, the names of
        the groups with the smallest and the largest rate, `ratio` of the two, and
        `highest_to_overall`; None and NaN if no group has a rate.

    Raises
    ------
    ValueError
        If the pairs, `groups`, `threshold` or `confidence` are not as described.

    See Also
    --------
    verification_report : The errors of everybody at several thresholds.

    Notes
    -----
    A ratio is infinite if a group has no error. Small groups have extreme rates by chance, so look
    at the intervals before you believe a ratio; of many groups one interval in twenty misses its
    rate at 95 %. Photos of one person may be of two groups (as with age), so a pair of groups may
    hold same pairs.

    Examples
    --------
    >>> import numpy as np
    >>> from skface.metrics import group_report
    >>> rng = np.random.RandomState(0)
    >>> same = np.repeat([0, 1], [1500, 300])
    >>> groups = rng.choice(["left", "right"], size=(1800, 2))
    >>> groups[same == 1, 1] = groups[same == 1, 0]
    >>> scores = rng.normal(0.5 * same, np.where(groups[:, 0] == "left", 0.12, 0.16))
    >>> print(group_report(same, scores, groups, threshold=0.25))
    Errors at threshold 0.25, in % of the compared pairs.
                  same  different  failed                FMR                FNMR
    left           150        361       0  1.39 [0.45, 3.20]   2.00 [0.41, 5.73]
    right          150        404       0  3.96 [2.28, 6.35]  6.67 [3.24, 11.92]
    left | right     0        735       0  3.13 [1.99, 4.66]                   -
    all pairs      300      1,500       0  2.93 [2.14, 3.92]   4.33 [2.33, 7.30]
    <BLANKLINE>
    FMR: right has 2.86 times that of left, and 1.35 times that of all pairs.
    FNMR: right has 3.33 times that of left, and 1.54 times that of all pairs.
    <BLANKLINE>
    [95 % Clopper-Pearson intervals, too narrow if pairs share people]
    """
    same, score, _ = check_scores(y_true, y_score, None)
    threshold = check_threshold(threshold)
    if np.shape(groups) not in ((len(same),), (len(same), 2)):
        raise ValueError(
            f"groups has shape {np.shape(groups)}: expected {(len(same),)}, the group of each "
            f"pair, or {(len(same), 2)}, the group of each photo."
        )
    labels, members = encode_labels(groups, "groups")
    labels = labels.tolist()
    members = np.sort(members.reshape(len(same), -1), axis=1)[:, [0, -1]]
    kinds = [("all pairs", np.full(len(same), True))]
    for a, b in np.unique(members, axis=0).tolist():
        kinds.append((labels[a] if a == b else (labels[a], labels[b]), (members == (a, b)).all(1)))

    people = None if identities is None else check_identities(identities, same)
    rates = [rate for _, rows in kinds for rate in _fmr_and_fnmr(same, score, threshold, rows)]
    estimates = _estimate(
        rates,
        same,
        identities,
        confidence=confidence,
        n_resamples=n_resamples,
        random_state=random_state,
    )
    overall, *described = (
        {
            "name": name,
            **_count(same[rows], score[rows], None if people is None else people[rows]),
            **_flatten(fmr=estimates[2 * i], fnmr=estimates[2 * i + 1]),
        }
        for i, (name, rows) in enumerate(kinds)
    )
    within = [kind for kind in described if not isinstance(kind["name"], tuple)]
    report = {
        "threshold": threshold,
        "confidence": confidence,
        "interval_over": "pairs" if identities is None else "people",
        "overall": overall,
        "groups": within,
        "between_groups": [kind for kind in described if isinstance(kind["name"], tuple)],
        "fmr_differential": _differential(within, overall, "fmr"),
        "fnmr_differential": _differential(within, overall, "fnmr"),
    }
    return report if output_dict else format_groups(report)


class _Rate(NamedTuple):
    """A rate as the rows of its errors and the rows that they are counted among."""

    errors: np.ndarray
    pairs: np.ndarray

    def value(self, weight: np.ndarray) -> float:
        total = weight[self.pairs].sum()
        return float(weight[self.errors].sum() / total) if total else np.nan


def _count(same: np.ndarray, score: np.ndarray, people: np.ndarray | None) -> dict[str, int | None]:
    """Count people, pairs, and the pairs that were not compared."""
    failed = np.isnan(score)
    return {
        "n_people": None if people is None else len(np.unique(people)),
        "n_genuine": int(np.count_nonzero(same)),
        "n_impostor": int(np.count_nonzero(~same)),
        "n_failed_genuine": int(np.count_nonzero(same & failed)),
        "n_failed_impostor": int(np.count_nonzero(~same & failed)),
    }


def _far_and_frr(same: np.ndarray, score: np.ndarray, threshold: float) -> tuple[_Rate, _Rate]:
    """Return the two rates at a threshold with failures counted as rejections."""
    accepted = score >= threshold  # false for NaN
    return _Rate(~same & accepted, ~same), _Rate(same & ~accepted, same)


def _fmr_and_fnmr(
    same: np.ndarray, score: np.ndarray, threshold: float, rows: Any = True
) -> tuple[_Rate, _Rate]:
    """Return the two rates at a threshold among those of `rows` that were compared."""
    accepted, compared = score >= threshold, rows & ~np.isnan(score)
    genuine, impostor = same & compared, ~same & compared
    return _Rate(impostor & accepted, impostor), _Rate(genuine & ~accepted, genuine)


def _estimate(
    rates: list[_Rate], same: np.ndarray, identities: Any, *, confidence: float, **bootstrap: Any
) -> list[tuple[float, tuple[float, float]]]:
    """Return every rate with its interval."""
    once = np.ones(len(same))
    values = [rate.value(once) for rate in rates]
    exact = [
        rate_interval(np.count_nonzero(rate.errors), np.count_nonzero(rate.pairs), confidence)
        for rate in rates
    ]
    if identities is None or not rates:
        return list(zip(values, exact, strict=True))

    def all_rates(y_true, y_score, sample_weight):
        return [rate.value(sample_weight) for rate in rates]

    low, high = bootstrap_interval(
        all_rates, same, once, identities, confidence=confidence, **bootstrap
    )
    # fmin and fmax pass over the NaN of a rate that no resample has.
    low = np.fmin(low, [exact_low for exact_low, _ in exact])
    high = np.fmax(high, [exact_high for _, exact_high in exact])
    return list(zip(values, zip(low.tolist(), high.tolist(), strict=True), strict=True))


def _eer_and_d_prime(y_true: Any, y_score: Any, sample_weight: Any) -> tuple[float, float]:
    """Summarise a resample."""
    eer = equal_error_rate(y_true, y_score, sample_weight=sample_weight)
    return eer.rate, d_prime(y_true, y_score, sample_weight=sample_weight)


def _describe_point(far: Any, frr: Any, fmr: Any, fnmr: Any) -> dict[str, Any]:
    """Return the rates of an operating point, the true acceptance rate among them."""
    value, (low, high) = frr
    return _flatten(far=far, frr=frr, tar=(1 - value, (1 - high, 1 - low)), fmr=fmr, fnmr=fnmr)


def _flatten(**estimates: tuple[float, tuple[float, float]]) -> dict[str, Any]:
    """Give each rate and each interval a key of its own."""
    flat = {}
    for name, (value, interval) in estimates.items():
        flat |= {name: value, f"{name}_interval": interval}
    return flat


def _differential(
    groups: list[dict[str, Any]], overall: dict[str, Any], rate: str
) -> dict[str, Any]:
    """Compare the groups with the smallest and the largest rate, and the latter with everybody."""
    known = [group for group in groups if not np.isnan(group[rate])]
    if not known:
        return {"lowest": None, "highest": None, "ratio": np.nan, "highest_to_overall": np.nan}
    lowest = min(known, key=lambda group: group[rate])
    highest = max(known, key=lambda group: group[rate])
    return {
        "lowest": lowest["name"],
        "highest": highest["name"],
        "ratio": _ratio(highest[rate], lowest[rate]),
        "highest_to_overall": _ratio(highest[rate], overall[rate]),
    }


def _ratio(rate: float, reference: float) -> float:
    """Divide two rates; NaN if both are 0."""
    if reference == 0:
        return np.nan if rate == 0 else np.inf
    return rate / reference
