"""Photos that cannot be aligned: all are named, or marked by NaN."""

import warnings
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from toy_faces import PHOTO, WALL, align, boxed, detecting, reported, textured_only

from skface import FaceAligner
from skface.exceptions import FaceNotFoundError, ImageError


def test_nan_marks_every_kind_of_failure_and_warns_once(save, bad_files):
    good = save("good.png", PHOTO)
    X = [good, *bad_files, good]
    aligner = FaceAligner("arcface-112", detector=textured_only, on_failure="nan").fit(X)
    with pytest.warns(UserWarning, match="3 of 5 photos") as caught:
        crops = aligner.transform(X)
    assert [warning.filename for warning in caught] == [__file__]
    for path in bad_files:
        assert str(caught[0].message).count(f"{path}: ") == 1
    assert crops.dtype == np.float32
    assert np.isnan(crops[1:4]).all()
    expected = align([good])[0]
    for i in (0, 4):
        np.testing.assert_array_equal(crops[i], np.float32(expected) / np.float32(255))


def test_nan_marks_photos_of_pairs_and_names_each_once(save, bad_files):
    good, (_, text, wall) = save("good.png", PHOTO), bad_files
    pairs = np.array([[good, wall], [wall, good], [text, wall], [good, good]])
    with pytest.warns(UserWarning, match="2 of 3 photos") as caught:
        crops = align(pairs, on_failure="nan")
    assert len(caught) == 1
    assert str(caught[0].message).count("wall.png") == 1
    failed = [[False, True], [True, False], [True, True], [False, False]]
    np.testing.assert_array_equal(np.isnan(crops).all(axis=(2, 3, 4)), failed)
    np.testing.assert_array_equal(np.isnan(crops).any(axis=(2, 3, 4)), failed)


def test_nan_crops_stay_nan():
    crops = np.stack([PHOTO / 255, np.full(PHOTO.shape, np.nan)])
    with pytest.warns(UserWarning, match="1 of 2 photos.*row 1: .*did not find the face"):
        again = align(crops, on_failure="nan")
    assert np.isnan(again).all(axis=(1, 2, 3)).tolist() == [False, True]
    with pytest.raises(FaceNotFoundError, match="row 1"):
        align(crops)


def test_no_failure_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not np.isnan(align([PHOTO], on_failure="nan")).any()


def test_raise_names_all_photos_and_reasons_after_trying_every_one(save, bad_files):
    tried = []

    def detector(photo):
        tried.append(photo.shape)
        return textured_only(photo)

    _, text, wall = bad_files
    good = save("good.png", PHOTO)
    with pytest.raises(
        FaceNotFoundError, match=r"2 of 4 .*text\.jpg.*readable.*wall\.png: no face"
    ):
        align([text, good, wall, good], detector)
    assert len(tried) == 3
    with pytest.raises(ImageError, match=r"1 of 2 .*text\.jpg"):
        align([text, good])
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg"):
        align([*bad_files, good])


def test_raise_names_however_many_photos_failed():
    with pytest.raises(FaceNotFoundError) as caught:
        align(np.stack([WALL] * 60))
    for i in range(60):
        assert f"row {i}: no face" in str(caught.value)


def test_photos_of_pairs_are_named_by_row_and_place():
    with pytest.raises(FaceNotFoundError, match="1 of 2 photos .*: row 1, photo 0: no face found"):
        align(boxed([(PHOTO, PHOTO), (WALL, PHOTO), (PHOTO, WALL)]))


def test_files_are_named_even_if_the_reason_contains_their_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PIL.Image.fromarray(WALL).save("face", format="PNG")
    with pytest.raises(FaceNotFoundError, match="face: no face found"):
        align(["face"])


def test_files_that_vanish_after_fit_are_named(save):
    path = save("photo.png", PHOTO)
    seen = FaceAligner(detector=textured_only, on_failure="nan").fit([path])
    Path(path).unlink()
    with pytest.warns(UserWarning, match=r"photo\.png: there is no such file"):
        assert np.isnan(seen.transform([path])).all()


def test_an_error_of_opencv_is_a_failure_of_that_photo():
    def detector(photo):
        return textured_only(cv2.resize(photo, (0, 0) if photo.shape == WALL.shape else (50, 60)))

    with pytest.warns(UserWarning, match="1 of 2 photos.*row 1: OpenCV"):
        crops = align([PHOTO, WALL], detector, on_failure="nan")
    assert np.isnan(crops).all(axis=(1, 2, 3)).tolist() == [False, True]
    with pytest.raises(FaceNotFoundError, match="row 1: OpenCV"):
        align([PHOTO, WALL], detector)


def test_coinciding_landmarks_are_a_failure_of_that_photo():
    with pytest.raises(FaceNotFoundError, match="row 0: .*landmarks.*coincide"):
        align([PHOTO], detecting(reported([(7, 7)] * 5)))


@pytest.mark.parametrize(
    "answer", [None, 3, np.zeros((1, 14)), np.zeros(15), np.full((1, 15), np.nan)]
)
def test_detectors_that_answer_nonsense_are_refused_whatever_on_failure(answer):
    with pytest.raises(ValueError, match=r"returned shape.*\(k, 15\)"):
        align([PHOTO], lambda photo: answer, on_failure="nan")


def test_errors_of_a_detector_are_not_taken_for_bad_photos():
    def detector(photo):
        raise FileNotFoundError("model.bin")

    with pytest.raises(FileNotFoundError, match=r"^model\.bin$"):
        align([PHOTO], detector, on_failure="nan")


def test_detect_goes_on_after_unreadable_files_only_if_told_to(bad_files):
    aligner = FaceAligner(detector=textured_only, on_failure="nan").fit([PHOTO])
    with pytest.warns(UserWarning, match=r"2 of 3 .*nowhere\.jpg.*text\.jpg"):
        assert [len(scores) for scores in aligner.detect(bad_files).scores] == [0, 0, 0]
    aligner.set_params(on_failure="raise")
    with pytest.raises(ImageError, match=r"text\.jpg"):
        aligner.detect(bad_files[1:])
