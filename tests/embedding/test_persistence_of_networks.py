"""Fitted networks are data: in pickles, other processes, forks and threads."""

import io
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest

from skface import DistilledEmbedder, FaceNetEmbedder, SiameseEmbedder, SiameseVerifier

PARAMS = {"weights": None, "max_epochs": 1, "random_state": 0}


class Modules(pickle.Unpickler):
    """Note the modules of all classes and functions in a pickle."""

    def __init__(self, content):
        super().__init__(io.BytesIO(content))
        self.names = set()

    def find_class(self, module, name):
        self.names.add(module.partition(".")[0])
        return super().find_class(module, name)


@pytest.fixture(scope="module")
def fitted(faces, pairs):
    """Every kind of estimator, after it was used."""
    estimators = {
        "trained": FaceNetEmbedder(warm_start=True, **PARAMS).fit(faces.data, faces.target),
        "pretrained": FaceNetEmbedder().fit(faces.data),
        "siamese": SiameseEmbedder(**PARAMS).fit(pairs.data, pairs.target),
        "verifier": SiameseVerifier(warm_start=True, **PARAMS).fit(pairs.data, pairs.target),
        "distilled": DistilledEmbedder(FaceNetEmbedder(), **PARAMS).fit(faces.data),
    }
    return {name: (each, output(each, pairs.data[:9])) for name, each in estimators.items()}


def output(estimator, X):
    method = "predict_proba" if hasattr(estimator, "predict_proba") else "transform"
    return getattr(estimator, method)(X)


def test_pickles_hold_data_only(fitted):
    for name, (estimator, _) in fitted.items():
        modules = Modules(pickle.dumps(estimator))
        modules.load()
        allowed = {"skface", "numpy", "builtins"}
        assert modules.names <= allowed, name


def test_weights_cannot_be_changed_behind_their_digest(fitted):
    for estimator, _ in fitted.values():
        values = next(iter(estimator.weights_.values()))
        with pytest.raises(ValueError, match="read-only"):
            values[...] = 0


def test_another_process_gives_the_same_output(fitted, pairs, tmp_path):
    estimators = {name: estimator for name, (estimator, _) in fitted.items()}
    joblib.dump((estimators, pairs.data[:9]), tmp_path / "fitted.joblib")
    code = """
import joblib, numpy, sys
estimators, X = joblib.load(sys.argv[1])
outputs = {
    name: (each.predict_proba if hasattr(each, "predict_proba") else each.transform)(X)
    for name, each in estimators.items()
}
numpy.savez(sys.argv[2], **outputs)
"""
    out = tmp_path / "outputs.npz"
    subprocess.run([sys.executable, "-c", code, tmp_path / "fitted.joblib", out], check=True)
    with np.load(out) as outputs:
        for name, (_, expected) in fitted.items():
            np.testing.assert_array_equal(outputs[name], expected, err_msg=name)


def test_threads_share_fitted_networks(fitted, pairs):
    with ThreadPoolExecutor(4) as pool:
        for name, (estimator, expected) in fitted.items():
            copies = [estimator, pickle.loads(pickle.dumps(estimator))]
            results = list(pool.map(lambda each: output(each, pairs.data[:9]), copies * 4))
            for result in results:
                np.testing.assert_array_equal(result, expected, err_msg=name)


def test_two_fits_in_a_row_give_what_one_gives(fitted, faces, pairs):
    for name in ("pretrained", "siamese", "distilled"):
        estimator, expected = fitted[name]
        again = pickle.loads(pickle.dumps(estimator))
        again.fit(pairs.data[:4], [0, 1, 0, 1])
        X, y = (pairs.data, pairs.target) if name == "siamese" else (faces.data, None)
        again.fit(X, y)
        np.testing.assert_array_equal(output(again, pairs.data[:9]), expected, err_msg=name)
