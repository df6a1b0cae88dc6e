"""Fits that fail, and settings of torch around a fit."""

import pickle

import numpy as np
import pytest
import torch
from tiny_fits import spread, tiny, weights_of

from skface import FaceNetEmbedder, SiameseVerifier


class Interrupted:
    """A loss that ends the second step of a fit, as Ctrl-C would."""

    n_calls = 0

    def __call__(self, embeddings, labels):
        Interrupted.n_calls += 1
        if Interrupted.n_calls == 2:
            raise KeyboardInterrupt
        return spread(embeddings, labels)


def test_a_fit_that_fails_leaves_the_fitted_state_alone(faces):
    embedder = tiny().fit(faces.data, faces.target)
    before = pickle.dumps({n: v for n, v in vars(embedder).items() if n.endswith("_")})
    embedder.set_params(loss=Interrupted(), n_identities_per_batch=2)
    with pytest.raises(KeyboardInterrupt):
        embedder.fit(faces.data[:20], faces.target[:20])
    assert pickle.dumps({n: v for n, v in vars(embedder).items() if n.endswith("_")}) == before


def test_a_fit_that_fails_leaves_the_number_of_features_alone():
    X = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    y = np.arange(20) // 4
    embedder = FaceNetEmbedder("mlp", None, max_epochs=1, random_state=0).fit(X, y)
    expected = embedder.transform(X)
    with pytest.raises(ValueError, match="two images"):
        embedder.fit(X[:, :3], np.arange(20))
    assert embedder.n_features_in_ == 6
    np.testing.assert_array_equal(embedder.transform(X), expected)
    unfitted = FaceNetEmbedder("mlp", None, max_epochs=1)
    with pytest.raises(ValueError, match="two images"):
        unfitted.fit(X, np.arange(20))
    assert not hasattr(unfitted, "n_features_in_")


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradients_that_the_caller_switched_off_do_not_matter(off, faces):
    with off():
        embedder = tiny(loss="arcface").fit(faces.data, faces.target)
        assert not torch.is_grad_enabled()
    expected = tiny(loss="arcface").fit(faces.data, faces.target)
    np.testing.assert_array_equal(weights_of(embedder), weights_of(expected))


@pytest.mark.parametrize("kind", [FaceNetEmbedder, SiameseVerifier])
def test_double_precision_as_the_default_of_torch_does_not_matter(kind, faces):
    torch.set_default_dtype(torch.float64)
    try:
        estimator = tiny(kind, early_stopping=True).fit(faces.data, faces.target)
    finally:
        torch.set_default_dtype(torch.float32)
    assert weights_of(estimator).dtype == np.float32
