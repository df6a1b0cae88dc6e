"""A transformer that several processes run at the same time.

As a program, ``python slow_transformer.py CACHE NOTES START STOP SECONDS`` transforms some of 2000
vectors through a cache.
"""

import sys
import time

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin


class Slow(TransformerMixin, BaseEstimator):
    """Records the rows that it transforms in a file, which processes share, and takes its time."""

    def __init__(self, notes, seconds=0.0):
        self.notes = notes
        self.seconds = seconds

    def fit(self, X, y=None):
        self.is_fitted_ = True
        return self

    def transform(self, X):
        time.sleep(self.seconds)
        values = X[:, :3] * 2
        with open(self.notes, "a") as file:  # one write, which is appended as a whole
            file.write("".join(f"{value:.17g}\n" for value in values[:, 0]))
        return values

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags


def main():
    from slow_transformer import Slow  # of a module, not of the main program

    from skface import PerFace

    folder, notes, start, stop, seconds = sys.argv[1:]
    vectors = np.random.default_rng(0).random((2000, 8))[int(start) : int(stop)]
    slow = Slow(notes, float(seconds))
    # fit computes one value, which is not stored; it must not count as the work of this process
    per_face = PerFace(slow.set_params(notes="/dev/null"), cache=folder, batch_size=10)
    per_face.fit(vectors)
    per_face.transformer_.notes = notes
    print("ready", flush=True)
    assert np.array_equal(per_face.transform(vectors), vectors[:, :3] * 2)


if __name__ == "__main__":
    main()
