"""DistilledEmbedder: a network imitates embeddings, given once per face or by a teacher."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from torch import nn

from skface import (
    DistilledEmbedder,
    FaceNetEmbedder,
    PairVerifier,
    SiameseEmbedder,
    make_faces,
    make_pairs,
)
from skface.nn.augment import Augmentation
from skface.nn.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def faces():
    return make_faces(12, 6, image_size=32, difficulty=0.2, random_state=0)


SEEN = []  # images that teachers embedded; no part of their state, which names checkpoints


class Projection(TransformerMixin, BaseEstimator):
    """A teacher that needs no network: a fixed projection of faces shrunk to 4 x 4."""

    def __init__(self, n_values=10, fault=None, seed=0):
        self.n_values = n_values
        self.seed = seed
        self.fault = fault

    def fit(self, X, y=None):
        self.matrix_ = np.random.default_rng(self.seed).normal(size=(48, self.n_values))
        return self

    def transform(self, X):
        assert X.dtype == np.uint8
        SEEN.append(X)
        n, height, width, _ = X.shape
        blocks = X.reshape(n, 4, height // 4, 4, width // 4, 3).mean(axis=(2, 4))
        vectors = (blocks.reshape(n, -1) / 255 - 0.5) @ self.matrix_
        if self.fault is not None and n > 1:
            vectors[1] = self.fault
        return vectors


def network_of_10():
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 10))


def teacher(**params):
    return FrozenEstimator(Projection(**params).fit(None))


def student(**params):
    defaults = {"backbone": network_of_10, "max_epochs": 3, "random_state": 0}
    batches = {"n_faces_per_batch": 16, "learning_rate": 1e-2}
    return DistilledEmbedder(**{**defaults, **batches, **params})


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def mean_cosine(embedder, faces, targets):
    return np.sum(embedder.transform(faces) * unit(targets), axis=1).mean()


def test_student_imitates_a_teacher(faces):
    taught = teacher()
    embedder = student(teacher=taught, max_epochs=30).fit(faces.data)
    assert mean_cosine(embedder, faces.data, taught.transform(as_bytes(faces.data))) > 0.9
    assert set(embedder.history_) == {"epoch", "loss", "cosine", "learning_rate"}
    assert embedder.history_["cosine"][-1] > embedder.history_["cosine"][0] + 0.3


def test_student_imitates_embeddings_given_as_y(faces):
    targets = teacher().transform(as_bytes(faces.data))
    start = FaceNetEmbedder(network_of_10, None, trainable="none", random_state=0).fit(faces.data)
    embedder = student(max_epochs=30).fit(faces.data, 7 * targets)
    assert mean_cosine(start, faces.data, targets) < 0.5
    assert mean_cosine(embedder, faces.data, targets) > 0.9
    same = student(max_epochs=30).fit(faces.data, targets)
    np.testing.assert_allclose(
        same.transform(faces.data), embedder.transform(faces.data), atol=1e-5
    )


def as_bytes(data):
    return np.rint(data * 255).astype(np.uint8) if data.dtype.kind == "f" else data


@pytest.mark.parametrize("nothing", [np.nan, 0.0])
def test_faces_that_were_not_found_need_no_embedding(faces, nothing):
    targets = teacher().transform(as_bytes(faces.data))
    X = as_bytes(faces.data) / 255
    X[3] = np.nan
    targets[3] = nothing
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embedder = student().fit(X, targets)
    kept = np.arange(len(X)) != 3
    expected = student().fit(X[kept], targets[kept]).transform(X[kept])
    np.testing.assert_allclose(embedder.transform(X)[kept], expected, atol=1e-5)
    targets[5] = nothing
    with pytest.raises(ValueError, match=r"in row 5\."):
        student().fit(X, targets)


def test_feature_vectors_have_target_embeddings_too():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 6)).astype(np.float32)
    targets = X @ rng.normal(size=(6, 5))
    embedder = student(backbone="mlp", max_epochs=40)
    assert mean_cosine(embedder.fit(X, targets), X, targets) > 0.95
    assert embedder.embedding_dim_ == 5


def test_the_teacher_embeds_augmented_faces_at_their_own_size(faces):
    plain = {face.tobytes() for face in as_bytes(faces.data)}
    SEEN.clear()
    student(teacher=teacher(), augment=False, max_epochs=1).fit(faces.data)
    asked = np.concatenate(SEEN[1:])  # after the one that it was tried on
    assert {face.tobytes() for face in asked} == plain

    SEEN.clear()
    embedder = student(backbone="iresnet_mini", teacher=teacher(), max_epochs=1)
    embedder.set_params(augment=Augmentation(blend=1)).fit(faces.data[:8])
    assert embedder.input_shape_ == (3, 112, 112)
    assert embedder.embedding_dim_ == 10
    assert SEEN[1].shape == (8, 32, 32, 3)
    assert not {face.tobytes() for face in SEEN[1]} & plain


def test_chunks_learn_what_the_whole_batch_does(faces):
    params = {"teacher": teacher(), "augment": Augmentation(blend=0.5), "max_epochs": 2}
    whole = student(**params).fit(faces.data)
    chunked = student(**params, chunk_size=5).fit(faces.data)
    np.testing.assert_allclose(
        chunked.transform(faces.data), whole.transform(faces.data), atol=1e-3
    )


def test_early_stopping_validates_on_faces_held_out(faces):
    embedder = student(teacher=teacher(), early_stopping=True, max_epochs=6).fit(faces.data)
    cosines = embedder.history_["validation_cosine"]
    assert embedder.best_epoch_ == 1 + np.argmax(cosines)
    targets = teacher().transform(as_bytes(faces.data))
    fixed = student(early_stopping=True, max_epochs=6).fit(faces.data, targets)
    assert fixed.history_["validation_cosine"][-1] > fixed.history_["validation_cosine"][0]
    with pytest.raises(ValueError, match="holds out 2 of 3 faces"):
        student(teacher=teacher(), early_stopping=True).fit(faces.data[:3])


def test_training_resumes_and_continues(faces, tmp_path, monkeypatch):
    params = {"teacher": teacher(), "max_epochs": 4}
    whole = student(**params).fit(faces.data)

    stored = student(**params, checkpoint_dir=tmp_path)

    def save_once(checkpoint, state):
        save(checkpoint, state)
        raise KeyboardInterrupt

    save = Checkpoint.save
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoint, "save", save_once)
        clone(stored).fit(faces.data)
    resumed = stored.fit(faces.data)
    assert len(list(tmp_path.iterdir())) == 1
    np.testing.assert_array_equal(resumed.transform(faces.data), whole.transform(faces.data))
    # a teacher of another state makes another run
    student(**params | {"teacher": teacher(seed=1)}, checkpoint_dir=tmp_path).fit(faces.data)
    assert len(list(tmp_path.iterdir())) == 2

    warm = student(teacher=teacher(), warm_start=True, max_epochs=3)
    warm.fit(faces.data).fit(faces.data)
    assert warm.history_["epoch"].tolist() == [1, 2, 3, 4, 5, 6]


def test_clones_pickles_and_searches_keep_the_teacher(faces):
    embedder = student(teacher=teacher()).fit(faces.data)
    np.testing.assert_array_equal(
        clone(embedder).fit(faces.data).transform(faces.data), embedder.transform(faces.data)
    )
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(embedder)).transform(faces.data), embedder.transform(faces.data)
    )
    pairs = make_pairs(faces.target, random_state=0)
    X = faces.data[pairs.indices]
    search = GridSearchCV(
        make_pipeline(student(teacher=teacher(), max_epochs=1), PairVerifier()),
        {"distilledembedder__learning_rate": [1e-4, 1e-2]},
        cv=2,
        scoring="roc_auc",
        error_score="raise",
    )
    assert np.isfinite(search.fit(X, pairs.target).cv_results_["mean_test_score"]).all()


def test_an_embedder_with_weights_teaches_without_being_fitted(faces, tmp_path):
    path = tmp_path / "teacher.pt"
    torch.save(network_of_10().state_dict(), path)
    pretrained = FaceNetEmbedder(network_of_10, path, image_shape=(32, 32))
    embedder = student(teacher=pretrained, max_epochs=30).fit(faces.data)
    targets = clone(pretrained).fit(faces.data).transform(faces.data)
    assert mean_cosine(embedder, faces.data, targets) > 0.9
    assert not hasattr(pretrained, "weights_")


def test_given_weights_are_the_start(faces, tmp_path):
    path = tmp_path / "start.pt"
    torch.save(network_of_10().state_dict(), path)
    before = FaceNetEmbedder(network_of_10, path).fit(faces.data)
    nearly = student(teacher=teacher(), weights=path, max_epochs=1, learning_rate=1e-30)
    np.testing.assert_allclose(
        nearly.fit(faces.data).transform(faces.data), before.transform(faces.data), atol=1e-6
    )
    after = student(teacher=teacher(), weights=path).fit(faces.data)
    assert not np.allclose(after.transform(faces.data), before.transform(faces.data))


def test_a_network_takes_the_length_of_the_target_embeddings(faces):
    targets = teacher().transform(faces.data)
    for embedder, y in ((student(teacher=teacher()), None), (student(), targets)):
        embedder.set_params(backbone="small_resnet", max_epochs=1)
        assert embedder.fit(faces.data, y).embedding_dim_ == 10


def test_pairs_teach_by_their_distinct_photos(faces):
    X = faces.data[[[0, 1], [1, 2], [2, 0], [3, 3]]]
    SEEN.clear()
    student(teacher=teacher(), augment=False, max_epochs=1).fit(X)
    asked = [face.tobytes() for face in np.concatenate(SEEN[1:])]
    assert sorted(asked) == sorted(face.tobytes() for face in faces.data[:4])
    embedder = student(teacher=teacher(), max_epochs=1).fit(X, [1, 1, 1, 1])  # labels are ignored
    assert embedder.transform(X).shape == (4, 2, 10)


def test_y_is_required_only_without_a_teacher():
    assert get_tags(DistilledEmbedder()).target_tags.required
    assert not get_tags(DistilledEmbedder(teacher())).target_tags.required
    # it trains, so what needs no fit of its rows must not take it for a fixed network
    assert get_tags(DistilledEmbedder(teacher())).requires_fit


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"teacher": PCA()}, NotFittedError, r"teacher=PCA\(\) is not fitted.*FrozenEstimator"),
        ({"teacher": "big"}, TypeError, "teacher='big' has no transform"),
        ({"teacher": teacher(n_values=9)}, ValueError, "returns 10 values, .* have 9"),
        (
            {"teacher": teacher(fault=np.nan)},
            ValueError,
            r"NaN, infinity or only zeros.*face\(s\) 1 of a batch",
        ),
        ({"teacher": teacher(), "trainable": "none"}, ValueError, "trainable='none'"),
        ({"augment": Augmentation(blend=0.5)}, ValueError, "blend=0.5, but a blend of two"),
        (
            {"teacher": teacher(), "embedding_dim": 9, "backbone": "small_resnet"},
            ValueError,
            "returns 9 values, .* have 10",
        ),
    ],
)
def test_what_cannot_teach_is_refused(faces, params, error, message):
    with pytest.raises(error, match=message):
        student(**params).fit(faces.data, faces.target)


def test_targets_that_cannot_be_imitated_are_refused(faces):
    targets = teacher().transform(as_bytes(faces.data))
    with pytest.raises(ValueError, match="71 embeddings, but X has 72 rows"):
        student().fit(faces.data, targets[:-1])
    for bad in (np.nan, np.inf, 0):
        broken = targets.copy()
        broken[5] = bad
        with pytest.raises(ValueError, match=r"y holds NaN, infinity or only zeros.* in row 5\."):
            student().fit(faces.data, broken)
    with pytest.raises(ValueError, match="one embedding per row, but X holds pairs"):
        student().fit(np.stack([faces.data, faces.data], axis=1), targets)
    with pytest.raises(ValueError, match="teacher=.* gives others"):
        student(teacher=teacher()).fit(faces.data, targets)
    with pytest.raises(ValueError, match="returns 10 values, .* have 4"):
        student().fit(faces.data, targets[:, :4])
    with pytest.raises(ValueError, match="DistilledEmbedder with teacher=None requires y"):
        student().fit(faces.data)
    with pytest.raises(ValueError, match="int64.*one embedding per face.*FaceNetEmbedder"):
        student().fit(faces.data, faces.target)
    for kind in (FaceNetEmbedder, SiameseEmbedder):
        with pytest.raises(ValueError, match=r"\(72, 10\).*labels.*DistilledEmbedder"):
            kind(network_of_10, None).fit(faces.data, targets)


def test_blends_without_a_teacher_are_refused(faces):
    siamese = SiameseEmbedder(network_of_10, None, augment=Augmentation(blend=0.5))
    with pytest.raises(ValueError, match="blend=0.5, but a blend of two"):
        siamese.fit(faces.data, faces.target)


def test_teacher_of_feature_vectors_is_refused():
    X = np.random.default_rng(0).normal(size=(10, 6))
    with pytest.raises(ValueError, match="backbone='mlp' takes feature vectors"):
        DistilledEmbedder(teacher(), "mlp").fit(X)
