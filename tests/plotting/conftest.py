"""Figures are closed after each test."""

import pytest

from skface import make_faces


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.close("all")


@pytest.fixture(scope="package")
def faces():
    return make_faces(n_identities=6, n_images_per_identity=4, image_size=32, random_state=0)
