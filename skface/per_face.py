"""PerFace: any transformer applied to faces or to pairs, each distinct face once."""

from collections.abc import Iterable, Iterator
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.callback import CallbackContext, CallbackSupportMixin, with_callbacks
from sklearn.pipeline import Pipeline
from sklearn.utils import check_scalar, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, column_or_1d

from skface._rows import (
    Rows,
    RowTransformer,
    check_images,
    check_pair_labels,
    distinct_indices,
    identities_from_pairs,
    iter_batches,
    vector_rows,
)
from skface._utils.callbacks import fit_task
from skface._utils.estimators import fits_to_any_rows, pretrained_files, steps
from skface._utils.prefetch import prefetch
from skface.cache import EmbeddingCache
from skface.cache._embedding_cache import as_cache
from skface.cache._lookup import find_value, known_signatures, look_up_values

__all__ = ["PerFace"]

# Transformers that learn nothing from rows are fitted on this. It shows no face.
_BLANK = np.zeros((1, 64, 64, 3), dtype=np.uint8)


def _takes_images(transformer: Any) -> bool:
    """Return whether a transformer, or the first step of a pipeline, takes images unflattened."""
    return get_tags(next(steps(transformer))).input_tags.three_d_array


def _needs_targets(transformer: Any) -> bool:
    return any(get_tags(step).target_tags.required for step in steps(transformer))


def _names_its_features(per_face: "PerFace") -> bool:
    return hasattr(getattr(per_face, "transformer_", per_face.transformer), "get_feature_names_out")


class PerFace(CallbackSupportMixin, MetaEstimatorMixin, RowTransformer, BaseEstimator):
    """Apply a per-face transformer to faces or to pairs, each distinct face once.

    scikit-learn's transformers take neither pairs nor images. PerFace passes them one face per row,
    and groups the results into pairs. `transform` passes a batch of faces at a time, so a pipeline
    from photos to embeddings needs memory for one batch of photos only. While the last step of a
    pipeline transforms one batch, the other steps transform the next one. `fit` passes all faces at
    once. A transformer that learns nothing from faces, such as an aligner or a pretrained network,
    is fitted on one face only. A face that an earlier step did not find (all NaN) is not passed to
    the transformer, and its values are NaN.

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
        A folder where values are stored, so that equal transformers compute each photo once, in
        all folds and processes. An :class:`skface.EmbeddingCache` can also bound the size of the
        folder, and choose how often files are checked for changes. Each batch is stored before the
        next one is computed. Values of photos without a face (all NaN) are not stored.

    Attributes
    ----------
    transformer_ : transformer
        The fitted clone.
    output_shape_ : tuple of int
        Shape of the values of one face.

    See Also
    --------
    PairVerifier : Decides on pairs of vectors.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skface import PerFace
    >>> pairs = np.random.default_rng(0).random((20, 2, 8, 8, 3))
    >>> PerFace(PCA(n_components=5)).fit_transform(pairs).shape
    (20, 2, 5)
    """

    def __init__(
        self,
        transformer: Any,
        *,
        batch_size: int = 256,
        image_shape: tuple[int, ...] | None = None,
        cache: str | PathLike[str] | EmbeddingCache | None = None,
    ) -> None:
        self.transformer = transformer
        self.batch_size = batch_size
        self.image_shape = image_shape
        self.cache = cache

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the transformer on the distinct faces.

        Parameters
        ----------
        X : faces or pairs
            Rows of images, see the user guide, or vectors: (n, d) for faces, (n, 2, d) for pairs.
        y : array-like of shape (n,), default=None
            For faces, the targets of the transformer. For pairs, two labels; the last one in
            sorted order means the same person. A transformer that requires targets gets identities
            (faces that genuine pairs connect have one identity); any other gets None.

        Returns
        -------
        self : PerFace
            The fitted meta-transformer.
        """
        self._fit(X, y)
        return self

    def _fit_transform(self, X: Any, y: Any) -> NDArray[Any]:
        rows = self._fit(X, y)  # `X` is checked once, since that asks for every file
        return self._regrouped_values(X, rows)

    @with_callbacks
    def _fit(self, X: Any, y: Any) -> Rows:
        check_scalar(self.batch_size, "batch_size", Integral, min_val=1)
        as_cache(self.cache)  # raises for an invalid cache before anything is read
        with fit_task(self, X, y, max_subtasks=1) as task:
            rows = self._check_rows(X)
            # a transformer that learns nothing from faces needs one only
            n_most = None if pretrained_files(self.transformer) is None else 1
            chosen, targets = self._choose_to_fit(rows, y, n_most)
            self._fit_to(rows, chosen, targets, task)
            self.output_shape_ = self._find_output_shape(rows, chosen[0])
            return rows

    def _fit_to(
        self, rows: Rows, chosen: NDArray[np.intp], targets: Any, task: CallbackContext
    ) -> None:
        self.transformer_ = clone(self.transformer)
        subtask = task.subcontext("fit-transformer")
        with subtask.propagate_callback_context(self.transformer_):
            if fits_to_any_rows(self.transformer):
                faces, targets, fitted = _BLANK, None, list(steps(self.transformer_))
            else:
                faces, fitted = self._faces(rows, chosen), [self.transformer_]
            subtask.call_on_fit_task_begin(estimator=self, X=faces, y=targets)
            for step in fitted:
                step.fit(faces, targets)
            subtask.call_on_fit_task_end(estimator=self, X=faces, y=targets)

    def _find_output_shape(self, rows: Rows, first: int) -> tuple[int, ...]:
        """Return the shape of the value of a face, which is computed unless it is cached."""
        cache, owner = self._cache_and_owner()
        value = None
        if cache is not None:
            value = find_value(cache, owner, self.transformer_, rows.images, first)
        if value is None:
            ((value,),) = self._transform_batches(rows, [np.array([first])])
        return value.shape

    def _cache_and_owner(self) -> tuple[EmbeddingCache | None, object]:
        """Return the cache, and the object for which this process keeps it open."""
        cache = as_cache(self.cache)
        return cache, cache if cache is self.cache else self

    @available_if(_names_its_features)
    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return the names of the values of a face.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the features of one face.

        Returns
        -------
        names : ndarray of str
            One name per column, as the transformer returns them.
        """
        check_is_fitted(self)
        return self.transformer_.get_feature_names_out(input_features)

    def _choose_to_fit(
        self, rows: Rows, y: Any, n_most: int | None
    ) -> tuple[NDArray[np.intp], NDArray[Any] | None]:
        """Return the distinct faces that are not missing, and their targets.

        At most `n_most` faces, if that is a number.
        """
        chosen, inverse = distinct_indices(rows)
        targets = self._targets(rows, y, chosen, inverse)
        found = np.flatnonzero(rows.images.found(chosen))[:n_most]
        if not len(found):
            raise ValueError("X holds missing faces (NaN) only: fit needs at least one face.")
        return chosen[found], None if targets is None else targets[found]

    def _transform_rows(self, rows: Rows) -> NDArray[Any]:
        chosen, inverse = distinct_indices(rows)
        is_found = rows.images.found(chosen)
        found = chosen[is_found]
        batches = np.split(found, range(self.batch_size, len(found), self.batch_size))
        cache, owner = self._cache_and_owner()
        if not len(found):
            values = np.empty((0, *self.output_shape_), np.float32)
        elif cache is None:
            values = np.concatenate(list(self._transform_batches(rows, batches)))
        else:
            regroups = rows.arity == 2 and len(found) == len(chosen)
            values = look_up_values(
                cache,
                owner,
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

    def _transform_batches(
        self, rows: Rows, batches: Iterable[NDArray[np.intp]]
    ) -> Iterator[NDArray[Any]]:
        """Transform these images batch by batch.

        The steps of a pipeline before the last one work one batch ahead.
        """
        first, last = None, self.transformer_
        if isinstance(last, Pipeline) and len(last) > 1:
            first, last = last[:-1], last[-1:]

        def prepare() -> Iterator[tuple[int, Any]]:
            for batch in batches:
                faces = self._faces(rows, batch)
                yield len(faces), faces if first is None else first.transform(faces)

        for n_faces, prepared in prefetch(prepare()):
            yield self._check_values(last.transform(prepared), n_faces)

    def _check_values(self, values: Any, n_faces: int) -> NDArray[Any]:
        values = values.toarray() if issparse(values) else np.asarray(values)
        if len(values) != n_faces:
            raise ValueError(
                f"transformer={self.transformer!r} returned {len(values)} rows for {n_faces} "
                "faces; it must return one per face."
            )
        return values

    def _check_rows(self, X: Any) -> Rows:
        if not _takes_images(self.transformer) and getattr(X, "ndim", 0) in (2, 3):
            array = np.asarray(X)
            is_pairs = array.ndim == 3 and array.shape[1] == 2
            if array.dtype.kind in "uif" and (array.ndim == 2 or is_pairs):
                return vector_rows(array)
        first = next(steps(self.transformer))
        marks_missing = getattr(first, "on_failure", "raise") == "nan"  # a FaceAligner
        cache, owner = self._cache_and_owner()
        return check_images(
            X,
            image_shape=self.image_shape,
            check_files=not marks_missing,
            known_files=None if cache is None else known_signatures(cache, owner),
        )

    def _faces(self, rows: Rows, indices: NDArray[np.intp]) -> NDArray[Any]:
        """Return faces in the form that the transformer takes."""
        if _takes_images(self.transformer):
            return rows.images.take(indices)
        flat = []
        for _, faces in iter_batches(rows.images, indices.tolist(), self.batch_size):
            for face in faces:
                is_bytes = face.ndim == 3 and face.dtype == np.uint8
                flat.append(np.ravel(face / 255 if is_bytes else face))
        return np.stack(flat)

    def _targets(
        self, rows: Rows, y: Any, chosen: NDArray[np.intp], inverse: NDArray[np.intp]
    ) -> NDArray[Any] | None:
        """Return one target per chosen image, or None."""
        if y is None or (rows.arity == 2 and not _needs_targets(self.transformer)):
            return None
        if rows.arity == 2:
            left, right = inverse.reshape(-1, 2).T
            same = check_pair_labels(y, rows.n_rows)
            return identities_from_pairs(left, right, same, len(chosen))
        y = column_or_1d(y, warn=True)
        if len(y) != rows.n_rows:
            raise ValueError(f"y has {len(y)} labels, but X has {rows.n_rows} rows.")
        return y

    def _pretrained_files(self) -> tuple[Path, ...] | None:
        """Return the files that `fit` reads, or None if it learns from rows."""
        return pretrained_files(self.transformer) if fits_to_any_rows(self.transformer) else None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = _needs_targets(self.transformer)
        return tags
