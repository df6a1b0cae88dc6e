"""`warm_start`: a fit continues after the last one."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from tiny_fits import (
    RecordingNetwork,
    clone_with,
    recorded_rows,
    spread,
    tiny,
    tiny_network,
    weights_of,
)
from torch import nn

from skface import FaceNetEmbedder, SiameseVerifier


def test_warm_start_continues_and_a_pickle_too(faces):
    embedder = tiny(warm_start=True, learning_rate=1e-2).fit(faces.data, faces.target)
    before = weights_of(embedder)
    copied = pickle.loads(pickle.dumps(embedder))
    losses = embedder.history_["loss"]
    embedder.fit(faces.data, faces.target)
    assert embedder.history_["epoch"].tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(embedder.history_["loss"][:2], losses)
    assert not np.array_equal(weights_of(embedder), before)
    np.testing.assert_array_equal(
        weights_of(copied.fit(faces.data, faces.target)), weights_of(embedder)
    )
    # a clone starts from the beginning
    np.testing.assert_array_equal(weights_of(clone(embedder).fit(faces.data, faces.target)), before)


def test_warm_start_needs_the_same_network_and_people(faces):
    embedder = FaceNetEmbedder(weights=None, max_epochs=1, warm_start=True, random_state=0)
    embedder.fit(faces.data, faces.target)
    with pytest.raises(ValueError, match="embedding_dim=128, but .* 64"):
        clone_with(embedder, embedding_dim=64).fit(faces.data, faces.target)
    few = faces.target < 4
    embedder.fit(faces.data[few], faces.target[few])  # the triplet loss has no classes
    softmax = tiny(loss="arcface", warm_start=True).fit(faces.data, faces.target)
    with pytest.raises(ValueError, match=r"\(10, 16\), but .*\(4, 16\).*warm_start=False"):
        softmax.fit(faces.data[few], faces.target[few])


def deep_network():
    return nn.Sequential(tiny_network(), nn.ReLU(), nn.Linear(16, 16))


@pytest.mark.parametrize("kind", [FaceNetEmbedder, SiameseVerifier])
def test_a_warm_start_may_train_other_parts(kind, faces):
    frozen = kind(
        deep_network, None, trainable="head", max_epochs=1, warm_start=True, random_state=0
    ).fit(faces.data, faces.target)
    # nothing is learned, so that the weights show what was continued
    thawed = clone_with(frozen, trainable="all", learning_rate=1e-30)
    thawed.fit(faces.data, faces.target)
    assert thawed.history_["epoch"].tolist() == [1, 2]
    np.testing.assert_array_equal(weights_of(thawed), weights_of(frozen))
    if kind is SiameseVerifier:
        np.testing.assert_array_equal(thawed.coef_, frozen.coef_)
    before = weights_of(thawed)
    thawed.set_params(learning_rate=1e-2).fit(faces.data, faces.target)
    assert (weights_of(thawed) != before).mean() > 0.9


def test_a_warm_start_may_change_the_loss(faces):
    embedder = tiny(warm_start=True)
    for i, loss in enumerate(["triplet", "arcface", "cosface", spread, "triplet"]):
        embedder.set_params(loss=loss).fit(faces.data, faces.target)
        assert len(embedder.history_["epoch"]) == 2 * (i + 1)


def test_a_warm_start_takes_the_weight_decay_of_now(faces):
    embedder = tiny(warm_start=True, learning_rate=1e-2, weight_decay=0.0, augment=False)
    embedder.fit(faces.data, faces.target)
    decayed = clone_with(embedder, weight_decay=50.0).fit(faces.data, faces.target)
    embedder.fit(faces.data, faces.target)
    assert np.abs(weights_of(decayed)).mean() < 0.8 * np.abs(weights_of(embedder)).mean()


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)])
def test_a_warm_start_holds_out_the_same_people(random_state, faces):
    embedder = FaceNetEmbedder(
        RecordingNetwork, None, warm_start=True, early_stopping=True, validation_fraction=0.5,
        max_epochs=2, augment=False, random_state=random_state,
    )  # fmt: skip
    held_out = []
    for _ in range(3):
        embedder = clone_with(embedder.fit(faces.data, faces.target))
        held_out.append(recorded_rows(faces.data, training=False))
    assert len(held_out[0]) == 20
    assert held_out[0] == held_out[1] == held_out[2]
