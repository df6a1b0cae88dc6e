"""From real photographs to decisions, through grid search and into another process."""

import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import PIL.Image
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from skface import (
    FaceAligner,
    FaceNetEmbedder,
    IdentityKFold,
    OnnxEmbedder,
    PairVerifier,
    make_face_verifier,
    make_pairs,
)

WEIGHTS = "face-reidentification-retail-0095"
GRID = {"pairverifier__criterion": ["accuracy", "eer"], "pairverifier__threshold": [None, 0.3]}


@pytest.fixture(scope="module")
def photos(shared_data):
    """36 photographs of 12 people, their pairs, and the same photos decoded."""
    folders = sorted((shared_data / "lfw_home" / "lfw_funneled").iterdir())
    folders = [folder for folder in folders if len(list(folder.glob("*.jpg"))) >= 3][:12]
    paths = np.array(
        [str(path) for folder in folders for path in sorted(folder.iterdir())[:3]], dtype=object
    )
    people = [Path(path).parent.name for path in paths]
    pairs = make_pairs(people, n_impostor=200, random_state=0)
    images = np.stack([np.asarray(PIL.Image.open(path).convert("RGB")) for path in paths])
    return paths, images, pairs


@pytest.fixture
def pipe(skface_home):
    return make_pipeline(
        FaceAligner(WEIGHTS, face_policy="center"), FaceNetEmbedder(weights=WEIGHTS), PairVerifier()
    )


def test_people_are_told_apart(pipe, photos):
    paths, _, pairs = photos
    scores = cross_val_score(
        pipe,
        paths[pairs.indices],
        pairs.target,
        cv=IdentityKFold(4),
        groups=pairs.identities,
    )
    assert scores.mean() > 0.95


@pytest.mark.parametrize("form", ["paths", "images", "frame"])
def test_grid_search_over_pairs(form, pipe, photos):
    paths, images, pairs = photos
    rows = (images if form == "images" else paths)[pairs.indices]
    if form == "frame":
        pandas = pytest.importorskip("pandas")
        rows = pandas.DataFrame(rows, columns=["left", "right"])
    search = GridSearchCV(pipe, GRID, cv=IdentityKFold(3), n_jobs=2, error_score="raise")
    search.fit(rows, pairs.target, groups=pairs.identities)
    assert search.best_score_ > 0.95
    assert len(search.cv_results_["params"]) == 4


def test_the_model_file_decides_equally_in_another_process(pipe, photos, tmp_path, monkeypatch):
    paths, _, pairs = photos
    X = paths[pairs.indices]
    search = GridSearchCV(pipe, GRID, cv=IdentityKFold(3)).fit(
        X, pairs.target, groups=pairs.identities
    )
    joblib.dump((search, X), tmp_path / "model.joblib")
    expected = search.predict_proba(X)
    # the other process finds no weights: the file has to carry them
    monkeypatch.setenv("SKFACE_HOME", str(tmp_path))
    code = (
        "import joblib, numpy, sys; model, X = joblib.load(sys.argv[1]); "
        "numpy.save(sys.argv[2], model.predict_proba(X))"
    )
    out = tmp_path / "out.npy"
    subprocess.run([sys.executable, "-c", code, tmp_path / "model.joblib", out], check=True)
    np.testing.assert_array_equal(np.load(out), expected)


def test_same_photo_scores_one_and_swapping_changes_nothing(pipe, photos):
    paths, _, pairs = photos
    X = paths[pairs.indices]
    pipe.fit(X, pairs.target)
    twice = np.column_stack([paths[:5], paths[:5]])
    scores = pipe[-1].score_pairs(pipe[:-1].transform(twice))
    np.testing.assert_allclose(scores, 1, atol=1e-12)
    np.testing.assert_array_equal(pipe.decision_function(X[:, ::-1]), pipe.decision_function(X))


def test_both_runtimes_agree(pipe, photos):
    pytest.importorskip("openvino")
    paths, _, pairs = photos
    X = paths[pairs.indices]
    pipe.set_params(facenetembedder__precision="float32")
    through_torch = pipe.fit(X, pairs.target).decision_function(X)
    other = make_pipeline(pipe[0], OnnxEmbedder(WEIGHTS), PairVerifier())
    np.testing.assert_allclose(
        other.fit(X, pairs.target).decision_function(X), through_torch, atol=1e-3
    )


@pytest.mark.filterwarnings("ignore:2 of 38 photos cannot be aligned:UserWarning")
def test_photos_without_a_face_are_never_accepted_and_never_lost(photos, skface_home, tmp_path):
    paths, _, pairs = photos
    empty = tmp_path / "wall.png"
    PIL.Image.new("RGB", (200, 200), (90, 90, 90)).save(empty)
    text = tmp_path / "text.jpg"
    text.write_text("no photo")
    X = paths[pairs.indices]
    X[0, 1], X[5, 0] = str(empty), str(text)
    with pytest.raises(ValueError, match=r"wall\.png"):
        make_face_verifier(WEIGHTS).fit(X, pairs.target)
    pipe = make_face_verifier(WEIGHTS, on_failure="nan").fit(X, pairs.target)
    assert pipe[-1].operating_point_.n_failures == 2
    assert pipe.predict(X)[[0, 5]].tolist() == [0, 0]
    assert np.isnan(pipe.decision_function(X)).sum() == 2
    np.testing.assert_array_equal(pipe.predict_proba(X)[[0, 5]], [[1, 0], [1, 0]])
