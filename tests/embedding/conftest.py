"""Faces and pairs that the tests of training share."""

import pytest
from tiny_fits import CountedLoss, RecordingNetwork

from skface import make_faces, make_pairs


@pytest.fixture(scope="module")
def faces():
    return make_faces(10, 4, image_size=32, difficulty=0.2, random_state=0)


@pytest.fixture(scope="module")
def pairs(faces):
    drawn = make_pairs(faces.target, random_state=0)
    drawn.data = faces.data[drawn.indices]
    return drawn


@pytest.fixture(autouse=True)
def _nothing_recorded(monkeypatch):
    monkeypatch.setattr(RecordingNetwork, "seen", {True: [], False: []})
    monkeypatch.setattr(CountedLoss, "n_calls", 0)
