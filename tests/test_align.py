"""Where landmarks come to lie, which face is chosen, and what happens to photos without one."""

import importlib.util
import pickle
import re
import tracemalloc
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import joblib
import numpy as np
import PIL.Image
import pooch
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skface import FaceAligner, _yunet
from skface._utils.per_process import STORE
from skface.alignment import GEOMETRIES, fit_similarity, resolve_geometry
from skface.alignment._yunet import YuNet
from skface.exceptions import FaceNotFoundError, ImageError, WeightsError
from skface.weights import REGISTRY, fetch_weights, locate_weights, weights_info

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (60, 50, 3), dtype=np.uint8)
WALL = np.full((40, 40, 3), 90, dtype=np.uint8)
ARCFACE = GEOMETRIES["arcface-112"].points
SMALL_CROP = (ARCFACE / 7, (16, 16))


def similarity(scale, degrees, shift):
    """Compute the 2 x 3 matrix of a similarity from its parts."""
    turn = np.radians(degrees)
    a, b = scale * np.cos(turn), scale * np.sin(turn)
    return np.array([[a, -b, shift[0]], [b, a, shift[1]]])


def moved(matrix, points):
    return points @ matrix[:, :2].T + matrix[:, 2]


def reported(points, box=(0, 0, 10, 10), score=0.9):
    """One face in the form that detectors report."""
    return [*box, *np.ravel(points), score]


def detecting(*faces):
    """Build a detector that finds these faces in every photo."""
    return lambda photo: np.array(faces)


def textured_only(photo):
    """Find a face in every photo that is not of one colour."""
    height, width = photo.shape[:2]
    points = ARCFACE / 112 * (width, height)
    return np.array([reported(points)]) if np.ptp(photo) else np.empty((0, 15))


def align(X, detector=textured_only, geometry="arcface-112", **parameters):
    return FaceAligner(geometry, detector=detector, **parameters).fit_transform(X)


def boxed(rows):
    """An object array of images, one by one, since numpy would unpack them."""
    array = np.empty((len(rows), 2), dtype=object)
    for i, row in enumerate(rows):
        array[i, 0], array[i, 1] = row
    return array


@pytest.fixture
def save(tmp_path):
    def save(name, pixels, **options):
        path = tmp_path / name
        PIL.Image.fromarray(pixels).save(path, **options)
        return str(path)

    return save


@pytest.fixture(scope="module")
def paths(shared_data):
    """One photograph of each of 12 people, of one face that YuNet is sure of."""
    names = (
        "AJ_Cook AJ_Lamas Aaron_Guiel Aaron_Peirsol Aaron_Sorkin Abdoulaye_Wade Abdullah_Gul "
        "Abel_Pacheco Adam_Sandler Adam_Scott Adrian_Nastase Adriana_Lima"
    )
    folder = shared_data / "lfw_home" / "lfw_funneled"
    return [str(folder / name / f"{name}_0001.jpg") for name in names.split()]


@pytest.fixture(scope="module")
def photos(portraits):
    """Two photographs of two people, decoded."""
    return [np.asarray(PIL.Image.open(path)) for path in portraits]


@pytest.fixture(params=["skface-detector", "yunet"])
def detector(request):
    """Each registered detector; YuNet where its file is at hand."""
    if request.param == "yunet":
        request.getfixturevalue("skface_home")
    return request.param


def pasted(size, *parts):
    """Lay photos, each with its corner (x, y), on a black canvas (width, height)."""
    canvas = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    for photo, (x, y) in parts:
        canvas[y : y + photo.shape[0], x : x + photo.shape[1]] = photo
    return canvas


def resized(photo, size):
    return np.asarray(PIL.Image.fromarray(photo).resize((size, size), PIL.Image.Resampling.BICUBIC))


def likeness(crop, other):
    """Correlate pixels: 1 for the same crop, above 0.9 when landmarks differ by a pixel or two."""
    return np.corrcoef(crop.ravel(), other.ravel())[0, 1]


# ------------------------------------------------------------------------------- the geometry


@pytest.mark.parametrize("seed", range(5))
def test_similarity_is_the_least_squares_solution(seed):
    rng = np.random.default_rng(seed)
    points, targets = rng.normal(scale=50, size=(2, 5, 2))
    rows, values = [], []
    for (x, y), (u, v) in zip(points, targets, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    a, b, c, d = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    np.testing.assert_allclose(fit_similarity(points, targets), [[a, -b, c], [b, a, d]], atol=1e-9)


@pytest.mark.parametrize(
    "geometry", [*GEOMETRIES, ([(9, 9), (40, 9), (25, 30), (9, 50), (40, 50)], (48, 64))]
)
@pytest.mark.parametrize(("scale", "degrees"), [(0.4, 0), (1, 20), (1.7, 90), (3, -35), (7, 180)])
def test_drawn_landmarks_land_on_the_template(geometry, scale, degrees):
    template, (width, height) = resolve_geometry(geometry)
    matrix = similarity(scale, degrees, (0, 0))
    matrix[:, 2] = 20 - moved(matrix, template).min(axis=0) + 8 * scale
    points = moved(matrix, template)
    sides = np.ceil(points.max(axis=0) + 20 + 8 * scale).astype(int)
    y, x = np.mgrid[: sides[1], : sides[0]]
    photo = np.zeros(x.shape)
    for px, py in points:
        photo += np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (1.5 * scale) ** 2))
    crop = align([photo.clip(0, 1)], detecting(reported(points)), geometry=geometry)[0, ..., 0]
    assert crop.shape == (height, width)
    y, x = np.mgrid[:height, :width]
    for px, py in template:
        dot = crop * (np.hypot(x - px, y - py) < 7)
        assert dot.max() > 100
        centre = np.array([(dot * x).sum(), (dot * y).sum()]) / dot.sum()
        assert np.abs(centre - (px, py)).max() < 0.1


@pytest.mark.parametrize(
    ("scale", "degrees", "noise", "thin"),
    [(0.5, 10, 0, 1), (1.5, -80, 3, 1), (2.5, 25, 3, 1), (9, 160, 5, 1), (9, 0, 5, 0.0285)],
)
def test_crop_is_the_photo_seen_through_the_similarity(scale, degrees, noise, thin):
    def colours(x, y):
        waves = [np.sin(x / (9 * scale)), np.sin(y / (11 * scale)), np.cos((x + y) / (15 * scale))]
        return 0.5 + 0.4 * np.stack(waves, axis=-1)

    sides = (int(200 * scale), int(200 * scale * thin))
    points = moved(similarity(scale, degrees, (0, 0)), ARCFACE - 56) + np.divide(sides, 2)
    points += scale * np.random.default_rng(0).normal(scale=noise, size=(5, 2))
    photo = colours(*np.meshgrid(np.arange(sides[0]), np.arange(sides[1])))
    crop = align([photo], detecting(reported(points)))[0]
    matrix = np.vstack([fit_similarity(points, ARCFACE), (0, 0, 1)])
    inverse = np.linalg.inv(matrix)[:2]
    grid = np.stack(np.meshgrid(np.arange(112), np.arange(112)), axis=-1)
    source = moved(inverse, grid)
    inside = ((source > scale) & (source < np.array(sides) - 1 - scale)).all(axis=-1)
    assert inside.sum() > 150
    error = crop - 255 * colours(source[..., 0], source[..., 1])
    assert np.abs(error[inside]).max() < 2


def test_shrinking_averages_pixels_instead_of_skipping_them():
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (900, 450))
    crop = align([stripes], detecting(reported(ARCFACE * 7 + 40)))[0]
    assert np.abs(crop - 127.5).max() < 25


def test_what_lies_outside_the_photo_is_black():
    white = np.full((60, 60, 3), 255, dtype=np.uint8)
    crop = align([white], detecting(reported(ARCFACE - 56)))[0]
    assert (crop[:55] == 0).all()
    assert (crop[:, :55] == 0).all()
    assert (crop[57:, 57:] == 255).all()
    assert (align([white], detecting(reported(ARCFACE + 999))) == 0).all()


def test_colours_of_the_photo_are_colours_of_the_crop():
    photo = np.full((112, 112, 3), (200, 50, 10), dtype=np.uint8)
    assert (align([photo], detecting(reported(ARCFACE))) == (200, 50, 10)).all()


def test_geometries_by_name_by_weights_and_by_points():
    for name, entry in REGISTRY.items():
        if entry.geometry is not None:
            assert resolve_geometry(name) is GEOMETRIES[entry.geometry]
    assert resolve_geometry("sphereface-112x96").size == (96, 112)
    points, size = resolve_geometry((ARCFACE.tolist(), np.array([30, 40])))
    np.testing.assert_array_equal(points, ARCFACE)
    assert size == (30, 40)
    aligner = FaceAligner((ARCFACE, (30, 40)), detector=textured_only)
    assert clone(aligner).fit_transform([PHOTO]).shape == (1, 40, 30, 3)


@pytest.mark.parametrize(
    "geometry",
    [
        "arcface",
        "yunet",
        None,
        ARCFACE,
        (ARCFACE, 112),
        (ARCFACE, (112, 0)),
        (ARCFACE, (112, 112.5)),
        (ARCFACE[:4], (112, 112)),
        (ARCFACE * np.nan, (112, 112)),
        ([(10, 20)] * 5, (112, 112)),
        (["a"] * 5, (112, 112)),
    ],
)
def test_unusable_geometries_are_refused(geometry):
    with pytest.raises(ValueError, match="geometry="):
        FaceAligner(geometry, detector=textured_only).fit([PHOTO])


# --------------------------------------------------------------------------- choosing one face

BOXES = {"left": (0, 0, 80, 80), "middle": (85, 35, 30, 30), "right": (170, 60, 20, 20)}
SCORES = {"left": 0.7, "middle": 0.8, "right": 0.95}


def in_box(name):
    x, y, width, height = BOXES[name]
    return reported(ARCFACE / 112 * (width, height) + (x, y), BOXES[name], SCORES[name])


@pytest.mark.parametrize(
    ("policy", "expected"), [("largest", "left"), ("centre", "middle"), ("best-score", "right")]
)
def test_policies_choose_different_faces(policy, expected):
    photo = np.zeros((100, 200, 3), dtype=np.uint8)
    for value, (x, y, width, height) in enumerate(BOXES.values(), start=1):
        photo[y : y + height, x : x + width] = value * 50
    crop = align([photo], detecting(*map(in_box, BOXES)), face_policy=policy)[0]
    assert crop[56, 56, 0] == 50 * (1 + list(BOXES).index(expected))


def test_centre_prefers_a_large_face_near_the_middle_to_a_speck_in_it():
    photo = np.zeros((100, 100, 3), dtype=np.uint8)
    photo[20:90, 15:85] = 100
    photo[48:52, 48:52] = 200
    large = reported(ARCFACE / 112 * 70 + (15, 20), (15, 20, 70, 70))
    speck = reported(ARCFACE / 112 * 4 + 48, (48, 48, 4, 4), 0.99)
    crop = align([photo], detecting(large, speck), face_policy="centre")[0]
    assert crop[80, 20, 0] == 100


def test_single_takes_several_faces_for_a_failure():
    two, one = detecting(in_box("left"), in_box("right")), detecting(in_box("left"))
    with pytest.raises(FaceNotFoundError, match="row 0: 2 faces .* another face_policy") as error:
        align([PHOTO], two, face_policy="single")
    assert "min_score" not in str(error.value)  # with a lower one there are no fewer faces
    assert align([PHOTO], one, face_policy="single").shape == (1, 112, 112, 3)
    # those below the least score do not count
    assert align([PHOTO], two, face_policy="single", min_score=0.9).shape == (1, 112, 112, 3)


def test_faces_below_the_least_score_are_none():
    with pytest.raises(FaceNotFoundError, match="row 0: no face .* lower min_score") as error:
        align([PHOTO], detecting(in_box("left")), min_score=0.71)
    assert "face_policy" not in str(error.value)


# ------------------------------------------------------------------------------ real photographs


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


def test_one_face_is_made_of_the_guesses_that_overlap():
    points = np.tile([10.0, 20.0], 5)
    near = [[0, 0, 40, 40, *points, 0.9], [4, 0, 40, 40, *(points + 6), 0.6]]
    far = [[100, 100, 30, 30, *(points + 100), 0.7], [100, 100, 0, 0, *points, 0.65]]
    beside = [[22, 0, 40, 40, *(points + 22), 0.65]]  # one face with the first, but too far away
    faces = _yunet._merge(np.array([*near, *far, *beside]), 0.6)
    first = [1.6, 0, 40, 40, *(points + 2.4), 0.9]
    np.testing.assert_allclose(faces[:2], [first, far[0]])
    assert _yunet._merge(np.empty((0, 15)), 0.6).shape == (0, 15)


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


def test_photos_are_not_enlarged_but_small_ones_and_those_without_a_face(photos, monkeypatch):
    seen = []
    model = np.fromfile(fetch_weights("skface-detector")[0], dtype=np.uint8)
    network = YuNet(model)
    at_scale = network.at_scale
    monkeypatch.setattr(
        network,
        "at_scale",
        lambda photo, min_score, scale: seen.append(scale) or at_scale(photo, min_score, scale),
    )
    for size, scales in {
        2560: [0.25],
        256: [1.0],
        160: [1.5],
        96: [2.0],
    }.items():
        seen.clear()
        assert len(network(resized(photos[0], size), 0.6, 640))
        assert seen == scales
    seen.clear()
    assert not len(network(np.zeros((400, 300, 3), np.uint8), 0.6, 640))
    assert seen == [1.0, 0.5, 1.6]
    seen.clear()
    assert not len(network(np.zeros((800, 300, 3), np.uint8), 0.6, 640))
    assert seen == [0.8, 0.4]


def test_a_tiny_face_of_a_small_photo_is_found(photos, detector):
    face = np.asarray(PIL.Image.fromarray(photos[0]).resize((28, 28), PIL.Image.Resampling.BOX))
    canvas = pasted((250, 250), (face, (100, 120)))
    (points,) = FaceAligner(detector=detector).fit([canvas]).detect([canvas]).landmarks
    assert np.abs(points[0].mean(axis=0) - (114, 134)).max() < 4


def test_policies_on_photos_pasted_side_by_side(photos, detector):
    near, far = resized(photos[1], 500), photos[0]
    canvas = pasted((1250, 500), (near, (0, 0)), (far, (497, 100)))
    crops = {"near": align([near], detector), "far": align([far], detector)}
    aligner = FaceAligner("arcface-112", detector=detector).fit([canvas])
    found = aligner.detect([canvas])
    assert found.boxes[0].shape == (2, 4)
    best = "near" if found.landmarks[0][0, :, 0].mean() < 500 else "far"
    for policy, who in (("largest", "near"), ("centre", "far"), ("best-score", best)):
        crop = aligner.set_params(face_policy=policy).transform([canvas])
        other = crops["far" if who == "near" else "near"]
        assert likeness(crop, crops[who]) > likeness(crop, other) + 0.2
    with pytest.raises(FaceNotFoundError, match="2 faces"):
        aligner.set_params(face_policy="single").transform([canvas])


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


def test_large_photos_give_the_crops_of_small_ones(photos, detector):
    crops = align([photos[1], resized(photos[1], 3000)], detector)
    assert likeness(crops[0], crops[1]) > 0.9


def test_grey_and_floating_photos_are_photos_too(photos, detector):
    photo = photos[1]
    grey = photo.mean(axis=-1).round().astype(np.uint8)
    crops = align([photo, grey, grey / 255, photo / 255, np.asfortranarray(photo)], detector)
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


@pytest.mark.parametrize("min_score", [0.1, 0.6])
@pytest.mark.parametrize("scale", [2.0, 1.0, 0.6, 0.1])
def test_onnxruntime_finds_the_faces_that_opencv_finds(scale, min_score, photos, detector):
    pytest.importorskip("onnxruntime")
    model = np.fromfile(fetch_weights(detector)[0], dtype=np.uint8)
    fast = YuNet(model)
    assert isinstance(fast._find, _yunet._OnnxRuntime)
    plain = YuNet(model)
    plain._find = _yunet._OpenCv(model)
    canvas = pasted((513, 305), (photos[0], (0, 0)), (photos[1], (256, 5)))
    n_faces = 0
    for photo in (*photos, canvas, WALL):
        expected = plain.at_scale(photo, min_score, scale)
        n_faces += len(expected)
        np.testing.assert_allclose(fast.at_scale(photo, min_score, scale), expected, atol=2e-3)
    assert n_faces >= (0 if scale < 0.5 else 4)


def test_opencv_runs_where_onnxruntime_is_missing(portraits, detector, monkeypatch):
    pytest.importorskip("onnxruntime")
    expected = FaceAligner(detector=detector).fit(portraits).detect(portraits)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find_spec(name)
    )
    STORE.clear()  # and the network with it that onnxruntime runs
    monkeypatch.setattr("onnxruntime.InferenceSession", None)
    found = FaceAligner(detector=detector).fit(portraits).detect(portraits)
    STORE.clear()
    for points, same in zip(found.landmarks, expected.landmarks, strict=True):
        np.testing.assert_allclose(points, same, atol=1e-3)


def test_networks_run_on_all_threads_of_this_process_unless_told(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    aligner = FaceAligner(detector="skface-detector").fit([PHOTO])
    assert aligner._n_threads() == 3
    with joblib.parallel_config(n_jobs=2):
        assert aligner._n_threads() is None  # joblib knows
    assert aligner.set_params(n_jobs=1)._n_threads() == 1
    # a function may not bear several threads
    assert FaceAligner(detector=textured_only).fit([PHOTO])._n_threads() is None


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


def test_pickled_aligners_need_no_detector_file(portraits, tmp_path):
    (file,) = fetch_weights("skface-detector")  # stands for a file of the user
    (tmp_path / "own.onnx").write_bytes(file.read_bytes())
    aligner = FaceAligner(detector=tmp_path / "own.onnx").fit(portraits)
    expected = aligner.transform(portraits)
    joblib.dump(aligner, tmp_path / "aligner.joblib")
    (tmp_path / "own.onnx").unlink()
    mapped = joblib.load(tmp_path / "aligner.joblib", mmap_mode="r")
    for again in (pickle.loads(pickle.dumps(aligner)), mapped):
        np.testing.assert_array_equal(again.transform(portraits), expected)
    with pytest.raises(ValueError, match=r"own\.onnx"):
        clone(aligner).fit(portraits)


def test_networks_may_be_given_as_files_and_keep_quiet(portraits, detector, capfd):
    (file,) = fetch_weights(detector)
    for given in (file, str(file)):
        np.testing.assert_array_equal(align(portraits[:1], given), align(portraits[:1], detector))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    "shape",
    [(1, 1), (1, 1, 3), (3, 2, 3), (20, 2000, 3), (2000, 20), (1, 5000, 3), (40000, 40, 3)],
)
def test_faces_are_looked_for_in_vain_in_photos_of_odd_sizes(shape, dtype, detector):
    noise = RNG.integers(0, 256, shape, dtype=np.uint8)
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


@pytest.fixture
def stand_in(monkeypatch):
    """Bytes that are registered as YuNet's file: those of the detector that comes with skface."""
    (packaged,), entry = weights_info("skface-detector").files, weights_info("yunet")
    file = replace(entry.files[0], size=packaged.size, sha256=packaged.sha256)
    monkeypatch.setitem(REGISTRY, "yunet", replace(entry, files=(file,)))
    return fetch_weights("skface-detector")[0].read_bytes()


def test_auto_takes_yunet_where_its_file_is_at_hand(no_yunet, stand_in):
    aligner = FaceAligner().fit([PHOTO])
    assert aligner.detector == "auto"
    assert aligner.detector_name_ == "skface-detector"
    cached, own = locate_weights("yunet")[0], no_yunet / "face_detection_yunet_2026may.onnx"
    for file in (cached, own):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(stand_in)
        assert clone(aligner).fit([PHOTO]).detector_name_ == "yunet"
        file.unlink()
    assert clone(aligner).fit([PHOTO]).detector_name_ == "skface-detector"
    own.write_bytes(stand_in)
    assert aligner.detector_name_ == "skface-detector"  # what is fitted stays


@pytest.mark.parametrize("place", ["home", "cache"])
@pytest.mark.parametrize("content", [b"", b"no model"])
def test_a_broken_file_of_yunet_is_an_error_of_auto(content, place, no_yunet, monkeypatch):
    monkeypatch.delenv("SKFACE_OFFLINE")
    monkeypatch.setattr(pooch, "HTTPDownloader", None)  # and never a download
    folder = no_yunet if place == "home" else locate_weights("yunet")[0].parent
    folder.mkdir(exist_ok=True)
    (folder / "face_detection_yunet_2026may.onnx").write_bytes(content)
    with pytest.raises(WeightsError, match="yunet_2026may.onnx has .* bytes instead of"):
        FaceAligner().fit([PHOTO])


def test_auto_without_a_detector_asks_for_a_sound_installation(no_yunet, monkeypatch, tmp_path):
    monkeypatch.setattr("skface.weights.__file__", str(tmp_path / "weights.py"))
    with pytest.raises(WeightsError, match="install skface again") as error:
        FaceAligner().fit([PHOTO])
    assert "YuNet" not in str(error.value)


def test_auto_never_downloads_and_yunet_means_yunet(no_yunet, monkeypatch):
    monkeypatch.delenv("SKFACE_OFFLINE")
    monkeypatch.setattr(pooch, "HTTPDownloader", None)
    FaceAligner().fit([PHOTO])
    with pytest.raises(TypeError, match="not callable"):  # the download that was taken away
        FaceAligner(detector="yunet").fit([PHOTO])


def test_detectors_are_named(tmp_path, no_yunet):
    class Detector:
        def __call__(self, photo):
            return textured_only(photo)

    (packaged,) = fetch_weights("skface-detector")
    for detector, name in (
        (textured_only, "textured_only"),
        (Detector(), "Detector"),
        ("skface-detector", "skface-detector"),
        (packaged, str(packaged)),
    ):
        aligner = FaceAligner(detector=detector, on_failure="nan").fit([WALL])
        assert aligner.detector_name_ == name
        with pytest.warns(UserWarning, match=re.escape(f"(detector: {name}): row 0: no face")):
            aligner.transform([WALL])


def test_failures_of_the_packaged_detector_point_to_the_better_one(no_yunet):
    aligner = FaceAligner().fit([WALL])
    with pytest.raises(
        FaceNotFoundError, match="detector: skface-detector.*fit with detector='yunet'"
    ):
        aligner.transform([WALL])
    del aligner.detector_name_  # as in pickles of before there was one
    with pytest.raises(FaceNotFoundError, match=r"\(detector: auto\): row 0: no face"):
        pickle.loads(pickle.dumps(aligner)).transform([WALL])


def test_the_detector_is_shown_in_notebooks(no_yunet):
    assert "detector_name_" in FaceAligner().fit([PHOTO])._repr_html_()


# ------------------------------------------------------------------------------------- failures


@pytest.fixture
def bad_files(save, tmp_path):
    """A missing file, a text, and a wall."""
    text = tmp_path / "text.jpg"
    text.write_text("no photo")
    return [str(tmp_path / "nowhere.jpg"), str(text), save("wall.png", WALL)]


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
    with pytest.warns(UserWarning, match="1 of 2 photos.*row 1: .*not found before"):
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


def test_detectors_receive_contiguous_bytes_in_rgb():
    received = []

    def detector(photo):
        received.append((photo.dtype, photo.shape, photo.flags.c_contiguous, photo[0, 0].tolist()))
        return textured_only(photo)

    floating = PHOTO / 255
    grey = floating[..., 0]
    align([PHOTO[:, ::2], np.asfortranarray(floating), grey, grey.T], detector)
    r, g, b = PHOTO[0, 0].tolist()
    assert received == [
        (np.uint8, (60, 25, 3), True, [r, g, b]),
        (np.uint8, (60, 50, 3), True, [r, g, b]),
        (np.uint8, (60, 50, 3), True, [r, r, r]),
        (np.uint8, (50, 60, 3), True, [r, r, r]),
    ]


# ------------------------------------------------------------------------ rows, memory, parameters


def test_each_distinct_photo_of_pairs_is_looked_at_once(save):
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
    X = RNG.integers(0, 256, (120, 8, 8, 3), dtype=np.uint8)
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
    aligner = FaceAligner(SMALL_CROP, detector=textured_only, on_failure="nan").fit(files)
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


def test_detect_goes_on_after_unreadable_files_only_if_told_to(bad_files):
    aligner = FaceAligner(detector=textured_only, on_failure="nan").fit([PHOTO])
    with pytest.warns(UserWarning, match=r"2 of 3 .*nowhere\.jpg.*text\.jpg"):
        assert [len(scores) for scores in aligner.detect(bad_files).scores] == [0, 0, 0]
    aligner.set_params(on_failure="raise")
    with pytest.raises(ImageError, match=r"text\.jpg"):
        aligner.detect(bad_files[1:])


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
        ({"face_policy": "smallest"}, "face_policy='smallest'.*'centre'"),
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


def test_opencv_runs_files_that_onnxruntime_cannot(monkeypatch):
    def refuse(model):
        raise RuntimeError("operator set 99")

    monkeypatch.setattr(_yunet, "_OnnxRuntime", refuse)
    pytest.importorskip("onnxruntime")
    with pytest.warns(UserWarning, match="OpenCV does.*operator set 99"):
        aligner = FaceAligner(detector="skface-detector").fit([PHOTO])
        assert aligner.detect([WALL]).scores[0].shape == (0,)


def test_other_networks_are_no_detectors(tmp_path):
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["input"], ["output"])],
        "relu",
        [value("input", onnx.TensorProto.FLOAT, [1, 3, 64, 64])],
        [value("output", onnx.TensorProto.FLOAT, [1, 3, 64, 64])],
    )
    file = tmp_path / "relu.onnx"
    onnx.save(onnx.helper.make_model(graph, ir_version=8), file)
    with pytest.raises(ValueError, match=r"relu\.onnx.*no YuNet"):
        FaceAligner(detector=file).fit([PHOTO])


@pytest.mark.parametrize("content", [b"", b"no model", bytes(range(256)) * 9])
def test_files_that_are_no_yunet_are_refused_by_fit(content, tmp_path):
    file = tmp_path / "detector.onnx"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"detector\.onnx.*no YuNet"):
        FaceAligner(detector=file).fit([PHOTO])
