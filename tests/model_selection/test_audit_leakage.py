"""The audit of what two sets share."""

import io

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from skface import make_faces
from skface.model_selection import audit_leakage

FACES = make_faces(12, 4, 64, random_state=0)


def jpeg(pixels, quality=60):
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(file))


def resized(pixels, size):
    return np.asarray(PIL.Image.fromarray(pixels).resize((size, size)))


def test_people_are_counted_in_faces_and_pairs():
    train, test = ["ann", "bob", "bob", "cy"], [["bob", "dee"], ["eve", "eve"], ["fay", "cy"]]
    report = audit_leakage(None, None, train_identities=train, test_identities=test)
    assert report.photos is None
    assert report.people.shared.tolist() == ["bob", "cy"]
    assert report.people.n_test == 5
    assert report.people.train_rows.tolist() == [1, 2, 3]
    assert report.people.test_rows.tolist() == [0, 2]
    assert str(report) == "shared people: 2 of 5 in test, in 2 of 3 test rows (bob, cy)"


def test_strangers_are_strangers():
    report = audit_leakage(
        FACES.data[:24],
        FACES.data[24:],
        train_identities=FACES.target[:24],
        test_identities=FACES.target[24:],
    )
    assert len(report.people.shared) == len(report.photos.matches) == 0
    assert str(report) == "shared people: 0 of 6 in test\nshared photos: 0 of 24 in test"


@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: jpeg(pixels, 60),
        lambda pixels: jpeg(pixels, 30),
        lambda pixels: resized(pixels, 32),
        lambda pixels: resized(pixels, 150),
        lambda pixels: jpeg(resized(pixels, 48)),
        lambda pixels: pixels // 2,
        lambda pixels: (pixels / 255).astype(np.float32),
        lambda pixels: np.asarray(PIL.Image.fromarray(pixels).convert("L")),
    ],
    ids=["q60", "q30", "half", "larger", "smaller q60", "darker", "float", "gray"],
)
def test_changed_copies_are_found_and_nothing_else(change):
    copies = np.stack([change(pixels) for pixels in FACES.data[10:20]])
    report = audit_leakage(FACES.data[:18], copies)
    found = [(match["train_row"], match["test_row"]) for match in report.photos.matches]
    assert sorted(found) == [(10 + i, i) for i in range(8)]
    assert (report.photos.n_identical, report.photos.n_near_identical) == (0, 8)
    assert report.photos.train_rows.tolist() == list(range(10, 18))
    assert report.photos.test_rows.tolist() == list(range(8))


def test_rows_of_pairs_and_of_any_form_are_matched(tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(6)]
    for path, pixels in zip(paths, FACES.data, strict=False):
        PIL.Image.fromarray(pixels).save(path)
    train = np.array([[paths[0], paths[1]], [paths[2], paths[0]]], dtype=object)
    test = [
        PIL.Image.fromarray(FACES.data[0]),  # the very pixels
        PIL.Image.fromarray(jpeg(FACES.data[2])),
        PIL.Image.fromarray(FACES.data[40]),
        PIL.Image.fromarray(FACES.data[0]),
    ]
    report = audit_leakage(train, test)
    assert (report.photos.n_identical, report.photos.n_near_identical) == (1, 1)
    assert report.photos.n_test == 3
    assert report.photos.train_rows.tolist() == [0, 1]
    assert report.photos.test_rows.tolist() == [0, 1, 3]
    first, second = report.photos.matches
    assert first == {"train_row": 0, "test_row": 0, "distance": 0, "identical": True}
    assert (second["train_row"], second["test_row"], second["identical"]) == (1, 1, False)
    frame = pd.DataFrame(train, columns=["left", "right"])
    assert audit_leakage(frame, test).photos.matches == report.photos.matches


def test_distances_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 32, 24, 3), dtype=np.uint8)
    images[10:] = images[:10] + rng.integers(-20, 20, (10, 32, 24, 3))

    def bits(pixels):
        gray = pixels @ np.array([0.299, 0.587, 0.114])
        waves = [np.cos(np.pi * np.outer(range(16), np.arange(n) + 0.5) / n) for n in gray.shape]
        return (waves[0] @ gray @ waves[1].T > 1e-5 * gray.sum()).ravel()

    expected = {
        (i, j): int(np.sum(bits(images[i]) != bits(images[10 + j])))
        for i in range(10)
        for j in range(10)
    }
    report = audit_leakage(images[:10], images[10:], max_distance=256)
    found = {
        (match["train_row"], match["test_row"]): match["distance"]
        for match in report.photos.matches
    }
    assert found == expected
    assert list(found.values()) == sorted(found.values())


def test_missing_faces_match_nothing():
    faces = (FACES.data[:6] / 255).astype(np.float32)
    faces[[1, 4]] = np.nan
    report = audit_leakage(faces, faces[[0, 1, 2]])
    assert report.photos.n_test == 2
    assert report.photos.n_identical == 2
    assert report.photos.test_rows.tolist() == [0, 2]


def test_no_false_alarm_among_photos_of_lfw(shared_data):
    folders = sorted((shared_data / "lfw_home" / "lfw_funneled").iterdir())
    several = [folder for folder in folders if len(list(folder.iterdir())) >= 8][:40]
    photos = [sorted(map(str, folder.iterdir()))[:8] for folder in several]
    train = np.array([path for paths in photos for path in paths[:4]], dtype=object)
    test = np.array([path for paths in photos for path in paths[4:]], dtype=object)
    assert audit_leakage(train, test).photos.matches == []
    again = [PIL.Image.fromarray(jpeg(np.asarray(PIL.Image.open(path)))) for path in train[:50]]
    small = [image.resize((112, 112)) for image in again]
    for copies in (again, small):
        report = audit_leakage(train, copies)
        found = [(match["train_row"], match["test_row"]) for match in report.photos.matches]
        assert sorted(found) == [(i, i) for i in range(50)]


@pytest.mark.parametrize(
    ("args", "identities", "words"),
    [
        ((None, None), (["a"], None), "nothing to compare"),
        ((FACES.data, None), (None, None), "nothing to compare"),
        ((None, None), (["a"], [1]), "train_identities holds strings and test_identities numbers"),
        ((FACES.data, None), (["a"], ["a"]), "train_identities has 1 rows, but train has 48"),
        ((None, None), (["a", None], ["a"]), "train_identities lacks a label in row 1"),
    ],
)
def test_what_cannot_be_audited_is_refused(args, identities, words):
    with pytest.raises(ValueError, match=words):
        audit_leakage(*args, train_identities=identities[0], test_identities=identities[1])
    with pytest.raises(ValueError, match="max_distance"):
        audit_leakage(FACES.data, FACES.data, max_distance=-1)
