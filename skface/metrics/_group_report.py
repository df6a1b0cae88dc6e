"""Report of error rates of groups of people."""

from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from skface._utils.validation import encode_labels
from skface.metrics._checks import check_scores, check_threshold
from skface.metrics._estimates import count_pairs, estimate_rates, flatten, fmr_and_fnmr
from skface.metrics._intervals import check_identities
from skface.metrics._report_text import format_groups


@overload
def group_report(
    y_true: ArrayLike,
    y_score: ArrayLike,
    groups: ArrayLike,
    *,
    threshold: float,
    identities: ArrayLike | None = None,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    random_state: int | np.random.RandomState | None = None,
    output_dict: Literal[False] = False,
) -> str: ...


@overload
def group_report(
    y_true: ArrayLike,
    y_score: ArrayLike,
    groups: ArrayLike,
    *,
    threshold: float,
    identities: ArrayLike | None = None,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    random_state: int | np.random.RandomState | None = None,
    output_dict: Literal[True],
) -> dict[str, Any]: ...


@overload
def group_report(
    y_true: ArrayLike,
    y_score: ArrayLike,
    groups: ArrayLike,
    *,
    threshold: float,
    identities: ArrayLike | None = None,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    random_state: int | np.random.RandomState | None = None,
    output_dict: bool = False,
) -> str | dict[str, Any]: ...


def group_report(
    y_true: ArrayLike,
    y_score: ArrayLike,
    groups: ArrayLike,
    *,
    threshold: float,
    identities: ArrayLike | None = None,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    random_state: int | np.random.RandomState | None = None,
    output_dict: bool = False,
) -> str | dict[str, Any]:
    """Build a report of FMR and FNMR at one threshold for groups of people.

    You supply the groups; skface does not infer them from photos.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Two labels; the larger one marks genuine pairs (same person).
    y_score : array-like of shape (n_pairs,)
        Similarities; larger = more alike. NaN marks a failed comparison.
    groups : array-like of shape (n_pairs, 2) or (n_pairs,)
        The group of the person in each photo, or one group per pair. With two groups per pair, a
        pair belongs to a group if both photos do, otherwise to a pair of groups. Compare the FMR of
        impostor pairs within groups: people of one group are easier to confuse, and a pair of
        groups says little about either.
    threshold : float
        The threshold for all pairs, such as `threshold_` of a verifier.
    identities : array-like of shape (n_pairs, 2), default=None
        The two people of each pair. With them, the intervals come from a bootstrap over people,
        which is right if pairs share people. Without them, they are Clopper-Pearson intervals,
        which are right if pairs are independent.
    confidence : float, default=0.95
        Coverage of each interval, in (0, 1).
    n_resamples : int, default=1000
        Number of resamples of the bootstrap. Ignored without `identities`.
    random_state : int, RandomState instance or None, default=None
        Draws the people; an int gives the same intervals each time.
    output_dict : bool, default=False
        Whether to return a dict instead of text.

    Returns
    -------
    report : str or dict
        Text, or with ``output_dict=True`` a dict of plain numbers, strings, tuples and lists:

        - `threshold`, `confidence`, and `interval_over`: "people" or "pairs".
        - `overall`: a dict about all pairs.
        - `groups`: a list with one such dict per group.
        - `between_groups`: the same for each pair of groups that occurs; its `name` is a tuple.
        - `fmr_differential` and `fnmr_differential`: dicts on how the groups differ.

        The dict of a group holds `name`; `n_people` (None without identities); `n_genuine` and
        `n_impostor`, the number of pairs, failures included; `n_failed_genuine` and
        `n_failed_impostor`; and `fmr`, `fmr_interval`, `fnmr` and `fnmr_interval`, which leave
        failures out (NaN and (0, 1) if no pair was compared). A differential holds `lowest` and
        `highest`, the names of the groups with the smallest and the largest rate; `ratio`, the
        largest rate divided by the smallest; and `highest_to_overall`, the largest rate divided by
        that of all pairs. They are None and NaN if no group has a rate.

    Raises
    ------
    ValueError
        If lengths differ, scores are infinite, there are not exactly two classes, `groups` has
        another shape, `identities` contradicts `y_true`, or a parameter is out of range.

    See Also
    --------
    verification_report : Error rates of all pairs at several thresholds.

    Notes
    -----
    A ratio is infinite if a group has no error. Small groups have extreme rates by chance, so look
    at the intervals before you believe a ratio. With many groups, about one 95 % interval in twenty
    does not contain the true rate. Photos of one person may belong to two groups (by age, for
    example), so a pair of groups may hold genuine pairs.

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
    Errors at threshold 0.25, in % of the compared pairs (failures left out).
                  genuine  impostor  failed                FMR                FNMR
    left              150       361       0  1.39 [0.45, 3.20]   2.00 [0.41, 5.73]
    right             150       404       0  3.96 [2.28, 6.35]  6.67 [3.24, 11.92]
    left | right        0       735       0  3.13 [1.99, 4.66]                   -
    all pairs         300     1,500       0  2.93 [2.14, 3.92]   4.33 [2.33, 7.30]
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
    kinds: list[tuple[Any, np.ndarray]] = [("all pairs", np.full(len(same), True))]
    for a, b in np.unique(members, axis=0).tolist():
        kinds.append((labels[a] if a == b else (labels[a], labels[b]), (members == (a, b)).all(1)))

    people = None if identities is None else check_identities(identities, same)
    rates = [rate for _, rows in kinds for rate in fmr_and_fnmr(same, score, threshold, rows)]
    estimates = estimate_rates(
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
            **count_pairs(same[rows], score[rows], None if people is None else people[rows]),
            **flatten(fmr=estimates[2 * i], fnmr=estimates[2 * i + 1]),
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


def _differential(
    groups: list[dict[str, Any]], overall: dict[str, Any], rate: str
) -> dict[str, Any]:
    """Compare the groups with the smallest and the largest rate, and the latter with all pairs."""
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
