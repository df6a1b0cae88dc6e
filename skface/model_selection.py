"""Splits in which no person of a test row is seen in training."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_consistent_length, check_random_state, check_scalar, indexable

from skface._validation import name_some


class IdentityKFold(BaseCrossValidator):
    """K folds of people: whoever is in a test row is in no training row.

    `groups` says who is on the photos. For faces it is one identity per row, and the folds are
    those of scikit-learn's ``GroupKFold``: people balanced by their number of photos. For pairs it
    is two identities per row, which ``GroupKFold`` cannot express:

    * the test rows of a fold are the pairs with both people in the fold,
    * its training rows are the pairs with neither person in the fold,
    * a pair that straddles (one person in, one out) is in neither, for that fold.

    People are dealt to folds, the heaviest first and each to the lightest fold so far, in one of
    two ways. If the pairs link people into groups (the connected components of the graph whose
    edges are the pairs) of which none holds more than ``1 / n_splits`` of the pairs, whole groups
    are dealt, and no pair is ever lost. Otherwise people are dealt one by one, and straddling
    pairs are lost; all of them are different pairs, because a same pair cannot straddle.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Deal people of equal weight in random order instead of the order of their labels.
    random_state : int, RandomState instance or None, default=None
        Used only with ``shuffle=True``; an int gives the same folds on each call.

    See Also
    --------
    sklearn.model_selection.GroupKFold : The same for rows with one group each.

    Notes
    -----
    Under metadata routing `groups` is requested by default, as by scikit-learn's group splitters.

    Examples
    --------
    >>> import numpy as np
    >>> from skface.model_selection import IdentityKFold
    >>> people = [["Ann", "Ann"], ["Ann", "Bob"], ["Cy", "Cy"], ["Cy", "Dee"]]
    >>> for train, test in IdentityKFold(2).split(np.zeros(4), groups=people):
    ...     print(train, test)
    [2 3] [0 1]
    [0 1] [2 3]
    """

    # scikit-learn's documented way to change a default request; its splitters default to unused.
    __metadata_request__split = {"groups": True}  # noqa: RUF012

    def __init__(
        self, n_splits: int = 5, *, shuffle: bool = False, random_state: Any = None
    ) -> None:
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Generate the row numbers of training and test set, fold by fold.

        Parameters
        ----------
        X : array-like of shape (n_rows, ...)
            Faces or pairs; only their number matters.
        y : array-like of shape (n_rows,), default=None
            For pairs, same or different. If it holds two classes then so must every training and
            test set. Ignored for faces.
        groups : array-like of shape (n_rows,) or (n_rows, 2)
            The identity of each face, or the two identities of each pair, as numbers or strings.

        Yields
        ------
        train : ndarray of shape (n_train,)
            Training rows, ascending.
        test : ndarray of shape (n_test,)
            Test rows, ascending.

        Raises
        ------
        ValueError
            If `groups` is absent, of the wrong shape or incomplete; if there are more folds than
            people; or if a training or test set would be empty or lack a class.
        """
        check_scalar(self.n_splits, "n_splits", (int, np.integer), min_val=2)
        if groups is None:
            raise ValueError(
                "groups=None: IdentityKFold needs the identities, (n,) of faces or (n, 2) of "
                "pairs. Pass them as groups= to split, cross_validate or GridSearchCV.fit."
            )
        X, y = indexable(X, y)
        people = _encode_identities(groups)
        check_consistent_length(X, people)
        n_people = people.max() + 1
        if self.n_splits > n_people:
            raise ValueError(
                f"n_splits={self.n_splits} folds are more than the {n_people} people in groups."
            )
        fold_of_row = self._assign_folds(people, n_people)[people]
        folds = []
        for fold in range(self.n_splits):
            inside = fold_of_row == fold
            train, test = np.flatnonzero(~inside.any(axis=1)), np.flatnonzero(inside.all(axis=1))
            self._check_fold(fold, train, test, y if people.shape[1] == 2 else None, len(people))
            folds.append((train, test))
        yield from folds

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : object
            Ignored, present because scikit-learn passes them.

        Returns
        -------
        int
            `n_splits`.
        """
        return self.n_splits

    def _assign_folds(self, people: np.ndarray, n_people: int) -> np.ndarray:
        """Deal people, or whole groups of linked people, to folds; return the fold of each."""
        unit_of_person = np.arange(n_people)
        if people.shape[1] == 2:
            links = coo_array((np.ones(len(people)), people.T), shape=(n_people, n_people))
            _, linked = connected_components(links, directed=False)
            if np.bincount(linked[people[:, 0]]).max() * self.n_splits <= len(people):
                unit_of_person = linked
        # A pair of one person weighs once, a pair of two people once for each of them.
        units = unit_of_person[people]
        counted = np.ones(units.shape, dtype=bool)
        counted[:, 1:] = units[:, 1:] != units[:, :1]
        weight = np.bincount(units[counted], minlength=unit_of_person.max() + 1)

        order = np.arange(len(weight))
        if self.shuffle:
            check_random_state(self.random_state).shuffle(order)
        fold_of_unit = np.empty(len(weight), dtype=np.intp)
        load = np.zeros(self.n_splits, dtype=np.intp)
        for unit in order[np.argsort(-weight[order], kind="stable")]:
            lightest = load.argmin()
            fold_of_unit[unit] = lightest
            load[lightest] += weight[unit]
        return fold_of_unit[unit_of_person]

    def _check_fold(
        self, fold: int, train: np.ndarray, test: np.ndarray, y: Any, n_rows: int
    ) -> None:
        """Raise if a side of the fold is empty or, for pairs, lacks one of two classes."""
        labels = None if y is None else np.asarray(y).ravel()
        classes = [] if labels is None else np.unique(labels).tolist()
        for name, rows in (("training", train), ("test", test)):
            missing = "any row" if len(rows) == 0 else ""
            if not missing and len(classes) == 2:
                missing = ", ".join(
                    f"class {label!r}" for label in classes if not np.any(labels[rows] == label)
                )
            if missing:
                raise ValueError(
                    f"The {name} set of fold {fold} is without {missing}: it holds {len(rows)} of "
                    f"{n_rows} rows, and {n_rows - len(train) - len(test)} pairs straddle the "
                    "fold and are left out. Use fewer splits, another random_state with "
                    "shuffle=True, or pair people within smaller groups."
                )


def _encode_identities(groups: Any) -> np.ndarray:
    """Check `groups` and number the people from 0: (n, 1) for faces, (n, 2) for pairs."""
    identities = np.asarray(groups)
    if identities.ndim not in (1, 2) or (identities.ndim == 2 and identities.shape[1] != 2):
        raise ValueError(
            f"groups has shape {identities.shape}: expected (n,), the identity of each face, or "
            "(n, 2), the two identities of each pair."
        )
    identities = identities.reshape(len(identities), -1)
    if len(identities) == 0:
        raise ValueError("groups is empty.")
    if identities.dtype.kind in "fO":
        missing = [row for row, names in enumerate(identities) if any(map(_is_missing, names))]
        if missing:
            raise ValueError(
                f"groups lacks an identity in row {name_some(missing)}. Name the person or drop "
                "the row."
            )
    try:
        _, people = np.unique(identities, return_inverse=True)
    except TypeError as error:
        raise ValueError(
            "groups mixes types that cannot be ordered; name everybody by a number or everybody "
            "by a string."
        ) from error
    return people.reshape(identities.shape)


def _is_missing(value: Any) -> bool:
    """Tell whether `value` is None, NaN, NaT or pandas.NA (which cannot be compared)."""
    return value is None or type(value).__name__ == "NAType" or bool(value != value)
