"""Image files that change, and how often the file system is asked."""

import os

import numpy as np
import pytest
from cached_faces import FACES, SLOTS, detect_unless_black, forget_process, mean_color, save
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skface import (
    EmbeddingCache,
    FaceAligner,
    FaceNetEmbedder,
    PairVerifier,
    PerFace,
)


def test_a_photo_that_changed_is_computed_again(counting, paths, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    per_face = PerFace(counting, cache=cache).fit(paths)
    for i in range(10):
        before = per_face.transform(paths)
        status = os.stat(paths[3])
        save(FACES.data[4 + i], paths[3])
        os.utime(paths[3], ns=(status.st_atime_ns, status.st_mtime_ns))
        assert os.stat(paths[3]).st_size == status.st_size
        after = per_face.transform(paths)
        np.testing.assert_array_equal(after[3], after[4 + i])
        assert (after[3] != before[3]).any()
        np.testing.assert_array_equal(np.delete(after, 3, 0), np.delete(before, 3, 0))


def mean_after_a_change(X, path):
    if len(X) == 20:
        save(FACES.data[5], path)
    return mean_color(X)


def test_a_photo_that_changes_while_it_is_computed_is_not_stored(paths, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    changing = FunctionTransformer(mean_after_a_change, kw_args={"path": paths[3]})
    per_face = PerFace(changing, cache=cache).fit(paths)
    first = per_face.transform(paths)
    assert cache.info().n_values == 19
    second = per_face.transform(paths)
    np.testing.assert_array_equal(second[3], first[5])


def test_a_file_that_changed_since_it_was_checked_is_not_remembered(counting, old_paths, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache", check_files="once")
    per_face = PerFace(counting, cache=cache).fit(old_paths)  # checks the files, and reads one
    save(FACES.data[5], old_paths[3])
    values = per_face.transform(old_paths)
    np.testing.assert_array_equal(values[3], values[5])
    save(FACES.data[6], old_paths[3])
    forget_process()
    np.testing.assert_array_equal(per_face.transform(old_paths)[3], values[6])


def test_old_files_are_read_once_by_all_processes(counting, old_paths, tmp_path, monkeypatch):
    per_face = PerFace(counting, cache=tmp_path / "cache").fit(old_paths)
    expected = per_face.transform(old_paths)
    forget_process()
    monkeypatch.setattr("builtins.open", None)
    np.testing.assert_array_equal(per_face.transform(old_paths), expected)


def test_relative_paths_lead_through_links_as_the_system_follows_them(
    counting, tmp_path, monkeypatch
):
    for name, pixels in zip(("a.png", "far/a.png"), FACES.data[:2], strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save(pixels, tmp_path / name)
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


@pytest.fixture
def looks(monkeypatch):
    """Which photos the file system was asked about, call by call."""
    looks, stat = [], os.stat

    def recording_stat(path, *args, **kwargs):
        if str(path).endswith(".png"):
            looks.append(path)
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", recording_stat)
    return looks


@pytest.mark.filterwarnings("ignore:Larger scores:UserWarning")
@pytest.mark.parametrize("kind", ["array", "list", "frame"])
def test_files_that_are_checked_once_are_looked_at_once(kind, counting, old_paths, tmp_path, looks):
    pandas = pytest.importorskip("pandas")
    pairs, same = old_paths[SLOTS], np.arange(30) % 2
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
        PerFace(transformer, cache=cache).fit_transform(old_paths)
        looks.clear()
        search.fit(rows, same).predict(rows)
        assert looks == []
        np.testing.assert_array_equal(
            search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
        )
    cache.clear()
    PerFace(counting, cache=cache).fit_transform(old_paths)
    assert set(looks) == set(old_paths)
    per_face = PerFace(counting, cache=tmp_path / "cache").fit(old_paths)  # "always"
    looks.clear()
    per_face.transform(old_paths)
    assert sorted(looks) == sorted(old_paths)


def test_a_change_of_a_file_that_is_checked_once_is_seen_after_clear(counting, old_paths, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache", check_files="once")
    per_face = PerFace(counting, cache=cache).fit(old_paths)
    before = per_face.transform(old_paths)
    save(255 - FACES.data[3], old_paths[3])
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
    save(FACES.data[0], gone[0])
    assert per_face.transform([*paths, gone[0]]).shape == (21, 3)


def test_relative_paths_that_are_checked_once_follow_the_working_directory(
    counting, tmp_path, monkeypatch
):
    cache = EmbeddingCache(tmp_path / "cache", check_files="once")
    for i in range(2):
        (tmp_path / str(i)).mkdir()
        monkeypatch.chdir(tmp_path / str(i))
        save(FACES.data[i], "a.png")
        values = PerFace(counting, cache=cache).fit_transform(["a.png"])
        np.testing.assert_array_equal(values, PerFace(counting).fit_transform(["a.png"]))
