"""Whole verifiers in one line, made and loaded."""

import pickle

import numpy as np
import PIL.Image
import pytest
from sklearn.base import clone

from skface import (
    FaceAligner,
    FaceNetEmbedder,
    PairVerifier,
    SiameseEmbedder,
    SiameseVerifier,
    load_face_verifier,
    make_face_verifier,
)
from skface.weights import fetch_weights


def test_make_face_verifier_names_the_registered_embedders():
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


def test_loaded_verifiers_learn_again_from_pairs(portraits):
    verifier = load_face_verifier()
    before = verifier[-1].threshold_
    turned = [np.asarray(PIL.Image.open(path).rotate(15)) for path in portraits]
    pairs = np.empty((4, 2), dtype=object)
    for row, (left, right) in enumerate([(0, 0), (1, 1), (0, 1), (1, 0)]):
        pairs[row, 0], pairs[row, 1] = portraits[left], turned[right]
    assert clone(verifier).fit(pairs, [1, 1, 0, 0])[-1].threshold_ != before
    with pytest.raises(ValueError, match="far=0.01 goes with criterion='far'"):
        load_face_verifier(far=0.01)


def test_with_a_cache_aligner_and_embedder_are_one_step(tmp_path):
    pipe = make_face_verifier(cache=tmp_path)
    assert list(pipe.named_steps) == ["perface", "pairverifier"]
    assert pipe[0].cache == tmp_path
    assert list(pipe[0].transformer.named_steps) == ["facealigner", "facenetembedder"]
