"""PerFace, which applies any transformer to faces of pairs, and whole pipelines."""

import weakref
from collections.abc import Iterable, Iterator
from numbers import Integral

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.callback import CallbackContext, CallbackSupportMixin, with_callbacks
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import check_scalar, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, column_or_1d

from skface._callbacks import fit_task
from skface._frozen import FittedOnce, fit_sources, notes_shapes, steps
from skface._prefetch import prefetch
from skface._search import is_trial, seen_in
from skface._validation import check_option
from skface.align import FaceAligner
from skface.base import RowTransformer
from skface.cache import as_cache
from skface.embedding import FaceNetEmbedder
from skface.images import ImageError, Rows, SeenRows, check_images, iter_batches, vector_rows
from skface.onnx import OnnxEmbedder
from skface.pairs import check_same, identities_from_pairs, row_images
from skface.verification import PairVerifier
from skface.weights import fetch_weights, list_weights, weights_info

_OWN_WEIGHTS = "skface-mini"


# What a PerFace that a search scores and throws away has seen of photos.
_TRIALS: weakref.WeakKeyDictionary["PerFace", SeenRows] = weakref.WeakKeyDictionary()


def _takes_images(transformer) -> bool:
    """Tell whether a transformer, or the first step of a pipeline, takes images as they are."""
    return get_tags(next(steps(transformer))).input_tags.three_d_array


def _needs_targets(transformer) -> bool:
    return any(get_tags(step).target_tags.required for step in steps(transformer))


def _names_its_features(per_face: "PerFace") -> bool:
    return hasattr(getattr(per_face, "transformer_", per_face.transformer), "get_feature_names_out")


class PerFace(CallbackSupportMixin, MetaEstimatorMixin, RowTransformer, BaseEstimator):
    """Apply a per-face transformer to faces or to pairs, each distinct face once.

    scikit-learn's transformers know nothing of pairs, and refuse images; PerFace hands them one
    face per row and regroups what comes back. `transform` hands over a batch of faces at a time, so
    a whole pipeline from photos to embeddings needs memory for one batch of photos only; of a
    pipeline, all steps but the last work on the next batch in the meantime. `fit` hands over all at
    once, or only one if the transformer learns nothing from faces, as an aligner and a pretrained
    network do. A face that an earlier step did not find (all NaN) is kept from the
    transformer, and its values are NaN.

    Parameters
    ----------
    transformer : transformer
        Any scikit-learn transformer or pipeline over faces. One that does not take images (a PCA)
        receives them flattened, as floats in 0..1 (float64 from files and integer pixels).
    batch_size : int, default=256
        Faces transformed at a time.
    image_shape : tuple (H, W) or (H, W, 3), default=None
        Shape of one image, needed for flattened rows only when `transformer` takes images.
    cache : path or EmbeddingCache, default=None
        A folder where values are kept, so that no photo is computed twice by transformers with
        equal state: in other folds, other processes, or another day. An
        :class:`skface.EmbeddingCache` bounds it, and tells what it holds. Each batch is stored
        before the next is computed. Values of photos without a face (all NaN) are not kept. Every
        call asks whether a file has changed; what one search fits and scores asks once for all.

    Attributes
    ----------
    transformer_ : transformer
        The fitted clone.
    output_shape_ : tuple of int
        Shape of what it returns for one face.

    See Also
    --------
    PairVerifier : Decides on the pairs of vectors that come out.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skface import PerFace
    >>> pairs = np.random.default_rng(0).random((20, 2, 8, 8, 3))
    >>> PerFace(PCA(n_components=5)).fit_transform(pairs).shape
    (20, 2, 5)
    """

    def __init__(self, transformer, *, batch_size=256, image_shape=None, cache=None):
        self.transformer = transformer
        self.batch_size = batch_size
        self.image_shape = image_shape
        self.cache = cache

    def fit(self, X, y=None):
        """Fit the transformer on the distinct faces.

        Parameters
        ----------
        X : faces or pairs
            Any rows that :func:`skface.images.check_images` accepts, or vectors: (n, d) for faces,
            (n, 2, d) for pairs.
        y : array-like of shape (n,), default=None
            For faces passed on. For pairs, two labels of which the last in sorted order means the
            same person; a transformer that requires targets gets the identities that positive
            pairs connect, any other gets None.

        Returns
        -------
        self : PerFace
            The fitted meta-transformer.

        Notes
        -----
        With a cache, a transformer that learns nothing from faces is fitted once per process: later
        ones with equal parameters, and unchanged files of weights, share what the first has read.
        """
        self._fit(X, y)
        return self

    def _fit_transform(self, X, y):
        rows = self._fit(X, y)  # checked once, for that looks at every file
        return self._regrouped_values(X, rows)

    @with_callbacks
    def _fit(self, X, y) -> Rows:
        check_scalar(self.batch_size, "batch_size", Integral, min_val=1)
        sources = fit_sources(self.transformer)
        caches = as_cache(self.cache) is not None
        _TRIALS.pop(self, None)
        with fit_task(self, X, y, max_subtasks=1) as task:
            seen = seen_in(task) if caches else None
            rows = self._check_rows(X, seen)
            once = None
            if caches and sources is not None:
                once = self._fitted_once(sources, rows)
            recalled = None if once is None else once.recall()
            if recalled is not None:
                self.transformer_, self.output_shape_ = recalled
            else:
                # what learns nothing from faces needs but one
                self._fit_to(rows, y, None if sources is None else 1, task)
                if once is not None:
                    once.keep(self.transformer_, self.output_shape_)
            if seen is not None and is_trial(task):
                _TRIALS[self] = seen
            return rows

    def _fit_to(self, rows: Rows, y, n_most: int | None, task: CallbackContext) -> None:
        """Fit the transformer to the distinct faces, or to this many."""
        chosen, targets = self._choose_to_fit(rows, y, n_most)
        faces = self._faces(rows, chosen)
        self.transformer_ = clone(self.transformer)
        subtask = task.subcontext("fit-transformer")
        with subtask.propagate_callback_context(self.transformer_):
            subtask.call_on_fit_task_begin(estimator=self, X=faces, y=targets)
            self.transformer_.fit(faces, targets)
            subtask.call_on_fit_task_end(estimator=self, X=faces, y=targets)
        (first,) = self._transform_batches(rows, [chosen[:1]])
        self.output_shape_ = first.shape[1:]

    @available_if(_names_its_features)
    def get_feature_names_out(self, input_features=None):
        """Name what comes out per face, as the transformer does.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the features of one face.

        Returns
        -------
        names : ndarray of str
            One per column of the values of faces.
        """
        check_is_fitted(self)
        return self.transformer_.get_feature_names_out(input_features)

    def _fitted_once(self, sources, rows) -> FittedOnce | None:
        """Return what an equal transformer has become, or None if a face is needed to tell."""
        if not notes_shapes(self.transformer):
            return FittedOnce(self.transformer, sources, None)
        first = next((i for i in range(len(rows.images)) if not rows.images.is_missing(i)), 0)
        try:
            face = rows.images[first]
        except (ImageError, FileNotFoundError):  # which `fit` will report
            return None
        return FittedOnce(self.transformer, sources, (face.shape, face.dtype))

    def _choose_to_fit(self, rows, y, n_most):
        """Return the distinct faces that are not missing, and their targets.

        At most `n_most` faces, if that is a number.
        """
        chosen, inverse = row_images(rows)
        targets = self._targets(rows, y, chosen, inverse)
        found = np.flatnonzero(rows.images.found(chosen))[:n_most]
        if not len(found):
            raise ValueError("X holds missing faces (NaN) only: there is nothing to fit to.")
        return chosen[found], None if targets is None else targets[found]

    def _transform_rows(self, rows):
        chosen, inverse = row_images(rows)
        is_found = rows.images.found(chosen)
        found = chosen[is_found]
        batches = np.split(found, range(self.batch_size, len(found), self.batch_size))
        cache = as_cache(self.cache)
        if not len(found):
            values = np.empty((0, *self.output_shape_), np.float32)
        elif cache is None:
            values = np.concatenate(list(self._transform_batches(rows, batches)))
        else:
            regroups = rows.arity == 2 and len(found) == len(chosen)
            values = cache.look_up(
                self.transformer_,
                rows.images,
                found,
                lambda batches: self._transform_batches(rows, batches),
                self.batch_size,
                self.output_shape_,
                order=inverse if regroups else None,
            )
            if regroups:
                return values
        if len(found) < len(chosen):
            dtype = np.result_type(values.dtype, np.float32)  # one that can hold NaN
            given, values = values, np.full((len(chosen), *self.output_shape_), np.nan, dtype)
            values[is_found] = given
        return values if rows.arity == 1 else values[inverse]

    def _transform_batches(self, rows: Rows, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Transform these images batch by batch, and prepare the next batch in the meantime.

        Of a pipeline, all steps but the last run one batch ahead.
        """
        first, last = None, self.transformer_
        if isinstance(last, Pipeline) and len(last) > 1:
            first, last = last[:-1], last[-1:]

        def prepare():
            for batch in batches:
                faces = self._faces(rows, batch)
                yield len(faces), faces if first is None else first.transform(faces)

        for n_faces, prepared in prefetch(prepare()):
            yield self._check_values(last.transform(prepared), n_faces)

    def _check_values(self, values, n_faces: int) -> np.ndarray:
        values = values.toarray() if issparse(values) else np.asarray(values)
        if len(values) != n_faces:
            raise ValueError(
                f"transformer={self.transformer!r} returned {len(values)} rows for {n_faces} "
                "faces; it must return one per face."
            )
        return values

    def _check_rows(self, X, seen: SeenRows | None = None) -> Rows:
        if seen is None:
            seen = _TRIALS.get(self)
        if not _takes_images(self.transformer) and getattr(X, "ndim", 0) in (2, 3):
            array = np.asarray(X)
            is_pairs = array.ndim == 3 and array.shape[1] == 2
            if array.dtype.kind in "uif" and (array.ndim == 2 or is_pairs):
                return vector_rows(array)
        first = next(steps(self.transformer))
        marks_missing = isinstance(first, FaceAligner) and first.on_failure == "nan"
        return check_images(
            X, image_shape=self.image_shape, check_files=not marks_missing, seen=seen
        )

    def _faces(self, rows: Rows, indices: np.ndarray):
        """Return faces in the form that the transformer takes."""
        if _takes_images(self.transformer):
            return rows.images.take(indices)
        flat = []
        for _, faces in iter_batches(rows.images, indices, self.batch_size):
            for face in faces:
                is_bytes = face.ndim == 3 and face.dtype == np.uint8
                flat.append(np.ravel(face / 255 if is_bytes else face))
        return np.stack(flat)

    def _targets(self, rows, y, chosen, inverse):
        """Return one target per chosen image, or None."""
        if y is None or (rows.arity == 2 and not _needs_targets(self.transformer)):
            return None
        if rows.arity == 2:
            left, right = inverse.reshape(-1, 2).T
            same = check_same(y, rows.n_rows)
            return identities_from_pairs(left, right, same, len(chosen))
        y = column_or_1d(y, warn=True)
        if len(y) != rows.n_rows:
            raise ValueError(f"y has {len(y)} labels, but X has {rows.n_rows} rows.")
        return y

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = _needs_targets(self.transformer)
        return tags


def make_face_verifier(
    weights=_OWN_WEIGHTS,
    *,
    criterion="accuracy",
    far=None,
    threshold=None,
    prior=None,
    detector="auto",
    on_failure="raise",
    cache=None,
):
    """Build the whole pipeline from photos to decisions, with the crop that the weights want.

    Network and detector of the default come with skface. What is left to learn, from labelled
    pairs, is which similarity is enough.

    Parameters
    ----------
    weights : str, default="skface-mini"
        Registered embedder weights, see :func:`skface.weights.list_weights`.
    criterion, far, threshold, prior
        How threshold and probabilities are learned or given, see :class:`PairVerifier`.
    detector : str, path or callable, default="auto"
        What finds faces, see :class:`FaceAligner`; "auto" is YuNet where its file is at hand.
    on_failure : {"raise", "nan"}, default="raise"
        What to do with photos without a face, see :class:`FaceAligner`.
    cache : path or EmbeddingCache, default=None
        Where embeddings are kept, see :class:`PerFace`.

    Returns
    -------
    pipeline : Pipeline
        Aligner, embedder and verifier; not fitted. With a cache, the first two are one step, a
        PerFace.

    Raises
    ------
    ValueError
        If `weights` are not registered embedder weights, or `far` is given without its criterion.

    See Also
    --------
    load_face_verifier : The same with a threshold, for whoever has no labelled pairs.

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
    steps = [FaceAligner(weights, detector=detector, on_failure=on_failure), embedder]
    if cache is not None:
        steps = [PerFace(make_pipeline(*steps), cache=cache)]
    verifier = PairVerifier(criterion=criterion, far=far, threshold=threshold, prior=prior)
    return make_pipeline(*steps, verifier)


def load_face_verifier(
    *, criterion="balanced_accuracy", far=None, prior=None, detector="auto", on_failure="raise"
):
    """Load a verifier that needs no labelled pairs: two photos in, a probability out.

    The pipeline that `make_face_verifier` builds, with the threshold and the probabilities that
    fit pairs of photos of LFW [1]_, of people held out when "skface-mini" was trained
    (docs/model_card.md says how). Press portraits of public figures may be easier, or harder, than
    your photos: learn from pairs of your own where you can, and measure on them what you promise
    (``verifier.score(X, y)``; `cross_validate` would clone the pipeline and learn anew).

    Parameters
    ----------
    criterion, far
        What the threshold is best at on those photos, see :class:`PairVerifier`. Most of their
        pairs show two people, so that "accuracy" would care for little else.
    prior : float, default=None
        Prior probability of "same" that `predict_proba` assumes: the share of same pairs that you
        expect. None takes the one that the threshold implies, see :class:`PairVerifier`; with the
        default criterion, that about every second pair shows one person.
    detector : str, path or callable, default="auto"
        What finds faces, see :class:`FaceAligner`.
    on_failure : {"raise", "nan"}, default="raise"
        What to do with photos without a face, see :class:`FaceAligner`.

    Returns
    -------
    pipeline : Pipeline
        Aligner, embedder and verifier; fitted. ``pipeline[-1].operating_point_`` tells the error
        rates on those pairs. They taught the threshold and share people, so the rates are a little
        too good, and the intervals too narrow. ``fit`` on labelled pairs teaches it others.

    Raises
    ------
    ValueError
        If a parameter is invalid, or `far` is given without its criterion.

    See Also
    --------
    make_face_verifier : Learns from your labelled pairs, and takes other weights.

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
    nobody = np.zeros((1, 128, 128, 3), dtype=np.uint8)
    aligner.fit(nobody)  # which learns nothing from photos, nor do frozen weights
    embedder.fit(nobody)
    *_, stored = fetch_weights(_OWN_WEIGHTS)
    with np.load(stored) as held_out:
        pairs = _pairs_with_cosines(held_out["scores"], embedder.embedding_dim_)
        verifier.fit(pairs, held_out["same"].astype(int))
    return pipeline


def _pairs_with_cosines(cosines: np.ndarray, width: int) -> np.ndarray:
    """Return pairs (n, 2, width) of unit vectors, which are what a verifier of embeddings fits."""
    cosines = cosines.astype(np.float64)
    pairs = np.zeros((len(cosines), 2, width))
    pairs[:, 0, 0] = 1
    pairs[:, 1, 0], pairs[:, 1, 1] = cosines, np.sqrt(1 - cosines**2)
    return pairs
