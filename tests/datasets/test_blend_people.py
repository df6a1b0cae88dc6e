"""Blended people: new, repeatable, and alike on all their pictures."""

import numpy as np
import PIL.Image
import pytest

from skface import blend_people, make_faces
from skface.images import ImageError


@pytest.fixture(scope="module")
def few():
    return make_faces(n_identities=4, n_images_per_identity=3, image_size=24, random_state=0)


def test_blends_are_new_people_beside_the_known_ones(few):
    labels = np.array(["ann", "bob", "cleo", "dan"])[few.target]
    more = blend_people(few.data, labels, n_blends=3, random_state=0)
    np.testing.assert_array_equal(more.data[:12], few.data)
    assert more.target_names[more.target[:12]].tolist() == labels.tolist()
    assert more.data.shape == (48, 24, 24, 3) and more.data.dtype == np.uint8
    assert np.unique(more.target, return_counts=True)[1].tolist() == [3] * 16
    for face in more.data[12:]:
        assert (face != few.data).any(axis=(1, 2, 3)).all()


def test_without_bending_a_blend_lies_between_two_people():
    white, black = np.full((2, 9, 9, 3), 255, np.uint8), np.zeros((2, 9, 9, 3), np.uint8)
    X, y = np.concatenate([white, black]), [0, 0, 1, 1]
    more = blend_people(X, y, bend=0, n_blends=8, random_state=0)
    new = more.data[4:].reshape(16, 2, 9, 9, 3)
    np.testing.assert_array_equal(new[:, 0], new[:, 1])  # the same in all pictures of a person
    assert len(np.unique(new[:, 0].reshape(16, -1), axis=0)) > 12
    whole = new.reshape(16, -1).std(axis=1) == 0
    assert 0 < whole.sum() < 16  # as a whole, or in places
    own_is_white = np.repeat([True, False], 8)[whole]
    shares = np.where(own_is_white, 255 - new[whole, 0, 0, 0, 0], new[whole, 0, 0, 0, 0]) / 255
    assert ((shares >= 0.24) & (shares <= 0.61)).all()  # the person blended stays visible


def test_bending_moves_features_alike_in_all_pictures_of_a_person():
    spot = np.zeros((2, 41, 41, 3), np.uint8)
    spot[:, 18:23, 18:23] = 255
    more = blend_people(np.tile(spot, (2, 1, 1, 1)), [0, 0, 1, 1], bend=0.2, random_state=1)
    new = more.data[4:].reshape(-1, 2, 41, 41, 3)
    np.testing.assert_array_equal(new[:, 0], new[:, 1])
    weights = new[:, 0, :, :, 0].astype(float)
    centers = [(w.sum(0) @ np.arange(41) / w.sum()) for w in weights if w.sum()]
    assert np.ptp(centers) > 1


def test_blends_repeat_with_their_seed(few, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path, pixels in zip(paths, few.data, strict=True):
        PIL.Image.fromarray(pixels).save(path)
    first = blend_people(few.data, few.target, random_state=3)
    for X in (few.data / 255, paths, [PIL.Image.fromarray(face) for face in few.data]):
        np.testing.assert_array_equal(blend_people(X, few.target, random_state=3).data, first.data)
    other = blend_people(few.data, few.target, random_state=4)
    assert (other.data != first.data).any()


def test_people_with_one_picture_and_gray_faces_blend(few):
    gray = few.data[[0, 3, 4]].mean(axis=3).astype(np.uint8)
    more = blend_people(gray, [7, 9, 9], n_blends=1, random_state=0)
    assert more.data.shape == (6, 24, 24, 3)
    assert more.target.tolist() == [0, 1, 1, 2, 3, 3]


def test_lists_may_mix_bytes_and_floats_and_rows_may_be_flat(few):
    mixed = [face if i % 2 else face / 255 for i, face in enumerate(few.data)]
    expected = blend_people(few.data, few.target, random_state=0).data
    np.testing.assert_array_equal(blend_people(mixed, few.target, random_state=0).data, expected)
    flat = few.data.reshape(12, -1)
    faces = blend_people(flat, few.target, image_shape=(24, 24, 3), random_state=0)
    np.testing.assert_array_equal(faces.data, expected)


def test_all_pictures_of_partners_and_all_partners_are_used():
    X = np.zeros((13, 6, 6, 3), np.uint8)
    X[1:11] = np.arange(1, 11)[:, None, None, None] * 20  # ten pictures of person 1
    X[11:] = 255
    more = blend_people(X, [0] + [1] * 10 + [2] * 2, n_blends=40, bend=0, random_state=0)
    new = more.data[13:][more.target[13:] % 3 == 0].reshape(40, -1).max(axis=1)  # of person 0
    assert (new > 60).sum() > 24  # not always the first, darkest picture
    two = blend_people(X[[0, 1, 11]], [0, 1, 2], n_blends=2, bend=0, random_state=0)
    of_black = two.data[3:][two.target[3:] % 3 == 0].reshape(2, -1).max(axis=1)
    assert of_black.min() < 20 < of_black.max()  # blended with gray, and with white


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [0] * 12}, "names 1 person"),
        ({"y": [0, 1]}, "2 labels.*12 rows"),
        ({"y": [None] * 12}, "y lacks a label in row 0"),
        ({"n_blends": 0}, "n_blends == 0"),
        ({"bend": -0.1}, "bend == -0.1"),
        ({"bend": np.inf}, "bend"),
    ],
)
def test_blends_refuse_what_makes_no_people(few, change, message):
    arguments = {"X": few.data, "y": few.target} | change
    with pytest.raises(ValueError, match=message):
        blend_people(**arguments)


def test_blends_name_every_file_that_cannot_be_read(few, tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(2)]
    for path in paths:
        path.write_text("no photo")
    with pytest.raises(ImageError, match="2 of 3 images.*0.jpg.*1.jpg"):
        blend_people([few.data[0], *paths], [0, 1, 2])


def test_blends_refuse_pairs_sizes_and_missing_faces(few):
    with pytest.raises(ValueError, match="X holds pairs"):
        blend_people(few.data.reshape(6, 2, 24, 24, 3), np.arange(6))
    with pytest.raises(ValueError, match=r"\(24, 24\) in row 0 and others in row 1"):
        blend_people([few.data[0], few.data[1][:20]], [0, 1])
    lost = few.data / np.float32(255)
    lost[[2, 5]] = np.nan
    with pytest.raises(ValueError, match="NaN, no face, in row 2, 5"):
        blend_people(lost, few.target)
