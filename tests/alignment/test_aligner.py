"""FaceAligner: forms of rows, threads, memory, detect and parameters."""

import threading
import tracemalloc
from pathlib import Path

import joblib
import numpy as np
import PIL.Image
import pytest
from photographs import likeness, resized
from sklearn.exceptions import NotFittedError
from toy_faces import ARCFACE, BOXES, PHOTO, WALL, align, boxed, in_box, textured_only

from skface import FaceAligner


def test_gray_and_floating_photos_are_photos_too(photos, detector):
    photo = photos[1]
    gray = photo.mean(axis=-1).round().astype(np.uint8)
    crops = align([photo, gray, gray / 255, photo / 255, np.asfortranarray(photo)], detector)
    assert np.ptp(crops[1], axis=-1).max() == 0
    assert likeness(crops[1, ..., 0], crops[0].mean(axis=-1)) > 0.9
    np.testing.assert_array_equal(crops[2], crops[1])
    np.testing.assert_array_equal(crops[3], crops[0])
    np.testing.assert_array_equal(crops[4], crops[0])


def test_files_pil_images_and_arrays_of_differing_sizes_give_the_same_crops(photos, detector, save):
    sizes = [250, 251, 333, 500]
    scaled = [resized(photos[i % 2], size) for i, size in enumerate(sizes)]
    files = [save(f"{i}.png", photo) for i, photo in enumerate(scaled)]
    expected = align(scaled, detector)
    for X in (files, [Path(file) for file in files], [PIL.Image.open(file) for file in files]):
        np.testing.assert_array_equal(align(X, detector), expected)
    one_by_one = np.concatenate([align([photo], detector) for photo in scaled])
    np.testing.assert_array_equal(one_by_one, expected)


@pytest.mark.parametrize(("orientation", "turns"), [(6, 1), (3, 2), (8, 3)])
def test_turned_camera_gives_the_crop_of_the_upright_photo(
    orientation, turns, photos, detector, save
):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    upright = save("upright.jpg", photos[0], quality=95)
    turned = save("turned.jpg", np.rot90(photos[0], turns).copy(), quality=95, exif=exif)
    crops = align([upright, turned], detector)
    assert likeness(crops[0], crops[1]) > 0.99


def test_networks_run_on_all_threads_of_this_process_unless_told(sessions, monkeypatch):
    def threads_of(aligner, n_threads):
        # as many calls at a time pass the barrier, and no call would pass it alone
        sessions.threads.clear()
        sessions.barrier = threading.Barrier(n_threads)
        aligner.detect([PHOTO] * 6)
        sessions.barrier = None
        return len(sessions.threads)

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    aligner = FaceAligner(detector="skface-detector", min_score=0).fit([PHOTO])
    assert threads_of(aligner, 3) == 3
    with joblib.parallel_config(n_jobs=2):
        assert threads_of(aligner, 2) == 2
    assert threads_of(aligner.set_params(n_jobs=1), 1) == 1


def test_a_function_is_called_by_one_thread_unless_told(monkeypatch):
    threads = set()

    def detector(photo):
        threads.add(threading.get_ident())
        return textured_only(photo)

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    align([PHOTO] * 6, detector)
    assert threads == {threading.get_ident()}
    barrier = threading.Barrier(2)
    align([PHOTO] * 6, lambda photo: barrier.wait(30) * 0 + detector(photo), n_jobs=2)
    assert len(threads) > 1


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_threads_change_nothing(n_jobs, photos, detector):
    sized = [resized(photo, size) for size in (200, 230, 260) for photo in photos]
    pairs = boxed(list(zip(sized, sized[::-1], strict=True)))
    aligner = FaceAligner(detector=detector).fit(pairs)
    crops, found = aligner.transform(pairs), aligner.detect(pairs)
    aligner.set_params(n_jobs=n_jobs)
    np.testing.assert_array_equal(aligner.transform(pairs), crops)
    threaded = aligner.detect(pairs)
    for i in range(len(pairs)):
        for j in range(2):
            np.testing.assert_array_equal(threaded.landmarks[i][j], found.landmarks[i][j])


def test_detectors_receive_contiguous_bytes_in_rgb():
    received = []

    def detector(photo):
        received.append((photo.dtype, photo.shape, photo.flags.c_contiguous, photo[0, 0].tolist()))
        return textured_only(photo)

    floating = PHOTO / 255
    gray = floating[..., 0]
    align([PHOTO[:, ::2], np.asfortranarray(floating), gray, gray.T], detector)
    r, g, b = PHOTO[0, 0].tolist()
    assert received == [
        (np.uint8, (60, 25, 3), True, [r, g, b]),
        (np.uint8, (60, 50, 3), True, [r, g, b]),
        (np.uint8, (60, 50, 3), True, [r, r, r]),
        (np.uint8, (50, 60, 3), True, [r, r, r]),
    ]


# ------------------------------------------------------------------------ rows, memory, parameters


def test_each_distinct_photo_of_pairs_is_processed_once(save):
    seen = []

    def detector(photo):
        seen.append(photo.shape)
        return textured_only(photo)

    a, b, c = (save(f"{name}.png", PHOTO[:, : 50 - i]) for i, name in enumerate("abc"))
    crops = align(np.array([[a, b], [b, a], [a, a], [c, b]]), detector)
    assert len(seen) == 3
    expected = align([a, b, c])
    np.testing.assert_array_equal(crops, expected[[[0, 1], [1, 0], [0, 0], [2, 1]]])


@pytest.mark.parametrize("on_failure", ["raise", "nan"])
@pytest.mark.parametrize("rows", ["faces", "pairs"])
def test_memory_is_that_of_the_crops(rows, on_failure):
    X = np.random.default_rng(0).integers(0, 256, (120, 8, 8, 3), dtype=np.uint8)
    X = X if rows == "faces" else X.reshape(60, 2, 8, 8, 3)
    aligner = FaceAligner(detector=textured_only, on_failure=on_failure).fit(X)
    aligner.transform(X[:1])
    tracemalloc.start()
    crops = aligner.transform(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * crops.nbytes + 200_000


def test_memory_holds_a_photo_at_a_time_also_of_those_that_fail(save):
    wall = np.full((1000, 1000, 3), 90, dtype=np.uint8)
    files = [save(f"{i}.png", wall) for i in range(10)]
    aligner = FaceAligner((ARCFACE / 7, (16, 16)), detector=textured_only, on_failure="nan").fit(
        files
    )
    tracemalloc.start()
    with pytest.warns(UserWarning, match="10 of 10"):
        aligner.transform(files)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * wall.nbytes


def test_detect_lists_all_faces_with_the_best_score_first():
    two, none = np.array([in_box("left"), in_box("right")]), np.empty((0, 15))
    aligner = FaceAligner(detector=lambda photo: two if np.ptp(photo) else none)
    found = aligner.fit([PHOTO, WALL]).detect([PHOTO, WALL])
    assert found.boxes[0].tolist() == [list(BOXES["right"]), list(BOXES["left"])]
    assert found.scores[0].tolist() == [0.95, 0.7]
    np.testing.assert_array_equal(found.landmarks[0][1].ravel(), in_box("left")[4:14])
    assert [found[key][1].shape for key in ("boxes", "landmarks", "scores")] == [
        (0, 4),
        (0, 5, 2),
        (0,),
    ]


def test_detect_gives_both_photos_of_pairs():
    aligner = FaceAligner(detector=textured_only).fit([PHOTO])
    narrow = PHOTO[:, :30]
    pairs = boxed([(PHOTO, WALL), (narrow, PHOTO)])
    found, faces = aligner.detect(pairs), aligner.detect([PHOTO, narrow])
    assert [len(part) for part in found.scores[0]] == [1, 0]
    np.testing.assert_array_equal(found.landmarks[0][0], faces.landmarks[0])
    np.testing.assert_array_equal(found.landmarks[1][0], faces.landmarks[1])
    np.testing.assert_array_equal(found.landmarks[1][1], faces.landmarks[0])


def test_flattened_rows_need_the_shape_of_an_image():
    X = np.stack([PHOTO, PHOTO[::-1]])
    expected = align(X)
    flat = align(X.reshape(2, -1), image_shape=(60, 50, 3))
    np.testing.assert_array_equal(flat, expected)


def test_data_frames_are_no_output_of_crops():
    aligner = FaceAligner(detector=textured_only).set_output(transform="pandas")
    assert isinstance(aligner.fit_transform([PHOTO]), np.ndarray)


@pytest.mark.parametrize("method", ["transform", "detect"])
def test_unfitted_aligners_are_refused(method):
    with pytest.raises(NotFittedError):
        getattr(FaceAligner(detector=textured_only), method)([PHOTO])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"face_policy": "smallest"}, "face_policy='smallest'.*'center'"),
        ({"on_failure": "ignore"}, "on_failure='ignore'.*'nan'"),
        ({"min_score": 1.5}, "min_score == 1.5"),
        ({"min_score": float("nan")}, "min_score=nan"),
        ({"min_score": True}, "min_score=True"),
        ({"detection_size": 8}, "detection_size == 8"),
        ({"detector": "retina"}, "detector='retina'.*yunet"),
        ({"detector": None}, "detector=None.*yunet"),
        ({"detector": "sface"}, "detector='sface'.*embedder"),
    ],
)
def test_invalid_parameters_are_refused_by_fit(parameters, message):
    with pytest.raises(ValueError, match=message):
        FaceAligner(**{"detector": textured_only, **parameters}).fit([PHOTO])
