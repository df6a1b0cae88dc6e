"""How well a verifier does on Labeled Faces in the Wild."""

import os
from typing import Any

import numpy as np
from sklearn.model_selection import PredefinedSplit

from skface._utils.report import Report
from skface._validation import check_option
from skface.datasets import load_lfw_pairs
from skface.model_selection._cross_validation import cross_validate_pairs


def evaluate_lfw(
    estimator: Any,
    data_home: str | os.PathLike | None = None,
    subset: str = "10_folds",
    *,
    funneled: bool = True,
    n_jobs: int | None = None,
) -> Report:
    """Judge a verifier on Labeled Faces in the Wild, by its protocol.

    View 2, for the final report, is ten folds of 600 pairs that share nobody: the verifier is
    fitted, and its threshold learned, on nine of them and tested on the tenth. View 1, for
    development, is one split: fitted on its training pairs, tested on its test pairs.

    Parameters
    ----------
    estimator : classifier
        A verifier that takes pairs of paths, as for :func:`cross_validate_pairs`. Photos in which
        no face is found stop it, unless its aligner has ``on_failure="nan"``.
    data_home : path, default=None
        The folder that holds ``lfw_home``, or ``lfw_home`` itself; None means
        :func:`sklearn.datasets.get_data_home`.
    subset : {"10_folds", "test"}, default="10_folds"
        View 2, or the test pairs of View 1.
    funneled : bool, default=True
        Whether to use the photos in ``lfw_funneled`` or those in ``lfw``.
    n_jobs : int, default=None
        Folds to work on at a time. None means 1, -1 all processors.

    Returns
    -------
    report : Report
        As of :func:`cross_validate_pairs`. The accuracy that the protocol asks for is
        ``report.mean["accuracy"]`` with standard error ``report.se["accuracy"]``.

    Raises
    ------
    FileNotFoundError
        If the folder, an index file or photos are missing.
    ValueError
        If `subset` is another one, or an index file is not what LFW publishes.

    See Also
    --------
    cross_validate_pairs : The same on other pairs.
    skface.load_lfw_pairs : The pairs.

    Notes
    -----
    Use View 2 once, after everything was decided on View 1. The folds are those of the file, and no
    pair is dropped, so that the figures are comparable. Say along with them which photos, of whom,
    the network was trained on: LFW asks for it, and people of LFW are in most training sets.

    Examples
    --------
    A pretrained network is loaded and frozen, so that each photo is embedded once and not in every
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
