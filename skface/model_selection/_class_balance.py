"""Folds of people in which the classes are mixed alike: local search over moves and swaps."""

import numpy as np

# Mostly the third pass over the people finds nobody to move.
_MAX_PASSES = 10
# Classes are even enough if their counts differ by a few in a thousand.
_EVEN_ENOUGH = 1e-5


class ClassCounts:
    """Test rows per fold and class, kept up to date while people change folds.

    Parameters
    ----------
    people : ndarray of shape (n_rows, 1) or (n_rows, 2)
        The people in each row.
    labels : ndarray of shape (n_rows,)
        The class of each row.
    fold_of_person : ndarray of shape (n_people,)
        The fold of each person; changed in place.
    n_folds : int
        Number of folds.
    """

    def __init__(
        self, people: np.ndarray, labels: np.ndarray, fold_of_person: np.ndarray, n_folds: int
    ) -> None:
        self._fold = fold_of_person
        classes, codes = np.unique(labels, return_inverse=True)
        left, right = people[:, 0], people[:, -1]
        alone = left == right
        # from each person to the others that rows link them to
        a, b, code = left[~alone], right[~alone], codes[~alone]
        source, other, code = np.r_[a, b], np.r_[b, a], np.r_[code, code]
        order = np.argsort(source, kind="stable")
        self._other, self._code = other[order], code[order]
        self._start = np.searchsorted(source[order], np.arange(len(self._fold) + 1))
        # rows that a person would complete in each fold, (n_people, n_folds, n_classes)
        self._rows = np.zeros((len(self._fold), n_folds, len(classes)))
        np.add.at(self._rows, (left[alone], slice(None), codes[alone]), 1)
        np.add.at(self._rows, (source, self._fold[other], code), 1)
        self._counts = np.zeros((n_folds, len(classes)))
        whole = self._fold[left] == self._fold[right]
        np.add.at(self._counts, (self._fold[left[whole]], codes[whole]), 1)

    def even_out(self) -> None:
        """Let people move or swap folds for as long as that makes the classes more even."""
        for _ in range(_MAX_PASSES):
            changed = [
                self._move(person) or self._swap(person) for person in range(len(self._fold))
            ]
            if not any(changed):
                break

    def _move(self, person: int) -> bool:
        """Move a person to the best fold; tell whether it is another one."""
        now, rows = self._fold[person], self._rows[person]
        folds = np.arange(len(self._counts))
        choices = np.tile(self._counts, (len(folds), 1, 1))
        choices[:, now] -= rows[now]
        choices[folds, folds] += rows
        best = self._best(choices)
        if best is None:
            return False
        self._put(person, best)
        return True

    def _swap(self, person: int) -> bool:
        """Let a person swap folds with the best partner; tell whether there is one."""
        now, rows = self._fold[person], self._rows[person]
        partners = np.flatnonzero(self._fold != now)
        theirs = self._fold[partners]
        # a row of the two is in neither fold, before as after
        links = slice(self._start[person], self._start[person + 1])
        shared = np.zeros((len(self._fold), self._counts.shape[1]))
        np.add.at(shared, (self._other[links], self._code[links]), 1)
        each = np.arange(len(partners))
        choices = np.tile(self._counts, (len(partners), 1, 1))
        choices[:, now] += self._rows[partners, now] - rows[now] - shared[partners]
        choices[each, theirs] += rows[theirs] - self._rows[partners, theirs] - shared[partners]
        best = self._best(choices)
        if best is None:
            return False
        self._put(person, theirs[best])
        self._put(partners[best], now)
        return True

    def _best(self, choices: np.ndarray) -> int | None:
        """Return the most even choice of counts, None if what there is is no less even."""
        least = _unevenness(self._counts) - 1e-12
        if least < _EVEN_ENOUGH:
            return None
        unevenness = _unevenness(choices)
        best = int(unevenness.argmin())
        return best if unevenness[best] < least else None

    def _put(self, person: int, fold: int) -> None:
        """Move a person, and count anew what that changes."""
        now, rows = self._fold[person], self._rows[person]
        self._counts[now] -= rows[now]
        self._counts[fold] += rows[fold]
        links = slice(self._start[person], self._start[person + 1])
        np.add.at(self._rows, (self._other[links], now, self._code[links]), -1)
        np.add.at(self._rows, (self._other[links], fold, self._code[links]), 1)
        self._fold[person] = fold


def _unevenness(counts: np.ndarray) -> np.ndarray:
    """Sum over classes the variance of (..., n_folds, n_classes) counts over folds.

    It is relative to the mean, or the most even folds would be those that lose every pair.
    """
    mean = np.maximum(counts.mean(axis=-2), 1 / counts.shape[-2])
    return (counts.var(axis=-2) / mean**2).sum(axis=-1)
