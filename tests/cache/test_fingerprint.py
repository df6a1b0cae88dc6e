"""What identifies a fitted transformer, and what is refused because nothing does."""

import functools
import pickle
import re
import subprocess
import sys
import textwrap
import threading

import pytest
from cached_faces import (
    FACES,
    counting_detector,
    mean_color,
    tiny_network,
)
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skface import (
    FaceAligner,
    FaceNetEmbedder,
    PerFace,
)
from skface.cache._fingerprint import fingerprint


def test_fingerprints_depend_on_what_values_depend_on():
    pca = PCA(3, svd_solver="full", random_state=0).fit(FACES.data.reshape(20, -1) / 255)
    assert fingerprint(pickle.loads(pickle.dumps(pca))) == fingerprint(pca)
    assert fingerprint(pca, "file") != fingerprint(pca, "pixels")
    assert fingerprint(make_pipeline(pca)) != fingerprint(make_pipeline(pca, StandardScaler()))

    aligner = FaceAligner(detector=counting_detector, n_jobs=1).fit(FACES.data)
    assert fingerprint(clone(aligner).set_params(n_jobs=2).fit(FACES.data)) == fingerprint(aligner)
    assert fingerprint(clone(aligner).set_params(min_score=0.1).fit(FACES.data)) != fingerprint(
        aligner
    )
    embedder = FaceNetEmbedder(tiny_network, None, max_epochs=1, random_state=0)
    embedder.fit(FACES.data, FACES.target)
    before = fingerprint(embedder)
    assert fingerprint(embedder.set_params(batch_size=3, device="cpu", verbose=1)) == before
    assert fingerprint(clone(embedder).fit(FACES.data, FACES.target)) == before
    assert fingerprint(embedder.set_params(flip=True)) != before
    other = clone(embedder).set_params(random_state=1, flip=False).fit(FACES.data, FACES.target)
    assert fingerprint(other) != before


def defined_in_main(source):
    namespace = {"__name__": "__main__", "FunctionTransformer": FunctionTransformer}
    exec(source, namespace)
    return namespace["made"]


def local_class():
    class Local(FunctionTransformer):
        pass

    return Local


class HoldsLock:
    """Can be copied, but not pickled."""

    def __init__(self):
        self.lock = threading.Lock()

    def __deepcopy__(self, memo):
        return self


class Loop:
    """Refers to itself."""

    def __init__(self):
        self.me = self


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (lambda X: X, "func"),
        (functools.partial(lambda X: X), "func"),
        (functools.lru_cache(lambda X: X), "func"),
        (defined_in_main("def made(X): return X"), "func"),
        ({"lock": HoldsLock()}, "kw_args.lock"),
        ({"loop": Loop()}, "kw_args.loop"),
        ({"classes": [local_class()]}, "kw_args.classes[0]"),
    ],
    ids=str,
)
def test_what_another_process_cannot_identify_is_refused(part, name, tmp_path):
    transformer = FunctionTransformer(mean_color).set_params(**{name.partition(".")[0]: part})
    where = re.escape(f"FunctionTransformer.{name}")
    with pytest.raises(ValueError, match=rf"{where}\S*=.* cannot be identified.*cache=None"):
        PerFace(transformer, cache=tmp_path).fit(FACES.data)


def test_classes_that_have_no_lasting_name_are_refused(tmp_path):
    for kind in (local_class(), defined_in_main("class made(FunctionTransformer): pass")):
        with pytest.raises(ValueError, match="module that can be imported"):
            PerFace(kind(), cache=tmp_path).fit(FACES.data)


def test_what_is_loaded_later_changes_no_fingerprint():
    code = textwrap.dedent(
        """
        from sklearn.preprocessing import StandardScaler
        from skface.cache._fingerprint import fingerprint
        before = fingerprint(StandardScaler())
        import cv2, PIL, scipy.stats, torch
        assert fingerprint(StandardScaler()) == before
        """
    )
    subprocess.run([sys.executable, "-c", code], check=True)
