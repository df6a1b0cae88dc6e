"""EmbeddingCache: its parameters, its bound, and files that it cannot use."""

import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import time

import joblib
import numpy as np
import pytest
from cached_faces import FACES, forget_process, save
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.preprocessing import FunctionTransformer

from skface import (
    EmbeddingCache,
    PerFace,
)
from skface.exceptions import CacheError


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


def test_a_cleared_or_deleted_cache_is_filled_again(counting, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    per_face = PerFace(counting, cache=cache).fit(FACES.data)
    expected = per_face.transform(FACES.data)
    cache.clear()
    info = cache.info()
    assert (info.n_values, info.hits, info.misses) == (0, 0, 0)
    np.testing.assert_array_equal(per_face.transform(FACES.data), expected)
    assert cache.info().n_values == 20
    for counts_between in (False, True):
        shutil.rmtree(tmp_path / "cache")
        if counts_between:
            assert cache.info().n_values == 0
        np.testing.assert_array_equal(per_face.transform(FACES.data), expected)
        assert cache.info().n_values == 20


def test_caches_that_take_turns_in_clones_keep_what_they_know(counting, old_paths, tmp_path):
    caches = [EmbeddingCache(tmp_path / name, check_files="once") for name in "ab"]
    values = [clone(PerFace(counting, cache=caches[0])).fit_transform(old_paths)]
    save(255 - FACES.data[0], old_paths[0])
    for cache in caches * 2:
        per_face = clone(PerFace(counting, cache=cache)).fit(old_paths)
        values.append(per_face.transform(old_paths))
        del per_face
    np.testing.assert_array_equal(values[1], values[0])
    np.testing.assert_array_equal(values[3], values[0])
    assert [cache.info().misses for cache in caches] == [20, 20]
    assert [cache.info().hits for cache in caches] == [40, 20]


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
    forget_process()
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
    forget_process()
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
