"""Fixtures of the tests of the cache."""

import time

import numpy as np
import pytest
from cached_faces import FACES, SEEN, mean_color, save
from sklearn.preprocessing import FunctionTransformer


@pytest.fixture(autouse=True)
def _reset_count():
    SEEN.clear()


@pytest.fixture
def counting():
    return FunctionTransformer(mean_color)


@pytest.fixture
def paths(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    names = [str(folder / f"{i}.png") for i in range(20)]
    for name, pixels in zip(names, FACES.data, strict=True):
        save(pixels, name)
    return np.array(names, dtype=object)


@pytest.fixture
def old_paths(paths):
    """Files that were changed so long ago that their digests are remembered."""
    time.sleep(2.1)
    return paths
