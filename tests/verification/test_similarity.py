"""Similarities and fused scores of PairVerifier, against their definitions."""

import numpy as np
import pytest
from labeled_pairs import embedded
from sklearn.linear_model import LogisticRegression

from skface import PairVerifier


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
