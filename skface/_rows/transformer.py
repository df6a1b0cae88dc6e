"""RowTransformer: base class of transformers that return one value per face."""

from abc import ABC, abstractmethod
from numbers import Integral
from typing import Any

from numpy.typing import NDArray
from sklearn.base import TransformerMixin
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from skface._rows.sequences import Rows


class _SetOutputMixin(TransformerMixin):
    """The part of `transform` that scikit-learn wraps for `set_output`: values of faces."""

    def transform(self, X: Any, values: NDArray[Any]) -> NDArray[Any]:
        return values


class _UnwrappedTransform(
    _SetOutputMixin,
    ABC,
    auto_wrap_output_keys=None,  # type: ignore[call-arg]  # of scikit-learn's untyped base
):
    """The part of `transform` that is not wrapped, because no data frame holds values of pairs."""

    def transform(self, X: Any) -> NDArray[Any]:  # type: ignore[override]
        """Transform faces, or both faces of pairs, each distinct photo of pairs once.

        Parameters
        ----------
        X : faces or pairs
            Any rows that `fit` accepts.

        Returns
        -------
        values : ndarray of shape (n, ...) or (n, 2, ...)
            One value per face. Vectors of faces are a data frame if `set_output` requests one. The
            values of pairs are always an array.

        Raises
        ------
        ValueError
            If `X` does not hold images, or files cannot be decoded. The message names all files.
        FileNotFoundError
            If image files do not exist. The message names all of them.
        """
        check_is_fitted(self)
        check_scalar(self.batch_size, "batch_size", Integral, min_val=1)
        return self._regrouped_values(X, self._check_rows(X))

    def _regrouped_values(self, X: Any, rows: Rows) -> NDArray[Any]:
        """Transform checked rows."""
        values = rows.regroup(self._transform_rows(rows))
        return super().transform(X, values) if rows.arity == 1 else values

    def fit_transform(self, X: Any, y: Any = None) -> NDArray[Any]:
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
            As `transform` returns them.
        """
        return self._fit_transform(X, y)

    def _fit_transform(self, X: Any, y: Any) -> NDArray[Any]:
        return self.fit(X, y).transform(X)

    @abstractmethod
    def _check_rows(self, X: Any) -> Rows:
        """Decide what the rows of `X` are."""

    @abstractmethod
    def _transform_rows(self, rows: Rows) -> NDArray[Any]:
        """Return one value per image of `rows`, (n * arity, ...)."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags


class RowTransformer(_UnwrappedTransform):
    """Base class of transformers that return one value per face, also for both faces of pairs.

    A subclass has a parameter `batch_size` and implements `fit`, `_check_rows` and
    `_transform_rows`.
    """
