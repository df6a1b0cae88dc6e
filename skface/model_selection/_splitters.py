"""Splitters that put people, not rows, into training or test."""

import warnings
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import BaseCrossValidator, GroupShuffleSplit
from sklearn.utils import check_consistent_length, check_random_state, check_scalar, indexable

from skface.model_selection._class_balance import ClassCounts
from skface.model_selection._identities import encode_identities, linked_groups

# Largest size of a fold, relative to the mean, without a warning.
_UNEVEN = 1.5


class _IdentitySplitter(BaseCrossValidator):
    """Base of the splitters: a subclass chooses the people for training and for test."""

    # the documented way to change the default request for metadata routing
    __metadata_request__split = {"groups": True}  # noqa: RUF012

    def split(
        self, X: Any, y: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Generate the row numbers of the training and the test set of each split.

        Parameters
        ----------
        X : array-like of shape (n_rows, ...)
            Faces or pairs; only their number matters.
        y : array-like of shape (n_rows,), default=None
            Labels. If pairs have two classes, every training and test set must hold both. For faces
            only :class:`StratifiedIdentityKFold` uses it.
        groups : array-like of shape (n_rows,) or (n_rows, 2)
            The identity of each face, or the two identities of each pair, as numbers or strings.
            Required.

        Yields
        ------
        train : ndarray of shape (n_train,)
            Training rows, ascending.
        test : ndarray of shape (n_test,)
            Test rows, ascending.

        Raises
        ------
        ValueError
            If `groups` is missing, has another shape or lacks an entry; if there are too few
            people; or if a training or test set would be empty or lack a class.
        """
        if groups is None:
            name = type(self).__name__
            raise ValueError(
                f"groups=None: {name} needs the identities, (n,) of faces or (n, 2) of pairs. Pass "
                "them as groups= to split, cross_validate or GridSearchCV.fit. For an estimator "
                "that passes no groups on, such as CalibratedClassifierCV without metadata "
                f"routing, use cv=list({name}(...).split(X, y, groups))."
            )
        X, y = indexable(X, y)
        people = encode_identities(groups)[1]
        check_consistent_length(X, people)
        labels = None if y is None else np.asarray(y).ravel()
        splits: list[tuple[np.ndarray, np.ndarray]] = []
        for trained, tested in self._split_people(people, labels):
            train = np.flatnonzero(trained[people].all(axis=1))
            test = np.flatnonzero(tested[people].all(axis=1))
            for side, rows in (("training", train), ("test", test)):
                lack = _missing_from(rows, people, labels)
                if lack:
                    raise ValueError(
                        f"The {side} set of fold {len(splits)} is without {lack}: it holds "
                        f"{len(rows)} of {len(people)} rows, and "
                        f"{len(people) - len(train) - len(test)} pairs straddle the fold and are "
                        f"left out. {self._advice(people, labels)}"
                    )
            splits.append((train, test))
        yield from splits

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of splits.

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

    @abstractmethod
    def _split_people(
        self, people: np.ndarray, labels: np.ndarray | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield which people are for training and which for test, as masks (n_people,)."""

    @abstractmethod
    def _advice(self, people: np.ndarray, labels: np.ndarray | None) -> str:
        """Word the advice for a training or test set that is empty or lacks a class."""


class _IdentityFolds(_IdentitySplitter):
    """Base of the K-fold splitters: each person is in one test fold."""

    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    def _split_people(
        self, people: np.ndarray, labels: np.ndarray | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        check_scalar(self.n_splits, "n_splits", (int, np.integer), min_val=2)
        n_people = people.max() + 1
        if self.n_splits > n_people:
            raise ValueError(
                f"n_splits={self.n_splits} folds are more than the {n_people} people in groups."
            )
        fold_of_person = self._assign_folds(people, labels)
        for fold in range(self.n_splits):
            tested = fold_of_person == fold
            yield ~tested, tested

    def _assign_folds(self, people: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """Assign people to folds; return the fold of each."""
        return self._deal(people)

    def _deal(self, units: np.ndarray) -> np.ndarray:
        """Assign the units in the rows to folds, the heaviest first, each to the lightest fold."""
        # a pair within one unit counts once, a pair of two units once for each
        counted = np.ones(units.shape, dtype=bool)
        counted[:, 1:] = units[:, 1:] != units[:, :1]
        weight = np.bincount(units[counted], minlength=units.max() + 1)
        order = np.arange(len(weight))
        if self.shuffle:
            check_random_state(self.random_state).shuffle(order)
        fold_of_unit = np.empty(len(weight), dtype=np.intp)
        load = np.zeros(self.n_splits, dtype=np.intp)
        for unit in order[np.argsort(-weight[order], kind="stable")]:
            lightest = load.argmin()
            fold_of_unit[unit] = lightest
            load[lightest] += weight[unit]
        return fold_of_unit

    def _advice(self, people: np.ndarray, labels: np.ndarray | None) -> str:
        linked = linked_groups(people)
        if linked.max() + 1 >= self.n_splits:
            fold = self._deal(linked[people])[linked][people[:, 0]]
            sides = [side for i in range(self.n_splits) for side in (fold != i, fold == i)]
            if not any(_missing_from(np.flatnonzero(side), people, labels) for side in sides):
                return (
                    f"Use IdentityGroupKFold(n_splits={self.n_splits}), which keeps linked people "
                    "together: with these pairs, all its training and test sets hold both classes."
                )
        return (
            "Use fewer splits, more pairs, StratifiedIdentityKFold, another random_state with "
            "shuffle=True, or pair people within smaller groups."
        )


class IdentityKFold(_IdentityFolds):
    """K folds of people: no person is in both a test row and a training row.

    `groups` holds the identities. Faces have one identity per row. The folds are then those of
    scikit-learn's ``GroupKFold``, balanced by the number of photos. Pairs have two identities per
    row, which ``GroupKFold`` does not support:

    * The test rows of a fold are the pairs with both people in the fold.
    * The training rows are the pairs with neither person in the fold.
    * A pair with one person in the fold and one outside straddles the fold. It is in neither set.

    People are assigned to folds one by one, those in most rows first, each to the fold with the
    fewest rows so far. Only impostor pairs can straddle. About one impostor pair in `n_splits` is
    in a test set. This matters little if all people are paired with each other, because there are
    then many impostor pairs. If people are paired sparsely, as in Labeled Faces in the Wild, use
    :class:`IdentityGroupKFold`.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Assign people with equally many rows in random order instead of the order of their labels.
    random_state : int, RandomState instance or None, default=None
        Used only with ``shuffle=True``; an int gives the same folds on each call.

    See Also
    --------
    IdentityGroupKFold : Leaves out no pair, if people are paired sparsely.
    StratifiedIdentityKFold : Keeps the ratio of genuine to impostor pairs similar over folds.
    describe_folds : Counts the rows in each fold and the rows left out.
    sklearn.model_selection.GroupKFold : The same for rows with one group each.

    Notes
    -----
    With metadata routing `groups` is requested by default, as by scikit-learn's group splitters.

    Examples
    --------
    >>> import numpy as np
    >>> from skface.model_selection import IdentityKFold
    >>> people = [["Ann", "Ann"], ["Ann", "Cy"], ["Bob", "Bob"], ["Bob", "Dee"], ["Cy", "Dee"]]
    >>> for train, test in IdentityKFold(2).split(np.zeros(5), groups=people):
    ...     print(train, test)  # no person is in both; row 4 straddles the folds
    [2 3] [0 1]
    [0 1] [2 3]
    """


class IdentityGroupKFold(_IdentityFolds):
    """K folds of people that keep linked people together, so that no pair is left out.

    Pairs link people into groups: the connected components of the graph whose edges are the pairs.
    Whole groups are assigned to folds, those with most pairs first, each to the fold with the
    fewest pairs so far. No pair straddles a fold: each is in one test set, and in training for the
    other folds. This needs a sparse graph without large groups. If all people are paired with each
    other, there is only one group; use :class:`IdentityKFold`.

    For faces a group is a person, and the folds are those of :class:`IdentityKFold`.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Assign groups with equally many rows in random order instead of the order of their labels.
    random_state : int, RandomState instance or None, default=None
        Used only with ``shuffle=True``; an int gives the same folds on each call.

    Warns
    -----
    UserWarning
        From `split`, if one group holds so many rows that the folds are uneven.

    See Also
    --------
    IdentityKFold : Assigns people one by one, if one group is too large.
    describe_folds : Counts the rows in each fold.

    Notes
    -----
    With metadata routing `groups` is requested by default, as by scikit-learn's group splitters.

    Examples
    --------
    >>> import numpy as np
    >>> from skface.model_selection import IdentityGroupKFold
    >>> people = [["Ann", "Ann"], ["Ann", "Bob"], ["Cy", "Cy"], ["Cy", "Dee"]]
    >>> for train, test in IdentityGroupKFold(2).split(np.zeros(4), groups=people):
    ...     print(train, test)
    [2 3] [0 1]
    [0 1] [2 3]
    """

    def _assign_folds(self, people: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        linked = linked_groups(people)
        n_groups, n_rows = linked.max() + 1, len(people)
        n_largest = np.bincount(linked[people[:, 0]]).max()
        largest = f"the largest group of linked people holds {n_largest / n_rows:.0%} of the rows"
        if self.n_splits > n_groups:
            raise ValueError(
                f"n_splits={self.n_splits} folds are more than the {n_groups} groups of linked "
                f"people; {largest}. Use IdentityKFold, which assigns people one by one and leaves "
                "out the pairs that straddle a fold."
            )
        if n_largest * self.n_splits > _UNEVEN * n_rows:
            warnings.warn(
                f"The {self.n_splits} folds are uneven: {largest}, and an even fold holds "
                f"{1 / self.n_splits:.0%}. IdentityKFold assigns people one by one, and leaves out "
                "the pairs that straddle a fold.",
                UserWarning,
                stacklevel=4,  # the caller that iterates over `split`
            )
        return self._deal(linked[people])[linked]

    def _advice(self, people: np.ndarray, labels: np.ndarray | None) -> str:
        return (
            "Use fewer splits, another random_state with shuffle=True, or IdentityKFold, which "
            "assigns people one by one."
        )


class StratifiedIdentityKFold(_IdentityFolds):
    """K folds of people with similar class ratios.

    It starts from the folds of :class:`IdentityKFold`. Then single people move to another fold, or
    two people swap folds, while that makes the number of test rows of each class more similar over
    folds. For pairs the classes of `y` are genuine and impostor; for faces `y` may be any label,
    and the rows of a person may have several. To stratify by another label than the target, pass
    that label to ``split`` and use the list of splits as `cv`.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Assign people with equally many rows in random order instead of the order of their labels.
    random_state : int, RandomState instance or None, default=None
        Used only with ``shuffle=True``; an int gives the same folds on each call.

    See Also
    --------
    IdentityKFold : Balances the number of rows and ignores classes.
    describe_folds : Counts the rows in each fold and the rows left out.
    sklearn.model_selection.StratifiedGroupKFold : The same for rows with one group each.

    Notes
    -----
    Equal folds may not exist: a person with half of all photos makes one fold larger. The search is
    local, so it may miss the most equal folds. Its time grows with the square of the number of
    people; 2,000 people take a few seconds at most.

    With metadata routing `groups` is requested by default, as by scikit-learn's group splitters.

    Examples
    --------
    >>> from skface import make_pairs
    >>> from skface.model_selection import StratifiedIdentityKFold
    >>> pairs = make_pairs([i % 20 for i in range(100)], n_impostor=800, random_state=0)
    >>> cv = StratifiedIdentityKFold(4)
    >>> for train, test in cv.split(pairs.indices, pairs.target, pairs.identities):
    ...     print(f"{len(test)} pairs, {pairs.target[test].mean():.0%} genuine")
    98 pairs, 51% genuine
    97 pairs, 52% genuine
    98 pairs, 51% genuine
    98 pairs, 51% genuine
    """

    def _assign_folds(self, people: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        if labels is None:
            raise ValueError(
                "y=None: StratifiedIdentityKFold needs the label of each row. Pass y, or use "
                "IdentityKFold."
            )
        fold_of_person = self._deal(people)
        ClassCounts(people, labels, fold_of_person, self.n_splits).even_out()
        return fold_of_person


class IdentityShuffleSplit(_IdentitySplitter):
    """Random splits of people into training and test; no person is in both.

    Each split draws new test people and training people. The test rows are the faces of test
    people, or the pairs with both people among them; the training rows likewise. A pair of a test
    person and a training person is in neither.

    Parameters
    ----------
    n_splits : int, default=5
        Number of splits.
    test_size : float or int, default=None
        Share or number of test people. None takes the complement of `train_size`, or 0.2.
    train_size : float or int, default=None
        Share or number of training people. None takes the complement of `test_size`.
    random_state : int, RandomState instance or None, default=None
        Draws the people; an int gives the same splits on each call.

    See Also
    --------
    IdentityKFold : Puts each person into one test set.
    sklearn.model_selection.GroupShuffleSplit : The same for rows with one group each.

    Notes
    -----
    Sizes count people. The share of impostor pairs is smaller: with a fifth of the people in test,
    about one impostor pair in 25 is a test row.

    With metadata routing `groups` is requested by default, as by scikit-learn's group splitters.

    Examples
    --------
    >>> import numpy as np
    >>> from skface.model_selection import IdentityShuffleSplit
    >>> people = ["Ann", "Ann", "Bob", "Cy", "Cy"]
    >>> cv = IdentityShuffleSplit(n_splits=2, test_size=1, random_state=0)
    >>> for train, test in cv.split(np.zeros(5), groups=people):
    ...     print(train, test)
    [0 1 2] [3 4]
    [0 1 2] [3 4]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        test_size: float | int | None = None,
        train_size: float | int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_splits = n_splits
        self.test_size = test_size
        self.train_size = train_size
        self.random_state = random_state

    def _split_people(
        self, people: np.ndarray, labels: np.ndarray | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        everybody = np.arange(people.max() + 1)
        draw = GroupShuffleSplit(
            self.n_splits,
            test_size=self.test_size,
            train_size=self.train_size,
            random_state=self.random_state,
        )
        for train, test in draw.split(everybody, groups=everybody):
            yield np.isin(everybody, train), np.isin(everybody, test)

    def _advice(self, people: np.ndarray, labels: np.ndarray | None) -> str:
        return "Use a larger test_size, another random_state, or IdentityGroupKFold."


def _missing_from(rows: np.ndarray, people: np.ndarray, labels: np.ndarray | None) -> str:
    """Return what a training or test set lacks: any row or, for pairs of two classes, a class."""
    if len(rows) == 0:
        return "any row"
    if labels is None or people.shape[1] == 1:
        return ""
    classes = np.unique(labels).tolist()
    if len(classes) != 2:
        return ""
    return ", ".join(f"class {label!r}" for label in classes if not np.any(labels[rows] == label))
