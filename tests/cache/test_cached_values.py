"""Values from a cache against computing them, each computed once."""

import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from cached_faces import (
    FACES,
    SEEN,
    SLOTS,
    counting_detector,
    detect_unless_black,
    forget_process,
    save,
    tiny_network,
)
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skface import (
    EmbeddingCache,
    FaceAligner,
    FaceNetEmbedder,
    PairVerifier,
    PerFace,
)


def rows_of(kind, paths):
    pandas = pytest.importorskip("pandas")
    missing = FACES.data / 255
    missing[[2, 7]] = np.nan
    return {
        "faces": FACES.data,
        "pairs": FACES.data[SLOTS],
        "floats": FACES.data / 255,
        "gray": FACES.data[..., 0],
        "missing": missing,
        "missing pairs": missing[SLOTS],
        "paths": paths,
        "pairs of paths": paths[SLOTS],
        "frame": pandas.DataFrame(paths[SLOTS], columns=["a", "b"]),
        "mixed": [*paths[:5], *FACES.data[:5], *map(PIL.Image.fromarray, FACES.data[5:9])],
        "vectors": np.random.default_rng(0).normal(size=(20, 5)),
        "pairs of vectors": np.random.default_rng(0).normal(size=(20, 5))[SLOTS],
    }[kind]


KINDS = (
    "faces,pairs,floats,gray,missing,missing pairs,paths,pairs of paths,frame,mixed,vectors,"
    "pairs of vectors"
).split(",")


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_without_a_cache(kind, paths, tmp_path):
    X = rows_of(kind, paths)
    plain = PerFace(StandardScaler(), batch_size=7).fit(X)
    cache = EmbeddingCache(tmp_path / "cache")
    cached = clone(plain).set_params(cache=cache).fit(X)
    expected = plain.transform(X)
    for _ in range(2):
        np.testing.assert_array_equal(cached.transform(X), expected)
        assert cached.transform(X).dtype == expected.dtype
        forget_process()
    np.testing.assert_array_equal(cached.transform(X), expected)
    assert cache.info().misses == 0


def test_images_reach_an_embedder_through_the_cache(paths, tmp_path):
    embedder = FaceNetEmbedder(tiny_network, None, max_epochs=1, random_state=0)
    plain = PerFace(embedder, batch_size=20).fit(FACES.data, FACES.target)
    cached = PerFace(embedder, cache=tmp_path / "cache", batch_size=20)
    cached.fit(FACES.data, FACES.target)
    for X in (FACES.data, FACES.data[SLOTS], paths):
        np.testing.assert_array_equal(cached.transform(X), plain.transform(X))
        np.testing.assert_array_equal(cached.transform(X), plain.transform(X))


def test_nothing_is_computed_twice(counting, paths, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    per_face = PerFace(counting, cache=cache, batch_size=6).fit(paths)
    SEEN.clear()
    per_face.transform(paths[:10])
    assert sorted(SEEN) == [4, 6]  # batches start at a random place
    per_face.transform(paths[SLOTS])
    forget_process()
    clone(per_face).fit_transform(paths)
    assert sorted(SEEN) == [4, 4, 6, 6]
    info = cache.info()
    assert (info.n_values, info.n_transformers) == (20, 1)
    assert (info.hits, info.misses) == (20, 0)


def test_fit_computes_nothing_that_is_stored(counting, paths, tmp_path):
    per_face = PerFace(counting, cache=tmp_path / "cache")
    expected = per_face.fit_transform(paths)
    for is_new_process in (False, True):
        if is_new_process:
            forget_process()
        SEEN.clear()
        np.testing.assert_array_equal(clone(per_face).fit_transform(paths), expected)
        assert SEEN == []


def test_frames_are_as_without_a_cache(tmp_path):
    pandas = pytest.importorskip("pandas")
    per_face = PerFace(PCA(3, random_state=0), cache=tmp_path).fit(FACES.data)
    frame = per_face.set_output(transform="pandas").transform(FACES.data)
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame) == ["pca0", "pca1", "pca2"]


def letters(X):
    return np.array([["a", None]] * len(X), dtype=object)


def test_objects_are_refused_before_they_are_stored(tmp_path):
    per_face = PerFace(FunctionTransformer(letters), cache=tmp_path).fit(FACES.data)
    with pytest.raises(TypeError, match=r"dtype object, which cannot be cached.*cache=None"):
        per_face.transform(FACES.data)


def test_values_of_two_shapes_are_refused(tmp_path):
    faces = [*FACES.data[:3], *FACES.data[3:6, :8]]
    for some in (faces[:3], faces[3:]):  # each stored
        PerFace(FunctionTransformer(), cache=tmp_path).fit_transform(some)
    forget_process()
    with pytest.raises(ValueError, match=r"shape \(384,\).*shape \(768,\).*cannot be cached"):
        PerFace(FunctionTransformer(), cache=tmp_path).fit_transform(faces)


def test_missing_files_are_all_named(counting, paths, tmp_path):
    per_face = PerFace(counting, cache=tmp_path / "cache").fit(paths)
    per_face.transform(paths)
    os.remove(paths[2]), os.remove(paths[4])
    with pytest.raises(FileNotFoundError, match=r"2 of 20 .*2\.png.*4\.png"):
        per_face.transform(paths)


def test_batches_before_an_error_are_kept(counting, paths, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    per_face = PerFace(counting, cache=cache, batch_size=5).fit(paths)
    Path(paths[12]).write_text("no photo")
    with pytest.raises(ValueError, match=r"12\.png"):
        per_face.transform(paths)
    n_stored = cache.info().n_values
    assert n_stored == sum(SEEN) - 1  # `fit` computed one value
    save(FACES.data[12], paths[12])
    SEEN.clear()
    assert per_face.transform(paths).shape == (20, 3)
    assert sum(SEEN) == 20 - n_stored


def test_failures_are_not_stored_so_that_their_warning_is_seen_again(tmp_path):
    black = FACES.data.copy()
    black[3] = 0
    aligner = FaceAligner(detector=detect_unless_black, on_failure="nan")
    cache = EmbeddingCache(tmp_path / "cache")
    embedder = FaceNetEmbedder(tiny_network, None, max_epochs=1, random_state=0)
    per_face = PerFace(make_pipeline(aligner, embedder), cache=cache)
    per_face.fit(FACES.data, FACES.target)
    for _ in range(2):
        with pytest.warns(UserWarning, match="cannot be aligned"):
            values = per_face.transform(black)
        assert np.isnan(values[3]).all()
        assert np.isfinite(np.delete(values, 3, 0)).all()
        assert cache.info().n_values == 19


@pytest.mark.parametrize("is_cached", [False, True])
def test_missing_files_are_failures_to_an_aligner_that_marks_them(is_cached, paths, tmp_path):
    aligner = FaceAligner(detector=counting_detector, on_failure="nan")
    per_face = PerFace(aligner, cache=tmp_path / "cache" if is_cached else None)
    rows = [str(tmp_path / "nowhere.png"), *paths[:3]]
    for _ in range(2):
        with pytest.warns(UserWarning, match="1 of . photos? cannot be aligned.*no such file"):
            crops = per_face.fit(rows).transform(rows)
        assert np.isnan(crops).all(axis=(1, 2, 3)).tolist() == [True, False, False, False]
    if is_cached:
        assert EmbeddingCache(tmp_path / "cache").info().n_values == 3


@pytest.mark.filterwarnings("ignore:Larger scores:UserWarning")
def test_a_scorer_that_changes_what_it_scores_spoils_no_value(tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 2, 6))
    y = np.arange(40) % 2

    def score(pipeline, X, y):
        pipeline[0].transformer_.components_ *= 2
        return pipeline.score(X, y)

    per_face = PerFace(PCA(3, random_state=0), cache=tmp_path)
    pipe = make_pipeline(per_face, PairVerifier("euclidean"))
    folds = list(KFold(2).split(X))
    GridSearchCV(pipe, {}, cv=folds, scoring=score, error_score="raise").fit(X, y)
    train, test = folds[0]
    values = clone(per_face).fit(X[train], y[train]).transform(X[test])
    plain = PerFace(PCA(3, random_state=0)).fit(X[train], y[train])
    np.testing.assert_allclose(values, plain.transform(X[test]))
