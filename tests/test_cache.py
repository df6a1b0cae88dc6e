"""The cache of PerFace against computing anew: same values, nothing computed twice or lost."""

import copy
import functools
import importlib
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
from torch import nn

from skface import (
    EmbeddingCache,
    FaceAligner,
    FaceNetEmbedder,
    PairVerifier,
    PerFace,
    images,
    make_face_verifier,
    make_faces,
)
from skface._rows import check_images, vector_rows
from skface.cache import _fingerprint, _lookup
from skface.cache._fingerprint import fingerprint
from skface.exceptions import CacheError, CacheWarning

FACES = make_faces(n_identities=5, n_images_per_identity=4, image_size=16, random_state=0)
SLOTS = np.random.default_rng(0).integers(0, 20, (30, 2))

SEEN = []  # how many faces each call of a counting function was given


def mean_colour(X):
    SEEN.append(len(X))
    return X.reshape(len(X), -1, 3).mean(axis=1)


def blackness(X):
    return 1 - mean_colour(X)


@pytest.fixture(autouse=True)
def _count_anew():
    SEEN.clear()


@pytest.fixture
def counting():
    return FunctionTransformer(mean_colour)


@pytest.fixture
def paths(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    names = [str(folder / f"{i}.png") for i in range(20)]
    for name, pixels in zip(names, FACES.data, strict=True):
        PIL.Image.fromarray(pixels).save(name, compress_level=0)  # files of one size
    return np.array(names, dtype=object)


def forget(cache):
    """Do as a process would that has just started."""
    _lookup.desk_at(Path(cache.folder) / "embeddings.sqlite").forget()


def rows_of(kind, paths):
    pandas = pytest.importorskip("pandas")
    missing = FACES.data / 255
    missing[[2, 7]] = np.nan
    return {
        "faces": FACES.data,
        "pairs": FACES.data[SLOTS],
        "floats": FACES.data / 255,
        "grey": FACES.data[..., 0],
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
    "faces,pairs,floats,grey,missing,missing pairs,paths,pairs of paths,frame,mixed,vectors,"
    "pairs of vectors"
).split(",")


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_no_cache(kind, paths, tmp_path):
    X = rows_of(kind, paths)
    plain = PerFace(StandardScaler(), batch_size=7).fit(X)
    cache = EmbeddingCache(tmp_path / "cache")
    cached = clone(plain).set_params(cache=cache).fit(X)
    expected = plain.transform(X)
    for _ in range(2):
        np.testing.assert_array_equal(cached.transform(X), expected)
        assert cached.transform(X).dtype == expected.dtype
        forget(cache)
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


def tiny_network():
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 8))


def test_nothing_is_computed_twice(counting, paths, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    per_face = PerFace(counting, cache=cache, batch_size=6).fit(paths)
    SEEN.clear()
    per_face.transform(paths[:10])
    assert SEEN == [6, 4]
    per_face.transform(paths[SLOTS])
    forget(cache)
    clone(per_face).fit_transform(paths)
    assert SEEN == [6, 4, 6, 4]
    info = cache.info()
    assert (info.n_values, info.n_transformers) == (20, 1)
    assert (info.hits, info.misses) == (20, 0)


def test_frames_come_out_as_without_a_cache(tmp_path):
    pandas = pytest.importorskip("pandas")
    per_face = PerFace(PCA(3, random_state=0), cache=tmp_path).fit(FACES.data)
    frame = per_face.set_output(transform="pandas").transform(FACES.data)
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame) == ["pca0", "pca1", "pca2"]


def test_a_photo_that_changed_is_computed_anew(counting, paths, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    per_face = PerFace(counting, cache=cache).fit(paths)
    for i in range(10):
        before = per_face.transform(paths)
        status = os.stat(paths[3])
        PIL.Image.fromarray(FACES.data[4 + i]).save(paths[3], compress_level=0)
        os.utime(paths[3], ns=(status.st_atime_ns, status.st_mtime_ns))
        assert os.stat(paths[3]).st_size == status.st_size
        after = per_face.transform(paths)
        np.testing.assert_array_equal(after[3], after[4 + i])
        assert (after[3] != before[3]).any()
        np.testing.assert_array_equal(np.delete(after, 3, 0), np.delete(before, 3, 0))


def test_a_photo_that_changes_while_it_is_computed_is_not_stored(paths, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")

    def replace(X):
        if len(X) == 20:
            PIL.Image.fromarray(FACES.data[5]).save(paths[3], compress_level=0)
        return mean_colour(X)

    per_face = PerFace(FunctionTransformer(replace), cache=cache).fit(paths)
    first = per_face.transform(paths)
    assert cache.info().n_values == 19
    second = per_face.transform(paths)
    np.testing.assert_array_equal(second[3], first[5])


def test_a_file_that_changed_since_its_rows_were_checked_is_not_remembered(
    paths, tmp_path, monkeypatch
):
    monkeypatch.setattr("skface.cache._photos._CLOCK_NS", -(10**12))  # as if they were old
    rows = check_images(paths)
    PIL.Image.fromarray(FACES.data[5]).save(paths[3], compress_level=0)
    desk = EmbeddingCache(tmp_path / "cache")._desk()
    digests, _ = desk.digests(rows.images, np.arange(20))
    assert digests[3] == digests[5]
    names = [os.fsencode(path) for path in paths]
    assert set(desk.store.read_files(names)) == {*names} - {names[3]}


def test_old_files_are_read_once_by_all_processes(counting, paths, tmp_path, monkeypatch):
    monkeypatch.setattr("skface.cache._photos._CLOCK_NS", -(10**12))  # as if they were old
    cache = EmbeddingCache(tmp_path / "cache")
    per_face = PerFace(counting, cache=cache).fit(paths)
    expected = per_face.transform(paths)
    forget(cache)
    monkeypatch.setattr("builtins.open", None)
    np.testing.assert_array_equal(per_face.transform(paths), expected)


def test_relative_paths_lead_through_links_as_the_system_follows_them(
    counting, tmp_path, monkeypatch
):
    for name, pixels in zip(("a.png", "far/a.png"), FACES.data[:2], strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "far" / "folder").mkdir()
    try:
        (tmp_path / "link").symlink_to(tmp_path / "far" / "folder")
    except OSError:
        pytest.skip("no links here")
    monkeypatch.chdir(tmp_path)
    rows = ["a.png", "link/../a.png"]
    expected = PerFace(counting).fit_transform(rows)
    assert (expected[0] != expected[1]).any()
    per_face = PerFace(counting, cache="cache").fit(rows)
    for row, values in zip(rows, expected, strict=True):
        np.testing.assert_array_equal(per_face.transform([row])[0], values)


def test_objects_are_refused_before_they_are_stored(tmp_path):
    def letters(X):
        return np.array([["a", None]] * len(X), dtype=object)

    per_face = PerFace(FunctionTransformer(letters), cache=tmp_path).fit(FACES.data)
    with pytest.raises(TypeError, match=r"dtype object, which cannot be cached.*cache=None"):
        per_face.transform(FACES.data)


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
    assert cache.info().n_values == 10
    PIL.Image.fromarray(FACES.data[12]).save(paths[12])
    SEEN.clear()
    assert per_face.transform(paths).shape == (20, 3)
    assert SEEN == [5, 5]


def test_failures_are_not_kept_so_that_their_warning_is_seen_again(tmp_path):
    black = FACES.data.copy()
    black[3] = 0

    def detect(photo):
        return [] if not photo.any() else [[0, 0, 16, 16, 5, 6, 10, 6, 8, 8, 6, 11, 10, 11, 0.9]]

    aligner = FaceAligner(detector=detect, on_failure="nan")
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


def test_transformers_are_told_apart_by_what_their_values_depend_on():
    X = FACES.data.reshape(20, -1) / 255
    pca = PCA(3, svd_solver="full", random_state=0).fit(X)
    for same in (
        clone(pca).fit(X),
        clone(pca).set_params(random_state=1).fit(X),
        pickle.loads(pickle.dumps(pca)),
    ):
        assert fingerprint(same) == fingerprint(pca)
    for other in (PCA(3).fit(X[1:]), PCA(4).fit(X), PCA(3, whiten=True).fit(X)):
        assert fingerprint(other) != fingerprint(pca)
    assert fingerprint(make_pipeline(pca)) != fingerprint(make_pipeline(pca, StandardScaler()))

    aligner = FaceAligner(detector=tiny_detector, n_jobs=1).fit(FACES.data)
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


def tiny_detector(photo):
    return []


def test_functions_are_told_apart_by_their_code():
    cloudpickle = pytest.importorskip("cloudpickle")  # which sends functions to joblib's workers

    def make(factor, notes):
        def scale(X):
            notes.append(len(X))
            return X * factor

        return FunctionTransformer(scale)

    assert fingerprint(make(2, [])) == fingerprint(make(2, [1]))
    assert fingerprint(make(2, [])) != fingerprint(make(3, []))
    as_in_a_worker = cloudpickle.loads(cloudpickle.dumps(make(2, [])))
    assert fingerprint(as_in_a_worker) == fingerprint(make(2, []))
    one, two = (FunctionTransformer(function) for function in (lambda X: X + 1, lambda X: X + 2))
    assert fingerprint(one) != fingerprint(two)
    helpers = {}
    for number in (1, 2):
        exec(
            f"def helper(X): return X + {number}\ndef f(X): return helper(X)",
            namespace := {"__name__": "m"},
        )
        helpers[number] = FunctionTransformer(namespace["f"])
    assert fingerprint(helpers[1]) != fingerprint(helpers[2])
    by_partial = [FunctionTransformer(functools.partial(np.clip, a_min=n)) for n in (0, 1)]
    assert fingerprint(by_partial[0]) != fingerprint(by_partial[1])
    assert fingerprint(FunctionTransformer(np.log1p)) != fingerprint(FunctionTransformer(np.exp))


def function_of(code, **names):
    namespace = {"__name__": "m", "np": np, "functools": functools, **names}
    exec(code, namespace)
    return FunctionTransformer(namespace["f"])


def module_of(code):
    module = types.ModuleType("not_installed")
    exec(code, vars(module))
    return module


X = np.random.default_rng(0).random((9, 4))


@pytest.mark.parametrize(
    ("code", "one", "other"),
    [
        ("def f(X): return X * found", 2, 3),
        ("def f(X): return X * found", None, 3),
        ("def f(X): return (lambda x: x * found)(X)", (2, 1.5), (2, 2.5)),
        ("def f(X): return X * found", np.ones(2000), np.zeros(2000)),
        ("def f(X): return X * np.asarray(found)", torch.ones(2000), torch.zeros(2000)),
        ("def f(X): return found.transform(X)", PCA(2).fit(X), PCA(2).fit(X[1:])),
        ("def f(X): return found(X)", *(functools.partial(np.clip, a_min=n) for n in (0, 1))),
        ("def f(X): return found.g(X)", *map(module_of, ("def g(X): pass", "def g(X): return X"))),
        ("def f(X): return X * found.a", *map(module_of, ("a = 1", "a = 2"))),
        ("def f(X): return found(2)", *map(functools.lru_cache, (lambda n: n, lambda n: -n))),
    ],
)
def test_functions_are_told_apart_by_what_they_find(code, one, other):
    cloudpickle = pytest.importorskip("cloudpickle")
    transformer = function_of(code, found=one)
    assert fingerprint(transformer) == fingerprint(function_of(code, found=one))
    assert fingerprint(transformer) != fingerprint(function_of(code, found=other))
    if isinstance(one, int | tuple | np.ndarray | torch.Tensor | BaseEstimator):  # sent as they are
        in_a_worker = cloudpickle.loads(cloudpickle.dumps(transformer))
        assert fingerprint(in_a_worker) == fingerprint(transformer)


def test_notes_and_sessions_of_functions_tell_nothing():
    counts = "n = 0\ndef f(X):\n    global n\n    n += 1\n    return session and X"
    transformer = function_of(counts, session=threading.Lock())
    before = fingerprint(transformer)
    transformer.transform(X)
    assert fingerprint(transformer) == before


def test_classes_are_told_apart_by_their_constants():
    def make(number):
        class Scales(FunctionTransformer):
            factor = number

            def transform(self, X):
                return X * self.factor

        return Scales()

    assert fingerprint(make(2)) == fingerprint(make(2))
    assert fingerprint(make(2)) != fingerprint(make(3))


def test_classes_are_told_apart_by_their_code():
    cloudpickle = pytest.importorskip("cloudpickle")

    def make(number):
        class Adds(TransformerMixin, BaseEstimator):
            n_calls = 0

            def fit(self, X, y=None):
                return self

            def transform(self, X):
                type(self).n_calls += 1
                return X + (1 if number == 1 else 2)

        return Adds().fit(None)

    one = make(1)
    before = fingerprint(one)
    one.transform(np.ones(3))
    assert fingerprint(one) == before == fingerprint(make(1))
    assert fingerprint(cloudpickle.loads(cloudpickle.dumps(make(1)))) == before
    assert fingerprint(make(2)) != before


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages", "code"])
def test_installed_packages_are_known_by_their_version(folder, tmp_path, monkeypatch):
    (tmp_path / folder).mkdir()
    monkeypatch.syspath_prepend(tmp_path / folder)  # not where this Python installs packages

    def import_with(number):
        code = f"__version__ = '1.2'\ndef f(X): return X + {number}"
        (tmp_path / folder / "a_package_of_tests.py").write_text(code)
        for cached in (_fingerprint._is_installed, _fingerprint._version_of):
            cached.cache_clear()
        importlib.invalidate_caches()
        sys.modules.pop("a_package_of_tests", None)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        return fingerprint(FunctionTransformer(importlib.import_module("a_package_of_tests").f))

    assert (import_with(1) == import_with(2)) == (folder != "code")


def test_fingerprints_agree_between_processes():
    code = textwrap.dedent(
        """
        import numpy as np
        from sklearn.pipeline import make_pipeline
        from sklearn.decomposition import PCA
        from sklearn.preprocessing import FunctionTransformer
        from skface.cache._fingerprint import fingerprint
        X = np.arange(24.0).reshape(6, 4) % 7
        odd = {"b": {3, 1, "z", "a", frozenset("xyz")}, 1: np.float32(2), "a": (None, 1j, b"x")}
        pipe = make_pipeline(FunctionTransformer(kw_args=odd), PCA(2, svd_solver="full"))
        pipe.steps[-1][1].fit(X)
        print(fingerprint(pipe).hex())
        """
    )
    seen = set()
    for seed in "123":
        environment = os.environ | {"PYTHONHASHSEED": seed}
        seen.add(
            subprocess.run(
                [sys.executable, "-c", code],
                check=True,
                capture_output=True,
                text=True,
                env=environment,
            ).stdout
        )
    assert len(seen) == 1


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


def test_large_arrays_are_hashed_once(monkeypatch):
    scaler = StandardScaler().fit(np.random.default_rng(0).random((3, 2000)))
    first = fingerprint(scaler)
    monkeypatch.setattr(_fingerprint.np, "ascontiguousarray", None)
    assert fingerprint(scaler) == first


def test_arrays_that_were_written_to_are_hashed_anew():
    scaler = StandardScaler().fit(np.random.default_rng(0).random((3, 2000)))
    before = fingerprint(scaler)
    scaler.mean_[1234] += 1
    assert fingerprint(scaler) != before
    scaler.mean_[1234] -= 1
    assert fingerprint(scaler) == before


def test_what_cannot_be_told_apart_is_refused(tmp_path):
    opened = open(tmp_path / "file", "w")
    with opened, pytest.raises(ValueError, match=r"cannot be told from others.*cache=None"):
        PerFace(FunctionTransformer(mean_colour, kw_args={"file": opened}), cache=tmp_path).fit(
            FACES.data
        )


def test_the_parameter_is_a_path_or_a_cache(tmp_path):
    cache = EmbeddingCache(tmp_path / "cache", max_bytes=10**6)
    per_face = PerFace(PCA(2), cache=cache)
    assert not (tmp_path / "cache").exists()
    assert clone(per_face).cache == pickle.loads(pickle.dumps(per_face)).cache == cache
    assert joblib.hash(clone(per_face)) == joblib.hash(per_face)
    assert cache != EmbeddingCache(tmp_path)
    assert str(tmp_path) in repr(cache)
    with pytest.raises(TypeError, match="cache=3"):
        PerFace(PCA(2), cache=3).fit(FACES.data)
    with pytest.raises(ValueError, match="max_bytes"):
        EmbeddingCache(tmp_path, max_bytes=0)
    with pytest.raises(TypeError, match="folder=None"):
        EmbeddingCache(None)
    fitted = pickle.loads(pickle.dumps(per_face.fit(FACES.data)))
    np.testing.assert_array_equal(fitted.transform(FACES.data), per_face.transform(FACES.data))


def test_clear_and_a_deleted_folder_start_anew(counting, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    per_face = PerFace(counting, cache=cache).fit(FACES.data)
    expected = per_face.transform(FACES.data)
    cache.clear()
    info = cache.info()
    assert (info.n_values, info.hits, info.misses) == (0, 0, 0)
    np.testing.assert_array_equal(per_face.transform(FACES.data), expected)
    assert cache.info().n_values == 20
    for file in (tmp_path / "cache").iterdir():
        file.unlink()
    np.testing.assert_array_equal(per_face.transform(FACES.data), expected)
    assert cache.info().n_values == 20


def test_a_bound_drops_what_was_not_used_for_longest(tmp_path):
    faces = np.random.default_rng(0).random((400, 8, 8, 3))
    cache = EmbeddingCache(tmp_path / "cache", max_bytes=300_000)
    per_face = PerFace(FunctionTransformer(), cache=cache, batch_size=20).fit(faces)
    for start in range(0, 400, 20):
        per_face.transform(faces[start : start + 20])
        per_face.transform(faces[:10])  # these are used all the time
        time.sleep(0.002)
    info = cache.info()
    assert 0 < info.n_values < 400
    assert info.n_bytes <= 300_000
    forget(cache)
    per_face.transform(faces[:10])
    per_face.transform(faces[-20:])
    assert cache.info().misses == 0
    per_face.transform(faces[10:30])
    assert cache.info().misses == 20
    cache.clear()
    assert (tmp_path / "cache" / "embeddings.sqlite").stat().st_size < 100_000


@pytest.mark.parametrize(
    "content", [b"no database at all" * 500, b"SQLite format 3\0" + b"x" * 9000]
)
def test_a_file_that_is_no_database_is_named(content, tmp_path):
    (tmp_path / "embeddings.sqlite").write_bytes(content)
    with pytest.raises(CacheError, match=r"embeddings\.sqlite is broken.*delete it"):
        EmbeddingCache(tmp_path).info()
    assert (tmp_path / "embeddings.sqlite").read_bytes() == content


def test_a_database_of_another_program_or_version_is_refused(tmp_path):
    path = tmp_path / "embeddings.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (title)")
    connection.close()
    with pytest.raises(CacheError, match=r"another program: name another folder"):
        EmbeddingCache(tmp_path).info()
    path.unlink()
    EmbeddingCache(tmp_path).info()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    _lookup._DESKS.clear()
    with pytest.raises(CacheError, match=r"format 99.*delete it"):
        EmbeddingCache(tmp_path).info()


def test_a_folder_that_cannot_be_written_is_named(tmp_path, counting):
    (tmp_path / "file").write_text("")
    per_face = PerFace(counting, cache=tmp_path / "file" / "cache").fit(FACES.data)
    with pytest.raises(CacheError, match=r"file/cache.*cannot be created.*name a folder"):
        per_face.transform(FACES.data)
    folder = tmp_path / "read-only"
    folder.mkdir()
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(CacheError, match=r"read-only.*cannot be used"):
        EmbeddingCache(folder).info()


def test_a_full_disk_is_a_warning_and_nothing_is_lost(counting, tmp_path):
    faces = np.random.default_rng(0).random((200, 8, 8, 3))
    cache = EmbeddingCache(tmp_path / "cache")
    per_face = PerFace(FunctionTransformer(), cache=cache, batch_size=20).fit(faces)
    store = _lookup.desk_at(tmp_path / "cache" / "embeddings.sqlite").store
    store.refresh()
    store._connection.execute("PRAGMA max_page_count = 40")
    with pytest.warns(CacheWarning, match=r"embeddings\.sqlite cannot be written.*free space"):
        values = per_face.transform(faces)
    np.testing.assert_array_equal(values, faces.reshape(200, -1))
    assert 0 < cache.info().n_values < 200
    np.testing.assert_array_equal(per_face.transform(faces), values)
    assert cache.info().misses == 200


def test_a_frozen_transformer_is_fitted_once_per_process(tmp_path, monkeypatch):
    faces = np.random.default_rng(0).integers(0, 256, (6, 112, 112, 3), dtype=np.uint8)
    per_face = PerFace(FaceNetEmbedder(), cache=tmp_path)
    first = per_face.fit(faces)
    expected = first.transform(faces)
    monkeypatch.setattr(FaceNetEmbedder, "fit", None)
    again = clone(per_face).fit(faces)
    np.testing.assert_array_equal(again.transform(faces), expected)
    assert again.transformer_ is not first.transformer_
    assert again.transformer_.weights_ is first.transformer_.weights_
    with pytest.raises(TypeError):  # other parameters are another fit
        clone(per_face).set_params(transformer__weights=None).fit(faces)


def test_auto_detectors_are_loaded_anew_where_another_is_at_hand(
    portraits, no_yunet, shared_weights, tmp_path, monkeypatch
):
    per_face = PerFace(FaceAligner(), cache=tmp_path / "cache")
    packaged = clone(per_face).fit(portraits).transformer_
    assert packaged.detector_name_ == "skface-detector"
    assert clone(per_face).fit(portraits).transformer_.detector_ is packaged.detector_  # once
    monkeypatch.setenv("SKFACE_HOME", str(shared_weights))
    yunet = clone(per_face).fit(portraits).transformer_
    assert yunet.detector_name_ == "yunet"
    monkeypatch.setenv("SKFACE_HOME", str(no_yunet))
    again = clone(per_face).fit(portraits).transformer_
    assert again.detector_name_ == "skface-detector"
    named = PerFace(FaceAligner(detector="skface-detector")).fit(portraits).transformer_
    assert fingerprint(again) == fingerprint(named)  # the name is no part of what crops depend on


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
def test_what_depends_on_rows_is_fitted_anew(transformer, tmp_path):
    rng = np.random.default_rng(0)
    for side in (8,) if isinstance(transformer, FeatureUnion) else (8, 16):
        faces = rng.random((6, side, side, 3))
        faces[1] = np.nan
        expected = PerFace(transformer).fit_transform(faces)
        for _ in range(2):
            values = PerFace(transformer, cache=tmp_path).fit(faces).transform(faces)
            np.testing.assert_array_equal(values, expected)


def test_what_learns_nothing_is_fitted_on_one_face(counting):
    PerFace(counting).fit(FACES.data)
    assert SEEN == [1]
    aligner = FaceAligner(detector=counting_detector)
    PerFace(aligner).fit(FACES.data)
    assert len(SEEN) == 2


def counting_detector(photo):
    SEEN.append(1)
    return [[0, 0, 16, 16, 5, 6, 10, 6, 8, 8, 6, 11, 10, 11, 0.9]]


class Slow(TransformerMixin, BaseEstimator):
    """Notes the faces that it sees in a file, which processes share, and takes its time."""

    def __init__(self, notes, seconds=0.0):
        self.notes = notes
        self.seconds = seconds

    def fit(self, X, y=None):
        self.is_fitted_ = True
        return self

    def transform(self, X):
        time.sleep(self.seconds)
        values = X[:, :3] * 2
        with open(self.notes, "a") as file:  # one write, which is appended as a whole
            file.write("".join(f"{value:.17g}\n" for value in values[:, 0]))
        return values

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags


def test_a_search_computes_every_photo_once(tmp_path):
    vectors = np.random.default_rng(0).random((60, 8))
    rng = np.random.default_rng(1)
    pairs = vectors[rng.integers(0, 60, (90, 2))]
    same = np.arange(90) % 2
    notes = tmp_path / "notes"
    pipe = make_pipeline(
        PerFace(Slow(str(notes), 0.02), cache=tmp_path / "cache", batch_size=8), PairVerifier()
    )
    grid = {"pairverifier__threshold": [0.1, 0.5, 0.9]}
    search = GridSearchCV(pipe, grid, cv=KFold(3), n_jobs=2, error_score="raise")
    search.fit(pairs, same)
    seen = notes.read_text().split()
    assert len(set(seen)) == len(np.unique(pairs[..., 0]))
    assert len(seen) <= len(set(seen)) + 3  # each process looks at what comes out
    plain = GridSearchCV(clone(pipe).set_params(perface__cache=None), grid, cv=KFold(3))
    np.testing.assert_array_equal(
        plain.fit(pairs, same).cv_results_["mean_test_score"],
        search.cv_results_["mean_test_score"],
    )


@pytest.fixture
def looks(monkeypatch):
    """Which files the file system was asked about, call by call."""
    looks, stat_signature = [], images.stat_signature
    monkeypatch.setattr(
        images, "stat_signature", lambda path: looks.append(path) or stat_signature(path)
    )
    return looks


def test_fits_and_scores_of_a_search_look_at_a_photo_once(counting, paths, tmp_path, looks):
    pairs, same = paths[SLOTS], np.arange(30) % 2
    pipe = make_pipeline(PerFace(counting, cache=tmp_path / "cache"), PairVerifier())
    folds = list(KFold(3).split(pairs))
    grid = {"pairverifier__threshold": [0.9, 0.95, 0.99]}
    search = GridSearchCV(pipe, grid, cv=folds, refit=False, error_score="raise")
    plain = clone(search).set_params(estimator__perface__cache=None)
    expected = plain.fit(pairs, same).cv_results_["mean_test_score"]
    for rows in (pairs, list(map(tuple, pairs.tolist())), pd.DataFrame(pairs)):
        looks.clear()
        search.fit(rows, same)
        assert sorted(looks) == np.unique(pairs).tolist()
        np.testing.assert_array_equal(search.cv_results_["mean_test_score"], expected)


def test_a_photo_that_changed_after_a_search_is_computed_anew(counting, paths, tmp_path):
    pairs, same = paths[SLOTS], np.arange(30) % 2
    pipe = make_pipeline(PerFace(counting, cache=tmp_path / "cache"), PairVerifier())
    search = GridSearchCV(pipe, {"pairverifier__threshold": [0.9, 0.99]}, cv=KFold(3))
    search.fit(pairs, same)
    changed = 255 - FACES.data[SLOTS[0, 0]]
    PIL.Image.fromarray(changed).save(pairs[0, 0], compress_level=0)
    SEEN.clear()
    vectors = search.best_estimator_[0].transform(pairs)
    assert sum(SEEN) == 1
    np.testing.assert_allclose(vectors[0, 0], mean_colour(changed[None] / 255)[0])
    PIL.Image.fromarray(changed // 2).save(pairs[0, 0], compress_level=0)
    search.fit(pairs, same)
    vectors = search.best_estimator_[0].transform(pairs)
    np.testing.assert_allclose(vectors[0, 0], mean_colour((changed // 2)[None] / 255)[0])


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


def test_places_of_a_list_stay_while_a_shelf_grows():
    shelf = _lookup.Shelf()
    photos = [str(i).encode() for i in range(300)]
    vectors = {photo: np.array([float(photo)]) for photo in photos}
    first = photos[:150]
    assert (shelf.find(first) == -1).all()
    shelf.add({photo: vectors[photo] for photo in photos[100:200]})
    assert (shelf.find(first) >= 0).sum() == 50
    shelf.add({photo: vectors[photo] for photo in photos[:100]})
    places = shelf.find(first)
    shelf.add(vectors)
    assert shelf.find(first) is places
    for some in (first, photos, photos[::-1]):
        np.testing.assert_array_equal(shelf.values[shelf.find(some), 0], [float(p) for p in some])


def test_a_shelf_remembers_places_of_so_many_photos_only(monkeypatch):
    monkeypatch.setattr(_lookup, "_MOST_FOUND", 1000)
    shelf = _lookup.Shelf()
    photos = [str(i).encode() for i in range(300)]
    shelf.add({photo: np.zeros(1) for photo in photos})
    for n in (300, 1, 300, 99, 300, 250, 300):
        shelf.find(photos[:n])
        assert sum(len(kept) for kept, _ in shelf._found.values()) <= 1000
        assert all(len(kept) >= 100 for kept, _ in shelf._found.values())


@pytest.mark.parametrize("folds", [2, 3])
def test_what_outlives_a_search_looks_again(folds, counting, paths, tmp_path, looks):
    pairs, same = paths[SLOTS], np.arange(30) % 2
    pipe = make_pipeline(PerFace(counting, cache=tmp_path / "cache"), PairVerifier())
    search = GridSearchCV(pipe, {"pairverifier__threshold": [0.9]}, cv=KFold(folds))
    kept = {
        "best": search.fit(pairs, same).best_estimator_,
        "plain": clone(pipe).fit(pairs, same),
        "of a fold": cross_validate(
            pipe, pairs, same, cv=KFold(folds), return_estimator=True, error_score="raise"
        )["estimator"][0],
    }
    for pipeline in kept.values():
        for estimator in (pipeline, copy.deepcopy(pipeline), pickle.loads(pickle.dumps(pipeline))):
            looks.clear()
            estimator.predict(pairs)
            assert sorted(looks) == np.unique(pairs).tolist()


def test_a_trial_that_is_fitted_again_looks_again(counting, paths, tmp_path, looks):
    pairs, same = paths[SLOTS], np.arange(30) % 2
    kept = []

    def score(pipeline, X, y):
        kept.append(pipeline)
        return pipeline.score(X, y)

    pipe = make_pipeline(PerFace(counting, cache=tmp_path / "cache"), PairVerifier())
    grid = {"pairverifier__threshold": [0.9]}
    GridSearchCV(pipe, grid, scoring=score, error_score="raise").fit(pairs, same)
    looks.clear()
    vectors = kept[0][0].fit(pairs).transform(pairs)
    assert sorted(looks) == np.sort(np.tile(np.unique(pairs), 2)).tolist()
    kept[0][0].transformer_.func = blackness
    np.testing.assert_allclose(kept[0][0].transform(pairs), 1 - vectors)


def test_files_that_a_search_misses_are_all_named(counting, paths, tmp_path):
    pairs = paths[SLOTS]
    pairs[[3, 20], 0] = gone = [str(tmp_path / name) for name in ("a.jpg", "b.jpg")]
    pipe = make_pipeline(PerFace(counting, cache=tmp_path / "cache"), PairVerifier())
    search = GridSearchCV(pipe, {"pairverifier__threshold": [0.9, 0.99]}, error_score="raise")
    with pytest.raises(FileNotFoundError, match="image files do not exist") as caught:
        search.fit(pairs, np.arange(30) % 2)
    assert any(name in str(caught.value) for name in gone)


def test_threads_share_the_work(tmp_path):
    vectors = np.random.default_rng(0).random((100, 8))
    notes = tmp_path / "notes"
    per_face = PerFace(Slow(str(notes), 0.01), cache=tmp_path / "cache", batch_size=8).fit(vectors)
    before = len(notes.read_text().split())
    with ThreadPoolExecutor(4) as pool:
        for values in pool.map(per_face.transform, [vectors, vectors[::-1], vectors[20:], vectors]):
            assert np.isfinite(values).all()
    assert len(notes.read_text().split()) - before == 100
    np.testing.assert_array_equal(per_face.transform(vectors), vectors[:, :3] * 2)


def test_a_shelf_grows_while_threads_note_what_they_use():
    program = textwrap.dedent(
        """
        import sys, threading
        import numpy as np
        from skface.cache._lookup import Shelf
        sys.setswitchinterval(1e-6)
        photos = [number.to_bytes(8, "big") for number in range(100_000)]
        shelf, ended = Shelf(), threading.Event()

        def note():
            while not ended.is_set():
                growing = shelf
                growing.note_use(np.arange(len(growing.place_of)))

        threads = [threading.Thread(target=note) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(4):
            shelf = Shelf()
            for start in range(0, len(photos), 10_000):
                shelf.add(dict.fromkeys(photos[start : start + 10_000], np.zeros(1)))
        ended.set()
        """
    )
    subprocess.run([sys.executable, "-c", program], check=True)  # it would be killed, not fail


PROGRAM = """
import sys, time
import numpy as np
from sklearn.preprocessing import StandardScaler
from skface.cache import EmbeddingCache
from skface._rows import check_images, vector_rows
folder, notes, start, stop, seconds = sys.argv[1:]
vectors = np.random.default_rng(0).random((2000, 8))[int(start):int(stop)]

def compute(batches):
    for indices in batches:
        time.sleep(float(seconds))
        with open(notes, "a") as file:  # one write, which is appended as a whole
            file.write("".join(f"{value:.17g}\\n" for value in vectors[indices, 0]))
        yield vectors[indices] * 2

print("ready", flush=True)
values = EmbeddingCache(folder).look_up(
    StandardScaler(), vector_rows(vectors).images, np.arange(len(vectors)), compute, 10, (8,)
)
assert np.array_equal(values, vectors * 2)
"""


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def test_processes_share_the_work(tmp_path):
    """Each has photos of its own beside those that both need."""
    notes = tmp_path / "notes"
    both = [start(tmp_path / "cache", notes, *span, 0.02) for span in ((0, 400), (200, 600))]
    assert [process.wait(60) for process in both] == [0, 0]
    seen = notes.read_text().split()
    assert len(set(seen)) == 600
    assert len(seen) <= 600
    assert EmbeddingCache(tmp_path / "cache").info().n_values == 600


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_kill_9_loses_a_batch_at_most(tmp_path):
    notes = tmp_path / "notes"
    cache = EmbeddingCache(tmp_path / "cache")
    rng = np.random.default_rng(0)
    for _ in range(3):
        n_before = notes.stat().st_size if notes.exists() else 0
        process = start(cache.folder, notes, 0, 2000, 0.01)
        process.stdout.readline()
        while not notes.exists() or notes.stat().st_size < n_before + 1000:  # some batches
            assert process.poll() is None
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.wait()
        n_seen = len(set(notes.read_text().split())) if notes.exists() else 0
        assert n_seen - cache.info().n_values <= 10
        with sqlite3.connect(tmp_path / "cache" / "embeddings.sqlite") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            # the lease of the dead is as long as that of the living, which is too long for a test
            connection.execute("UPDATE claims SET until = 0")
        connection.close()
    n_stored = cache.info().n_values
    assert 0 < n_stored < 2000
    process = start(cache.folder, notes, 0, 2000, 0)
    assert process.wait() == 0
    assert cache.info().n_values == 2000
    assert len(notes.read_text().split()) <= 2000 + 3 * 10


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT")
def test_who_waits_for_others_can_be_interrupted(tmp_path):
    program = textwrap.dedent(
        """
        import sys
        import numpy as np
        from sklearn.decomposition import PCA
        from skface import PerFace
        from skface.cache import _lookup
        vectors = np.random.default_rng(0).random((9, 8))
        per_face = PerFace(PCA(2), cache=sys.argv[1]).fit(vectors)
        store = _lookup.desk_at(_lookup.Path(sys.argv[1]) / "embeddings.sqlite").store
        claim = store.claim

        def claim_later(transformer, photos, owner, n_most):
            if not hasattr(store, "asked"):  # somebody else was faster
                store.asked = claim(transformer, photos, b"other", n_most)
                print("ready", flush=True)
            store.renew(b"other")
            return claim(transformer, photos, owner, n_most)

        store.claim = claim_later
        per_face.transform(vectors)
        """
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate(timeout=20)[1]
    finally:
        process.kill()


def test_claims_of_a_process_that_died_run_out(tmp_path, monkeypatch):
    monkeypatch.setattr("skface.cache._store._LEASE_MS", 300)
    cache = EmbeddingCache(tmp_path)
    store = _lookup.desk_at(tmp_path / "embeddings.sqlite").store
    vectors = np.random.default_rng(0).random((9, 5))
    rows = vector_rows(vectors)
    digests, kinds = _lookup.desk_at(store.path).digests(rows.images, np.arange(9))
    scaler = StandardScaler().fit(vectors)
    key = fingerprint(scaler, kinds, (3,))
    assert store.claim(key, digests, b"dead", 4)[1] == digests[:4]
    assert store.claim(key, digests, b"living", 9)[1:] == (digests[4:], digests[:4], [])
    store.release(b"living")
    started = time.monotonic()
    seen = []

    def compute(batches):
        for indices in batches:
            seen.append(indices.tolist())
            yield scaler.transform(vectors[indices])

    cache.look_up(scaler, rows.images, np.arange(9), compute, 20, (3,))
    assert seen == [[4, 5, 6, 7, 8], [0, 1, 2, 3]]
    assert time.monotonic() - started < 5


def test_one_line_with_a_cache(tmp_path):
    pipe = make_face_verifier(cache=tmp_path)
    assert list(pipe.named_steps) == ["perface", "pairverifier"]
    assert pipe[0].cache == tmp_path
    assert list(pipe[0].transformer.named_steps) == ["facealigner", "facenetembedder"]
