"""Splitters over people: rows follow the people that are in them."""

import warnings
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator, GroupShuffleSplit
from sklearn.utils import check_consistent_length, check_random_state, check_scalar, indexable

from skface.model_selection._class_balance import ClassCounts
from skface.model_selection._identities import encode_identities, linked_groups

# A fold that is this many times the average one is worth a warning.
_UNEVEN = 1.5


class _IdentitySplitter(BaseCrossValidator):
    """Base of the splitters: a subclass says which people are for training and which for test."""

    # scikit-learn's documented way to change a default request; its splitters default to unused.
    __metadata_request__split = {"groups": True}  # noqa: RUF012

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Generate the row numbers of training and test set, split by split.

        Parameters
        ----------
        X : array-like of shape (n_rows, ...)
            Faces or pairs; only their number matters.
        y : array-like of shape (n_rows,), default=None
            For pairs, same or different. If it holds two classes then so must every training and
            test set. For faces only StratifiedIdentityKFold looks at it.
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
            If `groups` is absent, of the wrong shape or incomplete; if there are too few people;
            or if a training or test set would be empty or lack a class.
        """
        if groups is None:
            name = type(self).__name__
            raise ValueError(
                f"groups=None: {name} needs the identities, (n,) of faces or (n, 2) of pairs. Pass "
                "them as groups= to split, cross_validate or GridSearchCV.fit. Whatever does not "
                "pass them on, as CalibratedClassifierCV without metadata routing, takes "
                f"cv=list({name}(...).split(X, y, groups))."
            )
        X, y = indexable(X, y)
        people = encode_identities(groups)[1]
        check_consistent_length(X, people)
        labels = None if y is None else np.asarray(y).ravel()
        splits = []
        for trained, tested in self._split_people(people, labels):
            train = np.flatnonzero(trained[people].all(axis=1))
            test = np.flatnonzero(tested[people].all(axis=1))
            for side, rows in (("training", train), ("test", test)):
                lack = _what_lacks(rows, people, labels)
                if lack:
                    raise ValueError(
                        f"The {side} set of fold {len(splits)} is without {lack}: it holds "
                        f"{len(rows)} of {len(people)} rows, and "
                        f"{len(people) - len(train) - len(test)} pairs straddle the fold and are "
                        f"left out. {self._way_out(people, labels)}"
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
    def _way_out(self, people: np.ndarray, labels: np.ndarray | None) -> str:
        """Say what to do about a training or test set that is empty or lacks a class."""


class _IdentityFolds(_IdentitySplitter):
    """Base of the splitters with K folds: everybody is tested once."""

    def __init__(
        self, n_splits: int = 5, *, shuffle: bool = False, random_state: Any = None
    ) -> None:
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    def _split_people(self, people, labels):
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
        """Deal people to folds; return the fold of each."""
        return self._deal(people)

    def _deal(self, units: np.ndarray) -> np.ndarray:
        """Deal the units in the rows to folds, the heaviest first, each to the lightest fold."""
        # A pair within one unit weighs once, a pair of two units once for each of them.
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

    def _way_out(self, people, labels):
        linked = linked_groups(people)
        if linked.max() + 1 >= self.n_splits:
            fold = self._deal(linked[people])[linked][people[:, 0]]
            sides = [side for i in range(self.n_splits) for side in (fold != i, fold == i)]
            if not any(_what_lacks(np.flatnonzero(side), people, labels) for side in sides):
                return (
                    f"Use IdentityGroupKFold(n_splits={self.n_splits}), which keeps linked people "
                    "together: with these pairs no fold of it lacks anything."
                )
        return (
            "Use fewer splits, more pairs, StratifiedIdentityKFold, another random_state with "
            "shuffle=True, or pair people within smaller groups."
        )


class IdentityKFold(_IdentityFolds):
    """K folds of people: whoever is in a test row is in no training row.

    `groups` says who is on the photos. For faces it is one identity per row, and the folds are
    those of scikit-learn's ``GroupKFold``: people balanced by their number of photos. For pairs it
    is two identities per row, which ``GroupKFold`` cannot express:

    * the test rows of a fold are the pairs with both people in the fold,
    * its training rows are the pairs with neither person in the fold,
    * a pair that straddles (one person in, one out) is in neither, for that fold.

    People are dealt to folds one by one, the heaviest (in most rows) first and each to the lightest
    fold so far. Straddling pairs are lost, and all of them are pairs of different people: of
    those, about one in `n_splits` is ever tested. That is no loss if people were paired freely,
    for then there are plenty. If they were paired sparsely, as in Labeled Faces in the Wild, use
    :class:`IdentityGroupKFold`.

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
    IdentityGroupKFold : Loses no pair, if people are paired sparsely.
    StratifiedIdentityKFold : Keeps the ratio of same to different pairs alike over folds.
    describe_folds : Counts what is in the folds, and what is lost.
    sklearn.model_selection.GroupKFold : The same for rows with one group each.

    Notes
    -----
    Under metadata routing `groups` is requested by default, as by scikit-learn's group splitters.

    Examples
    --------
    >>> import numpy as np
    >>> from skface.model_selection import IdentityKFold
    >>> people = [["Ann", "Ann"], ["Ann", "Cy"], ["Bob", "Bob"], ["Bob", "Dee"], ["Cy", "Dee"]]
    >>> for train, test in IdentityKFold(2).split(np.zeros(5), groups=people):
    ...     print(train, test)  # nobody of 0, 1 is in 2, 3; row 4 straddles
    [2 3] [0 1]
    [0 1] [2 3]
    """


class IdentityGroupKFold(_IdentityFolds):
    """K folds of people that keeps linked people together, so that no pair is ever lost.

    The pairs link people into groups: the connected components of the graph whose edges are the
    pairs. Whole groups are dealt to folds, the heaviest (with most pairs) first and each to the
    lightest fold so far. Nothing straddles: every pair is tested once, and is in training
    otherwise. This wants a sparse graph, in which no group is large. If everybody is paired with
    anybody, there is one group and nothing to deal; use :class:`IdentityKFold`.

    For faces, a group is a person, and the folds are those of :class:`IdentityKFold`.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Deal groups of equal weight in random order instead of the order of their labels.
    random_state : int, RandomState instance or None, default=None
        Used only with ``shuffle=True``; an int gives the same folds on each call.

    Warns
    -----
    UserWarning
        From `split`, if one group holds so many rows that the folds must be uneven.

    See Also
    --------
    IdentityKFold : Deals people one by one, if one group is too large.
    describe_folds : Counts what is in the folds.

    Notes
    -----
    Under metadata routing `groups` is requested by default, as by scikit-learn's group splitters.

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

    def _assign_folds(self, people, labels):
        linked = linked_groups(people)
        n_groups, n_rows = linked.max() + 1, len(people)
        n_largest = np.bincount(linked[people[:, 0]]).max()
        largest = f"the largest group of linked people holds {n_largest / n_rows:.0%} of the rows"
        if self.n_splits > n_groups:
            raise ValueError(
                f"n_splits={self.n_splits} folds are more than the {n_groups} groups of linked "
                f"people; {largest}. Use IdentityKFold, which deals people one by one and leaves "
                "out the pairs that straddle a fold."
            )
        if n_largest * self.n_splits > _UNEVEN * n_rows:
            warnings.warn(
                f"The {self.n_splits} folds are uneven: {largest}, and an even fold holds "
                f"{1 / self.n_splits:.0%}. IdentityKFold deals people one by one, and leaves out "
                "the pairs that straddle a fold.",
                UserWarning,
                stacklevel=4,  # whoever asks `split` for the first fold
            )
        return self._deal(linked[people])[linked]

    def _way_out(self, people, labels):
        return (
            "Use fewer splits, another random_state with shuffle=True, or IdentityKFold, which "
            "deals people one by one."
        )


class StratifiedIdentityKFold(_IdentityFolds):
    """K folds of people in which the classes are mixed alike.

    It starts from the folds of :class:`IdentityKFold`. Then people move to another fold, or two
    swap, for as long as that makes the test rows of each class more even over folds. With pairs,
    `y` is same or different; with faces, any label (a person's rows may have several). The label
    need not be what a classifier learns: give ``split`` another one, and use the list of splits as
    `cv`.

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
    IdentityKFold : Balances the number of rows, whatever their class.
    describe_folds : Counts what is in the folds, and what is lost.
    sklearn.model_selection.StratifiedGroupKFold : The same for rows with one group each.

    Notes
    -----
    Perfectly equal folds may not exist (somebody with half of all photos makes one fold larger),
    and what is found need not be the most equal there are. Time grows with the square of the
    number of people: 2,000 take a few seconds at most.

    Under metadata routing `groups` is requested by default, as by scikit-learn's group splitters.

    Examples
    --------
    >>> from skface import make_pairs
    >>> from skface.model_selection import StratifiedIdentityKFold
    >>> pairs = make_pairs([i % 20 for i in range(100)], n_impostor=800, random_state=0)
    >>> cv = StratifiedIdentityKFold(4)
    >>> for train, test in cv.split(pairs.indices, pairs.target, pairs.identities):
    ...     print(f"{len(test)} pairs, {pairs.target[test].mean():.0%} same")
    98 pairs, 51% same
    97 pairs, 52% same
    98 pairs, 51% same
    98 pairs, 51% same
    """

    def _assign_folds(self, people, labels):
        if labels is None:
            raise ValueError(
                "y=None: StratifiedIdentityKFold needs the label of each row. IdentityKFold does "
                "without."
            )
        fold_of_person = self._deal(people)
        ClassCounts(people, labels, fold_of_person, self.n_splits).even_out()
        return fold_of_person


class IdentityShuffleSplit(_IdentitySplitter):
    """Random splits of people into training and test: whoever is in test is not in training.

    Each split draws test people and training people anew. The test rows are the faces, or the pairs
    with both faces, of test people; the training rows, those of training people. A pair of a test
    person and a training person is in neither.

    Parameters
    ----------
    n_splits : int, default=5
        Number of splits.
    test_size : float or int, default=None
        Share or number of people to test on. None is what `train_size` leaves, or 0.2.
    train_size : float or int, default=None
        Share or number of people to train on. None is what `test_size` leaves.
    random_state : int, RandomState instance or None, default=None
        Draws the people; an int gives the same splits on each call.

    See Also
    --------
    IdentityKFold : Tests everybody once.
    sklearn.model_selection.GroupShuffleSplit : The same for rows with one group each.

    Notes
    -----
    Sizes are of people. Of pairs of different people a smaller share remains: with a fifth of the
    people in test, about one such pair in 25 is a test row.

    Under metadata routing `groups` is requested by default, as by scikit-learn's group splitters.

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
        random_state: Any = None,
    ) -> None:
        self.n_splits = n_splits
        self.test_size = test_size
        self.train_size = train_size
        self.random_state = random_state

    def _split_people(self, people, labels):
        everybody = np.arange(people.max() + 1)
        draw = GroupShuffleSplit(
            self.n_splits,
            test_size=self.test_size,
            train_size=self.train_size,
            random_state=self.random_state,
        )
        for train, test in draw.split(everybody, groups=everybody):
            yield np.isin(everybody, train), np.isin(everybody, test)

    def _way_out(self, people, labels):
        return "Use a larger test_size, another random_state, or IdentityGroupKFold."


def _what_lacks(rows: np.ndarray, people: np.ndarray, labels: np.ndarray | None) -> str:
    """Say what a training or test set lacks: any row or, for pairs of two classes, a class."""
    if len(rows) == 0:
        return "any row"
    classes = [] if labels is None or people.shape[1] == 1 else np.unique(labels).tolist()
    if len(classes) != 2:
        return ""
    return ", ".join(f"class {label!r}" for label in classes if not np.any(labels[rows] == label))
