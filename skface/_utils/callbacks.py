"""How a `fit` calls the callbacks of scikit-learn: its tasks, when they begin, and when they end.

The estimator inherits from `sklearn.callback.CallbackSupportMixin`. A `fit` without subtasks is
decorated with `fit_as_one_task`. Others are decorated with `sklearn.callback.with_callbacks` and
open their tasks with `epochs_as_tasks` or `fit_task`.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from sklearn.callback import CallbackContext, CallbackSupportMixin, with_callbacks

_Fit = TypeVar("_Fit", bound=Callable[..., Any])

#: Number of frames on the stack between a `fit` in `fit_as_one_task` and its caller.
FRAMES = 2


@contextmanager
def fit_task(
    estimator: CallbackSupportMixin,
    X: Any,
    y: Any = None,
    *,
    max_subtasks: int = 0,
    metadata: dict[str, Any] | None = None,
) -> Iterator[CallbackContext]:
    """Notify callbacks that the fit of an estimator begins and, unless it fails, that it ends.

    The estimator must be fitted when the block ends, since callbacks get a copy of it. Its `fit`
    must be decorated with `sklearn.callback.with_callbacks`, which closes the callbacks even if
    the block fails.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        The estimator that is being fitted.
    X, y : object
        What it is fitted on, for callbacks that score.
    max_subtasks : int, default=0
        Largest number of subtasks; 0 for a fit without subtasks.
    metadata : dict, default=None
        Other arguments of `fit` by name, such as `sample_weight`.

    Yields
    ------
    CallbackContext
        The task; its `subcontext` opens subtasks.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> class Mean(CallbackSupportMixin, BaseEstimator):
    ...     @with_callbacks
    ...     def fit(self, X, y=None):
    ...         with fit_task(self, X, y) as task:
    ...             self.mean_ = sum(X) / len(X)
    ...             print(task.estimator_name, task.task_name)
    ...         return self
    >>> Mean().fit([1, 2]).mean_
    Mean fit
    1.5
    """
    task = estimator._init_callback_context(max_subtasks=max_subtasks)
    task.call_on_fit_task_begin(estimator=estimator, X=X, y=y, metadata=metadata)
    yield task
    task.call_on_fit_task_end(
        estimator=estimator,
        X=X,
        y=y,
        metadata=metadata,
        reconstruction_attributes={},  # nothing to add: the estimator has all of them by now
    )


def fit_as_one_task(fit: _Fit) -> _Fit:
    """Decorate a `fit` without subtasks, so that callbacks are notified when it begins and ends.

    Its arguments other than `X` and `y` are metadata for callbacks, unless they are None. Warnings
    of `fit` need a `stacklevel` larger by `FRAMES` to point to its caller.

    Parameters
    ----------
    fit : method
        ``fit(self, X, y, ...)`` of a `sklearn.callback.CallbackSupportMixin`.

    Returns
    -------
    method
        The same with callbacks; its signature and docstring are those of `fit`.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> class Mean(CallbackSupportMixin, BaseEstimator):
    ...     @fit_as_one_task
    ...     def fit(self, X, y=None):
    ...         self.mean_ = sum(X) / len(X)
    ...         return self
    >>> Mean().fit([1, 2]).mean_
    1.5
    """
    signature = inspect.signature(fit)

    @with_callbacks
    @functools.wraps(fit)
    def fit_with_callbacks(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(self, *args, **kwargs).arguments
        metadata = {
            name: value
            for name, value in given.items()
            if name not in ("self", "X", "y") and value is not None
        }
        with fit_task(self, given["X"], given.get("y"), metadata=metadata):
            return fit(self, *args, **kwargs)

    return cast(_Fit, fit_with_callbacks)


class Epochs:
    """Epochs of a fit, as subtasks for callbacks; made by `epochs_as_tasks`.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        The estimator that is being fitted.
    X, y : object
        What it is fitted on.
    task : CallbackContext
        The whole fit.
    """

    def __init__(self, estimator: CallbackSupportMixin, X: Any, y: Any, task: CallbackContext):
        self._fit_task = task
        self._common = {"estimator": estimator, "X": X, "y": y}

    def begin(self) -> None:
        """Notify callbacks that the next epoch begins, at most `max_epochs` times."""
        self._task = self._fit_task.subcontext(task_name="epoch")
        self._task.call_on_fit_task_begin(**self._common)

    def end(self, attributes: Callable[[], dict[str, Any]]) -> bool:
        """Notify callbacks that the current epoch has ended.

        Parameters
        ----------
        attributes : callable
            Returns the fitted attributes by name, as if the fit ended now. It is called only for
            callbacks that use the estimator; they get a copy with these attributes.

        Returns
        -------
        bool
            Whether a callback asks to stop. The remaining epochs need not begin.
        """
        return self._task.call_on_fit_task_end(**self._common, reconstruction_attributes=attributes)


@contextmanager
def epochs_as_tasks(
    estimator: CallbackSupportMixin, X: Any, y: Any, max_epochs: int
) -> Iterator[Epochs]:
    """Let callbacks follow the epochs of a fit, and stop it.

    As with `fit_task`, the estimator must be fitted when the block ends.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        The estimator, whose `fit` is decorated with `sklearn.callback.with_callbacks`.
    X, y : object
        What it is fitted on, for callbacks that score.
    max_epochs : int
        Largest number of epochs; 0 for a fit without epochs. Fewer may be run.

    Yields
    ------
    Epochs
        Its `begin` and `end` surround the work of each epoch.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> class Halving(CallbackSupportMixin, BaseEstimator):
    ...     @with_callbacks
    ...     def fit(self, X, y=None):
    ...         self.value_ = sum(X)
    ...         with epochs_as_tasks(self, X, y, max_epochs=3) as epochs:
    ...             for _ in range(3):
    ...                 epochs.begin()
    ...                 self.value_ /= 2
    ...                 if epochs.end(lambda: {"value_": self.value_}):
    ...                     break
    ...         return self
    >>> Halving().fit([3, 5]).value_
    1.0
    """
    with fit_task(estimator, X, y, max_subtasks=max_epochs) as task:
        yield Epochs(estimator, X, y, task)
