"""PerFace against doing it by hand."""

import threading
import tracemalloc

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, Normalizer, StandardScaler
from torch import nn

from skface import (
    FaceAligner,
    FaceNetEmbedder,
    PerFace,
    make_faces,
)


@pytest.fixture(scope="module")
def faces():
    return make_faces(n_identities=5, n_images_per_identity=4, image_size=16, random_state=0)


SLOTS = np.random.default_rng(0).integers(0, 20, (30, 2))


def test_pca_sees_each_distinct_face_once(faces):
    used = np.unique(SLOTS)
    # in the order of first appearance, as PerFace passes them
    order = list(dict.fromkeys(SLOTS.ravel()))
    assert len(order) == len(used)
    flat = faces.data.reshape(20, -1) / 255.0
    pca = PCA(4, svd_solver="full").fit(flat[order])
    per_face = PerFace(PCA(4, svd_solver="full"), batch_size=3)
    got = per_face.fit_transform(faces.data[SLOTS])
    assert got.shape == (30, 2, 4)
    np.testing.assert_allclose(got, pca.transform(flat)[SLOTS], atol=1e-4)


def test_plain_faces_pass_through_with_their_targets(faces):
    flat = faces.data.reshape(20, -1) / 255.0
    lda = make_pipeline(PCA(6, svd_solver="full"), LinearDiscriminantAnalysis())
    expected = clone(lda).fit(flat, faces.target).transform(flat)
    got = PerFace(lda).fit(faces.data, faces.target).transform(faces.data)
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_vectors_are_rows_too(faces):
    vectors = np.random.default_rng(1).normal(size=(20, 3))
    got = PerFace(StandardScaler()).fit_transform(vectors[SLOTS])
    order = list(dict.fromkeys(SLOTS.ravel()))
    expected = StandardScaler().fit(vectors[order]).transform(vectors)[SLOTS]
    np.testing.assert_allclose(got, expected)
    assert PerFace(StandardScaler()).fit_transform(vectors).shape == (20, 3)


def tiny_network():
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 8))


def test_a_transformer_that_needs_targets_gets_recovered_identities(faces):
    genuine = [(i, i + 1) for i in range(19) if faces.target[i] == faces.target[i + 1]]
    impostor = [(i, i + 4) for i in range(16)]
    slots = np.array(genuine + impostor)
    same = np.repeat([1, 0], [len(genuine), len(impostor)])
    embedder = FaceNetEmbedder(tiny_network, None, max_epochs=1, random_state=0)
    got = PerFace(embedder).fit(faces.data[slots], same).transform(faces.data[slots])
    direct = embedder.fit(faces.data[slots], same).transform(faces.data[slots])
    np.testing.assert_allclose(got, direct, atol=1e-6)


def test_paths_reach_a_transformer_of_vectors_decoded(faces, tmp_path):
    paths = []
    for i, pixels in enumerate(faces.data):
        paths.append(str(tmp_path / f"{i}.png"))
        PIL.Image.fromarray(pixels).save(paths[-1])
    pairs = pd.DataFrame(np.array(paths, dtype=object)[SLOTS])
    per_face = PerFace(PCA(4, svd_solver="full"))
    np.testing.assert_allclose(
        per_face.fit_transform(pairs), per_face.fit_transform(faces.data[SLOTS]), atol=1e-4
    )


def test_the_transformer_given_stays_unfitted(faces):
    pca = PCA(2)
    PerFace(pca).fit(faces.data)
    assert not hasattr(pca, "components_")
    assert PerFace(pca).set_params(transformer__n_components=3).transformer.n_components == 3


def test_a_transformer_that_loses_rows_is_refused(faces):
    halved = FunctionTransformer(lambda X: X[::2])
    with pytest.raises(ValueError, match="rows"):
        PerFace(halved).fit(faces.data).transform(faces.data)


def test_missing_faces_are_not_learned_from_and_stay_missing(faces):
    X = faces.data / 255
    X[[2, 7]] = np.nan
    found = np.delete(np.arange(20), [2, 7])
    per_face = PerFace(StandardScaler(), batch_size=4).fit(X)
    expected = StandardScaler().fit_transform(X[found].reshape(18, -1))
    got = per_face.transform(X)
    np.testing.assert_allclose(got[found], expected)
    assert np.isnan(got[[2, 7]]).all()
    missing = per_face.transform(X[[[2, 7]]])
    assert missing.shape == (1, 2, 768)
    assert np.isnan(missing).all()
    with pytest.raises(ValueError, match="missing faces"):
        per_face.fit(X[[2, 7]])


def test_vectors_may_lack_some_values():
    X = np.array([[1.0, np.nan], [np.nan, 4.0], [3.0, 2.0], [np.nan, np.nan]])
    got = PerFace(SimpleImputer()).fit_transform(X)
    np.testing.assert_array_equal(got, [[1, 3], [2, 4], [3, 2], [np.nan, np.nan]])


def test_unions_of_embedders_and_sparse_values_are_joined(faces):
    embedders = [FaceNetEmbedder(tiny_network, None, max_epochs=1, random_state=i) for i in (0, 1)]
    both = PerFace(make_union(*embedders)).fit(faces.data, faces.target)
    got = both.transform(faces.data[SLOTS])
    for i, embedder in enumerate(embedders):
        alone = embedder.fit(faces.data, faces.target).transform(faces.data[SLOTS])
        np.testing.assert_allclose(got[..., 8 * i : 8 * i + 8], alone, atol=1e-6)
    binned = PerFace(KBinsDiscretizer(2, quantile_method="averaged_inverted_cdf"))
    assert isinstance(binned.fit_transform(np.arange(24.0).reshape(6, 4)), np.ndarray)


def test_pairs_of_one_class_do_not_name_people(faces):
    with pytest.raises(ValueError, match=r"1 classes \(0\)"):
        PerFace(LinearDiscriminantAnalysis()).fit(faces.data[SLOTS], np.zeros(30, dtype=int))


def test_targets_of_another_length_are_refused(faces):
    with pytest.raises(ValueError, match="5 labels.*20 rows"):
        PerFace(PCA(2)).fit(faces.data, faces.target[:5])


def test_pipelines_work_on_the_next_batch_while_the_last_step_works(tmp_path, faces):
    paths = [str(tmp_path / f"{i}.png") for i in range(9)]
    for path, pixels in zip(paths, faces.data, strict=False):
        PIL.Image.fromarray(pixels).save(path)
    ahead = threading.Event()
    calls = []

    def first(X):
        calls.append("first")
        if calls.count("first") > 1:
            ahead.set()
        return X

    def last(X):
        assert ahead.wait(10)
        return np.asarray(X) * 2

    steps = [StandardScaler(), FunctionTransformer(first), FunctionTransformer(last)]
    ahead.set()  # fit transforms one face, after which there is none
    per_face = PerFace(make_pipeline(*steps), batch_size=3).fit(paths)
    expected = 2 * per_face.transformer_[0].transform(faces.data[:9].reshape(9, -1) / 255)
    ahead.clear()
    calls.clear()
    np.testing.assert_allclose(per_face.transform(paths), expected)
    assert calls == ["first"] * 3


@pytest.mark.parametrize("step", [0, 1])
def test_errors_of_any_step_reach_the_caller(step, faces):
    def broken(X):
        raise KeyError("broken step")

    steps = [FunctionTransformer(), FunctionTransformer()]
    per_face = PerFace(make_pipeline(*steps), batch_size=3).fit(faces.data)
    per_face.transformer_[step].func = broken
    with pytest.raises(KeyError, match="broken step"):
        per_face.transform(faces.data)


def test_memory_for_photos_does_not_grow_with_their_number(tmp_path):
    photo = np.full((400, 400, 3), 90, dtype=np.uint8)
    photo[::2] = 30

    def middle(photo):
        return np.array([[100, 100, 200, 200, *np.ravel([(150, 150), (250, 150), (200, 200)]),
                          *np.ravel([(160, 260), (240, 260)]), 0.9]])  # fmt: skip

    paths = [str(tmp_path / f"{i}.png") for i in range(40)]
    for path in paths:
        PIL.Image.fromarray(photo).save(path)
    embedder = FaceNetEmbedder(tiny_network, weights=None, image_shape=(400, 400), trainable="none")
    aligner = FaceAligner((np.random.default_rng(0).random((5, 2)), (8, 8)), detector=middle)
    per_face = PerFace(make_pipeline(aligner, clone(embedder)), batch_size=4)
    for estimator in (embedder.set_params(batch_size=4), per_face):
        estimator.fit(paths[:1])
        peaks = []
        for n_photos in (12, 40):
            tracemalloc.start()
            estimator.transform(paths[:n_photos])
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] - peaks[0] < 5 * photo.nbytes  # of 28; threads take turns at random


class Remembers(FunctionTransformer):
    """Keeps what `fit` sets under a private name."""

    def fit(self, X, y=None):
        self._factor = 2
        return self

    def transform(self, X):
        return X * self._factor


PCA_OF_192 = PCA(2, random_state=0).fit(np.random.default_rng(0).random((20, 192)))


@pytest.mark.parametrize(
    "transformer",
    [
        Normalizer(),
        FunctionTransformer(),
        FunctionTransformer(validate=True),
        FrozenEstimator(FunctionTransformer()),
        make_pipeline(FunctionTransformer(), Normalizer()),
        Remembers(),
        FeatureUnion([("pca", FrozenEstimator(PCA_OF_192)), ("rest", "passthrough")]),
    ],
    ids=str,
)
def test_what_depends_on_rows_is_fitted_again(transformer, tmp_path):
    rng = np.random.default_rng(0)
    for side in (8,) if isinstance(transformer, FeatureUnion) else (8, 16):
        faces = rng.random((6, side, side, 3))
        faces[1] = np.nan
        expected = PerFace(transformer).fit_transform(faces)
        for _ in range(2):
            values = PerFace(transformer, cache=tmp_path).fit(faces).transform(faces)
            np.testing.assert_array_equal(values, expected)


def test_what_learns_nothing_is_fitted_on_one_face(faces):
    seen = []

    def count(X):
        seen.append(len(X))
        return X.reshape(len(X), -1)

    def detect(photo):
        seen.append(1)
        return [[0, 0, 16, 16, 5, 6, 10, 6, 8, 8, 6, 11, 10, 11, 0.9]]

    PerFace(FunctionTransformer(count)).fit(faces.data)
    assert seen == [1]
    PerFace(FaceAligner(detector=detect)).fit(faces.data)
    assert seen == [1, 1]
