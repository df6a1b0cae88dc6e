"""Scorers against the metrics, wherever scikit-learn takes a scorer."""

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
    cross_validate,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC

from skface import PairVerifier
from skface.metrics import (
    cllr,
    cllr_scorer,
    eer_scorer,
    equal_error_rate,
    frr_at_far,
    get_scorer,
    min_cllr,
    min_dcf_scorer,
    min_detection_cost,
    tar_at_far,
    tar_at_far_scorer,
)

NAMES = ["tar@far=0.1", "frr@far=1e-1", "eer", "min_dcf", "cllr", "min_cllr"]


def make_pairs_of_vectors(n=200, seed=0, n_failures=0):
    """Embeddings of pairs, (n, 2, 4), and which show one person."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    left = rng.normal(size=(n, 4))
    right = np.where(y[:, np.newaxis], left, rng.normal(size=(n, 4))) + rng.normal(size=(n, 4))
    X = np.stack([left, right], axis=1)
    X[rng.choice(n, n_failures, replace=False), 0] = np.nan
    return X, y


def double(X):
    return 2 * X


@pytest.mark.parametrize("n_failures", [0, 20])
def test_scores_of_a_verifier(n_failures):
    X, y = make_pairs_of_vectors(n_failures=n_failures)
    verifier = PairVerifier().fit(X, y)
    s = verifier.decision_function(X)
    expected = {
        "tar@far=0.1": tar_at_far(y, s, 0.1),
        "frr@far=1e-1": -frr_at_far(y, s, 0.1),
        "eer": -equal_error_rate(y, s).rate,
        "min_dcf": -min_detection_cost(y, s),
        "cllr": -cllr(y, verifier.log_likelihood_ratio(X)),
        "min_cllr": -min_cllr(y, s),
    }
    assert list(expected) == NAMES
    for name, value in expected.items():
        assert get_scorer(name)(verifier, X, y) == pytest.approx(value), name


def test_factories_are_what_the_names_mean():
    X, y = make_pairs_of_vectors()
    verifier = PairVerifier().fit(X, y)
    for name, scorer in (
        ("tar@far=0.05", tar_at_far_scorer(0.05)),
        ("tar@far=5e-2", tar_at_far_scorer(0.05)),
        ("eer", eer_scorer()),
        ("min_dcf", min_dcf_scorer()),
        ("cllr", cllr_scorer()),
    ):
        assert get_scorer(name)(verifier, X, y) == scorer(verifier, X, y)
    cost = (1, 10, 0.2)
    assert min_dcf_scorer(cost)(verifier, X, y) == -min_detection_cost(
        y, verifier.decision_function(X), cost=cost
    )


def wrap(kind, verifier):
    return {
        "plain": lambda: verifier,
        "pipeline": lambda: make_pipeline(FunctionTransformer(double), verifier),
        "pipeline of one": lambda: make_pipeline(verifier),
        "passthrough": lambda: make_pipeline("passthrough", verifier),
        "pipeline in pipeline": lambda: make_pipeline(
            FunctionTransformer(double), make_pipeline(FunctionTransformer(double), verifier)
        ),
        "search": lambda: GridSearchCV(
            make_pipeline(FunctionTransformer(double), verifier),
            {"pairverifier__metric": ["cosine"]},
            cv=2,
        ),
        "fixed": lambda: FixedThresholdClassifier(verifier, threshold=0.3),
        "tuned": lambda: TunedThresholdClassifierCV(make_pipeline(verifier), cv=2),
    }[kind]()


@pytest.mark.parametrize(
    "kind",
    [
        "plain",
        "pipeline",
        "pipeline of one",
        "passthrough",
        "pipeline in pipeline",
        "search",
        "fixed",
        "tuned",
    ],
)
def test_likelihood_ratios_are_found_inside(kind):
    X, y = make_pairs_of_vectors()
    # With this prior the probabilities would give another result.
    verifier = PairVerifier(prior=0.01)
    expected = cllr_scorer()(clone(verifier).fit(X, y), X, y)
    model = wrap(kind, verifier).fit(X, y)
    assert cllr_scorer()(model, X, y) == pytest.approx(expected)
    assert cllr_scorer()(FrozenEstimator(model), X, y) == pytest.approx(expected)


def test_cllr_of_probabilities_takes_the_class_balance_off():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [3000, 300])
    X = rng.normal(2.0 * y)[:, np.newaxis]  # the true log-likelihood ratio is 2 x - 2
    expected = -cllr(y, 2 * X[:, 0] - 2)
    for model in (GaussianNB(), LinearDiscriminantAnalysis(), LogisticRegression()):
        assert cllr_scorer()(model.fit(X, y), X, y) == pytest.approx(expected, abs=0.01)
    balanced = LogisticRegression(class_weight="balanced").fit(X, y)
    assert cllr_scorer(prior=0.5)(balanced, X, y) == pytest.approx(expected, abs=0.01)
    assert cllr_scorer()(balanced, X, y) < expected - 0.1


def test_cllr_needs_probabilities():
    X, y = [[0.1], [0.3], [0.2], [0.8]], [0, 0, 1, 1]
    for model in (LinearSVC(), PairVerifier(calibration=None)):
        with pytest.raises(ValueError, match=f"{type(model).__name__}.* has neither"):
            cllr_scorer()(model.fit(X, y), X, y)


@pytest.mark.parametrize("labels", [["different", "same"], [False, True], [-1, 1]])
def test_labels_of_any_kind(labels):
    X, y = make_pairs_of_vectors(n_failures=10)
    scoring = {name: get_scorer(name) for name in NAMES}
    expected = cross_validate(PairVerifier(), X, y, scoring=scoring, cv=3)
    results = cross_validate(PairVerifier(), X, np.array(labels)[y], scoring=scoring, cv=3)
    for name in NAMES:
        np.testing.assert_allclose(results[f"test_{name}"], expected[f"test_{name}"])
        assert np.isfinite(results[f"test_{name}"]).all()


@pytest.mark.parametrize(
    "model", [LogisticRegression(), LinearDiscriminantAnalysis(), GaussianNB(), PairVerifier()]
)
def test_any_binary_classifier(model):
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    X = rng.normal(y)[:, np.newaxis]  # the only feature is the score
    model.fit(X, y)
    for name in ("tar@far=0.1", "eer", "min_dcf", "min_cllr"):
        scorer = get_scorer(name)
        assert scorer(model, X, y) == pytest.approx(scorer(PairVerifier().fit(X, y), X, y))
    assert -1 < get_scorer("cllr")(model, X, y) < -0.5


def test_grid_search_with_several_scores():
    X, y = make_pairs_of_vectors(n_failures=10)
    search = GridSearchCV(
        make_pipeline(FunctionTransformer(double), PairVerifier()),
        {"pairverifier__metric": ["cosine", "euclidean"]},
        scoring={name: get_scorer(name) for name in NAMES} | {"accuracy": "accuracy"},
        refit="eer",
        cv=3,
        n_jobs=2,
        error_score="raise",
    ).fit(X, y)
    rates = search.cv_results_["mean_test_eer"]
    assert search.best_score_ == rates.max() < 0
    assert search.score(X, y) == get_scorer("eer")(search, X, y)


@pytest.mark.parametrize("name", NAMES)
def test_scorers_pickle_clone_and_show_themselves(name):
    X, y = make_pairs_of_vectors()
    verifier = PairVerifier().fit(X, y)
    scorer = get_scorer(name)
    for copy in (pickle.loads(pickle.dumps(scorer)), clone(scorer, safe=False)):
        assert copy(verifier, X, y) == scorer(verifier, X, y)
        assert repr(copy) == repr(scorer)
    assert " at 0x" not in repr(scorer)


@pytest.mark.parametrize("name", NAMES)
def test_sample_weight(name):
    X, y = make_pairs_of_vectors(n_failures=10)
    verifier = PairVerifier().fit(X, y)
    weight = np.random.default_rng(0).integers(1, 4, len(y))
    scorer = get_scorer(name)
    assert scorer(verifier, X, y, sample_weight=weight) == pytest.approx(
        scorer(verifier, X.repeat(weight, axis=0), y.repeat(weight))
    )


def test_metadata_routing():
    X, y = make_pairs_of_vectors()
    weight = np.random.default_rng(0).integers(1, 4, len(y)).astype(float)
    verifier = PairVerifier()
    unweighted = cross_validate(verifier, X, y, scoring=get_scorer("eer"), cv=2)
    with sklearn.config_context(enable_metadata_routing=True):
        scoring = {
            name: get_scorer(name).set_score_request(sample_weight=True)
            for name in ("eer", "min_cllr", "cllr")
        }
        verifier = PairVerifier().set_fit_request(sample_weight=False)
        weighted = cross_validate(
            verifier, X, y, scoring=scoring, cv=2, params={"sample_weight": weight}
        )
        halves = np.arange(len(y)) < 100
        for name, scorer in scoring.items():
            fitted = PairVerifier().fit(X[~halves], y[~halves])
            assert weighted[f"test_{name}"][0] == pytest.approx(
                scorer(fitted, X[halves], y[halves], sample_weight=weight[halves])
            )
    assert not np.allclose(weighted["test_eer"], unweighted["test_score"])


def test_other_names_are_those_of_scikit_learn():
    X, y = make_pairs_of_vectors()
    verifier = PairVerifier().fit(X, y)
    assert get_scorer("accuracy")(verifier, X, y) == verifier.score(X, y)
    assert get_scorer(None) is None
    assert get_scorer(double) is double


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: get_scorer("err"), "'err' is none of 'tar@far=1e-3'.*sklearn"),
        (lambda: get_scorer("tar@far=low"), "'tar@far=low'.*between 0 and 1"),
        (lambda: get_scorer("frr@far=2"), "'frr@far=2'.*between 0 and 1"),
        (lambda: get_scorer("tar@far="), "'tar@far='.*between 0 and 1"),
        (lambda: get_scorer("tar@far=nan"), "'tar@far=nan'.*between 0 and 1"),
        (lambda: tar_at_far_scorer(-0.1), "far"),
        (lambda: min_dcf_scorer((1, 1)), "cost"),
        (lambda: cllr_scorer(prior=1), "prior=1"),
    ],
)
def test_bad_scorers_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
