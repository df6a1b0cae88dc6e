"""Training within searches, and followed by callbacks."""

import numpy as np
import pytest
import torch
from sklearn.callback import ScoringMonitor
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from tiny_fits import StopAfter, tiny, tiny_network

from skface import FaceNetEmbedder, IdentityKFold, PairVerifier, SiameseEmbedder, SiameseVerifier
from skface.nn.training import Trainer


def test_a_search_over_margins_trains_once_per_candidate_and_fold(pairs, monkeypatch):
    fits = count_fits(monkeypatch)
    pipe = make_pipeline(tiny(), PairVerifier())
    search = GridSearchCV(pipe, {"facenetembedder__margin": [0.1, 0.4]}, cv=IdentityKFold(3))
    search.fit(pairs.data, pairs.target, groups=pairs.identities)
    assert len(fits) == 2 * 3 + 1
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_a_frozen_embedder_in_a_search_never_trains(pairs, faces, monkeypatch, tmp_path):
    donor = tiny().fit(faces.data, faces.target)
    torch.save({n: torch.tensor(v) for n, v in donor.weights_.items()}, tmp_path / "w.pt")
    fits = count_fits(monkeypatch)
    pipe = make_pipeline(FaceNetEmbedder(tiny_network, tmp_path / "w.pt"), PairVerifier())
    grid = {"pairverifier__criterion": ["accuracy", "eer"], "pairverifier__threshold": [None, 0.5]}
    search = GridSearchCV(pipe, grid, cv=IdentityKFold(3))
    search.fit(pairs.data, pairs.target, groups=pairs.identities)
    assert fits == []


def count_fits(monkeypatch):
    fits = []
    run = Trainer.run
    monkeypatch.setattr(Trainer, "run", lambda self, *args: fits.append(1) or run(self, *args))
    return fits


@pytest.mark.parametrize("kind", [FaceNetEmbedder, SiameseEmbedder, SiameseVerifier])
def test_a_callback_may_stop_training(kind, faces):
    estimator = tiny(kind, max_epochs=9).set_callbacks(StopAfter(3))
    assert len(estimator.fit(faces.data, faces.target).history_["epoch"]) == 3


def auc(embedder, X, y):
    embeddings = embedder.transform(X)
    left, right = np.triu_indices(len(y), 1)
    return roc_auc_score(y[left] == y[right], (embeddings[left] * embeddings[right]).sum(axis=1))


def test_scoring_monitor_sees_the_network_of_each_epoch(faces, pairs):
    monitor = ScoringMonitor(scoring={"score": auc})
    embedder = tiny(max_epochs=3, learning_rate=0.02).set_callbacks(monitor)
    embedder.fit(faces.data, faces.target)
    scores = [row["score"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == 3
    assert scores[-1] == pytest.approx(auc(embedder, faces.data, faces.target), abs=1e-6)
    assert len(set(scores)) == 3

    monitor = ScoringMonitor(scoring="roc_auc")
    verifier = tiny(SiameseVerifier).set_callbacks(monitor).fit(pairs.data, pairs.target)
    scores = [row["roc_auc"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    expected = roc_auc_score(pairs.target, verifier.decision_function(pairs.data))
    assert scores[-1] == pytest.approx(expected, abs=1e-6)
