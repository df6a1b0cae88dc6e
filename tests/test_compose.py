"""PerFace against doing it by hand, and the verifier in one line."""

import pickle
import threading
import tracemalloc

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, StandardScaler
from torch import nn

from skface import (
    FaceAligner,
    FaceNetEmbedder,
    PairVerifier,
    PerFace,
    SiameseEmbedder,
    SiameseVerifier,
    load_face_verifier,
    make_face_verifier,
    make_faces,
)
from skface.weights import fetch_weights


@pytest.fixture(scope="module")
def faces():
    return make_faces(n_identities=5, n_images_per_identity=4, image_size=16, random_state=0)


SLOTS = np.random.default_rng(0).integers(0, 20, (30, 2))


def test_pca_sees_each_distinct_face_once(faces):
    used = np.unique(SLOTS)
    # in the order of first appearance, as PerFace hands them over
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


def test_missing_faces_are_not_learnt_from_and_stay_missing(faces):
    X = faces.data / 255
    X[[2, 7]] = np.nan
    found = np.delete(np.arange(20), [2, 7])
    per_face = PerFace(StandardScaler(), batch_size=4).fit(X)
    expected = StandardScaler().fit_transform(X[found].reshape(18, -1))
    got = per_face.transform(X)
    np.testing.assert_allclose(got[found], expected)
    assert np.isnan(got[[2, 7]]).all()
    nobody = per_face.transform(X[[[2, 7]]])
    assert nobody.shape == (1, 2, 768)
    assert np.isnan(nobody).all()
    with pytest.raises(ValueError, match="missing faces"):
        per_face.fit(X[[2, 7]])


def test_vectors_may_lack_some_values():
    X = np.array([[1.0, np.nan], [np.nan, 4.0], [3.0, 2.0], [np.nan, np.nan]])
    got = PerFace(SimpleImputer()).fit_transform(X)
    np.testing.assert_array_equal(got, [[1, 3], [2, 4], [3, 2], [np.nan, np.nan]])


def test_unions_of_embedders_and_sparse_values_come_out_side_by_side(faces):
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


def test_make_face_verifier_names_the_embedders_that_there_are():
    with pytest.raises(ValueError, match="weights='nope'.*'skface-mini'") as error:
        make_face_verifier("nope")
    assert "yunet" not in str(error.value)


@pytest.mark.parametrize("weights", ["skface-mini", "vggface2"])
def test_make_face_verifier_matches_crop_and_weights(weights):
    pipe = make_face_verifier(weights, criterion="far", far=1e-2, on_failure="nan")
    aligner, embedder, verifier = (step for _, step in pipe.steps)
    assert aligner.geometry == embedder.weights == weights
    assert aligner.on_failure == "nan"
    assert isinstance(verifier, PairVerifier)
    assert (verifier.criterion, verifier.far) == ("far", 1e-2)
    assert list(make_face_verifier("sface").named_steps)[1] == "onnxembedder"
    with pytest.raises(ValueError, match="yunet"):
        make_face_verifier("yunet")
    with pytest.raises(ValueError, match="nobody"):
        make_face_verifier("nobody")
    with pytest.raises(ValueError, match="far=0.01 goes with criterion='far'"):
        make_face_verifier(far=1e-2)


def test_defaults_fit_each_other_and_are_those_of_the_package():
    aligner, embedder, _ = make_face_verifier()
    assert aligner.geometry == FaceAligner().geometry == "skface-mini"
    assert aligner.detector == "auto"
    assert embedder.weights == FaceNetEmbedder().weights == "skface-mini"
    for estimator in (SiameseEmbedder(), SiameseVerifier()):
        assert estimator.weights == "skface-mini"


def test_photos_verify_with_nothing_but_the_package(portraits, no_yunet):
    hopper, collins = (PIL.Image.open(path) for path in portraits)

    def views(photo):
        return np.asarray(photo.rotate(5)), np.asarray(photo.rotate(-8)) // 2

    (h1, h2), (c1, c2) = views(hopper), views(collins)
    pairs = np.empty((4, 2), dtype=object)
    for row, pair in enumerate([(h1, h2), (c1, c2), (h1, c1), (h2, c2)]):
        pairs[row, 0], pairs[row, 1] = pair
    verifier = make_face_verifier().fit(pairs, [1, 1, 0, 0])
    assert verifier[0].detector_name_ == "skface-detector"
    new = np.array([portraits[:1] * 2, portraits], dtype=object)
    new[0, 1] = hopper.convert("L")  # of the same person, as file and as image
    probability = verifier.predict_proba(new)[:, 1]
    assert probability[0] > 0.5 > probability[1]


def test_two_photos_give_a_probability_without_labels(portraits, no_yunet):
    hopper = PIL.Image.open(portraits[0])
    turned = hopper.rotate(10).point(lambda value: value // 2)
    verifier = load_face_verifier()
    pairs = np.empty((2, 2), dtype=object)
    pairs[0, 0], pairs[0, 1], pairs[1] = portraits[0], turned, portraits
    same, different = verifier.predict_proba(pairs)[:, 1]
    assert same > 0.9 > 0.5 > different
    assert verifier.predict(pairs).tolist() == [1, 0]
    again = pickle.loads(pickle.dumps(verifier)).predict_proba(pairs)
    np.testing.assert_allclose(again[:, 1], [same, different], atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"criterion": "far", "far": 1e-2, "prior": 0.01}])
def test_loaded_verifiers_learned_from_the_stored_scores(options):
    verifier = load_face_verifier(**options)[-1]
    with np.load(fetch_weights("skface-mini")[1]) as stored:
        scores, same = stored["scores"].astype(float), stored["same"]
    expected = PairVerifier(**({"criterion": "balanced_accuracy"} | options))
    expected.fit(scores[:, None], same)
    assert verifier.threshold_ == pytest.approx(expected.threshold_, abs=1e-9)
    for name in ("slope", "intercept", "prior_log_odds"):
        assert verifier.calibrator_[name] == pytest.approx(expected.calibrator_[name], rel=1e-6)
    point = verifier.operating_point_
    assert (point.n_genuine, point.n_impostor) == (same.sum(), (same == 0).sum())


def test_loaded_verifiers_learn_anew_from_pairs(portraits):
    verifier = load_face_verifier()
    before = verifier[-1].threshold_
    turned = [np.asarray(PIL.Image.open(path).rotate(15)) for path in portraits]
    pairs = np.empty((4, 2), dtype=object)
    for row, (left, right) in enumerate([(0, 0), (1, 1), (0, 1), (1, 0)]):
        pairs[row, 0], pairs[row, 1] = portraits[left], turned[right]
    assert clone(verifier).fit(pairs, [1, 1, 0, 0])[-1].threshold_ != before
    with pytest.raises(ValueError, match="far=0.01 goes with criterion='far'"):
        load_face_verifier(far=0.01)


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
        assert peaks[1] - peaks[0] < 2 * photo.nbytes
