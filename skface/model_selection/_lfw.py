"""Evaluation of a verifier on Labeled Faces in the Wild."""

import os
from typing import Any, Literal

import numpy as np
from sklearn.model_selection import PredefinedSplit

from skface._utils.report import Report
from skface._utils.validation import check_option
from skface.datasets import load_lfw_pairs
from skface.model_selection._cross_validation import cross_validate_pairs


def evaluate_lfw(
    estimator: Any,
    data_home: str | os.PathLike[str] | None = None,
    subset: Literal["10_folds", "test"] = "10_folds",
    *,
    funneled: bool = True,
    n_jobs: int | None = None,
) -> Report:
    """Evaluate a verifier on Labeled Faces in the Wild (LFW), by its protocol.

    View 2 is for the final report. It has ten folds of 600 pairs, without a person in common. The
    verifier and its threshold are fitted on nine folds and tested on the tenth. View 1 is for
    development. It has one split into training and test pairs.

    Parameters
    ----------
    estimator : classifier
        A verifier that takes pairs of paths, as for :func:`cross_validate_pairs`. A photo without
        a face is an error unless the aligner has ``on_failure="nan"``.
    data_home : path, default=None
        The folder that holds ``lfw_home``, or ``lfw_home`` itself; None means
        :func:`sklearn.datasets.get_data_home`.
    subset : {"10_folds", "test"}, default="10_folds"
        View 2, or the split of View 1 into "train" and "test".
    funneled : bool, default=True
        Whether to use the photos in ``lfw_funneled`` or those in ``lfw``.
    n_jobs : int, default=None
        Number of folds to run in parallel. None means 1, -1 all processors.

    Returns
    -------
    report : Report
        As from :func:`cross_validate_pairs`. The protocol asks for the accuracy
        ``report.mean["accuracy"]`` with the standard error ``report.se["accuracy"]``.

    Raises
    ------
    FileNotFoundError
        If the folder, an index file or photos are missing.
    ValueError
        If `subset` is unknown, or an index file does not have the format of LFW.

    See Also
    --------
    cross_validate_pairs : The same on other pairs.
    skface.load_lfw_pairs : Loads the pairs.

    Notes
    -----
    Use View 2 once, after all decisions were made on View 1. The folds are those of LFW and no pair
    is dropped, so the figures are comparable. Report with them the photos and people that the
    network was trained on: LFW asks for it, and most training sets contain people of LFW.

    Examples
    --------
    A pretrained network is loaded and frozen, so that it embeds each photo once instead of once per
    fold:

    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.pipeline import make_pipeline
    >>> from skface import load_lfw_pairs, make_face_verifier
    >>> from skface.model_selection import evaluate_lfw
    >>> pipe = make_face_verifier(on_failure="nan")
    >>> one_pair = load_lfw_pairs(subset="train").data[:1]  # doctest: +SKIP
    >>> loaded = FrozenEstimator(pipe[:-1].fit(one_pair))  # doctest: +SKIP
    >>> print(evaluate_lfw(make_pipeline(loaded, pipe[-1])))  # doctest: +SKIP
    """
    check_option(subset, "subset", ("10_folds", "test"))
    if subset == "10_folds":
        views = [load_lfw_pairs(data_home, subset, funneled=funneled)]
        folds = views[0].folds
    else:
        views = [load_lfw_pairs(data_home, name, funneled=funneled) for name in ("train", "test")]
        folds = np.repeat([-1, 0], [len(view.target) for view in views])  # -1: never tested
    X, y, groups = (
        np.concatenate([view[key] for view in views]) for key in ("data", "target", "identities")
    )
    return cross_validate_pairs(
        estimator, X, y, cv=PredefinedSplit(folds), groups=groups, n_jobs=n_jobs
    )
