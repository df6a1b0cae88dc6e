"""The cache of PerFace against computing anew: same values, nothing computed twice or lost."""

import functools
import math
import os
import pickle
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import PIL.Image
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
from torch import nn

from skface import (
    EmbeddingCache,
    FaceAligner,
    FaceNetEmbedder,
    PairVerifier,
    PerFace,
    make_face_verifier,
    make_faces,
)
from skface._rows import check_images
from skface._utils.per_process import STORE
from skface.cache._fingerprint import fingerprint
from skface.exceptions import CacheError

FACES = make_faces(n_identities=5, n_images_per_identity=4, image_size=16, random_state=0)
SLOTS = np.random.default_rng(0).integers(0, 20, (30, 2))

SEEN = []  # how many faces each call of a counting function was given


def mean_colour(X):
    SEEN.append(len(X))
    return X.reshape(len(X), -1, 3).mean(axis=1)


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


def start_anew():
    """Do as a process would that has just started."""
    STORE.clear()


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
        start_anew()
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
    start_anew()
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


def mean_after_a_change(X, path):
    if len(X) == 20:
        PIL.Image.fromarray(FACES.data[5]).save(path, compress_level=0)
    return mean_colour(X)


def test_a_photo_that_changes_while_it_is_computed_is_not_stored(paths, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    changing = FunctionTransformer(mean_after_a_change, kw_args={"path": paths[3]})
    per_face = PerFace(changing, cache=cache).fit(paths)
    first = per_face.transform(paths)
    assert cache.info().n_values == 19
    second = per_face.transform(paths)
    np.testing.assert_array_equal(second[3], first[5])


@pytest.fixture
def old_paths(paths):
    """Files that were changed so long ago that their digests are remembered."""
    time.sleep(2.1)
    return paths


def test_a_file_that_changed_since_its_rows_were_checked_is_not_remembered(old_paths, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    scaler = StandardScaler()

    def look_up(rows):
        def compute(batches):
            for batch in batches:
                yield mean_colour(np.array([rows.images[i] for i in batch]))

        return cache.look_up(scaler, rows.images, np.arange(20), compute, 20, (3,))

    rows = check_images(old_paths)
    PIL.Image.fromarray(FACES.data[5]).save(old_paths[3], compress_level=0)
    values = look_up(rows)
    np.testing.assert_array_equal(values[3], values[5])
    PIL.Image.fromarray(FACES.data[6]).save(old_paths[3], compress_level=0)
    start_anew()
    np.testing.assert_array_equal(look_up(check_images(old_paths))[3], values[6])


def test_old_files_are_read_once_by_all_processes(counting, old_paths, tmp_path, monkeypatch):
    per_face = PerFace(counting, cache=tmp_path / "cache").fit(old_paths)
    expected = per_face.transform(old_paths)
    start_anew()
    monkeypatch.setattr("builtins.open", None)
    np.testing.assert_array_equal(per_face.transform(old_paths), expected)


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
    start_anew()
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
    assert n_stored == sum(SEEN) - 1  # `fit` looked at what comes out
    PIL.Image.fromarray(FACES.data[12]).save(paths[12])
    SEEN.clear()
    assert per_face.transform(paths).shape == (20, 3)
    assert sum(SEEN) == 20 - n_stored


def detect_unless_black(photo):
    return [] if not photo.any() else [[0, 0, 16, 16, 5, 6, 10, 6, 8, 8, 6, 11, 10, 11, 0.9]]


def test_failures_are_not_kept_so_that_their_warning_is_seen_again(tmp_path):
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


def darker(X):
    return X / 2


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
def test_what_a_later_process_cannot_tell_apart_is_refused(part, name, tmp_path):
    transformer = FunctionTransformer(darker).set_params(**{name.partition(".")[0]: part})
    where = re.escape(f"FunctionTransformer.{name}")
    with pytest.raises(ValueError, match=f"{where}.* later process cannot tell.*cache=None"):
        PerFace(transformer, cache=tmp_path).fit(FACES.data)


def test_classes_that_have_no_lasting_name_are_refused(tmp_path):
    for kind in (local_class(), defined_in_main("class made(FunctionTransformer): pass")):
        with pytest.raises(ValueError, match="module that can be imported"):
            PerFace(kind(), cache=tmp_path).fit(FACES.data)


def test_functions_are_known_by_their_names():
    for one, other in (
        (darker, mean_colour),
        (np.log1p, np.exp),
        (math.sin, math.cos),
        (np.clip, np.sort),
        *[[functools.partial(np.clip, a_min=n) for n in (0, 1)]],
    ):
        assert fingerprint(FunctionTransformer(one)) != fingerprint(FunctionTransformer(other))
        again = pickle.loads(pickle.dumps(FunctionTransformer(one)))
        assert fingerprint(again) == fingerprint(FunctionTransformer(one))


def test_equal_state_is_equal_however_it_was_built(tmp_path):
    array, text = np.arange(5.0), "".join(["a", "b"])
    once = {"x": array, "y": array, 3: ("ab", text), "scale": StandardScaler().fit(X)}
    twice = {3: ("ab", "ab"), "scale": once["scale"], "y": array[:], "x": array.copy()}
    one = FunctionTransformer(kw_args=once | {"set": {"p", "q", 4}})
    other = FunctionTransformer(kw_args={"set": {4, "q", "p"}} | twice)
    joblib.dump(one, tmp_path / "one")
    loaded = joblib.load(tmp_path / "one", mmap_mode="r")
    assert fingerprint(one) == fingerprint(other) == fingerprint(loaded)
    for changed in ({"x": array[::-1]}, {"x": array.astype(np.float32)}, {3: ["ab", "ab"]}):
        assert fingerprint(FunctionTransformer(kw_args=one.kw_args | changed)) != fingerprint(one)
    tensors = [FunctionTransformer(kw_args={"t": torch.arange(4.0) + i}) for i in (0, 0, 1)]
    digests = [fingerprint(tensor) for tensor in tensors]
    assert digests[0] == digests[1] != digests[2]


X = np.random.default_rng(0).random((9, 4))


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


def test_arrays_that_were_written_to_are_another_state():
    scaler = StandardScaler().fit(np.random.default_rng(0).random((3, 2000)))
    before = fingerprint(scaler)
    scaler.mean_[1234] += 1
    assert fingerprint(scaler) != before


def test_the_parameter_is_a_path_or_a_cache(tmp_path):
    cache = EmbeddingCache(tmp_path / "cache", max_bytes=10**6, check_files="once")
    per_face = PerFace(PCA(2), cache=cache)
    assert not (tmp_path / "cache").exists()
    assert clone(per_face).cache == pickle.loads(pickle.dumps(per_face)).cache == cache
    assert joblib.hash(clone(per_face)) == joblib.hash(per_face)
    assert cache != EmbeddingCache(tmp_path)
    again = EmbeddingCache(cache.folder, max_bytes=10**6, check_files="once")
    assert (again, hash(again), repr(again)) == (cache, hash(cache), repr(cache))
    assert f"{str(cache.folder)!r}, max_bytes=1000000, check_files='once'" in repr(cache)
    assert cache != EmbeddingCache(tmp_path / "cache", max_bytes=10**6)
    with pytest.raises(ValueError, match="check_files='never'"):
        EmbeddingCache(tmp_path, check_files="never")
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
    start_anew()
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
    start_anew()
    with pytest.raises(CacheError, match=r"format 99.*delete it"):
        EmbeddingCache(tmp_path).info()


def test_a_folder_that_cannot_be_written_is_named(tmp_path, counting):
    (tmp_path / "file").write_text("")
    per_face = PerFace(counting, cache=tmp_path / "file" / "cache")
    with pytest.raises(CacheError, match=r"file/cache.*cannot be created.*name a folder"):
        per_face.fit(FACES.data)
    folder = tmp_path / "read-only"
    folder.mkdir()
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(CacheError, match=r"read-only.*cannot be used"):
        EmbeddingCache(folder).info()


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")
def test_a_full_disk_is_a_warning_and_nothing_is_lost(tmp_path):
    program = textwrap.dedent(
        """
        import resource, sys, warnings
        import numpy as np
        from sklearn.preprocessing import FunctionTransformer
        from skface import EmbeddingCache, PerFace
        from skface.cache import CacheWarning
        faces = np.random.default_rng(0).random((200, 8, 8, 3))
        cache = EmbeddingCache(sys.argv[1])
        per_face = PerFace(FunctionTransformer(), cache=cache, batch_size=20).fit(faces)
        cache.info()
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            values = per_face.transform(faces)
        (warning,) = caught
        assert warning.category is CacheWarning
        assert "embeddings.sqlite cannot be written" in str(warning.message)
        assert np.array_equal(values, faces.reshape(200, -1))
        assert 0 < cache.info().n_values < 200
        assert np.array_equal(per_face.transform(faces), values)
        assert cache.info().misses == 200
        """
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)


def test_given_weights_and_detectors_are_read_once_while_they_are_unchanged(tmp_path):
    photos = np.zeros((2, 112, 112, 3), dtype=np.uint8)
    source = FaceNetEmbedder().fit(photos)
    path = tmp_path / "own.pt"
    torch.save({name: torch.tensor(w) for name, w in source.weights_.items()}, path)
    embedder = FaceNetEmbedder("iresnet_mini", path).fit(photos)
    name = next(iter(embedder.weights_))
    again = clone(embedder).fit(photos)
    assert again.weights_[name] is embedder.weights_[name]
    assert not again.weights_[name].flags.writeable
    again.weights_.clear()
    assert embedder.weights_
    changed = {name: torch.tensor(w) * 1.5 for name, w in source.weights_.items()}
    torch.save(changed, path)
    other = clone(embedder).fit(photos)
    np.testing.assert_array_equal(other.weights_[name], changed[name])
    assert other.weights_digest_ != embedder.weights_digest_ == source.weights_digest_
    path.unlink()
    with pytest.raises(FileNotFoundError):
        clone(embedder).fit(photos)
    aligner = FaceAligner(detector="skface-detector").fit(photos)
    assert clone(aligner).fit(photos).detector_ is aligner.detector_
    assert not aligner.detector_.flags.writeable


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
    vectors = np.random.default_rng(0).random((240, 8))
    rng = np.random.default_rng(1)
    pairs = vectors[rng.integers(0, 240, (360, 2))]
    same = np.arange(360) % 2
    notes = tmp_path / "notes"
    pipe = make_pipeline(
        PerFace(Slow(str(notes), 0.02), cache=tmp_path / "cache", batch_size=8), PairVerifier()
    )
    grid = {"pairverifier__threshold": [0.1, 0.5, 0.9]}
    search = GridSearchCV(pipe, grid, cv=KFold(3), n_jobs=2, error_score="raise")
    search.fit(pairs, same)
    seen = notes.read_text().split()
    assert len(set(seen)) == len(np.unique(pairs[..., 0]))
    # each process looks at what comes out, and may be at a batch that another has begun
    assert len(seen) <= len(set(seen)) + 3 + 6 * 8
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


@pytest.mark.parametrize("kind", ["array", "list", "frame"])
def test_files_that_are_checked_once_are_looked_at_once(kind, counting, paths, tmp_path, looks):
    pandas = pytest.importorskip("pandas")
    pairs, same = paths[SLOTS], np.arange(30) % 2
    rows = {
        "array": pairs,
        "list": list(map(tuple, pairs.tolist())),
        "frame": pandas.DataFrame(pairs),
    }[kind]
    cache = EmbeddingCache(tmp_path / "cache", check_files="once")
    aligned = make_pipeline(FaceAligner(detector=detect_unless_black), FaceNetEmbedder())
    for transformer in (counting, aligned):
        pipe = make_pipeline(PerFace(transformer, cache=cache), PairVerifier())
        search = GridSearchCV(
            pipe, {"pairverifier__threshold": [0.9, 0.95, 0.99]}, cv=KFold(3), error_score="raise"
        )
        expected = clone(search).set_params(estimator__perface__cache=None).fit(rows, same)
        PerFace(transformer, cache=cache).fit_transform(paths)
        looks.clear()
        search.fit(rows, same).predict(rows)
        assert looks == []
        np.testing.assert_array_equal(
            search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
        )
    cache.clear()
    PerFace(counting, cache=cache).fit_transform(paths)
    assert sorted(looks) == sorted(paths)
    per_face = PerFace(counting, cache=tmp_path / "cache").fit(paths)  # "always"
    looks.clear()
    per_face.transform(paths)
    assert sorted(looks) == sorted(paths)


def test_a_change_of_a_file_that_is_checked_once_is_seen_after_clear(counting, old_paths, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache", check_files="once")
    per_face = PerFace(counting, cache=cache).fit(old_paths)
    before = per_face.transform(old_paths)
    PIL.Image.fromarray(255 - FACES.data[3]).save(old_paths[3], compress_level=0)
    np.testing.assert_array_equal(per_face.transform(old_paths), before)
    always = clone(per_face).set_params(cache=tmp_path / "cache").fit(old_paths)
    after = always.transform(old_paths)
    np.testing.assert_allclose(after[3], 1 - before[3])
    cache.clear()
    np.testing.assert_array_equal(per_face.transform(old_paths), after)


def test_missing_files_are_all_named_if_files_are_checked_once(counting, paths, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache", check_files="once")
    per_face = PerFace(counting, cache=cache).fit(paths)
    gone = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match=r"2 of 22 .*a\.png.*b\.png"):
            per_face.transform([*paths, *gone])
    PIL.Image.fromarray(FACES.data[0]).save(gone[0])
    assert per_face.transform([*paths, gone[0]]).shape == (21, 3)


def test_relative_paths_that_are_checked_once_follow_the_working_directory(
    counting, tmp_path, monkeypatch
):
    cache = EmbeddingCache(tmp_path / "cache", check_files="once")
    for i in range(2):
        (tmp_path / str(i)).mkdir()
        monkeypatch.chdir(tmp_path / str(i))
        PIL.Image.fromarray(FACES.data[i]).save("a.png")
        values = PerFace(counting, cache=cache).fit_transform(["a.png"])
        np.testing.assert_array_equal(values, PerFace(counting).fit_transform(["a.png"]))


def test_fit_computes_nothing_that_is_stored(counting, paths, tmp_path):
    per_face = PerFace(counting, cache=tmp_path / "cache")
    expected = per_face.fit_transform(paths)
    for forgets in (False, True):
        if forgets:
            start_anew()
        SEEN.clear()
        np.testing.assert_array_equal(clone(per_face).fit_transform(paths), expected)
        assert SEEN == []


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


def test_threads_share_the_work(tmp_path):
    vectors = np.random.default_rng(0).random((400, 8))
    notes = tmp_path / "notes"
    per_face = PerFace(Slow(str(notes), 0.01), cache=tmp_path / "cache", batch_size=4).fit(vectors)
    before = len(notes.read_text().split())
    rows = [vectors, vectors[20:]]
    with ThreadPoolExecutor(2) as pool:
        for some, values in zip(rows, pool.map(per_face.transform, rows), strict=True):
            np.testing.assert_array_equal(values, some[:, :3] * 2)
    n_seen = len(notes.read_text().split()) - before
    assert 400 <= n_seen <= 400 + 15 * 4  # batches that both had begun, of 780 in all


def test_memory_grows_while_threads_note_what_they_use():
    program = textwrap.dedent(
        """
        import sys, threading
        import numpy as np
        from skface.cache._lookup import MemoryCache
        sys.setswitchinterval(1e-6)
        photos = [number.to_bytes(8, "big") for number in range(100_000)]
        memory, ended = MemoryCache(), threading.Event()

        def note():
            while not ended.is_set():
                growing = memory
                growing.note_use(np.arange(len(growing.place_of)))

        threads = [threading.Thread(target=note) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(4):
            memory = MemoryCache()
            for start in range(0, len(photos), 10_000):
                memory.add(dict.fromkeys(photos[start : start + 10_000], np.zeros(1)))
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


@pytest.mark.parametrize("spans", [((0, 400), (200, 600)), ((0, 600), (0, 600))])
def test_processes_share_the_work(spans, tmp_path):
    """Each may have photos of its own beside those that both need."""
    notes = tmp_path / "notes"
    both = [start(tmp_path / "cache", notes, *span, 0.02) for span in spans]
    assert [process.wait(60) for process in both] == [0, 0]
    seen = notes.read_text().split()
    assert len(set(seen)) == 600
    assert len(seen) <= 600 + 4 * 10  # batches that both had begun
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
        connection.close()
    n_stored = cache.info().n_values
    assert 0 < n_stored < 2000
    process = start(cache.folder, notes, 0, 2000, 0)
    assert process.wait() == 0
    assert cache.info().n_values == 2000
    assert len(notes.read_text().split()) <= 2000 + 3 * 10


def test_one_line_with_a_cache(tmp_path):
    pipe = make_face_verifier(cache=tmp_path)
    assert list(pipe.named_steps) == ["perface", "pairverifier"]
    assert pipe[0].cache == tmp_path
    assert list(pipe[0].transformer.named_steps) == ["facealigner", "facenetembedder"]
