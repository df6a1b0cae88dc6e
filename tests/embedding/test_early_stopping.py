"""Early stopping: identities are held out, and the best epoch is kept."""

import numpy as np
import pytest
from tiny_fits import RecordingNetwork, StopAfter, recorded_rows, tiny, weights_of

from skface import FaceNetEmbedder, SiameseEmbedder, SiameseVerifier


@pytest.mark.parametrize("kind", [FaceNetEmbedder, SiameseEmbedder, SiameseVerifier])
@pytest.mark.parametrize("rows", ["faces", "pairs"])
def test_early_stopping_keeps_the_best_epoch(kind, rows, faces, pairs):
    X, y = (faces.data, faces.target) if rows == "faces" else (pairs.data, pairs.target)
    estimator = tiny(
        kind, max_epochs=30, learning_rate=0.03, early_stopping=True,
        validation_fraction=0.3, n_iter_no_change=3,
    )  # fmt: skip
    history = estimator.fit(X, y).history_
    best = estimator.best_epoch_
    n_epochs = len(history["epoch"])
    assert n_epochs == min(30, best + 3)
    if best:
        assert history["validation_eer"][best - 1] == history["validation_eer"].min()
    assert ((history["validation_tar"] >= 0) & (history["validation_tar"] <= 1)).all()


def test_early_stopping_keeps_the_head_of_the_best_epoch_as_well(faces):
    params = {"max_epochs": 30, "learning_rate": 0.05, "early_stopping": True}
    params |= {"validation_fraction": 0.4, "n_iter_no_change": 3}
    best = tiny(SiameseVerifier, **params).fit(faces.data, faces.target)
    assert 0 < best.best_epoch_ < len(best.history_["epoch"])
    until_then = tiny(SiameseVerifier, **params).set_callbacks(StopAfter(best.best_epoch_))
    until_then.fit(faces.data, faces.target)
    np.testing.assert_array_equal(weights_of(best), weights_of(until_then))
    np.testing.assert_array_equal(best.coef_, until_then.coef_)
    assert best.intercept_ == until_then.intercept_


def test_identities_held_out_are_not_learned_from(faces):
    embedder = FaceNetEmbedder(
        RecordingNetwork, None, early_stopping=True, validation_fraction=0.3, augment=False,
        max_epochs=4, random_state=0,
    )  # fmt: skip
    embedder.fit(faces.data, faces.target)
    learned, held_out = (
        set(faces.target[list(recorded_rows(faces.data, training=training))])
        for training in (True, False)
    )
    assert (len(learned), len(held_out)) == (7, 3)
    assert not learned & held_out


def test_validation_that_leaves_too_few_to_train_on_is_refused(faces):
    few = faces.target < 3
    with pytest.raises(ValueError, match=r"holds out 2 of 3 people"):
        tiny(early_stopping=True).fit(faces.data[few], faces.target[few])


def test_validation_that_leaves_pairs_of_one_kind_is_refused(faces):
    X = faces.data[[[0, 1], [4, 5], [8, 9], [12, 13], [0, 4], [8, 12]]]
    with pytest.raises(ValueError, match="holds out 2 people .*2 pairs to train on, and not both"):
        tiny(SiameseVerifier, early_stopping=True).fit(X, [1, 1, 1, 1, 0, 0])
