"""BaseEmbedder: rows of faces or pairs to unit vectors, each distinct face once."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin

from skface._rows import (
    Rows,
    RowTransformer,
    check_images,
    distinct_indices,
    is_missing,
    iter_batches,
)
from skface._utils.prefetch import prefetch
from skface._utils.validation import format_items
from skface._utils.vectors import unit_vectors


class BaseEmbedder(ClassNamePrefixFeaturesOutMixin, RowTransformer, BaseEstimator):
    """Base of the face embedders: (n, ...) to (n, d) and (n, 2, ...) to (n, 2, d), float32.

    A subclass sets `embedding_dim_` in `fit` and implements `_embed`, which turns one batch of
    faces into vectors of any length. This class handles rows, pairs, failures and normalization.
    A face that an earlier step did not find (all NaN) gives NaN.
    """

    def _transform_rows(self, rows: Rows) -> NDArray[np.float32]:
        return embed_rows(rows, self._embed, self.embedding_dim_, self.batch_size)

    def _check_rows(self, X: Any) -> Rows:
        return check_images(X, image_shape=self.image_shape)

    @abstractmethod
    def _embed(self, faces: list[NDArray[Any]]) -> NDArray[np.float32]:
        """Embed a batch of faces, (H, W, 3) RGB each, as (n, d) vectors of any length."""

    @property
    def _n_features_out(self) -> int:
        return self.embedding_dim_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def embed_rows(
    rows: Rows,
    embed: Callable[[list[NDArray[Any]]], NDArray[Any]],
    embedding_dim: int,
    batch_size: int,
) -> NDArray[np.float32]:
    """Embed every distinct image of `rows` once, batch by batch.

    The next batch is decoded while one is embedded.

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
    chosen, inverse = distinct_indices(rows)
    vectors = np.full((len(chosen), embedding_dim), np.nan, dtype=np.float32)
    place = 0
    for batch, faces in prefetch(iter_batches(rows.images, chosen, batch_size)):
        found = [i for i, face in enumerate(faces) if not is_missing(face)]
        if found:
            values, usable = unit_vectors(embed([faces[i] for i in found]))
            if not usable.all():
                _refuse(rows, batch[found][~usable])
            vectors[place + np.array(found)] = values
        place += len(batch)
    # if all faces are distinct, nothing needs copying
    return vectors if len(chosen) == len(inverse) else vectors[inverse]


def _refuse(rows: Rows, bad: NDArray[np.intp]) -> None:
    names = format_items(rows.images.name(i) for i in bad)
    raise ValueError(
        f"The network gave a zero or non-finite embedding for {len(bad)} faces ({names}): its "
        "weights are broken, or its input has another range than in training."
    )
