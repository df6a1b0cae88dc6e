"""Threads and processes that use one cache at the same time."""

import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from slow_transformer import Slow

from skface import (
    EmbeddingCache,
    PairVerifier,
    PerFace,
)


@pytest.mark.filterwarnings("ignore:Larger scores:UserWarning")
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
    # each process computes one value in `fit`, and may be at a batch that another has begun
    assert len(seen) <= len(set(seen)) + 3 + 6 * 8
    plain = GridSearchCV(clone(pipe).set_params(perface__cache=None), grid, cv=KFold(3))
    np.testing.assert_array_equal(
        plain.fit(pairs, same).cv_results_["mean_test_score"],
        search.cv_results_["mean_test_score"],
    )


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


def test_memory_grows_while_threads_read_it(tmp_path):
    program = textwrap.dedent(
        """
        import sys, threading
        import numpy as np
        from sklearn.preprocessing import FunctionTransformer
        from skface import PerFace
        sys.setswitchinterval(1e-6)
        vectors = np.random.default_rng(0).random((6000, 4))
        per_face = PerFace(FunctionTransformer(), cache=sys.argv[1], batch_size=500)
        per_face.fit(vectors[:100]).transform(vectors[:100])
        ended, right = threading.Event(), []

        def read():
            while not ended.is_set():
                right.append(np.array_equal(per_face.transform(vectors[:100]), vectors[:100]))

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for start in range(0, 6000, 500):
            per_face.transform(vectors[start : start + 500])
        ended.set()
        for thread in threads:
            thread.join()
        assert right and all(right)
        """
    )
    # it would crash, not fail
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True)


def start(*arguments):
    program = Path(__file__).with_name("slow_transformer.py")
    return subprocess.Popen(
        [sys.executable, program, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def transform_in_child(per_face, vectors):
    return per_face.transform(vectors)


@pytest.mark.skipif("fork" not in get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_processes_and_their_parent_use_a_cache(tmp_path):
    vectors = np.random.default_rng(0).random((60, 8))
    cache = EmbeddingCache(tmp_path / "cache")
    per_face = PerFace(FunctionTransformer(), cache=cache, batch_size=5).fit(vectors)
    per_face.transform(vectors[:20])
    with get_context("fork").Pool(2) as pool:
        coming = [
            pool.apply_async(transform_in_child, (per_face, some))
            for some in (vectors[10:40], vectors[30:])
        ]
        np.testing.assert_array_equal(per_face.transform(vectors[20:50]), vectors[20:50])
        np.testing.assert_array_equal(coming[0].get(60), vectors[10:40])
        np.testing.assert_array_equal(coming[1].get(60), vectors[30:])
    np.testing.assert_array_equal(per_face.transform(vectors), vectors)
    assert cache.info().n_values == 60


@pytest.mark.parametrize("spans", [((0, 400), (200, 600)), ((0, 600), (0, 600))])
def test_processes_share_the_work(spans, tmp_path):
    """Each may have photos of its own beside those that both need."""
    notes = tmp_path / "notes"
    both = [start(tmp_path / "cache", notes, *span, 0.02) for span in spans]
    for process in both:
        process.communicate(timeout=60)
    assert [process.returncode for process in both] == [0, 0]
    seen = notes.read_text().split()
    assert len(set(seen)) == 600
    assert len(seen) <= 800  # not all of it twice; a batch that both have begun counts twice
    assert EmbeddingCache(tmp_path / "cache").info().n_values == 600


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_a_killed_process_loses_a_batch_at_most(tmp_path):
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
        process.communicate()
        n_seen = len(set(notes.read_text().split())) if notes.exists() else 0
        assert n_seen - cache.info().n_values <= 10
        with sqlite3.connect(tmp_path / "cache" / "embeddings.sqlite") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
    n_stored = cache.info().n_values
    assert 0 < n_stored < 2000
    process = start(cache.folder, notes, 0, 2000, 0.01)
    process.communicate()
    assert process.returncode == 0
    assert cache.info().n_values == 2000
    assert len(notes.read_text().split()) <= 2000 + 3 * 10
