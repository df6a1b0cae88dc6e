"""Decoding: the same pixels as Pillow's, orientation, modes, depths, and files that are broken."""

import io

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps
import pytest
from six_faces import RGB

from skface._rows import decode
from skface.exceptions import ImageError

RNG = np.random.default_rng(0)


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
    "color": {},
    "gray": {"mode": "L"},
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


@pytest.mark.parametrize("kind", ["color", "progressive", "upright"])
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
