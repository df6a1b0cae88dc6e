"""What embedders share: rows in, one forward pass per distinct face, rows out."""

import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from skface._locks import ProcessLock
from skface._prefetch import prefetch
from skface.images import Rows, check_images, is_missing, iter_batches
from skface.pairs import row_images

# A network or session that runs is rebuilt from fitted arrays once per process and estimator. It
# never sits on the estimator, so that pickles, clones and copies hold data only.
_LIVE: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_LIVE_LOCK = ProcessLock()


def live(estimator: BaseEstimator, token: object, build: Callable[[], Any]) -> Any:
    """Return what `build` made for this estimator, made anew when `token` is another object.

    Forked processes build their own: threads and devices do not survive a fork. What they inherit
    stays, since tearing it down may wait for such a thread.
    """
    with _LIVE_LOCK:
        by_process = _LIVE.setdefault(estimator, {})
        kept = by_process.get(os.getpid())
        if kept is None or kept[0] is not token:
            kept = by_process[os.getpid()] = (token, build())
        return kept[1]


class _FacesInFrames(TransformerMixin):
    """What scikit-learn wraps: one value per face, in the frame that set_output asks for."""

    def transform(self, X, values):
        return values


class _TransformsRows(ABC):
    """What scikit-learn does not wrap, because no frame holds the values of pairs."""

    def transform(self, X):
        """Transform faces, or both faces of pairs, each distinct photo of pairs once.

        Parameters
        ----------
        X : faces or pairs
            Any rows that `fit` accepts.

        Returns
        -------
        values : ndarray of shape (n, ...) or (n, 2, ...)
            One value per face. Vectors of faces come in a data frame if `set_output` asks for one;
            the values of pairs are an array always.

        Raises
        ------
        ValueError
            If `X` is not made of images, or a file cannot be decoded (all of them are named).
        FileNotFoundError
            If image files are missing (all of them are named).
        """
        check_is_fitted(self)
        check_scalar(self.batch_size, "batch_size", Integral, min_val=1)
        return self._regrouped_values(X, self._check_rows(X))

    def _regrouped_values(self, X, rows: Rows):
        """Return what `transform` does, for rows that were checked."""
        values = rows.regroup(self._transform_rows(rows))
        return super().transform(X, values) if rows.arity == 1 else values

    def fit_transform(self, X, y=None):
        """Fit to rows and transform them.

        Parameters
        ----------
        X : faces or pairs
            As in `fit`.
        y : array-like of shape (n,), default=None
            As in `fit`.

        Returns
        -------
        values : ndarray of shape (n, ...) or (n, 2, ...)
            As of `transform`.
        """
        return self._fit_transform(X, y)

    def _fit_transform(self, X, y):
        return self.fit(X, y).transform(X)

    @abstractmethod
    def _check_rows(self, X) -> Rows:
        """Decide what the rows of `X` are."""

    @abstractmethod
    def _transform_rows(self, rows: Rows) -> np.ndarray:
        """Return one value per image of `rows`, (n * arity, ...)."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags


class RowTransformer(_TransformsRows, _FacesInFrames):
    """Base of transformers that give one value per face: (n, ...), and (n, 2, ...) for pairs.

    A subclass has a parameter `batch_size`, decides what rows are in `_check_rows`, and works on
    their images in `_transform_rows`.
    """


class BaseEmbedder(ClassNamePrefixFeaturesOutMixin, RowTransformer, BaseEstimator):
    """Base of the face embedders: (n, ...) to (n, d) and (n, 2, ...) to (n, 2, d), float32.

    A subclass sets `embedding_dim_` in `fit` and implements `_embed`, which turns one batch of
    faces into vectors of any length; rows, pairs, failures and normalisation are dealt with here.
    A face that an earlier step did not find (all NaN) gives NaN.
    """

    def _transform_rows(self, rows: Rows) -> np.ndarray:
        return embed_rows(rows, self._embed, self.embedding_dim_, self.batch_size)

    def _check_rows(self, X) -> Rows:
        return check_images(X, image_shape=self.image_shape)

    @abstractmethod
    def _embed(self, faces: list[np.ndarray]) -> np.ndarray:
        """Embed a batch of faces, (H, W, 3) RGB each, as (n, d) vectors of any length."""

    @property
    def _n_features_out(self):
        return self.embedding_dim_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def embed_rows(
    rows: Rows,
    embed: Callable[[list[np.ndarray]], np.ndarray],
    embedding_dim: int,
    batch_size: int,
) -> np.ndarray:
    """Embed every distinct image of `rows` once, batch by batch.

    The next batch is decoded in the meantime.

    Parameters
    ----------
    rows : Rows
        Faces or pairs.
    embed : callable
        Turns a list of faces, (H, W, 3) RGB each, into (n, embedding_dim) vectors of any length.
    embedding_dim : int
        Length of an embedding.
    batch_size : int
        Faces at a time.

    Returns
    -------
    ndarray of shape (n * arity, embedding_dim)
        Unit vectors, one per image; NaN for faces that an earlier step did not find.
    """
    chosen, inverse = row_images(rows)
    vectors = np.full((len(chosen), embedding_dim), np.nan, dtype=np.float32)
    place = 0
    for batch, faces in prefetch(iter_batches(rows.images, chosen, batch_size)):
        found = [i for i, face in enumerate(faces) if not is_missing(face)]
        if found:
            values = embed([faces[i] for i in found])
            vectors[place + np.array(found)] = _unit(values, rows, batch[found])
        place += len(batch)
    # every face distinct, as it is for plain faces: nothing to copy
    return vectors if len(chosen) == len(inverse) else vectors[inverse]


def _unit(values: np.ndarray, rows: Rows, batch: np.ndarray) -> np.ndarray:
    """Scale vectors to length 1 (float64 inside, so that batches cannot change the result)."""
    values = np.asarray(values, dtype=np.float64)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    bad = batch[~(np.isfinite(norms[:, 0]) & (norms[:, 0] > 0))]
    if len(bad):
        names = ", ".join(rows.images.name(i) for i in bad[:5])
        raise ValueError(
            f"The network gave a zero or non-finite embedding for {len(bad)} faces ({names}): its "
            "weights are broken, or it got inputs of another range than it was trained with."
        )
    return values / norms
