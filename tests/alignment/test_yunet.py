"""Detection on photographs: accuracy, sizes of photos, noise, onnxruntime and OpenCV."""

import sys

import cv2
import numpy as np
import PIL.Image
import pytest
from photographs import likeness, pasted, resized
from toy_faces import ARCFACE, PHOTO, WALL, align, moved, similarity
from toy_networks import save_yunet

from skface import FaceAligner
from skface._utils.per_process import STORE
from skface.alignment import GEOMETRIES
from skface.exceptions import FaceNotFoundError


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_landmarks_found_again_in_crops_lie_near_the_template(geometry, paths, skface_home):
    aligner = FaceAligner(geometry).fit(paths)
    template, (width, _) = aligner.geometry_
    again = aligner.detect(aligner.transform(paths)).landmarks
    away = [np.linalg.norm(points[0] - template, axis=1).mean() for points in again if len(points)]
    assert len(away) >= 10
    assert np.median(away) < 0.04 * width
    assert max(away) < 0.07 * width


def test_landmarks_move_with_the_photo(photos, detector):
    aligner = FaceAligner(detector=detector).fit(photos)
    for photo, points in zip(photos, aligner.detect(photos).landmarks, strict=True):
        eyes = np.linalg.norm(points[0][1] - points[0][0])
        height, width = photo.shape[:2]
        for scale, degrees in ((1, 15), (0.5, 0), (2, -10)):
            turn = similarity(scale, degrees, (0, 0))
            middle = moved(turn, points[0]).mean(axis=0)
            turn[:, 2] = np.multiply(0.8, (width, height)) - middle
            turned = cv2.warpAffine(photo, turn, (2 * width, 2 * height))
            (found,) = aligner.detect([turned]).landmarks
            away = np.linalg.norm(found[0] - moved(turn, points[0]), axis=1)
            assert away.mean() < 0.15 * scale * eyes


def overlap(box, other):
    left, top = np.maximum(box[:2], other[:2])
    right, bottom = np.minimum(box[:2] + box[2:4], other[:2] + other[2:4])
    shared = max(right - left, 0) * max(bottom - top, 0)
    return shared / (box[2] * box[3] + other[2] * other[3] - shared)


def test_faces_are_averages_of_what_opencv_reads_from_files(portraits, photos, skface_home):
    narrow = [photo[:250, 25:226] for photo in photos]
    found = FaceAligner(detection_size=224).fit(narrow).detect(narrow)
    model = str(next(skface_home.glob("face_detection_yunet*.onnx")))
    size = (180, 224)
    best = cv2.FaceDetectorYN.create(model, "", size, score_threshold=0.6)
    every = cv2.FaceDetectorYN.create(model, "", size, score_threshold=0.6, nms_threshold=1.0)
    back = np.array([201 / 180, 250 / 224])
    for i, path in enumerate(portraits):
        photo = cv2.imread(path)[:250, 25:226]
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        guesses = every.detect(photo)[1].astype(np.float64)
        faces = best.detect(photo)[1].astype(np.float64)
        assert len(guesses) > len(faces)
        for n, face in enumerate(faces[np.argsort(-faces[:, 14])]):
            agree = [guess for guess in guesses if overlap(face, guess) >= 0.5]
            mean = sum(guess[14] * guess for guess in agree) / sum(guess[14] for guess in agree)
            points = mean[4:14].reshape(5, 2) * back
            np.testing.assert_allclose(found.landmarks[i][n], points, atol=0.01)
            np.testing.assert_allclose(found.boxes[i][n], mean[:4] * np.tile(back, 2), atol=0.01)
            np.testing.assert_allclose(found.scores[i][n], face[14], atol=1e-5)


@pytest.mark.parametrize("runtime", ["onnxruntime", "OpenCV"])
def test_detections_of_one_face_are_averaged(runtime, tmp_path, request):
    if runtime == "OpenCV":
        request.getfixturevalue("no_onnxruntime")
    points = np.tile([10.0, 20.0], 5)
    near = [[0.5, 0, 40, 40, *points, 0.9], [4.5, 0, 40, 40, *(points + 6), 0.61]]
    suppressed = [20.5, 0, 40, 40, *(points + 22), 0.8]  # not averaged: it overlaps by a third
    far, empty = [44.5, 44.5, 15, 15, *(points + 30), 0.7], [2, 44, 1e-9, 1e-9, *points, 0.65]
    file = save_yunet(tmp_path / "constant.onnx", [*near, suppressed, far, empty])
    photo = np.zeros((64, 64, 3), np.uint8)
    found = FaceAligner(detector=file, detection_size=64).fit([photo]).detect([photo])
    shift = 0.61 / (0.9 + 0.61)  # of the average between the first and the second
    expected = [0.5 + 4 * shift, 0, 40, 40, *(points + 6 * shift), 0.9], far, empty
    for i, face in enumerate(np.array(expected)):
        np.testing.assert_allclose(found.boxes[0][i], face[:4], atol=1e-4)
        np.testing.assert_allclose(found.landmarks[0][i].ravel(), face[4:14], atol=1e-4)
        np.testing.assert_allclose(found.scores[0][i], face[14], atol=1e-6)
    assert len(found.scores[0]) == 3


@pytest.mark.parametrize("level", [1, 4])
def test_a_little_noise_moves_landmarks_a_little(level, photos, detector):
    aligner = FaceAligner(detector=detector).fit(photos)
    for photo, points in zip(photos, aligner.detect(photos).landmarks, strict=True):
        eyes = np.linalg.norm(points[0][1] - points[0][0])
        noise = np.random.default_rng(0).integers(-level, level + 1, (8, *photo.shape))
        noisy = np.clip(photo + noise, 0, 255).astype(np.uint8)
        for found in aligner.detect(noisy).landmarks:
            away = np.linalg.norm(found[0] - points[0], axis=1)
            assert away.max() < 0.03 * eyes


def test_photos_are_not_enlarged_but_small_ones_and_those_without_a_face(photos, sessions):
    def sides(photo, has_face):
        sessions.inputs.clear()
        assert bool(len(aligner.detect([photo]).scores[0])) == has_face
        return [planes.shape[2:] for planes in sessions.inputs]

    aligner = FaceAligner(detector="skface-detector").fit([WALL])
    # the sides of the network's input are multiples of 32
    for size, side in {2560: 640, 256: 256, 160: 256, 96: 192}.items():
        assert sides(resized(photos[0], size), True) == [(side, side)]
    wall = np.zeros((400, 300, 3), np.uint8)  # of scale 1, 0.5 and 1.6
    assert sides(wall, False) == [(416, 320), (224, 160), (640, 480)]
    wall = np.zeros((800, 300, 3), np.uint8)  # of scale 0.8 and 0.4
    assert sides(wall, False) == [(640, 256), (320, 128)]


def test_a_tiny_face_of_a_small_photo_is_found(photos, detector):
    face = np.asarray(PIL.Image.fromarray(photos[0]).resize((28, 28), PIL.Image.Resampling.BOX))
    canvas = pasted((250, 250), (face, (100, 120)))
    (points,) = FaceAligner(detector=detector).fit([canvas]).detect([canvas]).landmarks
    assert np.abs(points[0].mean(axis=0) - (114, 134)).max() < 4


def test_large_photos_give_the_crops_of_small_ones(photos, detector):
    crops = align([photos[1], resized(photos[1], 3000)], detector)
    assert likeness(crops[0], crops[1]) > 0.9


@pytest.mark.parametrize("min_score", [0.1, 0.6])
@pytest.mark.parametrize("detection_size", [640, 150, 40])
def test_onnxruntime_finds_the_faces_that_opencv_finds(
    detection_size, min_score, photos, detector, sessions, monkeypatch
):
    canvas = pasted((513, 305), (photos[0], (0, 0)), (photos[1], (256, 5)))
    X = [*photos, canvas, *(resized(photo, 110) for photo in photos), WALL]
    aligner = FaceAligner(
        detector=detector, detection_size=detection_size, min_score=min_score
    ).fit(X)
    fast = aligner.detect(X)
    n_calls = len(sessions.inputs)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    STORE.clear()  # and the network with it that onnxruntime runs
    plain = aligner.detect(X)
    assert len(sessions.inputs) == n_calls >= len(X)
    assert sum(map(len, plain.scores)) >= 4
    for key in ("boxes", "landmarks", "scores"):
        for faces, expected in zip(fast[key], plain[key], strict=True):
            np.testing.assert_allclose(faces, expected, atol=2e-3)


def test_opencv_runs_where_onnxruntime_is_missing(portraits, detector, monkeypatch):
    expected = FaceAligner(detector=detector).fit(portraits).detect(portraits)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    STORE.clear()
    found = FaceAligner(detector=detector).fit(portraits).detect(portraits)
    for points, same in zip(found.landmarks, expected.landmarks, strict=True):
        np.testing.assert_allclose(points, same, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    "shape",
    [(1, 1), (1, 1, 3), (3, 2, 3), (20, 2000, 3), (2000, 20), (1, 5000, 3), (40000, 40, 3)],
)
def test_noise_of_any_size_has_no_face(shape, dtype, detector):
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    noise = noise if dtype == np.uint8 else (noise / 255).astype(dtype)
    with pytest.raises(FaceNotFoundError, match="row 0: no face found"):
        align([noise], detector)


def test_small_faces_of_a_huge_photo_are_found_at_a_larger_detection_size(photos, detector):
    canvas = pasted((6000, 4000), (photos[1], (5100, 3100)))
    with pytest.raises(FaceNotFoundError, match="no face"):
        align([canvas], detector)
    aligner = FaceAligner(detector=detector).fit([canvas])
    expected = aligner.detect([photos[1]]).landmarks[0] + (5100, 3100)
    found = aligner.set_params(detection_size=2400).detect([canvas]).landmarks[0]
    # in pixels of the photo, of which the detector saw 2 in 5: its eyes are 42 apart
    assert np.linalg.norm(found - expected, axis=-1).max() < 8


def test_faces_that_fill_a_large_photo_are_found(paths, skface_home):
    aligner = FaceAligner((ARCFACE * 10, (1120, 1120)), detection_size=1120).fit(paths)
    for points in aligner.detect(aligner.transform(paths)).landmarks:
        assert np.linalg.norm(points[0] - ARCFACE * 10, axis=1).mean() < 0.1 * 1120


# ------------------------------------------------------------------------- which detector it is


def test_opencv_runs_files_that_onnxruntime_cannot(empty_store, monkeypatch):
    pytest.importorskip("onnxruntime")

    def refuse(*args, **options):
        raise RuntimeError("operator set 99")

    monkeypatch.setattr("onnxruntime.InferenceSession", refuse)
    with pytest.warns(UserWarning, match="OpenCV does.*operator set 99"):
        aligner = FaceAligner(detector="skface-detector").fit([PHOTO])
        assert aligner.detect([WALL]).scores[0].shape == (0,)
