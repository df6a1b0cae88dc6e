"""LFW against scikit-learn's own reader."""

import re

import numpy as np
import PIL.Image
import pytest
from sklearn.datasets import fetch_lfw_pairs
from sklearn.model_selection import PredefinedSplit

from skface import load_lfw_pairs


def write_photos(folder, names, value=0):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        PIL.Image.new("RGB", (250, 250), (value, 100, 50)).save(folder / name)


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
        ("", "not an index"),
        ("two\n", "not an index.*two"),
        ("2\nPerson_0\t1\t2\n", "announces 4 pairs and holds 1"),
        ("1\nPerson_0\t1\t2\nPerson_0\t1\t2\n", "line 3 has 3 fields instead of 4"),
        ("1\nPerson_0\tone\t2\nPerson_0\t1\tPerson_1\t2\n", "not an index.*one"),
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
