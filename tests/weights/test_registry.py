"""The registry: what is published, and the weights that come with skface."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import skface
from skface.alignment import GEOMETRIES
from skface.exceptions import WeightsError
from skface.nn.backbones import BACKBONES
from skface.weights import (
    REGISTRY,
    fetch_weights,
    list_weights,
    load_state,
    locate_weights,
    weights_info,
)

PINS = {
    "face_detection_yunet_2026may.onnx": (
        229_738,
        "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
    ),
    "face_recognition_sface_2021dec.onnx": (
        38_696_353,
        "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    ),
    "20180402-114759-vggface2.pt": (
        111_898_327,
        "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b",
    ),
    "20180408-102900-casia-webface.pt": (None, None),
    "face-reidentification-retail-0095.xml": (
        350_427,
        "ce53d2c9c08c0bd1c1660fb8a5b6d0e3e4ec19eb92f1036d2d83a85e83082dce",
    ),
    "face-reidentification-retail-0095.bin": (
        2_213_628,
        "241229ca3d206321868d46ce74a3c0b06c49cea58db7dc70b2e842ff287545d1",
    ),
}


PACKAGED = {"skface-mini", "skface-detector"}


def test_sizes_and_hashes_are_as_published():
    files = [file for entry in REGISTRY.values() for file in entry.files if file.url is not None]
    assert {file.filename: (file.size, file.sha256) for file in files} == PINS
    assert len(files) == len(PINS)
    for file in files:
        assert re.fullmatch(rf"https://[^?#]+/{re.escape(file.filename)}", file.url)


@pytest.mark.parametrize("entry", REGISTRY.values(), ids=list(REGISTRY))
def test_entries_agree_with_backbones_and_crops(entry):
    assert weights_info(entry.name) is entry
    assert entry.license and entry.source and entry.training_data
    assert entry.kind in ("embedder", "detector")
    if entry.kind == "embedder":
        assert entry.geometry in GEOMETRIES
    if entry.backbone is not None:
        spec = BACKBONES[entry.backbone]
        width, height = GEOMETRIES[entry.geometry].size
        # what is cut out larger is shrunk by the embedder
        assert height >= spec.input_size[0]
        assert width * spec.input_size[0] == height * spec.input_size[1]
        assert entry.embedding_dim == spec.embedding_dim
        for fact in ("color", "mean", "std"):
            assert getattr(entry.preprocessing, fact) == getattr(spec, fact)


def test_unknown_names_are_answered_with_the_known_ones():
    for look_up in (weights_info, fetch_weights):
        with pytest.raises(ValueError, match=r"'facenet' is not one of .*'yunet', .*'vggface2'"):
            look_up("facenet")
    assert list_weights() == list(REGISTRY)


@pytest.mark.parametrize("name", ["yunet", "face-reidentification-retail-0095"])
def test_the_real_files_are_what_is_registered(name, skface_home):
    filenames = [file.filename for file in weights_info(name).files]
    assert fetch_weights(name) == tuple(skface_home / filename for filename in filenames)


def test_weights_of_the_package_need_neither_folder_nor_network(cache, home):
    for name in PACKAGED:
        paths = fetch_weights(name)  # sizes and hashes are those of the registry
        for path in paths:
            (home / path.name).write_bytes(b"another file")
            assert path.parent == Path(skface.__file__).parent / "weights" / "files"
        assert fetch_weights(name) == locate_weights(name) == paths
    assert not cache.exists()


def test_packaged_embedders_are_stored_in_halves():
    path = fetch_weights("skface-mini")[0]
    assert {values.dtype for values in load_state(path).values()} == {np.dtype(np.float16)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "has SHA-256 .* instead of 0000"),
        ({"size": 5}, "bytes instead of 5"),
        ({"filename": "lost.safetensors"}, r"lost\.safetensors does not exist"),
    ],
)
def test_broken_weights_of_the_package_are_refused(change, message, monkeypatch):
    entry = weights_info("skface-mini")
    files = (replace(entry.files[0], **change),)
    monkeypatch.setitem(REGISTRY, "skface-mini", replace(entry, files=files))
    with pytest.raises(WeightsError, match=f"{message}.*comes with skface: install skface again"):
        fetch_weights("skface-mini")
