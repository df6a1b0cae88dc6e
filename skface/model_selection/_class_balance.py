"""Folds of people with similar class ratios: local search over moves and swaps."""

import numpy as np

# Usually the third pass moves no person.
_MAX_PASSES = 10
# Classes count as balanced if their counts differ by a few in a thousand.
_EVEN_ENOUGH = 1e-5


class ClassCounts:
    """Numbers of test rows per fold and class, kept up to date while people change folds.

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
        # for each person the others in the same rows
        a, b, code = left[~alone], right[~alone], codes[~alone]
        source, other, code = np.r_[a, b], np.r_[b, a], np.r_[code, code]
        order = np.argsort(source, kind="stable")
        self._other, self._code = other[order], code[order]
        self._start = np.searchsorted(source[order], np.arange(len(self._fold) + 1))
        # rows that a person would complete in each fold, (n_people, n_folds, n_classes)
        self._rows = np.zeros((len(self._fold), n_folds, len(classes)))
        np.add.at(self._rows.transpose(0, 2, 1), (left[alone], codes[alone]), 1)  # in every fold
        np.add.at(self._rows, (source, self._fold[other], code), 1)
        self._counts = np.zeros((n_folds, len(classes)))
        whole = self._fold[left] == self._fold[right]
        np.add.at(self._counts, (self._fold[left[whole]], codes[whole]), 1)

    def even_out(self) -> None:
        """Move and swap people while that makes the class ratios of the folds more similar."""
        for _ in range(_MAX_PASSES):
            changed = [
                self._move(person) or self._swap(person) for person in range(len(self._fold))
            ]
            if not any(changed):
                break

    def _move(self, person: int) -> bool:
        """Move a person to the best fold; return whether it is another one."""
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
        """Swap the folds of a person and the best partner; return whether there is one."""
        now, rows = self._fold[person], self._rows[person]
        partners = np.flatnonzero(self._fold != now)
        theirs = self._fold[partners]
        # a row with both people is in neither fold, before or after the swap
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
        """Return the choice of counts with the lowest unevenness; None if none improves."""
        least = _unevenness(self._counts) - 1e-12
        if least < _EVEN_ENOUGH:
            return None
        unevenness = _unevenness(choices)
        best = int(unevenness.argmin())
        return best if unevenness[best] < least else None

    def _put(self, person: int, fold: int) -> None:
        """Move a person and update the counts."""
        now, rows = self._fold[person], self._rows[person]
        self._counts[now] -= rows[now]
        self._counts[fold] += rows[fold]
        links = slice(self._start[person], self._start[person + 1])
        np.add.at(self._rows, (self._other[links], now, self._code[links]), -1)
        np.add.at(self._rows, (self._other[links], fold, self._code[links]), 1)
        self._fold[person] = fold


def _unevenness(counts: np.ndarray) -> np.ndarray:
    """Sum over classes the variance of (..., n_folds, n_classes) counts over folds.

    The variance is relative to the squared mean. Otherwise folds that lose all pairs would win.
    """
    mean = np.maximum(counts.mean(axis=-2), 1 / counts.shape[-2])
    return (counts.var(axis=-2) / mean**2).sum(axis=-1)
