"""Images of rows: their keys, decoding in batches, memory, and signatures of files."""

import io
import os
import tracemalloc
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from six_faces import RGB

from skface._rows import check_images, distinct_indices, iter_batches
from skface.exceptions import ImageError


def test_mixed_sizes_are_rows_of_unknown_size():
    rows = check_images([RGB[0], RGB[1, :5], RGB[2, ..., 0]])
    assert rows.size is None
    assert [image.shape for image in rows.images] == [(10, 8, 3), (5, 8, 3), (10, 8, 3)]
    assert check_images(RGB).size == (10, 8)


def test_all_unreadable_files_are_named_after_one_pass(files, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    buffer = io.BytesIO()
    PIL.Image.fromarray(RGB[0]).resize((200, 200)).save(buffer, "JPEG")
    truncated = tmp_path / "truncated.jpg"
    truncated.write_bytes(buffer.getvalue()[:1500])
    rows = check_images([files[0], str(text), files[1], str(truncated)])
    seen = []
    with pytest.raises(ImageError, match=r"2 of 4.*text\.jpg.*truncated\.jpg"):
        for batch, _ in iter_batches(rows.images, range(4), 1):
            seen += batch.tolist()
    assert seen == [0]


def test_batches_are_decoded_when_they_are_asked_for(files):
    rows = check_images(files)
    batches = iter_batches(rows.images, [5, 0, 3], 2)
    Path(files[3]).unlink()
    indices, faces = next(batches)
    assert indices.tolist() == [5, 0]
    np.testing.assert_array_equal(faces, RGB[[5, 0]])
    with pytest.raises(ImageError, match=r"3\.png"):
        next(batches)


def test_pil_images_of_any_mode_are_told_apart():
    deep = [np.full((10, 8), value, dtype=np.uint16) for value in (600, 40_000)]
    images = [PIL.Image.fromarray(pixels) for pixels in deep]
    turned = PIL.Image.fromarray(RGB[0])
    turned.getexif()[0x0112] = 6
    for pair in (images, [PIL.Image.fromarray(RGB[0]), turned]):
        sequence = check_images([pair, pair[::-1]]).images
        assert not np.array_equal(sequence[0], sequence[1])
        assert sequence.key(0) == sequence.key(3) != sequence.key(1)


def test_broken_pil_images_are_reported_when_they_are_used(tmp_path):
    path = tmp_path / "cut.jpg"
    PIL.Image.fromarray(RGB[0]).resize((200, 200)).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    with PIL.Image.open(path) as broken:
        sequence = check_images([[broken, PIL.Image.fromarray(RGB[0])]]).images
        assert sequence.key(0) != sequence.key(1)
        with pytest.raises(ImageError, match="row 0, photo 0"):
            sequence[0]


def test_keys_tell_images_apart(files):
    rows = check_images([files[0], files[1], files[0]])
    assert rows.images.key(0) == rows.images.key(2) != rows.images.key(1)
    arrays = check_images(RGB[[0, 1, 0]])
    assert arrays.images.key(0) == arrays.images.key(2) != arrays.images.key(1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("view", ["whole", "every second", "swapped", "columns first"])
def test_pairs_of_pixels_are_not_copied(dtype, view):
    X = np.zeros((120, 2, 160, 120, 3), dtype=dtype)
    X[:, :, 0, 0, 0] = np.linspace(0, 1, 240).reshape(120, 2) * (255 if dtype == np.uint8 else 1)
    X = {
        "whole": X,
        "every second": X[::2],
        "swapped": X[:, ::-1],
        "columns first": np.asfortranarray(X),
    }[view]
    tracemalloc.start()
    rows = check_images(X)
    first, inverse = distinct_indices(rows)
    values = rows.regroup(np.arange(len(first))[inverse])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 4
    assert len(first) == 2 * len(X)
    assert values.shape == (len(X), 2)
    for i in (0, 1, 2, 2 * len(X) - 1):
        np.testing.assert_array_equal(rows.images[i], X[i // 2, i % 2])
    np.testing.assert_array_equal(rows.images.take([3, 0]), X[[1, 0], [1, 0]])


def test_arrays_are_not_copied():
    for X in (RGB, RGB.reshape(3, 2, 10, 8, 3)):
        assert np.shares_memory(check_images(X).images[0], X)
    rows = check_images(RGB)
    assert np.shares_memory(rows.images.take(np.arange(6)), RGB)
    np.testing.assert_array_equal(rows.images.take(np.array([1, 0])), RGB[[1, 0]])


def test_files_are_looked_at_once_and_their_signatures_kept(files, monkeypatch):
    seen = []
    look = os.stat
    monkeypatch.setattr(os, "stat", lambda path: seen.append(path) or look(path))
    rows = check_images([[files[0], files[1]], [files[1], Path(files[0])]])
    assert sorted(seen) == files[:2]
    status = look(files[1])
    signature = status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
    assert rows.images.signatures[files[1]] == signature
    assert set(rows.images.signatures) == set(files[:2])
    some = check_images([files[0], "nowhere.png"], check_files=False).images
    assert set(some.signatures) == {files[0]}
    assert check_images(RGB).images.signatures == {}


def test_known_files_are_not_looked_at_again(files, tmp_path, monkeypatch):
    known = {}
    first = check_images(files[:3], known_files=known).images.signatures
    signature = first[files[0]]
    assert set(known) == set(files[:3])
    PIL.Image.fromarray(RGB[1]).resize((9, 9)).save(files[0])
    assert check_images(files[:3]).images.signatures[files[0]] != signature
    again = check_images([[files[0], files[3]]], known_files=known).images
    assert again.signatures[files[0]] == signature
    assert files[3] in known
    gone = str(tmp_path / "gone.png")
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match=r"1 of 2 image files.*gone\.png"):
            check_images([files[0], gone], known_files=known)
    assert gone not in known


def test_read_only_arrays_are_accepted():
    X = RGB.copy()
    X.setflags(write=False)
    np.testing.assert_array_equal(check_images(X).images[5], RGB[5])
