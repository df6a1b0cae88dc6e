"""PairVerifier: thresholds against brute force, probabilities, failures, scikit-learn's rules."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, make_scorer
from sklearn.model_selection import cross_validate
from sklearn.utils.estimator_checks import parametrize_with_checks

from skface.metrics import FewImpostorsWarning, equal_error_rate, rate_interval, threshold_at_far
from skface.verification import PairVerifier


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


def scored(n=300, seed=0, gap=1.5, decimals=None):
    """Single scores of pairs."""
    rng = np.random.default_rng(seed)
    y = np.r_[0, 1, rng.integers(0, 2, n - 2)]
    s = rng.normal(gap * y, 1.0)
    return (s if decimals is None else np.round(s, decimals))[:, None], y


def embedded(n=200, d=16, seed=0, dtype=np.float32):
    """Pairs of embeddings: two noisy copies of one vector, or of two."""
    rng = np.random.default_rng(seed)
    y = np.r_[0, 1, rng.integers(0, 2, n - 2)]
    first, second = rng.normal(size=(2, n, d))
    second[y == 1] = first[y == 1]
    X = np.stack([first, second], axis=1) + rng.normal(0, 0.6, (n, 2, d))
    return X.astype(dtype), y


# Scores ---------------------------------------------------------------------------------------


def test_similarities_equal_their_definitions():
    X, y = embedded(dtype=np.float64)
    a, b = X[:, 0], X[:, 1]
    expected = {
        "cosine": [u @ v / np.linalg.norm(u) / np.linalg.norm(v) for u, v in X],
        "euclidean": -np.linalg.norm(a - b, axis=1),
        "sqeuclidean": -(np.linalg.norm(a - b, axis=1) ** 2),
        np.inner.__name__: np.sum(a * b, axis=1),
    }
    metrics = ["cosine", "euclidean", "sqeuclidean", lambda u, v: np.sum(u * v, axis=1)]
    for metric, score in zip(metrics, expected.values(), strict=True):
        np.testing.assert_allclose(PairVerifier(metric).fit(X, y).score_pairs(X), score)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", ["cosine", "euclidean", "sqeuclidean"])
def test_same_photo_scores_the_maximum_and_order_is_irrelevant(metric, dtype):
    X, y = embedded(d=37, dtype=dtype)
    verifier = PairVerifier(metric).fit(X, y)
    copies = np.stack([X[:, 0], X[:, 0]], axis=1) * dtype(1e-20)
    assert set(verifier.score_pairs(copies)) == {1.0 if metric == "cosine" else 0.0}
    np.testing.assert_array_equal(verifier.score_pairs(X[:, ::-1]), verifier.score_pairs(X))
    one_by_one = [verifier.score_pairs(X[i : i + 1])[0] for i in range(len(X))]
    np.testing.assert_array_equal(verifier.score_pairs(X), one_by_one)


@pytest.mark.parametrize("scale", [1e-290, 1e-200, 1e-80, 1e80, 1e150, 1e290])
def test_cosine_of_vectors_of_any_length(scale):
    X, y = embedded(dtype=np.float64)
    verifier = PairVerifier().fit(X, y)
    expected = verifier.score_pairs(X)
    X[::3] *= scale
    X[1::3, 1] *= scale
    np.testing.assert_allclose(verifier.score_pairs(X), expected, rtol=1e-12)
    one_by_one = [verifier.score_pairs(X[i : i + 1])[0] for i in range(len(X))]
    np.testing.assert_array_equal(verifier.score_pairs(X), one_by_one)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "sqeuclidean"])
def test_scores_do_not_depend_on_memory_or_other_rows(metric):
    X, y = embedded(d=256, dtype=np.float64)
    verifier = PairVerifier(metric).fit(X[..., ::2].copy(), y)
    expected = verifier.score_pairs(X[..., ::2].copy())
    np.testing.assert_array_equal(verifier.score_pairs(X[..., ::2]), expected)
    np.testing.assert_array_equal(verifier.score_pairs(X[:, ::-1, ::2]), expected)
    with_failure = X[..., ::2].copy()
    with_failure[3] = np.nan
    np.testing.assert_array_equal(
        np.delete(verifier.score_pairs(with_failure), 3), np.delete(expected, 3)
    )


def test_all_zero_embedding_is_an_error_that_names_the_rows():
    X, y = embedded()
    X[[3, 50], 1] = 0
    with pytest.raises(ValueError, match="all-zero embedding in row 3, 50"):
        PairVerifier().fit(X, y)
    PairVerifier("euclidean").fit(X, y)


def test_metric_that_returns_the_wrong_shape_is_named():
    X, y = embedded()
    with pytest.raises(ValueError, match=r"returned an array of shape \(200, 16\)"):
        PairVerifier(np.multiply).fit(X, y)
    with pytest.raises(ValueError, match="infinite"):
        PairVerifier(lambda a, b: np.full(len(a), np.inf)).fit(X, y)


def test_scores_are_fused_by_logistic_regression():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 500)
    X = rng.normal(y[:, None], [1.0, 2.0, 9.0]) * [1, 0.01, 1]
    verifier = PairVerifier().fit(X, y)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    expected = LogisticRegression(tol=1e-10).fit(Z, y).decision_function(Z)
    np.testing.assert_allclose(verifier.score_pairs(X), expected, rtol=1e-4, atol=1e-4)
    assert verifier.score(X, y) > PairVerifier().fit(X[:, :1], y).score(X[:, :1], y)
    assert PairVerifier().fit(X[:, :1], y).fusion_ is None


# Thresholds -----------------------------------------------------------------------------------

SCORES = {
    "accuracy": accuracy_score,
    "balanced_accuracy": balanced_accuracy_score,
    "f1": lambda y, z: f1_score(y, z, zero_division=0),
    "eer": lambda y, z: -abs(np.mean(z[y == 0]) - np.mean(1 - z[y == 1])),
    "cost": lambda y, z: -0.3 * 2 * np.mean(1 - z[y == 1]) - 0.7 * 5 * np.mean(z[y == 0]),
}


@pytest.mark.parametrize("criterion", SCORES)
@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("seed", range(3))
def test_no_other_threshold_is_better(criterion, decimals, seed):
    X, y = scored(80, seed, gap=0.8, decimals=decimals)
    verifier = PairVerifier(criterion=criterion, cost=(2.0, 5.0, 0.3)).fit(X, y)
    by_loop = [SCORES[criterion](y, (X[:, 0] >= t).astype(int)) for t in [*X[:, 0], 99.0]]
    assert SCORES[criterion](y, verifier.predict(X)) == pytest.approx(max(by_loop))


@pytest.mark.parametrize("far", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("decimals", [None, 1])
def test_far_accepts_the_most_that_the_budget_allows(far, decimals):
    X, y = scored(decimals=decimals)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        verifier = PairVerifier(criterion="far", far=far).fit(X, y)
    accepted = verifier.predict(X)
    assert accepted[y == 0].mean() <= far
    assert verifier.threshold_ == threshold_at_far(y, X[:, 0], far)
    looser = X[:, 0] >= np.nextafter(verifier.threshold_, -np.inf)
    assert looser[y == 0].mean() > far


def test_too_few_impostors_for_the_far_are_counted_in_a_warning():
    X, y = scored()
    with pytest.warns(FewImpostorsWarning, match=rf"far=0.001 rests on {np.sum(y == 0)} .* 3000"):
        PairVerifier(criterion="far", far=1e-3).fit(X, y)
    with pytest.warns(FewImpostorsWarning, match="fewer than inf"):
        PairVerifier(criterion="far", far=1e-310).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PairVerifier(criterion="far", far=0.1).fit(X, y)


def test_threshold_lies_in_the_middle_of_the_widest_gap():
    X = np.array([0.0, 0.1, 0.5, 0.6])[:, None]
    assert PairVerifier().fit(X, [0, 0, 1, 1]).threshold_ == pytest.approx(0.3)
    # Cuts in (0, 0.3] and in (0.6, 0.7] make one error each; the former is the wider gap.
    X = np.array([0.0, 0.3, 0.6, 0.7, 0.8])[:, None]
    assert PairVerifier().fit(X, [0, 1, 0, 1, 1]).threshold_ == pytest.approx(0.15)
    neighbours = np.array([0.5, np.nextafter(0.5, 1)])[:, None]
    assert PairVerifier().fit(neighbours, [0, 1]).predict(neighbours).tolist() == [0, 1]


def test_threshold_that_is_given_is_used_as_it_is():
    X, y = scored()
    verifier = PairVerifier(threshold=0).fit(X, y)
    assert verifier.threshold_ == 0.0
    np.testing.assert_array_equal(verifier.decision_function(X), X[:, 0])
    assert verifier.operating_point_.criterion == "fixed"
    assert PairVerifier(threshold=0, criterion="far").fit(X, y).threshold_ == 0.0


def test_score_on_the_threshold_is_accepted():
    X, y = scored()
    verifier = PairVerifier(threshold=0.25).fit(X, y)
    assert verifier.predict([[0.25], [np.nextafter(0.25, 0)]]).tolist() == [1, 0]


def test_operating_point_says_what_the_threshold_does():
    X, y = scored()
    X[[5, 6]] = np.nan
    verifier = PairVerifier(criterion="eer").fit(X, y)
    point, known = verifier.operating_point_, ~np.isnan(X[:, 0])
    accepted = verifier.predict(X)[known] == 1
    same = y[known] == 1
    assert (point.n_genuine, point.n_impostor, point.n_failures) == (sum(same), sum(~same), 2)
    assert point.fmr == pytest.approx(accepted[~same].mean())
    assert point.fnmr == pytest.approx(1 - accepted[same].mean())
    assert point.fmr_interval == rate_interval(sum(accepted & ~same), sum(~same))
    assert point.fnmr_interval == rate_interval(sum(~accepted & same), sum(same))
    assert point.threshold == verifier.threshold_
    result = equal_error_rate(y[known], X[known, 0])
    assert abs(point.fmr - point.fnmr) == pytest.approx(abs(result.far - result.frr))


# Probabilities --------------------------------------------------------------------------------


@pytest.mark.parametrize("calibration", ["sigmoid", "isotonic"])
def test_log_likelihood_ratio_is_that_of_the_distributions(calibration):
    # Two Gaussians of unit variance at 0 and 2: ln p(s|1)/p(s|0) = 2 s - 2, whatever the mixture.
    rng = np.random.default_rng(0)
    y = (rng.random(60_000) < 0.1).astype(int)
    X = rng.normal(2.0 * y, 1.0)[:, None]
    at = np.linspace(0, 2, 9)[:, None]
    verifier = PairVerifier(calibration=calibration, prior=0.1).fit(X, y)
    np.testing.assert_allclose(verifier.log_likelihood_ratio(at), 2 * at[:, 0] - 2, atol=0.35)
    probability = verifier.predict_proba(X)[:, 1]
    for low in (0.1, 0.3, 0.6):
        bin_ = (probability > low) & (probability < low + 0.1)
        assert y[bin_].mean() == pytest.approx(probability[bin_].mean(), abs=0.06)


def soft_targets(y, weight):
    """Return what the sigmoid is fitted to: Platt's targets, and weights of sum 1 per class."""
    totals = np.bincount(y, weight)
    target = np.where(y == 1, (totals[1] + 1) / (totals[1] + 2), 1 / (totals[0] + 2))
    return target, weight / totals[y]


@pytest.mark.filterwarnings("ignore:Larger scores")
@pytest.mark.parametrize("weigh", [lambda rng: 1.0, lambda rng: 10.0 ** rng.uniform(-9, 9)])
@pytest.mark.parametrize("gap", [0.0, 1.0, 4.0, 40.0])
@pytest.mark.parametrize("n", [8, 500])
def test_sigmoid_is_the_logistic_regression_of_soft_targets(n, gap, weigh):
    rng = np.random.default_rng(n)
    y = np.arange(n) % 2
    X = rng.standard_t(3, n)[:, None] + gap * y[:, None]
    weight = np.array([weigh(rng) for _ in range(n)])
    target, share = soft_targets(y, weight)
    expected = LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky").fit(
        np.tile(X, (2, 1)),
        np.repeat([1, 0], n),
        sample_weight=np.concatenate((share * target, share * (1 - target))),
    )
    verifier = PairVerifier().fit(X, y, sample_weight=weight)
    ratio = expected.decision_function(X) if expected.coef_[0, 0] > 0 else np.zeros(n)
    np.testing.assert_allclose(verifier.log_likelihood_ratio(X), ratio, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weighs", [False, True])
@pytest.mark.parametrize("outlier", [1e3, 1e5, 1e7])
def test_sigmoid_is_the_best_one_also_where_one_score_lies_far_out(outlier, weighs):
    rng = np.random.default_rng(0)
    y = (np.arange(2000) % 20 == 0).astype(int)
    X = -np.abs(rng.normal(20 - 8 * y, 3.0))[:, None]
    X[1] = -outlier
    weight = 1e6 * rng.integers(1, 100, 2000) if weighs else np.ones(2000)
    found = PairVerifier().fit(X, y, sample_weight=weight).calibrator_
    target, share = soft_targets(y, weight)

    def cross_entropy(line):
        log_odds = line[0] * X[:, 0] + line[1]
        return (share * (np.logaddexp(0, log_odds) - target * log_odds)).sum()

    loss = cross_entropy([found.slope, found.intercept])
    best = minimize(
        cross_entropy,
        [0.5, 5.0],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000},
    )
    assert loss <= best.fun + 1e-9


@pytest.mark.parametrize("criterion", ["accuracy", "eer", "far"])
def test_without_a_prior_probability_and_prediction_agree(criterion):
    X, y = scored()
    verifier = PairVerifier(criterion=criterion, far=0.05).fit(X, y)
    probability = verifier.predict_proba(X)
    np.testing.assert_array_equal(probability[:, 1] > 0.5, verifier.predict(X) == 1)
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    half = clone(verifier).set_params(prior=0.5).fit(X, y)
    np.testing.assert_allclose(half.predict_proba(X)[:, 1], expit(half.log_likelihood_ratio(X)))
    np.testing.assert_array_equal(half.log_likelihood_ratio(X), verifier.log_likelihood_ratio(X))


@pytest.mark.parametrize("calibration", ["sigmoid", "isotonic"])
def test_perfect_separation_keeps_probabilities_inside(calibration):
    X = np.r_[np.linspace(-1, 0, 20), np.linspace(1, 2, 20)][:, None]
    probability = PairVerifier(calibration=calibration).fit(X, np.arange(40) // 20).predict_proba(X)
    assert 0 < probability.min() < 0.1
    assert np.all(np.diff(probability[:, 1]) >= 0)


def test_a_given_threshold_leaves_probabilities_those_of_the_training_pairs():
    X, y = scored(2000)
    few = np.r_[np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:200]]
    verifier = PairVerifier(threshold=4.0).fit(X[few], y[few])
    probability = verifier.predict_proba(X[few])[:, 1]
    assert probability.mean() == pytest.approx(y[few].mean(), abs=0.02)


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


def test_without_calibration_there_are_no_probabilities():
    verifier = PairVerifier(calibration=None).fit(*scored())
    assert verifier.calibrator_ is None
    assert not hasattr(verifier, "predict_proba")
    assert not hasattr(verifier, "log_likelihood_ratio")


# Failures, weights, labels, shapes ------------------------------------------------------------


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


@pytest.mark.parametrize("criterion", [*SCORES, "far"])
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


# As part of scikit-learn, on embeddings -------------------------------------------------------


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
