"""Counts of the rows and people in the folds of a splitter."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import check_cv
from sklearn.utils import check_consistent_length, indexable

from skface._utils.report import Report, table
from skface.model_selection._identities import encode_identities


def describe_folds(
    cv: Any, X: Any, y: ArrayLike | None = None, groups: ArrayLike | None = None
) -> Report:
    """Count the rows and people that a splitter puts into training and test, and the leaks.

    Parameters
    ----------
    cv : splitter, iterable of (train, test), or int
        Any `cv` of scikit-learn. An int means folds of scikit-learn, which ignore identities.
    X : array-like of shape (n_rows, ...)
        Faces or pairs; only their number matters.
    y : array-like of shape (n_rows,), default=None
        Labels, passed to `cv`.
    groups : array-like of shape (n_rows,) or (n_rows, 2)
        The identity of each face, or the two identities of each pair. Required.

    Returns
    -------
    report : Report
        A :class:`sklearn.utils.Bunch` that prints as a table:

        - `folds`: a list with one dict per fold, which :class:`pandas.DataFrame` takes. It holds
          `fold`; the numbers of rows `n_train`, `n_test` and `n_left_out` (in neither); for pairs
          also the genuine and impostor pairs among them, `n_train_genuine`, `n_train_impostor` and
          so on; the numbers of people `n_train_people` and `n_test_people`; `n_seen_people`, the
          test people who are in training too; and `n_seen_test`, the test rows with any of them.
          The last two are 0 unless the folds leak.
        - `n_rows` and `n_people`: the numbers of all rows and people.
        - `n_never_tested`: rows that are in no test set; for pairs also `n_never_tested_genuine`
          and `n_never_tested_impostor`.
        - `text`: the table.

    Raises
    ------
    ValueError
        If `groups` is missing, has another shape or lacks an entry, or `cv` raises one.

    See Also
    --------
    audit_leakage : People and photos that two sets share.

    Examples
    --------
    Folds of pairs leak. Folds of people do not, but have fewer impostor pairs:

    >>> from sklearn.model_selection import KFold
    >>> from skface import make_pairs
    >>> from skface.model_selection import IdentityKFold, describe_folds
    >>> pairs = make_pairs([i % 15 for i in range(60)], random_state=0)
    >>> rows = pairs.indices, pairs.target, pairs.identities
    >>> print(describe_folds(KFold(3), *rows))
    fold  train: genuine  impostor  test: genuine  impostor  left out  test people  seen in training
    0                 67         53          23         37         0           15                15
    1                 55         65          35         25         0           15                15
    2                 58         62          32         28         0           15                15
    180 pairs of 15 people. In no test set: 0 genuine, 0 impostor.
    180 of 180 test rows show a person who is in training too.
    >>> print(describe_folds(IdentityKFold(3), *rows))
    fold  train: genuine  impostor  test: genuine  impostor  left out  test people  seen in training
    0                 60         38          30          8        44            5                 0
    1                 60         37          30          7        46            5                 0
    2                 60         40          30         10        40            5                 0
    180 pairs of 15 people. In no test set: 0 genuine, 65 impostor.
    No test row shows a person who is in training too.

    Labeled Faces in the Wild defines its own folds. Use these, to be comparable:

    >>> from sklearn.model_selection import PredefinedSplit
    >>> from skface import load_lfw_pairs
    >>> lfw = load_lfw_pairs(subset="10_folds")  # doctest: +SKIP
    >>> cv = PredefinedSplit(lfw.folds)  # doctest: +SKIP
    >>> print(describe_folds(cv, lfw.data, lfw.target, lfw.identities))  # doctest: +SKIP
    """
    if groups is None:
        raise ValueError(
            "groups=None: describe_folds counts people. Pass the identities, (n,) of faces or "
            "(n, 2) of pairs."
        )
    names, people = encode_identities(groups)
    check_consistent_length(X, people)
    kinds: dict[str, np.ndarray] = {}
    if people.shape[1] == 2:
        same = people[:, 0] == people[:, 1]
        kinds = {"genuine": same, "impostor": ~same}
    never_tested = np.ones(len(people), dtype=bool)
    folds = []
    for number, (train, test) in enumerate(split_rows(cv, X, y, groups)):
        left_out = np.ones(len(people), dtype=bool)
        left_out[train] = left_out[test] = never_tested[test] = False
        tested = np.unique(people[test])
        seen = np.intersect1d(tested, people[train])
        folds.append(
            {
                "fold": number,
                **_count("n_train", train, kinds),
                **_count("n_test", test, kinds),
                **_count("n_left_out", np.flatnonzero(left_out), kinds),
                "n_train_people": len(np.unique(people[train])),
                "n_test_people": len(tested),
                "n_seen_people": len(seen),
                "n_seen_test": int(np.isin(people[test], seen).any(axis=1).sum()),
            }
        )
    report = Report(
        folds=folds,
        n_rows=len(people),
        n_people=len(names),
        **_count("n_never_tested", np.flatnonzero(never_tested), kinds),
    )
    report.text = _describe(report, is_pairs=bool(kinds))
    return report


def split_rows(
    cv: Any, X: Any, y: ArrayLike | None, groups: ArrayLike | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Split rows by any `cv` of scikit-learn, without its warning that groups are ignored.

    Parameters
    ----------
    cv : splitter, iterable of (train, test), or int
        As for :func:`sklearn.model_selection.check_cv`, for a classifier.
    X, y, groups : array-like or None
        What `cv` splits.

    Yields
    ------
    train, test : ndarray of int
        Row numbers.
    """
    X, y = indexable(X, y)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The groups parameter is ignored", UserWarning)
        splits = list(check_cv(cv, y, classifier=y is not None).split(X, y, groups))
    for train, test in splits:
        yield np.arange(len(X))[train], np.arange(len(X))[test]  # from masks too


def _count(name: str, rows: np.ndarray, kinds: dict[str, np.ndarray]) -> dict[str, int]:
    """Count rows, all and by kind."""
    counts = {f"{name}_{kind}": int(is_kind[rows].sum()) for kind, is_kind in kinds.items()}
    return {name: len(rows), **counts}


def _describe(report: Report, *, is_pairs: bool) -> str:
    """Write the report as text."""
    suffixes = ("_genuine", "_impostor") if is_pairs else ("",)
    columns = [f"n_{side}{suffix}" for side in ("train", "test") for suffix in suffixes]
    columns = ["fold", *columns, "n_left_out", "n_test_people", "n_seen_people"]
    headings = ["left out", "test people", "seen in training"]
    if is_pairs:
        headings = ["train: genuine", "impostor", "test: genuine", "impostor", *headings]
        never = (
            f"{report.n_never_tested_genuine:,} genuine, "
            f"{report.n_never_tested_impostor:,} impostor"
        )
    else:
        headings = ["training", "test", *headings]
        never = f"{report.n_never_tested:,}"
    rows = [["fold", *headings]]
    rows += [[f"{fold[column]:,}" for column in columns] for fold in report.folds]
    n_seen = sum(fold["n_seen_test"] for fold in report.folds)
    n_tested = sum(fold["n_test"] for fold in report.folds)
    leak = f"{n_seen:,} of {n_tested:,} test rows show" if n_seen else "No test row shows"
    leak += " a person who is in training too."
    return "\n".join(
        [
            table(rows),
            f"{report.n_rows:,} {'pairs' if is_pairs else 'faces'} of {report.n_people:,} people. "
            f"In no test set: {never}.",
            leak,
        ]
    )
