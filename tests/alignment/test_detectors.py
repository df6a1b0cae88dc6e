"""Which detector is loaded, from which file, and what is refused."""

import pickle
import re
from dataclasses import replace

import joblib
import numpy as np
import pooch
import pytest
from sklearn.base import clone
from toy_faces import PHOTO, WALL, align, textured_only

from skface import FaceAligner
from skface.exceptions import FaceNotFoundError, WeightsError
from skface.weights import REGISTRY, fetch_weights, locate_weights, weights_info


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


@pytest.fixture
def stand_in(monkeypatch):
    """Bytes that are registered as YuNet's file: those of the detector that comes with skface."""
    (packaged,), entry = weights_info("skface-detector").files, weights_info("yunet")
    file = replace(entry.files[0], size=packaged.size, sha256=packaged.sha256)
    monkeypatch.setitem(REGISTRY, "yunet", replace(entry, files=(file,)))
    return fetch_weights("skface-detector")[0].read_bytes()


def test_auto_takes_yunet_where_its_file_is_available(no_yunet, stand_in):
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


def test_auto_without_a_detector_asks_for_a_sound_installation(no_yunet, monkeypatch):
    entry = weights_info("skface-detector")
    lost = replace(entry.files[0], filename="lost.onnx")
    monkeypatch.setitem(REGISTRY, "skface-detector", replace(entry, files=(lost,)))
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


def test_the_detector_is_shown_in_notebooks(no_yunet):
    assert "detector_name_" in FaceAligner().fit([PHOTO])._repr_html_()


# ------------------------------------------------------------------------------------- failures


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
    with pytest.raises(ValueError, match=r"relu\.onnx.*not a YuNet model"):
        FaceAligner(detector=file).fit([PHOTO])


@pytest.mark.parametrize("content", [b"", b"no model", bytes(range(256)) * 9])
def test_files_that_are_no_yunet_are_refused_by_fit(content, tmp_path):
    file = tmp_path / "detector.onnx"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"detector\.onnx.*not a YuNet model"):
        FaceAligner(detector=file).fit([PHOTO])
