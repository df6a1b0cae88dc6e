"""Every accepted form of rows, and every error."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import polars as pl
import pytest
from six_faces import RGB, boxed

from skface._rows import check_images, is_missing


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


def test_gray_and_flattened_rows():
    gray = RGB[..., 0]
    repeated = np.repeat(gray[..., None], 3, axis=-1)
    for X, shape, arity in (
        (gray, None, 1),
        (gray.reshape(6, -1), (10, 8), 1),
        (gray.reshape(3, 2, 10, 8), None, 2),
        (gray.reshape(3, 2, 80), (10, 8), 2),
    ):
        rows = check_images(X, image_shape=shape)
        assert rows.arity == arity
        np.testing.assert_array_equal(np.stack(list(rows.images)), repeated)
    flat = check_images(RGB.reshape(6, -1) / 255.0, image_shape=(10, 8, 3))
    np.testing.assert_allclose(np.stack(list(flat.images)), RGB / 255.0)


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


def test_one_odd_row_among_many_is_named_at_once():
    paths = ["face.jpg"] * 20_000 + [None]
    with pytest.raises(TypeError, match="rows 20000 differ.*None"):
        check_images(paths)


def test_folders_are_no_image_files(tmp_path, files):
    with pytest.raises(FileNotFoundError, match=r"1 of 2 image files"):
        check_images([files[0], tmp_path])
