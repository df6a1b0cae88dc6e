"""Cross-validation of a verifier, with error rates for each fold."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length, indexable
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import column_or_1d

from skface._utils.estimators import final_estimator, must_be_fitted, pretrained_files
from skface._utils.report import Report, table
from skface._utils.validation import format_items
from skface.metrics import rate_interval
from skface.model_selection._folds import describe_folds, split_rows

_MEASURES = ("threshold", "accuracy", "accuracy_compared", "far", "frr", "fmr", "fnmr")


def cross_validate_pairs(
    estimator: Any,
    X: Any,
    y: ArrayLike,
    *,
    cv: Any,
    groups: ArrayLike | None = None,
    params: Mapping[str, Any] | None = None,
    n_jobs: int | None = None,
) -> Report:
    """Evaluate a verifier by cross-validation, with accuracy and error rates for each fold.

    In each fold a clone is fitted to the training pairs, threshold included, and tested on the test
    pairs. Accuracy, FAR and FRR count failed comparisons as rejected. A second accuracy, FMR and
    FNMR leave them out.

    Parameters
    ----------
    estimator : classifier
        A :class:`PairVerifier`, a pipeline that ends in one, a search over such pipelines, or any
        other binary classifier with `decision_function` or `predict_proba`. Steps at the beginning
        of a pipeline that learn nothing from pairs are run once over all of them, not in every
        fold: steps in :class:`sklearn.frozen.FrozenEstimator`; those without state (tagged
        ``requires_fit=False``), which are not fitted; and an aligner, an embedder with frozen
        weights, or a :class:`PerFace` over both, which are fitted once, to all pairs.
    X : pairs
        The pairs that `estimator` takes.
    y : array-like of shape (n_pairs,)
        Two labels; the larger one marks genuine pairs (same person).
    cv : splitter, iterable of (train, test), or int
        Any `cv` of scikit-learn, such as :class:`IdentityKFold`, or
        :class:`sklearn.model_selection.PredefinedSplit` for folds that come with the data.
    groups : array-like of shape (n_pairs, 2), default=None
        The two people of each pair. Splitters over people need them. If given, test pairs with a
        person who is in training are counted.
    params : dict, default=None
        Further arguments of ``estimator.fit``, each with one value per pair. For example,
        ``{"groups": groups}`` lets a :class:`sklearn.model_selection.GridSearchCV` use a splitter
        over people.
    n_jobs : int, default=None
        Number of folds to run in parallel. None means 1, -1 all processors.

    Returns
    -------
    report : Report
        A :class:`sklearn.utils.Bunch` that prints as a table:

        - `folds`: a list with one dict per fold, which :class:`pandas.DataFrame` takes. It holds
          `fold`; `n_train`; `n_genuine` and `n_impostor`, the numbers of test pairs, failures
          included; `n_failed_genuine` and `n_failed_impostor`; `threshold` (NaN if `estimator` has
          none); `accuracy`, `far` and `frr`, which count failures as rejected; and
          `accuracy_compared`, `fmr` and `fnmr`, which leave failures out.
        - `mean`, `sd` and `se`: dicts of the last seven over folds. `sd` is the standard deviation
          with ``ddof=1``. `se` is the standard error of the mean, ``sd / sqrt(n_folds)``. Both are
          NaN for one fold.
        - `accuracy_interval`: the 95 % Clopper-Pearson interval of the accuracy over all test
          pairs, failures counted as rejected. It assumes independent pairs and is too narrow if
          pairs share people. For intervals over people use
          :func:`skface.metrics.verification_report` with ``threshold=0`` and identities.
        - `rows`, `row_folds`, `y_true`, `y_score`, `y_pred`: the test pairs of all folds, fold
          after fold, for metrics and Displays. `y_score` is the `decision_function`, which is 0 at
          the threshold of its fold, or `predict_proba` of a genuine pair if the classifier has no
          `decision_function`. It is NaN for failures.
        - `n_seen_test`: number of test pairs with a person who is in training; None without
          `groups`.
        - `text`: the table.

    Raises
    ------
    ValueError
        If `y` does not hold two classes, lengths differ, or `cv` raises one.
    TypeError
        If `estimator` has neither `decision_function` nor `predict_proba`.

    See Also
    --------
    evaluate_lfw : The same on Labeled Faces in the Wild.
    sklearn.model_selection.cross_validate : Any estimator and any scorer.
    skface.metrics.verification_report : Error rates at chosen operating points, with intervals.

    Notes
    -----
    Folds share most of their training pairs, so their figures are correlated. No unbiased estimate
    of the standard error from folds exists [1]_. The SE here is the one of the LFW protocol. Many
    projects report the SD over folds instead, which is larger.

    References
    ----------
    .. [1] Y. Bengio and Y. Grandvalet. No unbiased estimator of the variance of K-fold
       cross-validation. Journal of Machine Learning Research 5, 2004.

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> from skface import IdentityKFold, PairVerifier, PerFace, make_faces, make_pairs
    >>> from skface.model_selection import cross_validate_pairs
    >>> faces = make_faces(30, 4, 32, difficulty=0.1, random_state=0)
    >>> pairs = make_pairs(faces.target, random_state=0)
    >>> pipe = make_pipeline(PerFace(PCA(20, random_state=0)), PairVerifier())
    >>> X = faces.data[pairs.indices]
    >>> cv = IdentityKFold(3)
    >>> report = cross_validate_pairs(pipe, X, pairs.target, cv=cv, groups=pairs.identities)
    >>> print(report)
    fold  pairs  failed  threshold  accuracy    FAR    FRR
    0        83       0     0.2051     80.72  30.43  15.00
    1        79       0     0.2143     83.54  10.53  18.33
    2        81       0     0.1277     75.31  33.33  21.67
    mean                    0.1824     79.86  24.76  18.33
    SD                      0.0476      4.19  12.42   3.33
    SE                      0.0275      2.42   7.17   1.92
    <BLANKLINE>
    accuracy 79.86 % (SE 2.42)
    SD over 3 folds with ddof=1; SE of the mean = SD / sqrt(3).
    95 % interval of the accuracy on 243 pairs: [74.23, 84.69] %
    (Clopper-Pearson, too narrow if pairs share people)
    >>> scores = report.y_true, report.y_score  # for metrics and Displays
    """
    X, y, groups = indexable(X, y, groups)
    labels = np.asarray(column_or_1d(y))
    classes = np.unique(labels)
    if len(classes) != 2:
        raise ValueError(
            f"y holds {len(classes)} classes, {format_items(classes.tolist())}; it must hold two, "
            "genuine and impostor pairs."
        )
    params = params or {}
    check_consistent_length(labels, *params.values())
    splits = list(split_rows(cv, X, labels, groups))
    estimator, X = _run_fixed_steps(estimator, X)
    results = Parallel(n_jobs=n_jobs)(
        delayed(_fit_and_decide)(
            clone(estimator),
            _take(X, train),
            labels[train],
            {name: _take(values, train) for name, values in params.items()},
            _take(X, test),
            classes[1],
        )
        for train, test in splits
    )
    scores, accepted, thresholds = zip(*results, strict=True)
    folds = [
        {
            "fold": number,
            "n_train": len(train),
            "threshold": thresholds[number],
            **_count(labels[test] == classes[1], scores[number], accepted[number]),
        }
        for number, (train, test) in enumerate(splits)
    ]
    report = Report(folds=folds, **_average(folds))
    report.rows = np.concatenate([test for _, test in splits])
    report.row_folds = np.repeat(np.arange(len(splits)), [len(test) for _, test in splits])
    report.y_true = labels[report.rows]
    report.y_score = np.concatenate(scores)
    report.y_pred = classes[np.concatenate(accepted).astype(np.intp)]
    n_right = np.count_nonzero(report.y_pred == report.y_true)
    report.accuracy_interval = rate_interval(n_right, len(report.rows))
    report.n_seen_test = None
    if groups is not None:
        leaks = describe_folds(splits, X, labels, groups).folds
        report.n_seen_test = sum(fold["n_seen_test"] for fold in leaks)
    report.text = _describe(report)
    return report


def _run_fixed_steps(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Run the first steps of a pipeline that fitting does not change; return the rest and X."""
    if not isinstance(estimator, Pipeline):
        return estimator, X
    n_fixed = 0
    for _, step in estimator.steps[:-1]:
        if not hasattr(step, "transform") or pretrained_files(step) is None:
            break
        X = clone(step).fit_transform(X) if must_be_fitted(step) else step.transform(X)
        n_fixed += 1
    return estimator[n_fixed:], X


def _take(X: Any, rows: np.ndarray) -> Any:
    """Return rows of an array, a frame or a list."""
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    return X[rows] if hasattr(X, "shape") else [X[i] for i in rows]


def _fit_and_decide(
    estimator: Any, X_train: Any, y_train: np.ndarray, params: dict[str, Any], X: Any, same: Any
) -> tuple[np.ndarray, np.ndarray, float]:
    """Fit; return the scores of the test pairs, whether they are accepted, and the threshold."""
    estimator.fit(X_train, y_train, **params)
    # scores and decisions from one pass through the steps before the classifier
    final, X = final_estimator(estimator, X)
    if hasattr(final, "decision_function"):
        score = final.decision_function(X)
    elif hasattr(final, "predict_proba"):
        score = final.predict_proba(X)[:, 1]
    else:
        raise TypeError(
            f"estimator={estimator!r} has neither decision_function nor predict_proba. End it with "
            "a PairVerifier or another classifier."
        )
    accepted = (final.predict(X) == same) & ~np.isnan(score)
    threshold = getattr(final, "threshold_", getattr(final, "best_threshold_", np.nan))
    return score, accepted, float(threshold)


def _count(same: np.ndarray, score: np.ndarray, accepted: np.ndarray) -> dict[str, Any]:
    """Count the pairs of a fold and compute its rates, with and without failures."""
    failed = np.isnan(score)
    right = accepted == same
    return {
        "n_genuine": int(same.sum()),
        "n_impostor": int((~same).sum()),
        "n_failed_genuine": int((failed & same).sum()),
        "n_failed_impostor": int((failed & ~same).sum()),
        "accuracy": _mean(right),
        "accuracy_compared": _mean(right[~failed]),
        "far": _mean(accepted[~same]),
        "frr": _mean(~accepted[same]),
        "fmr": _mean(accepted[~same & ~failed]),
        "fnmr": _mean(~accepted[same & ~failed]),
    }


def _mean(values: np.ndarray) -> float:
    """Return the mean; NaN without values."""
    return float(values.mean()) if len(values) else np.nan


def _average(folds: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return mean, standard deviation and standard error of every measure over folds."""
    values = {measure: np.array([fold[measure] for fold in folds]) for measure in _MEASURES}
    several = len(folds) > 1
    sd = {name: float(x.std(ddof=1)) if several else np.nan for name, x in values.items()}
    return {
        "mean": {name: float(x.mean()) for name, x in values.items()},
        "sd": sd,
        "se": {name: value / np.sqrt(len(folds)) for name, value in sd.items()},
    }


def _describe(report: Report) -> str:
    """Write the report as text."""
    names = ("threshold", "accuracy", "far", "frr")
    rows = [["fold", "pairs", "failed", "threshold", "accuracy", "FAR", "FRR"]]
    for fold in report.folds:
        n_pairs = fold["n_genuine"] + fold["n_impostor"]
        n_failed = fold["n_failed_genuine"] + fold["n_failed_impostor"]
        counts = [str(fold["fold"]), f"{n_pairs:,}", f"{n_failed:,}"]
        rows.append([*counts, *(_format(name, fold[name]) for name in names)])
    n_folds, n_failed = len(report.folds), int(np.isnan(report.y_score).sum())
    if n_folds > 1:
        for title, values in (("mean", report.mean), ("SD", report.sd), ("SE", report.se)):
            rows.append([title, "", "", *(_format(name, values[name]) for name in names)])
    lines = [table(rows), "", f"accuracy {_with_error(report, 'accuracy')}"]
    if n_failed:
        rates = [
            f"{title} {_with_error(report, name)}"
            for title, name in (("accuracy", "accuracy_compared"), ("FMR", "fmr"), ("FNMR", "fnmr"))
        ]
        lines += [
            f"{n_failed:,} pairs failed. Above they count as rejected. Without them:",
            ", ".join(rates),
        ]
    if n_folds > 1:
        lines.append(f"SD over {n_folds} folds with ddof=1; SE of the mean = SD / sqrt({n_folds}).")
    low, high = report.accuracy_interval
    lines += [
        f"95 % interval of the accuracy on {len(report.rows):,} pairs: "
        f"[{100 * low:.2f}, {100 * high:.2f}] %",
        "(Clopper-Pearson, too narrow if pairs share people)",
    ]
    if report.n_seen_test:
        lines.append(
            f"{report.n_seen_test:,} of {len(report.rows):,} test pairs show a person who is in "
            "training too: the folds leak."
        )
    return "\n".join(lines)


def _with_error(report: Report, measure: str) -> str:
    """Write a mean rate with its standard error."""
    text = f"{_format(measure, report.mean[measure])} %"
    if len(report.folds) > 1:
        text += f" (SE {_format(measure, report.se[measure])})"
    return text


def _format(measure: str, value: float) -> str:
    """Write a threshold as a number and a rate in percent."""
    if np.isnan(value):
        return "-"
    return f"{value:.4f}" if measure == "threshold" else f"{100 * value:.2f}"
