"""Synthetic faces, folders of photos, and LFW against scikit-learn's own reader."""

import re

import numpy as np
import PIL.Image
import pytest
from sklearn.datasets import fetch_lfw_pairs
from sklearn.model_selection import PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skface import (
    PairVerifier,
    PerFace,
    blend_people,
    load_face_folder,
    load_lfw_pairs,
    make_faces,
    make_pairs,
)
from skface.images import ImageError


def test_same_seed_draws_the_same_faces():
    faces = make_faces(6, 3, 32, random_state=0)
    assert faces.data.shape == (18, 32, 32, 3)
    assert faces.data.dtype == np.uint8
    np.testing.assert_array_equal(faces.target, np.repeat(np.arange(6), 3))
    np.testing.assert_array_equal(make_faces(6, 3, 32, random_state=0).data, faces.data)
    assert not np.array_equal(make_faces(6, 3, 32, random_state=1).data, faces.data)


def test_drawing_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()
    make_faces(2, 2, 16, random_state=0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def accuracy_of_pixels(difficulty):
    faces = make_faces(40, 10, 32, difficulty=difficulty, random_state=0)
    drawn = make_pairs(faces.target, random_state=0)
    pixels = make_pipeline(PerFace(FunctionTransformer()), PairVerifier())
    X = faces.data[drawn.indices]
    return pixels.fit(X, drawn.target).score(X, drawn.target)


def test_raw_pixels_do_not_tell_people_apart_and_less_so_the_harder_it_is():
    easy, default, hard = map(accuracy_of_pixels, (0, 0.5, 1))
    assert 0.8 > easy > default + 0.05
    assert default > hard + 0.03


def test_pictures_of_one_person_are_more_alike_than_those_of_two():
    faces = make_faces(30, 6, 48, difficulty=0.2, random_state=0)
    # the middle of the face, where the background does not reach
    middle = faces.data[:, 16:32, 16:32].reshape(len(faces.data), -1).astype(float)
    distance = np.linalg.norm(middle[:, None] - middle[None], axis=-1)
    same = faces.target[:, None] == faces.target
    assert distance[same & ~np.eye(len(same), dtype=bool)].mean() < 0.7 * distance[~same].mean()


@pytest.mark.parametrize(
    "params",
    [{"n_identities": 0}, {"n_images_per_identity": 0}, {"image_size": 8}, {"difficulty": 1.1}],
)
def test_impossible_faces_are_refused_by_name(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        make_faces(**params)


def write_photos(folder, names, value=0):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        PIL.Image.new("RGB", (250, 250), (value, 100, 50)).save(folder / name)


def test_a_folder_per_person_becomes_paths_and_identities(tmp_path):
    write_photos(tmp_path / "bob", ["2.png", "1.JPG"])
    write_photos(tmp_path / "ann", ["a.bmp"])
    write_photos(tmp_path / ".cache", ["thumbnail.png"])
    (tmp_path / "bob" / ".DS_Store").touch()
    faces = load_face_folder(tmp_path)
    expected = [tmp_path / "ann" / "a.bmp", tmp_path / "bob" / "1.JPG", tmp_path / "bob" / "2.png"]
    assert faces.data.tolist() == list(map(str, expected))
    assert faces.target_names[faces.target].tolist() == ["ann", "bob", "bob"]
    more = load_face_folder(str(tmp_path), min_images_per_identity=2)
    assert more.data.tolist() == list(map(str, expected[1:]))
    assert more.target_names.tolist() == ["bob"]


def test_files_that_are_passed_over_are_named(tmp_path):
    write_photos(tmp_path / "ann", ["1.png"])
    write_photos(tmp_path, ["nobody.png"])
    (tmp_path / "ann" / "notes.txt").touch()
    (tmp_path / "README.md").touch()
    with pytest.warns(UserWarning, match=r"2 files.*ann/notes\.txt, nobody\.png"):
        assert len(load_face_folder(tmp_path).data) == 1


def test_folders_without_photos_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_face_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"0 folders.*FOLDER/PERSON/PHOTO"):
        load_face_folder(tmp_path)
    write_photos(tmp_path / "ann", ["1.png"])
    with pytest.raises(ValueError, match=r"min_images_per_identity=3.*fullest has 1"):
        load_face_folder(tmp_path, min_images_per_identity=3)


@pytest.fixture
def lfw(tmp_path):
    """LFW as scikit-learn lays it out, of six people in two folds, told apart by their red."""
    home = tmp_path / "lfw_home"
    for value in range(6):
        name = f"Person_{value}"
        photos = [f"{name}_{number:04d}.jpg" for number in (1, 2, 3)]
        write_photos(home / "lfw_funneled" / name, photos, 40 * value)
    folds = ["2\t2"]
    for first in (0, 3):
        a, b, c = (f"Person_{first + i}" for i in range(3))
        folds += [f"{a}\t1\t2", f"{b}\t2\t3", f"{a}\t1\t{b}\t3", f"{b}\t2\t{c}\t1"]
    (home / "pairs.txt").write_text("\n".join(folds) + "\n")
    (home / "pairsDevTrain.txt").write_text("\n".join(["2", *folds[1:5]]) + "\n")
    (home / "pairsDevTest.txt").write_text("\n".join(["2", *folds[5:]]) + "\n")
    return home


@pytest.mark.parametrize("subset", ["train", "test", "10_folds"])
def test_lfw_pairs_are_those_of_scikit_learn(subset, lfw):
    theirs = fetch_lfw_pairs(
        subset=subset,
        data_home=lfw.parent,
        download_if_missing=False,
        color=True,
        slice_=None,
        resize=None,
    )
    ours = load_lfw_pairs(lfw.parent, subset)
    np.testing.assert_array_equal(ours.target, theirs.target)
    pixels = [[np.asarray(PIL.Image.open(path)) for path in pair] for pair in ours.data]
    # their pixels may lie in 0..1 or 0..255, see the version's documentation
    scale = 255 if theirs.pairs.max() <= 1 else 1
    np.testing.assert_allclose(pixels, theirs.pairs * scale, atol=0.01)


def test_lfw_pairs_carry_identities_and_folds(lfw):
    pairs = load_lfw_pairs(lfw, "10_folds")
    assert [tuple(pair) for pair in pairs.identities[:4]] == [
        ("Person_0", "Person_0"),
        ("Person_1", "Person_1"),
        ("Person_0", "Person_1"),
        ("Person_1", "Person_2"),
    ]
    np.testing.assert_array_equal(pairs.identities[:, 0] == pairs.identities[:, 1], pairs.target)
    assert pairs.folds.tolist() == [0] * 4 + [1] * 4
    for train, test in PredefinedSplit(pairs.folds).split():
        assert not set(pairs.identities[train].flat) & set(pairs.identities[test].flat)
    assert load_lfw_pairs(lfw, "train").folds is None


def test_missing_lfw_photos_shift_nothing_and_are_named(lfw):
    (lfw / "lfw_funneled" / "Person_0" / "Person_0_0001.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 photos.*Person_0_0001\.jpg"):
        load_lfw_pairs(lfw, "train")
    assert len(load_lfw_pairs(lfw, "test").data) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no index"),
        ("two\n", "no index.*two"),
        ("2\nPerson_0\t1\t2\n", "announces 4 pairs and holds 1"),
        ("1\nPerson_0\t1\t2\nPerson_0\t1\t2\n", "line 3 has 3 fields instead of 4"),
        ("1\nPerson_0\tone\t2\nPerson_0\t1\tPerson_1\t2\n", "no index.*one"),
    ],
)
def test_broken_lfw_index_is_refused(text, message, lfw):
    (lfw / "pairsDevTrain.txt").write_text(text)
    with pytest.raises(ValueError, match=re.compile(r"pairsDevTrain\.txt.*" + message, re.DOTALL)):
        load_lfw_pairs(lfw)


def test_absent_lfw_says_what_is_expected(tmp_path, lfw):
    with pytest.raises(FileNotFoundError, match=r"fetch_lfw_pairs lays it out"):
        load_lfw_pairs(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"lfw/? does not exist.*lfw/NAME"):
        load_lfw_pairs(lfw, funneled=False)
    with pytest.raises(ValueError, match="subset='dev'"):
        load_lfw_pairs(lfw, "dev")


def test_real_lfw_has_the_published_numbers(shared_data):
    for subset, n_pairs, n_people in (("train", 2200, 2132), ("test", 1000, 963)):
        pairs = load_lfw_pairs(shared_data, subset)
        assert pairs.data.shape == (n_pairs, 2)
        assert pairs.target.sum() == n_pairs / 2
        assert len(np.unique(pairs.identities)) == n_people


# Blends ----------------------------------------------------------------------------------------


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
    centres = [(w.sum(0) @ np.arange(41) / w.sum()) for w in weights if w.sum()]
    assert np.ptp(centres) > 1


def test_blends_repeat_with_their_seed(few, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path, pixels in zip(paths, few.data, strict=True):
        PIL.Image.fromarray(pixels).save(path)
    first = blend_people(few.data, few.target, random_state=3)
    for X in (few.data / 255, paths, [PIL.Image.fromarray(face) for face in few.data]):
        np.testing.assert_array_equal(blend_people(X, few.target, random_state=3).data, first.data)
    other = blend_people(few.data, few.target, random_state=4)
    assert (other.data != first.data).any()


def test_people_with_one_picture_and_grey_faces_blend(few):
    grey = few.data[[0, 3, 4]].mean(axis=3).astype(np.uint8)
    more = blend_people(grey, [7, 9, 9], n_blends=1, random_state=0)
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
    assert of_black.min() < 20 < of_black.max()  # blended with grey, and with white


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
