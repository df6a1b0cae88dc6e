"""PairVerifier as an estimator: scikit-learn's checks, failures, weights, labels, shapes."""

import pickle

import numpy as np
import pandas as pd
import pytest
from labeled_pairs import embedded, scored
from sklearn.base import clone
from sklearn.metrics import make_scorer
from sklearn.model_selection import cross_validate
from sklearn.utils.estimator_checks import parametrize_with_checks

from skface import PairVerifier
from skface.metrics import equal_error_rate


@parametrize_with_checks(
    [
        PairVerifier(),
        PairVerifier(calibration="isotonic"),
        PairVerifier(calibration=None, criterion="balanced_accuracy"),
        PairVerifier(criterion="f1"),
        PairVerifier(criterion="eer"),
        PairVerifier(criterion="cost", cost=(1.0, 2.0, 0.4)),
        PairVerifier(threshold=0.0),
        PairVerifier(criterion="far", far=0.1),
    ]
)
@pytest.mark.filterwarnings("ignore:far=0.1 rests on:UserWarning")
@pytest.mark.filterwarnings("ignore:Larger scores do not go:UserWarning")
def test_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", lambda a, b: np.sum(a * b, axis=1)])
def test_failed_embeddings_teach_nothing_and_are_rejected(metric):
    X, y = embedded()
    failed = np.arange(0, len(X), 7)
    broken = X.copy()
    broken[failed[::2], 0] = np.nan
    broken[failed[1::2], 1, 3] = np.nan
    verifier = PairVerifier(metric).fit(broken, y)
    clean = PairVerifier(metric).fit(np.delete(X, failed, 0), np.delete(y, failed))
    assert verifier.threshold_ == clean.threshold_
    assert verifier.operating_point_.n_failures == len(failed)
    for method in (verifier.score_pairs, verifier.decision_function, verifier.log_likelihood_ratio):
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(method(broken))), failed)
    assert not verifier.predict(broken)[failed].any()
    np.testing.assert_array_equal(verifier.predict_proba(broken)[failed], [[1, 0]] * len(failed))


@pytest.mark.parametrize("n_scores", [1, 3])
def test_failed_scores_teach_nothing_and_are_rejected(n_scores):
    X, y = scored()
    X = np.hstack([X, X**3, np.sin(X)])[:, :n_scores]
    broken = X.copy()
    broken[::9, -1] = np.nan
    kept = ~np.isnan(broken).any(axis=1)
    verifier = PairVerifier().fit(broken, y)
    assert verifier.threshold_ == pytest.approx(PairVerifier().fit(X[kept], y[kept]).threshold_)
    assert not verifier.predict(broken)[~kept].any()


@pytest.mark.parametrize("criterion", ["accuracy", "balanced_accuracy", "f1", "eer", "cost", "far"])
@pytest.mark.parametrize("calibration", ["sigmoid", "isotonic"])
@pytest.mark.filterwarnings("ignore:far=0.1 rests on:UserWarning")
def test_weights_are_repetitions(criterion, calibration):
    X, y = scored(120, decimals=1)
    X = np.hstack([X, X**2 + y[:, None]])
    weight = np.random.default_rng(3).integers(0, 4, len(y))
    verifier = PairVerifier(criterion=criterion, far=0.1, calibration=calibration)
    weighted = clone(verifier).fit(X, y, sample_weight=weight)
    repeated = clone(verifier).fit(X.repeat(weight, axis=0), y.repeat(weight))
    assert weighted.threshold_ == pytest.approx(repeated.threshold_)
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-6)
    for key in ("n_genuine", "n_impostor", "fmr", "fnmr"):
        assert weighted.operating_point_[key] == repeated.operating_point_[key]


@pytest.mark.parametrize("labels", [["different", "same"], [False, True], [-1, 1], ["0", "1"]])
def test_last_label_means_same(labels):
    X, y = embedded()
    verifier = PairVerifier().fit(X, np.array(labels)[y])
    assert verifier.classes_.tolist() == labels
    np.testing.assert_array_equal(
        verifier.predict(X) == labels[1], PairVerifier().fit(X, y).predict(X)
    )


def test_n_features_in_is_the_length_of_an_embedding_or_the_number_of_scores():
    X, y = embedded(d=16)
    assert PairVerifier().fit(X, y).n_features_in_ == 16
    scores = PairVerifier().fit(X, y).score_pairs(X)
    frame = pd.DataFrame({"sface": scores, "facenet": scores**3})
    verifier = PairVerifier().fit(frame, y)
    assert verifier.n_features_in_ == 2
    assert verifier.feature_names_in_.tolist() == ["sface", "facenet"]
    with pytest.raises(ValueError, match="feature names"):
        verifier.predict(frame[["facenet", "sface"]])


def test_embeddings_and_scores_are_not_mistaken_for_each_other():
    X, y = embedded(d=16)
    verifier = PairVerifier().fit(X, y)
    with pytest.raises(ValueError, match=r"fitted on embeddings.*\[\[left, right\]\]"):
        verifier.predict(X[:, 0])
    with pytest.raises(ValueError, match="fitted on scores"):
        PairVerifier().fit(scored()[0], scored()[1]).predict(X)
    with pytest.raises(ValueError, match="X has 15 features, but PairVerifier is expecting 16"):
        verifier.predict(X[:, :, :15])


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.zeros((4, 3, 5)), "hold the 2 embeddings"),
        (np.zeros((4, 2, 8, 8, 3)), "Put an embedder before it"),
        (np.zeros((0, 2, 5)), "0 sample"),
        (np.zeros((4, 2, 0)), "0 feature"),
        (np.full((4, 2, 5), np.inf), "infinity"),
        (np.full((4, 2, 5), np.nan), "class 0 has no pair"),
        (np.zeros(4), "Reshape your data"),
    ],
)
def test_bad_pairs_are_named(X, words):
    with pytest.raises(ValueError, match=words):
        PairVerifier().fit(X, [0, 1, 0, 1][: len(X)])


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([1] * 200, "one class only, 1:"),
        (np.arange(200) % 3, "Only binary classification"),
        ([0, 1], "inconsistent numbers of samples"),
        (None, "y cannot be None|target y is None"),
    ],
)
def test_bad_labels_are_named(y, words):
    with pytest.raises(ValueError, match=words):
        PairVerifier().fit(embedded()[0], y)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"metric": "manhattan"}, "metric='manhattan'"),
        ({"criterion": "best"}, "criterion='best'"),
        ({"calibration": "beta"}, "calibration='beta'"),
        ({"threshold": "0.5"}, "threshold='0.5'"),
        ({"threshold": np.nan}, "threshold=nan"),
        ({"criterion": "far"}, "needs the largest allowed"),
        ({"criterion": "far", "far": 0}, "far=0"),
        ({"criterion": "far", "far": 1.0}, "far=1.0"),
        ({"criterion": "cost", "cost": (1, 1)}, r"cost=\(1, 1\)"),
        ({"criterion": "cost", "cost": (1, 1, 2)}, r"cost=\(1, 1, 2\)"),
        ({"prior": 1}, "prior=1"),
    ],
)
def test_bad_parameters_are_named(params, words):
    with pytest.raises(ValueError, match=words):
        PairVerifier(**params).fit(*scored())


@pytest.mark.parametrize("calibration", ["sigmoid", "isotonic", None])
def test_distances_and_swapped_labels_are_warned_about(calibration):
    X, y = scored()
    with pytest.warns(UserWarning, match="distance"):
        verifier = PairVerifier(prior=0.5, calibration=calibration).fit(-X, y)
    if calibration == "sigmoid":
        assert set(verifier.predict_proba(X)[:, 1]) == {0.5}
    with pytest.warns(UserWarning, match="'impostor', which means the same.*after 'genuine'"):
        PairVerifier(calibration=calibration).fit(X, np.where(y == 1, "genuine", "impostor"))


def test_faces_in_place_of_pairs_are_warned_about():
    X, y = embedded(d=40)
    with pytest.warns(UserWarning, match="40 scores per pair.*pairs"):
        PairVerifier().fit(X[:, 0], y)


def test_parameters_that_change_after_fit_wait_for_the_next_fit():
    X, y = embedded()
    verifier = PairVerifier(calibration=None).fit(X, y)
    expected = verifier.decision_function(X)
    verifier.set_params(metric="euclidean", calibration="sigmoid")
    np.testing.assert_array_equal(verifier.decision_function(X), expected)
    assert not hasattr(verifier, "predict_proba")
    assert hasattr(verifier.fit(X, y), "predict_proba")


def test_cross_validation_and_pickle_on_embeddings():
    X, y = embedded()
    scoring = ["accuracy", "roc_auc", "neg_log_loss", "average_precision"]
    results = cross_validate(PairVerifier(prior=0.5), X, y, scoring=scoring, error_score="raise")
    assert all(np.isfinite(results[f"test_{name}"]).all() for name in scoring)
    assert results["test_accuracy"].mean() > 0.8
    own = make_scorer(
        lambda y, s: -equal_error_rate(y, s).rate, response_method="decision_function"
    )
    assert own(PairVerifier().fit(X, y), X, y) > -0.2
    verifier = PairVerifier(calibration="isotonic").fit(X, y)
    copy = pickle.loads(pickle.dumps(verifier))
    np.testing.assert_array_equal(copy.predict_proba(X), verifier.predict_proba(X))


def test_fit_changes_neither_data_nor_needs_writable_arrays():
    X, y = embedded()
    before = X.copy()
    X.flags.writeable = False
    PairVerifier().fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(X, before)
