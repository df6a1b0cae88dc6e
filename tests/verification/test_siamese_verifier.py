"""SiameseVerifier: twins and a classifier on pairs, and SiameseEmbedder beside it."""

import pickle

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from skface import (
    FaceNetEmbedder,
    IdentityKFold,
    SiameseEmbedder,
    SiameseVerifier,
    make_faces,
    make_pairs,
)


@pytest.fixture(scope="module")
def faces():
    return make_faces(8, 6, image_size=32, difficulty=0.2, random_state=0)


@pytest.fixture(scope="module")
def pairs(faces):
    drawn = make_pairs(faces.target, random_state=0)
    drawn.data = faces.data[drawn.indices]
    return drawn


@pytest.fixture(scope="module")
def trained(pairs):
    verifier = SiameseVerifier(weights=None, max_epochs=6, random_state=0)
    return verifier.fit(pairs.data, pairs.target)


@parametrize_with_checks([SiameseEmbedder("mlp", weights=None, max_epochs=2, random_state=0)])
def test_flat_siamese_embedder_passes_every_scikit_learn_check(estimator, check):
    check(estimator)


def test_probabilities_are_the_formula_on_the_embeddings(trained, pairs):
    embedder = FaceNetEmbedder("small_resnet", None)
    vars(embedder).update({n: v for n, v in vars(trained).items() if n.endswith("_")})
    h = embedder.transform(pairs.data).astype(float)
    expected = [
        expit(trained.intercept_ + sum(trained.coef_[j] * abs(a[j] - b[j]) for j in range(len(a))))
        for a, b in h
    ]
    probabilities = trained.predict_proba(pairs.data)
    np.testing.assert_allclose(probabilities[:, 1], expected, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


def test_training_on_pairs_separates_them(trained, pairs):
    assert roc_auc_score(pairs.target, trained.decision_function(pairs.data)) > 0.9
    assert trained.score(pairs.data, pairs.target) > 0.8
    assert trained.history_["loss"][-1] < trained.history_["loss"][0]
    assert len(trained.history_["accuracy"]) == 6


def test_training_on_faces_draws_pairs(faces, pairs):
    verifier = SiameseVerifier(weights=None, max_epochs=25, random_state=0)
    verifier.fit(faces.data, faces.target)
    assert verifier.classes_.tolist() == [0, 1]
    assert roc_auc_score(pairs.target, verifier.decision_function(pairs.data)) > 0.9


def test_pairs_are_learned_as_they_are_labeled(faces):
    # photos 0 and 1 are of one person by two labels and of two people by another: no identities
    # could be recovered, and none are needed
    X = faces.data[[[0, 1], [1, 2], [0, 2], [7, 8], [8, 20], [7, 20]]]
    y = [1, 1, 0, 1, 0, 0]
    for estimator in (SiameseVerifier(), SiameseEmbedder()):
        estimator.set_params(weights=None, max_epochs=1, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="labeled as different people, although"):
        FaceNetEmbedder(weights=None).fit(X, y)


def test_the_threshold_may_change_after_fit(trained, pairs):
    probabilities = trained.predict_proba(pairs.data)[:, 1]
    again = pickle.loads(pickle.dumps(trained))
    for threshold in (0.2, 0.5, 0.9):
        again.set_params(threshold=threshold)
        predicted = again.predict(pairs.data)
        np.testing.assert_array_equal(predicted, (probabilities >= threshold).astype(int))
        np.testing.assert_array_equal(predicted, again.decision_function(pairs.data) >= 0)
    assert again.set_params(threshold=0).predict(pairs.data).all()
    assert not again.set_params(threshold=1.0).predict(pairs.data).any()
    with pytest.raises(ValueError, match=r"threshold == 1\.5"):
        again.set_params(threshold=1.5).predict(pairs.data)


def test_scikit_learn_tunes_the_threshold_without_training_again(pairs, monkeypatch):
    fits = []
    fit = SiameseVerifier.fit
    monkeypatch.setattr(
        SiameseVerifier, "fit", lambda self, X, y: fits.append(len(y)) or fit(self, X, y)
    )
    verifier = SiameseVerifier(weights=None, max_epochs=1, random_state=0)
    fixed = FixedThresholdClassifier(verifier, threshold=0.7, response_method="predict_proba")
    fixed.fit(pairs.data, pairs.target)
    expected = fixed.estimator_.predict_proba(pairs.data)[:, 1] >= 0.7
    np.testing.assert_array_equal(fixed.predict(pairs.data), expected)
    assert len(fits) == 1


def test_search_over_learning_rates(pairs):
    verifier = SiameseVerifier(weights=None, max_epochs=1, random_state=0)
    search = GridSearchCV(
        verifier,
        {"learning_rate": [1e-3, 1e-2]},
        cv=IdentityKFold(2),
        scoring="roc_auc",
        n_jobs=2,
        error_score="raise",
    )
    search.fit(pairs.data, pairs.target, groups=pairs.identities)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_frozen_weights_train_the_head_alone(faces, pairs):
    verifier = SiameseVerifier(max_epochs=20, random_state=0)
    verifier.fit(pairs.data, pairs.target)
    frozen = FaceNetEmbedder().fit(faces.data)
    for name, values in frozen.weights_.items():
        np.testing.assert_array_equal(verifier.weights_[name], values)
    assert verifier.history_["loss"][-1] < verifier.history_["loss"][0]
    assert roc_auc_score(pairs.target, verifier.decision_function(pairs.data)) > 0.8


class CountingNetwork(torch.nn.Module):
    """A network that counts the faces which it is run on."""

    n_faces = 0

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 4)

    def forward(self, faces):
        CountingNetwork.n_faces += len(faces)
        return self.linear(faces.mean(dim=(2, 3)))


def build_counting_network():
    return CountingNetwork()


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_frozen_network_embeds_each_face_once(early_stopping, faces, monkeypatch):
    n_faces = []
    for max_epochs in (1, 3):
        monkeypatch.setattr(CountingNetwork, "n_faces", 0)
        verifier = SiameseVerifier(
            build_counting_network,
            weights=None,
            trainable="none",
            max_epochs=max_epochs,
            early_stopping=early_stopping,
            random_state=0,
        ).fit(faces.data, faces.target)
        assert len(verifier.history_["loss"]) == max_epochs
        n_faces.append(CountingNetwork.n_faces)
    assert n_faces[0] == n_faces[1] >= len(faces.data)


def test_a_missing_face_makes_its_pair_different(trained, pairs):
    X = pairs.data[:4] / np.float32(255)
    X[1, 0] = np.nan
    assert np.isnan(trained.decision_function(X)).tolist() == [False, True, False, False]
    np.testing.assert_array_equal(trained.predict_proba(X)[1], [1, 0])
    assert trained.predict(X)[1] == 0
    assert clone(trained).set_params(threshold=0).fit(X, [0, 1, 1, 0]).predict(X)[1] == 0


def test_single_faces_are_no_pairs(trained, faces):
    with pytest.raises(ValueError, match=r"48 single faces.*\[\[left, right\]\]"):
        trained.predict(faces.data)


def test_labels_are_needed_and_of_two_kinds(pairs):
    for estimator in (SiameseVerifier(weights=None), SiameseEmbedder(weights=None)):
        with pytest.raises(ValueError, match="requires y"):
            estimator.fit(pairs.data, None)
        with pytest.raises(ValueError, match="1 classes"):
            estimator.fit(pairs.data, np.ones(len(pairs.data)))
