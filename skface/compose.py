"""PerFace, which applies any transformer to faces of pairs, and make_face_verifier."""

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, TransformerMixin, clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import check_scalar, get_tags
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_is_fitted, column_or_1d

from skface.align import FaceAligner
from skface.embedding import FaceNetEmbedder
from skface.images import Rows, check_images, iter_batches, vector_rows
from skface.onnx import OnnxEmbedder
from skface.pairs import identities_from_pairs, row_images
from skface.verification import PairVerifier
from skface.weights import weights_info


class PerFace(MetaEstimatorMixin, TransformerMixin, BaseEstimator):
    """Apply a per-face transformer to faces or to pairs, each distinct face once.

    scikit-learn's transformers know nothing of pairs, and refuse images; PerFace hands them one
    face per row and regroups what comes back. Faces go through in batches, so a whole pipeline
    from photos to embeddings needs memory for one batch of photos only.

    Parameters
    ----------
    transformer : transformer
        Any scikit-learn transformer or pipeline over faces. One that does not take images (a PCA)
        receives them flattened, as floats in 0..1.
    batch_size : int, default=256
        Faces transformed at a time.
    image_shape : tuple (H, W) or (H, W, 3), default=None
        Shape of one image, needed for flattened rows only when `transformer` takes images.

    Attributes
    ----------
    transformer_ : transformer
        The fitted clone.

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

    def __init__(self, transformer, *, batch_size=256, image_shape=None):
        self.transformer = transformer
        self.batch_size = batch_size
        self.image_shape = image_shape

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
        """
        check_scalar(self.batch_size, "batch_size", Integral, min_val=1)
        rows = self._check_rows(X)
        chosen, inverse = row_images(rows)
        self.transformer_ = clone(self.transformer)
        targets = y if rows.arity == 1 else self._identities(y, inverse, len(chosen))
        self.transformer_.fit(self._faces(rows, chosen), targets)
        return self

    def transform(self, X):
        """Transform every distinct face once.

        Parameters
        ----------
        X : faces or pairs
            As in `fit`.

        Returns
        -------
        values : ndarray of shape (n, ...) or (n, 2, ...)
            What the transformer returned per face, regrouped.
        """
        check_is_fitted(self)
        rows = self._check_rows(X)
        chosen, inverse = row_images(rows)
        parts = [
            self._transform_batch(self._faces(rows, batch))
            for batch in np.array_split(chosen, -(-len(chosen) // self.batch_size))
        ]
        values = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return rows.regroup(values if rows.arity == 1 else values[inverse])

    def _transform_batch(self, faces):
        values = np.asarray(self.transformer_.transform(faces))
        if len(values) != len(faces):
            raise ValueError(
                f"transformer={self.transformer!r} returned {len(values)} rows for {len(faces)} "
                "faces; it must return one per face."
            )
        return values

    def _check_rows(self, X) -> Rows:
        if not _takes_images(self.transformer) and getattr(X, "ndim", 0) in (2, 3):
            array = np.asarray(X)
            is_pairs = array.ndim == 3 and array.shape[1] == 2
            if array.dtype.kind in "uif" and (array.ndim == 2 or is_pairs):
                return vector_rows(array)
        return check_images(X, image_shape=self.image_shape)

    def _faces(self, rows: Rows, indices: np.ndarray):
        """Return faces in the form that the transformer takes."""
        if _takes_images(self.transformer):
            return rows.images.take(indices)
        flat = []
        for _, faces in iter_batches(rows.images, indices, self.batch_size):
            for face in faces:
                is_bytes = face.ndim == 3 and face.dtype == np.uint8
                flat.append(np.ravel(face / np.float32(255) if is_bytes else face))
        return np.stack(flat)

    def _identities(self, y, inverse, n_images):
        if y is None or not get_tags(self.transformer).target_tags.required:
            return None
        y = column_or_1d(y, warn=True)
        left, right = inverse.reshape(-1, 2).T
        return identities_from_pairs(left, right, y == unique_labels(y)[-1], n_images)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = get_tags(self.transformer).target_tags.required
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags


def _takes_images(transformer) -> bool:
    """Tell whether a transformer, or the first step of a pipeline, takes images as they are."""
    while isinstance(transformer, Pipeline):
        transformer = transformer.steps[0][1]
    return get_tags(transformer).input_tags.three_d_array


def make_face_verifier(
    weights="vggface2", *, criterion="accuracy", far=None, threshold=None, on_failure="raise"
):
    """Build the whole pipeline from photos to decisions, with the crop that the weights want.

    Parameters
    ----------
    weights : str, default="vggface2"
        Registered embedder weights, see :func:`skface.weights.list_weights`.
    criterion, far, threshold
        How the decision threshold is learned or given, see :class:`PairVerifier`.
    on_failure : {"raise", "nan"}, default="raise"
        What to do with photos without a face, see :class:`FaceAligner`.

    Returns
    -------
    pipeline : Pipeline
        Aligner, embedder and verifier; not fitted.

    Raises
    ------
    ValueError
        If `weights` are not registered embedder weights.

    Examples
    --------
    >>> from skface import make_face_verifier
    >>> pipe = make_face_verifier("face-reidentification-retail-0095", criterion="eer")
    >>> list(pipe.named_steps)
    ['facealigner', 'facenetembedder', 'pairverifier']
    """
    entry = weights_info(weights)
    if entry.kind != "embedder":
        raise ValueError(f"weights={weights!r} are a {entry.kind}, not an embedder.")
    embedder = OnnxEmbedder(weights) if entry.backbone is None else FaceNetEmbedder(weights=weights)
    return make_pipeline(
        FaceAligner(weights, on_failure=on_failure),
        embedder,
        PairVerifier(criterion=criterion, far=far, threshold=threshold),
    )
