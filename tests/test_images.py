"""Every accepted form of rows, every refusal, and what decoding does to unusual files."""

import io
import os
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps
import polars as pl
import pytest

from skface import images
from skface._rows import check_images, decode, distinct_indices, is_missing, iter_batches
from skface.exceptions import ImageError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 10, 8, 3), dtype=np.uint8)


@pytest.fixture
def files(tmp_path):
    """Six lossless files of the faces in RGB."""
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for path, pixels in zip(paths, RGB, strict=True):
        PIL.Image.fromarray(pixels).save(path)
    return [str(path) for path in paths]


def boxed(items, shape):
    """Objects in an array, one by one, since numpy would unpack images."""
    array = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        array[i] = item
    return array.reshape(shape)


def forms_of_faces(paths):
    pil = [PIL.Image.fromarray(pixels) for pixels in RGB]
    return {
        "array": RGB,
        "int64": RGB.astype(np.int64),
        "list of arrays": list(RGB),
        "object array of arrays": boxed(list(RGB), 6),
        "list of str": paths,
        "list of Path": [Path(path) for path in paths],
        "str array": np.array(paths),
        "object array of str": np.array(paths, dtype=object),
        "series": pd.Series(paths, index=range(10, 16)),
        "polars series": pl.Series(paths),
        "one-column frame": pd.DataFrame({"photo": paths}),
        "list of PIL": pil,
        "tuple": tuple(paths),
    }


@pytest.mark.parametrize("form", forms_of_faces(["0"] * 6))
def test_every_form_of_faces_gives_the_same_pixels(form, files):
    rows = check_images(forms_of_faces(files)[form])
    assert (rows.arity, rows.n_rows) == (1, 6)
    np.testing.assert_array_equal(np.stack(list(rows.images)), RGB)


def forms_of_pairs(paths):
    pairs = np.array(paths, dtype=object).reshape(3, 2)
    return {
        "array": RGB.reshape(3, 2, 10, 8, 3),
        "paths": pairs,
        "str array": pairs.astype(str),
        "frame": pd.DataFrame(pairs, columns=["left", "right"]),
        "polars frame": pl.DataFrame({"left": list(pairs[:, 0]), "right": list(pairs[:, 1])}),
        "list of tuples": [tuple(pair) for pair in pairs],
        "list of lists of arrays": [[RGB[i], RGB[i + 1]] for i in (0, 2, 4)],
        "list of stacked arrays": [RGB[i : i + 2] for i in (0, 2, 4)],
        "object array of arrays": boxed(list(RGB), (3, 2)),
    }


@pytest.mark.parametrize("form", forms_of_pairs(["0"] * 6))
def test_every_form_of_pairs_gives_the_same_pixels(form, files):
    rows = check_images(forms_of_pairs(files)[form])
    assert (rows.arity, rows.n_rows) == (2, 3)
    np.testing.assert_array_equal(np.stack(list(rows.images)), RGB)
    values = np.arange(12).reshape(6, 2)
    np.testing.assert_array_equal(rows.regroup(values), values.reshape(3, 2, 2))


def test_grey_and_flattened_rows():
    grey = RGB[..., 0]
    repeated = np.repeat(grey[..., None], 3, axis=-1)
    for X, shape, arity in (
        (grey, None, 1),
        (grey.reshape(6, -1), (10, 8), 1),
        (grey.reshape(3, 2, 10, 8), None, 2),
        (grey.reshape(3, 2, 80), (10, 8), 2),
    ):
        rows = check_images(X, image_shape=shape)
        assert rows.arity == arity
        np.testing.assert_array_equal(np.stack(list(rows.images)), repeated)
    flat = check_images(RGB.reshape(6, -1) / 255.0, image_shape=(10, 8, 3))
    np.testing.assert_allclose(np.stack(list(flat.images)), RGB / 255.0)


def test_mixed_sizes_are_rows_of_unknown_size():
    rows = check_images([RGB[0], RGB[1, :5], RGB[2, ..., 0]])
    assert rows.size is None
    assert [image.shape for image in rows.images] == [(10, 8, 3), (5, 8, 3), (10, 8, 3)]
    assert check_images(RGB).size == (10, 8)


@pytest.mark.parametrize(
    ("X", "kind", "message"),
    [
        ([], ValueError, "0 rows"),
        (np.empty((0, 10, 8, 3)), ValueError, "0 rows"),
        (np.array([], dtype=object), ValueError, "0 rows"),
        (RGB[0, 0, :, 0], ValueError, "reshape your data"),
        (RGB[0], ValueError, "single RGB image.*newaxis"),
        (np.zeros((4, 80)), ValueError, "image_shape"),
        (np.zeros((4, 2, 80)), ValueError, "ambiguous.*image_shape"),
        (np.zeros((4, 2, 9, 3)), ValueError, "ambiguous"),
        (np.zeros((4, 10, 8, 1)), ValueError, r"X\[\.\.\., 0\]"),
        (np.zeros((4, 3, 10, 8)), ValueError, "moveaxis"),
        (np.zeros((4, 10, 8, 4)), ValueError, "four channels"),
        (np.zeros((4, 3, 10, 8, 3)), ValueError, "shape"),
        (np.zeros((4, 10, 8, 3), dtype=bool), TypeError, "bool"),
        (np.zeros((4, 10, 8, 3), dtype=complex), TypeError, "complex"),
        (np.full((4, 10, 8, 3), 300), ValueError, "300.*0..255.*row 0"),
        (RGB / 1.0, ValueError, "255.*outside 0..1.*divide"),
        ([RGB[0], RGB[1] / 1.0], ValueError, "row 1"),
        ("face.jpg", TypeError, r"single image.*\['face.jpg'\]"),
        (np.str_("face.jpg"), TypeError, r"single image.*\['face.jpg'\]"),
        (["a.jpg", None], TypeError, "row 1|rows 1"),
        (np.array([["a.jpg", float("nan")]], dtype=object), TypeError, "row 0, photo 1"),
        (7, TypeError, "int"),
        (np.array([b"a.jpg"]), TypeError, "byte"),
    ],
)
def test_refusals_name_the_problem_and_the_way_out(X, kind, message):
    with pytest.raises(kind, match=re.compile(message, re.DOTALL)):
        check_images(X)


def test_pixels_partly_nan_are_refused_and_wholly_nan_is_a_missing_face():
    X = np.full((3, 10, 8, 3), 0.5)
    X[1] = np.nan
    rows = check_images(X)
    assert [is_missing(image) for image in rows.images] == [False, True, False]
    X[2, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN.*row 2"):
        check_images(X)


def test_all_missing_files_are_named_at_once(files):
    with pytest.raises(FileNotFoundError, match=r"2 of 3.*nobody\.png.*nowhere\.png"):
        check_images([files[0], "nobody.png", "nowhere.png"])


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


def saved(tmp_path, image, name="image.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def test_decode_applies_exif_orientation(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to show
    path = saved(tmp_path, PIL.Image.fromarray(RGB[0]), exif=exif)
    np.testing.assert_array_equal(decode(path), np.rot90(RGB[0], 3))


def jpeg(mode="RGB", **options):
    """The bytes of a JPEG, of sides that are no multiples of its blocks."""
    buffer = io.BytesIO()
    y, x = np.mgrid[:93, :71]
    pixels = np.stack([x * 3, y * 2, (x * y) % 256], axis=-1).astype(np.uint8)
    PIL.Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def exif_of(**values):
    exif = PIL.Image.Exif()
    for name, value in values.items():
        exif[PIL.ExifTags.Base[name]] = value
    return exif


JPEGS = {
    "colour": {},
    "grey": {"mode": "L"},
    "CMYK": {"mode": "CMYK"},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "RGB inside": {"keep_rgb": True},
    "commented": {"comment": b"\xff\xda\xff\xd9"},
    "upright": {"exif": exif_of(Orientation=1, Make="camera")},
    "turned": {"exif": exif_of(Orientation=6)},
}


@pytest.mark.parametrize("kind", JPEGS)
def test_jpegs_give_the_pixels_that_pillow_gives(kind):
    data = jpeg(**JPEGS[kind])
    expected = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(data))).convert("RGB")
    np.testing.assert_array_equal(decode(io.BytesIO(data)), np.asarray(expected))


@pytest.mark.parametrize("kind", ["colour", "progressive", "upright"])
def test_jpegs_that_are_cut_short_are_refused(kind):
    data = jpeg(**JPEGS[kind])
    for end in np.linspace(3, len(data) - 3, 50).astype(int):
        with pytest.raises(ImageError, match="not a readable image"):
            decode(io.BytesIO(data[:end]))


def test_damaged_jpegs_are_refused_or_shown_as_by_pillow():
    whole = jpeg()
    refused = 0
    for _ in range(200):
        data = bytearray(whole)
        for place in RNG.integers(2, len(data) - 2, 2):
            data[place] = RNG.choice([255, RNG.integers(256)])
        try:
            with PIL.Image.open(io.BytesIO(data)) as image:
                expected = np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError):
            refused += 1
            with pytest.raises(ImageError):
                decode(io.BytesIO(data))
        else:
            np.testing.assert_array_equal(decode(io.BytesIO(data)), expected)
    assert 20 < refused < 180


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "CMYK"])
def test_decode_expands_other_modes(tmp_path, mode):
    image = PIL.Image.fromarray(RGB[0]).convert(mode)
    name = "image.tif" if mode == "CMYK" else "image.png"
    pixels = decode(saved(tmp_path, image, name))
    np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


def test_decode_lays_transparency_over_white(tmp_path):
    rgba = np.dstack([RGB[0], np.full((10, 8), 255, np.uint8)])
    rgba[:5, ..., 3] = 0
    pixels = decode(saved(tmp_path, PIL.Image.fromarray(rgba)))
    assert (pixels[:5] == 255).all()
    np.testing.assert_array_equal(pixels[5:], RGB[0, 5:])


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "deep.pgm"])
def test_decode_reduces_16_bits_without_clipping(tmp_path, name):
    deep = RNG.integers(0, 65536, (10, 8), dtype=np.uint16)
    pixels = decode(saved(tmp_path, PIL.Image.fromarray(deep), name))
    np.testing.assert_array_equal(pixels, np.repeat((deep >> 8)[..., None], 3, axis=2))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decode_refuses_bombs_and_floats(tmp_path, monkeypatch):
    path = saved(tmp_path, PIL.Image.fromarray(RGB[0]))
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 79)
    with pytest.raises(ImageError, match=r"image\.png.*8 x 10 pixels.*MAX_IMAGE_PIXELS"):
        decode(path)
    monkeypatch.undo()
    floats = saved(tmp_path, PIL.Image.fromarray(np.ones((4, 4), np.float32)), "floats.tif")
    with pytest.raises(ImageError, match=r"floats\.tif.*range"):
        decode(floats)


def test_32_bit_integers_without_a_known_range_are_refused(tmp_path):
    for top in (200, 70_000):
        pixels = np.full((4, 4), top, dtype=np.int32)
        with pytest.raises(ImageError, match=rf"photo\.tif.*{top}.*range"):
            decode(saved(tmp_path, PIL.Image.fromarray(pixels), "photo.tif"))


def test_formats_that_need_other_programs_are_refused(tmp_path):
    path = saved(tmp_path, PIL.Image.fromarray(RGB[0]), "photo.eps")
    with pytest.raises(ImageError, match=r"photo\.eps: not a readable image"):
        decode(path)


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
    sequence = check_images([[PIL.Image.open(path), PIL.Image.fromarray(RGB[0])]]).images
    assert sequence.key(0) != sequence.key(1)
    with pytest.raises(ImageError, match="row 0, photo 0"):
        sequence[0]


def test_one_odd_row_among_many_is_named_at_once():
    paths = ["face.jpg"] * 20_000 + [None]
    with pytest.raises(TypeError, match="rows 20000 differ.*None"):
        check_images(paths)


def test_keys_tell_images_apart(files):
    rows = check_images([files[0], files[1], files[0]])
    assert rows.images.key(0) == rows.images.key(2) != rows.images.key(1)
    arrays = check_images(RGB[[0, 1, 0]])
    assert arrays.images.key(0) == arrays.images.key(2) != arrays.images.key(1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("view", ["whole", "every second", "swapped", "columns first"])
def test_pairs_of_pixels_are_not_copied(dtype, view, monkeypatch):
    monkeypatch.setattr(images, "_CHECK_BYTES", 2**16)
    X = np.zeros((100, 2, 64, 48, 3), dtype=dtype)
    X[:, :, 0, 0, 0] = np.linspace(0, 1, 200).reshape(100, 2) * (255 if dtype == np.uint8 else 1)
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
    assert peak < max(X.nbytes / 8, 8 * 2**16)
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


def test_files_are_looked_at_once_and_their_stamps_kept(files, monkeypatch):
    seen = []
    look = os.stat
    monkeypatch.setattr(images.os, "stat", lambda path: seen.append(path) or look(path))
    rows = check_images([[files[0], files[1]], [files[1], Path(files[0])]])
    assert sorted(seen) == files[:2]
    status = look(files[1])
    stamp = status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
    assert rows.images.stamps[files[1]] == stamp
    assert set(rows.images.stamps) == set(files[:2])
    some = check_images([files[0], "nowhere.png"], check_files=False).images
    assert set(some.stamps) == {files[0]}
    assert check_images(RGB).images.stamps == {}


def test_known_files_are_not_looked_at_again(files, tmp_path, monkeypatch):
    known = {}
    first = check_images(files[:3], known_files=known).images.stamps
    stamp = first[files[0]]
    assert set(known) == set(files[:3])
    PIL.Image.fromarray(RGB[1]).resize((9, 9)).save(files[0])
    assert check_images(files[:3]).images.stamps[files[0]] != stamp
    again = check_images([[files[0], files[3]]], known_files=known).images
    assert again.stamps[files[0]] == stamp
    assert files[3] in known
    gone = str(tmp_path / "gone.png")
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match=r"1 of 2 image files.*gone\.png"):
            check_images([files[0], gone], known_files=known)
    assert gone not in known


def test_folders_are_no_image_files(tmp_path, files):
    with pytest.raises(FileNotFoundError, match=r"1 of 2 image files"):
        check_images([files[0], tmp_path])


def test_read_only_arrays_are_accepted():
    X = RGB.copy()
    X.setflags(write=False)
    np.testing.assert_array_equal(check_images(X).images[5], RGB[5])
