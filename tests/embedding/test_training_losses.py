"""Training: losses, augmentation, history, chunks and parameters."""

import dataclasses
import pickle

import numpy as np
import pandas
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from tiny_fits import spread, tiny, tiny_network, weights_of
from torch import nn

from skface import FaceNetEmbedder
from skface.nn.augment import Augmentation


def genuine_auc(embedder, faces):
    embeddings = embedder.transform(faces.data)
    left, right = np.triu_indices(len(embeddings), 1)
    same = faces.target[left] == faces.target[right]
    return roc_auc_score(same, (embeddings[left] * embeddings[right]).sum(axis=1))


def test_augmentation_is_on_by_default_and_can_be_chosen(faces, monkeypatch):
    used = []
    call = Augmentation.__call__
    monkeypatch.setattr(
        Augmentation,
        "__call__",
        lambda self, images, draws: used.append(self) or call(self, images, draws),
    )
    chosen = Augmentation(rotation=30.0, brightness=0.0)
    for augment, expected in ((True, Augmentation()), (chosen, chosen), (False, None)):
        used.clear()
        embedder = tiny(augment=augment).fit(faces.data, faces.target)
        # in the range of what the network is fed
        wanted = expected and dataclasses.replace(expected, value_range=(-1.0, 1.0))
        assert set(used) == ({wanted} if expected else set())
        assert clone(embedder).augment == augment


@pytest.mark.parametrize("params", [{"loss": "arcface", "margin": 0.5}, {"loss": "cosface"}])
def test_margin_softmax_trains(params, faces):
    embedder = tiny(max_epochs=30, learning_rate=1e-2, augment=False, **params)
    embedder.fit(faces.data, faces.target)
    assert embedder.history_["loss"][-1] < embedder.history_["loss"][0] / 2
    assert genuine_auc(embedder, faces) > 0.9


def test_a_loss_of_pytorch_metric_learning_plugs_in_and_stays_as_it_is(faces):
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    loss = losses.ProxyAnchorLoss(10, 16)
    before = loss.proxies.detach().clone()
    embedder = tiny(max_epochs=20, learning_rate=1e-2, loss=loss).fit(faces.data, faces.target)
    assert torch.equal(loss.proxies, before)
    assert embedder.history_["loss"][-1] < embedder.history_["loss"][0]
    np.testing.assert_array_equal(
        weights_of(clone(embedder).fit(faces.data, faces.target)), weights_of(embedder)
    )


def no_tensor(embeddings, labels):
    return 3.0


def test_any_callable_is_a_loss(faces):
    embedder = tiny(loss=spread).fit(faces.data, faces.target)
    pickle.loads(pickle.dumps(embedder)).transform(faces.data)
    with pytest.raises(TypeError, match=r"loss=.*no_tensor.*returned 3\.0"):
        tiny(loss=no_tensor).fit(faces.data, faces.target)


def not_a_number(embeddings, labels):
    return embeddings.sum() * float("nan")


def no_slope(embeddings, labels):
    return (embeddings - embeddings.detach()).square().sum().sqrt()


@pytest.mark.parametrize("loss", [not_a_number, no_slope])
def test_a_loss_that_is_no_number_ends_training_at_once(loss, faces):
    # in the only step there is, after which no embedding would tell
    embedder = tiny(loss=loss, max_epochs=1, n_identities_per_batch=10)
    with pytest.raises(FloatingPointError, match=r"epoch 1: .*loss.*learning_rate=0\.001"):
        embedder.fit(faces.data, faces.target)
    assert not hasattr(embedder, "weights_")


def test_weights_that_overflow_in_the_last_step_are_an_error(faces):
    embedder = tiny(max_epochs=1, n_identities_per_batch=10, learning_rate=1e38)
    with pytest.raises(FloatingPointError, match=r"epoch 1: weights.*learning_rate=1e\+38"):
        embedder.fit(faces.data, faces.target)


def test_history_is_a_table(faces):
    table = pandas.DataFrame(tiny(max_epochs=3).fit(faces.data, faces.target).history_)
    assert table["epoch"].tolist() == [1, 2, 3]
    assert list(table) == [
        "epoch",
        "loss",
        "active_triplets",
        "active_fraction",
        "mean_genuine_distance",
        "mean_impostor_distance",
        "learning_rate",
    ]
    assert table.notna().all(axis=None)


def normed_network():
    return nn.Sequential(tiny_network(), nn.BatchNorm1d(16))


@pytest.mark.parametrize("n_images", [2, 3, 4])
def test_no_chunk_is_a_single_face_which_has_no_variance(n_images, faces):
    some = np.arange(40) % 4 < n_images
    embedder = FaceNetEmbedder(
        normed_network, None, chunk_size=3, n_identities_per_batch=5, max_epochs=1,
        n_images_per_identity=n_images, random_state=0,
    )  # fmt: skip
    assert embedder.fit(faces.data[some], faces.target[some]).history_["epoch"].tolist() == [1]


class LabelsSeen:
    """A loss that notes the labels of the last batch."""

    def __call__(self, embeddings, labels):
        LabelsSeen.labels = labels.tolist()
        return spread(embeddings, labels)


def test_faces_that_were_not_found_connect_no_identities(faces):
    # the first two rows are of two people, and the second photo of each was not found
    X = faces.data[[[0, 1], [4, 5], [0, 2], [4, 6], [0, 4], [1, 5]]] / np.float32(255)
    X[:2, 1] = np.nan
    X[5] = np.nan
    tiny(loss=LabelsSeen(), max_epochs=1).fit(X, [1, 1, 1, 1, 0, 1])
    labels = np.array(LabelsSeen.labels)
    assert sorted(np.unique(labels, return_counts=True)[1].tolist()) == [2, 2]


@pytest.mark.parametrize(
    ("params", "kind", "message"),
    [
        ({"loss": "softmax"}, ValueError, "loss='softmax'"),
        ({"trainable": -1}, ValueError, "trainable == -1"),
        ({"precision": "float16"}, ValueError, "precision='float16'"),
        ({"validation_fraction": 1.0}, ValueError, r"validation_fraction == 1\.0"),
        ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change == 0"),
        ({"chunk_size": 2}, ValueError, "chunk_size == 2"),
        ({"weight_decay": -1.0}, ValueError, r"weight_decay == -1\.0"),
        ({"checkpoint_dir": 3}, TypeError, "checkpoint_dir=3"),
        ({"early_stopping": "yes"}, TypeError, "early_stopping"),
        ({"augment": None}, TypeError, "augment"),
        ({"device": "abacus"}, ValueError, "device='abacus'"),
        ({"device": None}, ValueError, "device=None"),
        ({"device": "cuda:99"}, ValueError, "device='cuda:99'.*'auto'"),
        ({"loss": "arcface", "margin": 3.0}, ValueError, r"margin=3\.0"),
    ],
)
def test_bad_parameters_are_named(params, kind, message, faces):
    with pytest.raises(kind, match=message):
        tiny(**params).fit(faces.data, faces.target)


def test_half_precision_trains(faces):
    embedder = tiny(precision="bfloat16", max_epochs=10, learning_rate=1e-2)
    embedder.fit(faces.data, faces.target)
    assert embedder.history_["loss"][-1] < embedder.history_["loss"][0]
    assert weights_of(embedder).dtype == np.float32
