"""Whole pipelines from photos to decisions, in one line."""

from collections.abc import Callable
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.pipeline import Pipeline, make_pipeline

from skface._utils.validation import check_option
from skface.alignment import FaceAligner
from skface.cache import EmbeddingCache
from skface.embedding import FaceNetEmbedder, OnnxEmbedder
from skface.per_face import PerFace
from skface.verification import PairVerifier
from skface.weights import fetch_weights, list_weights, weights_info

__all__ = ["load_face_verifier", "make_face_verifier"]

_OWN_WEIGHTS = "skface-mini"
# Aligner and pretrained embedder are fitted on this: they learn nothing from rows.
_BLANK = np.zeros((1, 64, 64, 3), dtype=np.uint8)


def make_face_verifier(
    weights: str = _OWN_WEIGHTS,
    *,
    criterion: str = "accuracy",
    far: float | None = None,
    threshold: float | None = None,
    prior: float | None = None,
    detector: str | PathLike[str] | Callable[[NDArray[np.uint8]], ArrayLike] = "auto",
    on_failure: str = "raise",
    cache: str | PathLike[str] | EmbeddingCache | None = None,
) -> Pipeline:
    """Build the pipeline from photos to decisions, with the crop that the weights need.

    The default network and detector come with skface. `fit` learns the threshold and the
    calibration from labeled pairs.

    Parameters
    ----------
    weights : str, default="skface-mini"
        Registered embedder weights, see :func:`skface.weights.list_weights`.
    criterion : str, default="accuracy"
        What the learned threshold optimizes, see :class:`PairVerifier`.
    far : float, default=None
        Largest allowed false match rate, in (0, 1), for ``criterion="far"``.
    threshold : float, default=None
        A fixed threshold. None learns one.
    prior : float, default=None
        Prior probability of a genuine pair, in (0, 1), for `predict_proba`, see
        :class:`PairVerifier`.
    detector : str, path or callable, default="auto"
        Face detector, see :class:`FaceAligner`. "auto" means YuNet if its file is available.
    on_failure : {"raise", "nan"}, default="raise"
        What to do with photos without a face, see :class:`FaceAligner`.
    cache : path or EmbeddingCache, default=None
        Where embeddings are stored, see :class:`PerFace`.

    Returns
    -------
    pipeline : Pipeline
        Aligner, embedder and verifier; not fitted. With a cache, aligner and embedder are one step,
        a PerFace.

    Raises
    ------
    ValueError
        If `weights` are not registered embedder weights, or `far` is given without its criterion.

    See Also
    --------
    load_face_verifier : The same pipeline, fitted; needs no labeled pairs.

    Examples
    --------
    >>> from skface import make_face_verifier
    >>> pipe = make_face_verifier(criterion="eer")
    >>> list(pipe.named_steps)
    ['facealigner', 'facenetembedder', 'pairverifier']
    """
    if far is not None and criterion != "far":
        raise ValueError(
            f"far={far!r} goes with criterion='far', but criterion={criterion!r}: set "
            "criterion='far', or leave far out."
        )
    embedders = [name for name in list_weights() if weights_info(name).kind == "embedder"]
    entry = weights_info(check_option(weights, "weights", embedders))
    embedder = OnnxEmbedder(weights) if entry.backbone is None else FaceNetEmbedder(weights=weights)
    steps: list[Any] = [FaceAligner(weights, detector=detector, on_failure=on_failure), embedder]
    if cache is not None:
        steps = [PerFace(make_pipeline(*steps), cache=cache)]
    verifier = PairVerifier(criterion=criterion, far=far, threshold=threshold, prior=prior)
    return make_pipeline(*steps, verifier)


def load_face_verifier(
    *,
    criterion: str = "balanced_accuracy",
    far: float | None = None,
    prior: float | None = None,
    detector: str | PathLike[str] | Callable[[NDArray[np.uint8]], ArrayLike] = "auto",
    on_failure: str = "raise",
) -> Pipeline:
    """Load a fitted verifier, which needs no labeled pairs.

    This is the pipeline of `make_face_verifier`. Its threshold and calibration were learned from
    pairs of photos of LFW [1]_. They show people on whom "skface-mini" was not trained; see
    docs/model_card.md. The photos are press photos of public figures. Your photos may be easier or
    harder. If you can, fit to labeled pairs of your own, or measure the accuracy on a few of them
    with ``verifier.score(X, y)``. Do not use `cross_validate` for that: it fits a clone.

    Parameters
    ----------
    criterion : str, default="balanced_accuracy"
        What the threshold optimizes on those pairs, see :class:`PairVerifier`. Most of them are
        impostor pairs, so "accuracy" would give little weight to genuine pairs.
    far : float, default=None
        Largest allowed false match rate on those pairs, in (0, 1), for ``criterion="far"``.
    prior : float, default=None
        Prior probability of a genuine pair, in (0, 1), for `predict_proba`: the share of genuine
        pairs that you expect. None means the prior that the threshold implies, see
        :class:`PairVerifier`; it is about 0.5 with the default criterion.
    detector : str, path or callable, default="auto"
        Face detector, see :class:`FaceAligner`.
    on_failure : {"raise", "nan"}, default="raise"
        What to do with photos without a face, see :class:`FaceAligner`.

    Returns
    -------
    pipeline : Pipeline
        Aligner, embedder and verifier; fitted. ``pipeline[-1].operating_point_`` holds the error
        rates on those pairs. They are slightly too low, because the threshold was learned from the
        same pairs. Their intervals are too narrow, because the pairs share people.

    Raises
    ------
    ValueError
        If a parameter is invalid, or `far` is given without its criterion.

    See Also
    --------
    make_face_verifier : Learns from your labeled pairs, with weights of your choice.

    References
    ----------
    .. [1] G. B. Huang, M. Ramesh, T. Berg, E. Learned-Miller. Labeled Faces in the Wild.
       University of Massachusetts, Amherst, Technical Report 07-49, 2007.

    Examples
    --------
    >>> from skface import load_face_verifier
    >>> verifier = load_face_verifier()
    >>> verifier.predict_proba([["door.jpg", "passport.jpg"]])[:, 1]  # doctest: +SKIP
    array([0.98])
    """
    pipeline = make_face_verifier(
        criterion=criterion, far=far, prior=prior, detector=detector, on_failure=on_failure
    )
    aligner, embedder, verifier = (step for _, step in pipeline.steps)
    aligner.fit(_BLANK)
    embedder.fit(_BLANK)
    *_, stored = fetch_weights(_OWN_WEIGHTS)
    with np.load(stored) as held_out:
        pairs = _pairs_with_cosines(held_out["scores"], embedder.embedding_dim_)
        verifier.fit(pairs, held_out["same"].astype(int))
    return pipeline


def _pairs_with_cosines(cosines: NDArray[Any], width: int) -> NDArray[np.float64]:
    """Return pairs of unit vectors (n, 2, width) with these cosines."""
    cosines = cosines.astype(np.float64)
    pairs = np.zeros((len(cosines), 2, width))
    pairs[:, 0, 0] = 1
    pairs[:, 1, 0], pairs[:, 1, 1] = cosines, np.sqrt(1 - cosines**2)
    return pairs
