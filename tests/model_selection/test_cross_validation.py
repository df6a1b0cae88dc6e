"""Cross-validation of verifiers against plain loops."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    RepeatedKFold,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skface import (
    FaceAligner,
    IdentityKFold,
    PairVerifier,
    PerFace,
    ScoreDistributionDisplay,
    make_faces,
    make_pairs,
)
from skface.metrics import rate_interval
from skface.model_selection import cross_validate_pairs

PEOPLE = np.repeat(np.arange(24), 5)
PAIRS = make_pairs(PEOPLE, random_state=0)
VECTORS = np.random.default_rng(0).normal(size=(24, 6))[PEOPLE] + np.random.default_rng(1).normal(
    size=(120, 6)
)
X, Y = VECTORS[PAIRS.indices], PAIRS.target
CV = IdentityKFold(4)
RATES = ("accuracy", "accuracy_compared", "far", "frr", "fmr", "fnmr")


def with_failures():
    """Every 9th pair holds a photo without a face."""
    failing = X.copy()
    failing[::9, 0] = np.nan
    return failing


def judge(estimator=None, X=X, cv=CV, **params):
    estimator = PairVerifier() if estimator is None else estimator
    return cross_validate_pairs(estimator, X, Y, cv=cv, groups=PAIRS.identities, **params)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_figures_are_those_of_a_plain_loop(n_jobs):
    pairs = with_failures()
    report = judge(X=pairs, n_jobs=n_jobs)
    splits = list(CV.split(pairs, Y, PAIRS.identities))
    for fold, (train, test) in zip(report.folds, splits, strict=True):
        verifier = PairVerifier().fit(pairs[train], Y[train])
        counts = dict.fromkeys(["right", "right compared", "FA", "FR", "FNM", "FTA"], 0)
        failed = 0
        for pair, same in zip(pairs[test], Y[test], strict=True):
            score = verifier.score_pairs(pair[None])[0]
            fails, accepted = np.isnan(score), bool(score >= verifier.threshold_)
            failed += fails
            counts["right"] += accepted == same
            counts["right compared"] += accepted == same and not fails
            counts["FA"] += accepted and not same
            counts["FR"] += not accepted and same
            counts["FNM"] += not accepted and same and not fails
            counts["FTA"] += fails and same
        n_genuine = int(Y[test].sum())
        n_impostor = len(test) - n_genuine
        assert failed > 0
        assert fold["threshold"] == verifier.threshold_
        assert (fold["n_train"], fold["n_genuine"]) == (len(train), n_genuine)
        assert fold["n_impostor"] == n_impostor
        assert fold["n_failed_genuine"] == counts["FTA"]
        assert fold["n_failed_impostor"] == failed - counts["FTA"]
        expected = {
            "accuracy": counts["right"] / len(test),
            "accuracy_compared": counts["right compared"] / (len(test) - failed),
            "far": counts["FA"] / n_impostor,
            "frr": counts["FR"] / n_genuine,
            "fmr": counts["FA"] / (n_impostor - failed + counts["FTA"]),
            "fnmr": counts["FNM"] / (n_genuine - counts["FTA"]),
        }
        assert {rate: fold[rate] for rate in RATES} == pytest.approx(expected)


def test_mean_and_standard_error_over_folds():
    report = judge(X=with_failures())
    table = pd.DataFrame(report.folds)
    for measure in (*RATES, "threshold"):
        assert report.mean[measure] == pytest.approx(table[measure].mean())
        assert report.sd[measure] == pytest.approx(table[measure].std())  # pandas has ddof=1
        assert report.se[measure] == pytest.approx(table[measure].sem())


def test_pooled_scores_are_those_of_the_test_rows():
    pairs = with_failures()
    report = judge(X=pairs)
    for number, (train, test) in enumerate(CV.split(pairs, Y, PAIRS.identities)):
        of_fold = report.row_folds == number
        verifier = PairVerifier().fit(pairs[train], Y[train])
        np.testing.assert_array_equal(report.rows[of_fold], test)
        np.testing.assert_array_equal(report.y_true[of_fold], Y[test])
        np.testing.assert_array_equal(
            report.y_score[of_fold], verifier.decision_function(pairs[test])
        )
        np.testing.assert_array_equal(report.y_pred[of_fold], verifier.predict(pairs[test]))
    n_right = int((report.y_true == report.y_pred).sum())
    assert report.accuracy_interval == rate_interval(n_right, len(report.rows))
    display = ScoreDistributionDisplay.from_predictions(report.y_true, report.y_score, threshold=0)
    assert display.ax_.has_data()


def test_every_test_of_a_row_counts():
    cv = RepeatedKFold(n_splits=3, n_repeats=2, random_state=0)
    report = judge(cv=cv)
    assert len(report.folds) == 6
    np.testing.assert_array_equal(np.bincount(report.rows), np.full(len(Y), 2))


def test_leaking_folds_are_named():
    assert judge().n_seen_test == 0
    assert "leak" not in judge().text
    report = judge(cv=KFold(4))
    assert report.n_seen_test == len(Y)
    assert report.text.endswith("show a person who is in training too: the folds leak.")
    assert cross_validate_pairs(PairVerifier(), X, Y, cv=KFold(4)).n_seen_test is None


def test_text_names_failures_errors_and_intervals():
    text = str(judge(X=with_failures()))
    lines = text.splitlines()
    assert lines[0].split() == ["fold", "pairs", "failed", "threshold", "accuracy", "FAR", "FRR"]
    assert [line.split()[0] for line in lines[1:8]] == ["0", "1", "2", "3", "mean", "SD", "SE"]
    assert "pairs failed. Above they count as rejected. Without them:" in text
    assert "SD over 4 folds with ddof=1; SE of the mean = SD / sqrt(4)" in text
    assert max(map(len, lines)) <= 100
    assert "pairs failed" not in judge().text


def test_reports_can_be_saved():
    report = judge()
    again = pickle.loads(pickle.dumps(report))
    assert str(again) == str(report)
    assert again.folds == report.folds


@pytest.mark.parametrize(
    ("labels", "same"), [(Y == 1, True), (np.where(Y == 1, "same", "different"), "same")]
)
def test_labels_may_be_of_any_kind(labels, same):
    report = cross_validate_pairs(PairVerifier(), X, labels, cv=CV, groups=PAIRS.identities)
    assert report.folds == judge().folds
    np.testing.assert_array_equal(report.y_pred == same, judge().y_pred == 1)


def test_lists_and_frames_are_split_too():
    expected = judge().folds
    assert judge(X=list(X)).folds == expected
    similarity = PairVerifier().fit(X, Y).score_pairs(X)
    frame = pd.DataFrame({"cosine": similarity}, index=np.arange(len(Y))[::-1])
    assert judge(X=frame).folds == expected


class CountingPCA(TransformerMixin, BaseEstimator):
    """Vectors as they are; counts rows on the class, which clones share."""

    fitted, transformed = [], []

    def fit(self, X, y=None):
        self.fitted.append(len(X))
        self.fitted_ = True
        return self

    def transform(self, X):
        self.transformed.append(len(X))
        return X


@pytest.fixture
def counting():
    CountingPCA.fitted.clear()
    CountingPCA.transformed.clear()
    return CountingPCA()


def test_frozen_steps_run_once_over_all_pairs(counting):
    frozen = FrozenEstimator(counting.fit(X))
    report = judge(make_pipeline(FunctionTransformer(), frozen, PairVerifier()))
    assert counting.fitted == [len(X)]
    assert counting.transformed == [len(X)]
    assert report.folds == judge().folds


@pytest.mark.parametrize("wrap", [lambda step: step, make_pipeline, PerFace])
def test_steps_that_only_read_files_run_once_over_all_pairs(wrap):
    faces = make_faces(n_identities=20, n_images_per_identity=4, image_size=32, random_state=0)
    pairs = make_pairs(faces.target, random_state=0)
    photos, same = faces.data[pairs.indices], pairs.target
    seen = []

    def detect(photo):
        seen.append(1)
        return [[0, 0, 32, 32, 10, 12, 20, 12, 16, 16, 12, 22, 20, 22, 0.9]]

    aligner = FaceAligner(detector=detect, n_jobs=1)
    pipe = make_pipeline(wrap(aligner), PerFace(PCA(8, random_state=0)), PairVerifier())
    report = cross_validate_pairs(pipe, photos, same, cv=3)
    assert len(seen) in (80, 81)  # PerFace looks at what comes out
    crops = aligner.fit(photos).transform(photos)
    assert report.folds == cross_validate_pairs(pipe[1:], crops, same, cv=3).folds


def test_other_steps_are_fitted_to_training_pairs_and_see_test_pairs_once(counting):
    report = judge(make_pipeline(counting, PairVerifier()))
    assert counting.fitted == [fold["n_train"] for fold in report.folds]
    tested = [fold["n_genuine"] + fold["n_impostor"] for fold in report.folds]
    assert sorted(counting.transformed) == sorted(counting.fitted + tested)
    # a frozen step behind one that learns cannot be run before it
    counting.fitted.clear()
    judge(make_pipeline(counting, FrozenEstimator(CountingPCA().fit(X)), PairVerifier()))
    assert counting.fitted[1:] == [fold["n_train"] for fold in report.folds]


def test_the_given_estimator_is_not_fitted():
    pipe = make_pipeline(FunctionTransformer(), PairVerifier())
    judge(pipe)
    assert not hasattr(pipe[-1], "threshold_")


def test_thresholds_are_found_wherever_they_are():
    grid = {"criterion": ["accuracy", "eer"]}
    search = GridSearchCV(
        make_pipeline(FunctionTransformer(), PairVerifier()),
        {f"pairverifier__{name}": values for name, values in grid.items()},
        cv=IdentityKFold(2),
    )
    report = judge(search, params={"groups": PAIRS.identities})
    for fold, (train, _) in zip(report.folds, CV.split(X, Y, PAIRS.identities), strict=True):
        inner = GridSearchCV(PairVerifier(), grid, cv=IdentityKFold(2))
        inner.fit(X[train], Y[train], groups=PAIRS.identities[train])
        assert fold["threshold"] == inner.best_estimator_.threshold_
    fitted = PairVerifier().fit(X, Y)
    assert judge(FrozenEstimator(fitted)).sd["threshold"] == pytest.approx(0)
    tuned = TunedThresholdClassifierCV(PairVerifier(), cv=2, response_method="predict_proba")
    assert 0 < judge(tuned).mean["threshold"] < 1


def test_other_classifiers_are_judged_too():
    distance = np.abs(X[:, 0] - X[:, 1])
    report = judge(LogisticRegression(), distance)
    assert np.isnan(report.mean["threshold"])
    for fold, (train, test) in zip(report.folds, CV.split(X, Y, PAIRS.identities), strict=True):
        expected = LogisticRegression().fit(distance[train], Y[train])
        assert fold["accuracy"] == expected.score(distance[test], Y[test])
    forest = judge(RandomForestClassifier(20, random_state=0), distance)
    assert forest.mean["accuracy"] > 0.6
    assert np.all((forest.y_score >= 0) & (forest.y_score <= 1))
    with pytest.raises(TypeError, match="Ridge.*neither decision_function nor predict_proba"):
        judge(Ridge(), distance)


@pytest.mark.parametrize(
    ("y", "params", "words"),
    [
        (np.zeros(len(Y)), {}, "1 classes"),
        (np.arange(len(Y)), {}, "classes, 0, 1, 2, 3, 4 and"),
        (Y[:-1], {}, "inconsistent numbers of samples"),
        (Y, {"params": {"sample_weight": [1.0]}}, "inconsistent numbers of samples"),
    ],
)
def test_what_cannot_be_judged_is_refused(y, params, words):
    with pytest.raises(ValueError, match=words):
        cross_validate_pairs(PairVerifier(), X, y, cv=KFold(3), **params)
