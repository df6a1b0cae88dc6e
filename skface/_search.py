"""What the fits of one search share, and which of them it throws away."""

import uuid
from collections import OrderedDict

from sklearn.callback import CallbackContext

from skface.images import SeenRows
from skface.nn._locks import ProcessLock

# What fits that are part of others have seen, by the outermost of them; that of the last two.
_SEEN: OrderedDict[uuid.UUID, SeenRows] = OrderedDict()
_SEEN_LOCK = ProcessLock()
_N_SEEN = 2
_TRIAL = "candidate-split-evaluation"  # what scikit-learn's searches call the fit of a fold


def seen_in(task: CallbackContext) -> SeenRows | None:
    """Return what was seen of photos since the outermost fit began that a fit is part of.

    Parameters
    ----------
    task : sklearn.callback.CallbackContext
        The fit.

    Returns
    -------
    SeenRows or None
        Of this process, or None for a fit that is no part of another. The fits of a search are to
        be compared, so that its photos should not change meanwhile, and are taken not to.
    """
    if task.parent is None:
        return None
    with _SEEN_LOCK:
        seen = _SEEN.setdefault(task.root_uuid, SeenRows())
        _SEEN.move_to_end(task.root_uuid)
        while len(_SEEN) > _N_SEEN:
            _SEEN.popitem(last=False)
    return seen


def is_trial(task: CallbackContext) -> bool:
    """Tell whether a fit is one that a search scores and throws away, or part of such a one.

    Parameters
    ----------
    task : sklearn.callback.CallbackContext
        The fit.

    Returns
    -------
    bool
        False for the fit of the best estimator, which outlives the search.
    """
    while task is not None:
        # a fit takes the place of the task that it was started for
        if _TRIAL in (task.task_name, task.source_task_name):
            return True
        task = task.parent
    return False
