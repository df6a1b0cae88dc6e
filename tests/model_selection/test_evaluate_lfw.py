"""The protocol of LFW on cartoon faces."""

from itertools import chain

import numpy as np
import PIL.Image
import pytest
from sklearn.decomposition import PCA
from sklearn.model_selection import PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skface import PairVerifier, PerFace, load_lfw_pairs, make_faces
from skface.metrics import rate_interval
from skface.model_selection import cross_validate_pairs, evaluate_lfw


@pytest.fixture(scope="module")
def lfw(tmp_path_factory):
    """Cartoon LFW: View 2 of five folds with four people each, View 1 of two further folds."""
    home = tmp_path_factory.mktemp("data") / "lfw_home"
    faces = make_faces(28, 4, 20, difficulty=0.1, random_state=0)
    names = [f"Person_{number:02d}" for number in range(28)]
    for i, (pixels, person) in enumerate(zip(faces.data, faces.target, strict=True)):
        folder = home / "lfw_funneled" / names[person]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{names[person]}_{i % 4 + 1:04d}.jpg"
        PIL.Image.fromarray(pixels).save(path, quality=90)

    def block(people):
        same = [f"{a}\t{i}\t{j}" for a in people for i in range(1, 5) for j in range(1, i)]
        different = [
            f"{a}\t{i}\t{b}\t{5 - i}"
            for place, a in enumerate(people)
            for b in people[:place]
            for i in range(1, 5)
        ]
        assert len(same) == len(different) == 24
        return same + different

    blocks = [block(names[start : start + 4]) for start in range(0, 28, 4)]
    (home / "pairs.txt").write_text("\n".join(["5\t24", *chain(*blocks[:5])]))
    (home / "pairsDevTrain.txt").write_text("\n".join(["24", *blocks[5]]))
    (home / "pairsDevTest.txt").write_text("\n".join(["24", *blocks[6]]))
    return home


def pixels_of(pairs):
    return np.array(
        [[np.asarray(PIL.Image.open(path)).ravel() / 255 for path in pair] for pair in pairs]
    )


def pca_verifier():
    return make_pipeline(PerFace(PCA(15, svd_solver="full")), PairVerifier())


def test_view_2_is_nine_folds_against_the_tenth(lfw):
    report = evaluate_lfw(pca_verifier(), lfw)
    pairs = load_lfw_pairs(lfw, "10_folds")
    pixels = pixels_of(pairs.data)
    accuracies = []
    for fold in range(5):
        train, test = pairs.folds != fold, pairs.folds == fold
        distinct = np.unique(pixels[train].reshape(-1, pixels.shape[2]), axis=0)
        pca = PCA(15, svd_solver="full").fit(distinct)
        vectors = pca.transform(pixels.reshape(-1, pixels.shape[2])).reshape(-1, 2, 15)
        verifier = PairVerifier().fit(vectors[train], pairs.target[train])
        accuracies.append(verifier.score(vectors[test], pairs.target[test]))
    assert [fold["accuracy"] for fold in report.folds] == pytest.approx(accuracies)
    mean, se = np.mean(accuracies), np.std(accuracies, ddof=1) / np.sqrt(5)
    assert report.mean["accuracy"] == pytest.approx(mean)
    assert report.se["accuracy"] == pytest.approx(se)
    assert [fold["n_genuine"] for fold in report.folds] == [24] * 5
    assert report.n_seen_test == 0
    np.testing.assert_array_equal(report.rows, np.arange(5 * 48))


def test_view_1_learns_on_train_and_reports_on_test(lfw):
    report = evaluate_lfw(pca_verifier(), lfw, "test")
    train, test = (load_lfw_pairs(lfw, subset) for subset in ("train", "test"))
    expected = pca_verifier().fit(train.data, train.target)
    assert len(report.folds) == 1
    assert report.mean["accuracy"] == expected.score(test.data, test.target)
    n_right = int((expected.predict(test.data) == test.target).sum())
    assert report.accuracy_interval == rate_interval(n_right, 48)
    assert np.isnan(report.se["accuracy"])
    assert "SE" not in report.text
    np.testing.assert_array_equal(report.y_score, expected.decision_function(test.data))


def test_failures_stay_in_the_protocol(lfw):
    pairs = load_lfw_pairs(lfw, "10_folds")
    lost = str(pairs.data[0, 0])  # in three same and twelve different pairs

    def read(paths):
        pixels = pixels_of(paths)
        pixels[paths == lost] = np.nan
        return pixels

    report = evaluate_lfw(make_pipeline(FunctionTransformer(read), PairVerifier()), lfw)
    n_lost = int((pairs.data == lost).any(axis=1).sum())
    assert len(report.rows) == 240
    assert np.isnan(report.y_score).sum() == n_lost
    first = report.folds[0]
    assert first["n_genuine"] == first["n_impostor"] == 24
    assert first["n_failed_genuine"] == 3
    assert first["frr"] * 24 == pytest.approx(first["fnmr"] * 21 + 3)
    assert f"{n_lost} pairs failed" in report.text


def test_absent_subsets_are_named(lfw, tmp_path):
    with pytest.raises(ValueError, match="subset='train'"):
        evaluate_lfw(PairVerifier(), lfw, "train")
    with pytest.raises(FileNotFoundError, match=r"pairs\.txt"):
        evaluate_lfw(PairVerifier(), tmp_path)


def test_predefined_folds_are_those_of_evaluate_lfw(lfw):
    pairs = load_lfw_pairs(lfw, "10_folds")
    report = cross_validate_pairs(
        pca_verifier(), pairs.data, pairs.target, cv=PredefinedSplit(pairs.folds)
    )
    assert report.folds == evaluate_lfw(pca_verifier(), lfw).folds
