"""Networks with given weights: registered ones, and files."""

import dataclasses
import re

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import torch
from torch import nn

from skface import FaceAligner, FaceNetEmbedder, load_face_folder, make_faces, make_pairs
from skface.metrics import equal_error_rate
from skface.nn.backbones import BACKBONES, get_backbone
from skface.weights import REGISTRY

RETAIL = "face-reidentification-retail-0095"


@pytest.fixture(scope="module")
def trained(faces):
    embedder = FaceNetEmbedder(weights=None, max_epochs=2, random_state=0)
    return embedder.fit(faces.data, faces.target)


@pytest.fixture
def retail(skface_home):
    return FaceNetEmbedder(weights=RETAIL)


def test_weights_of_another_network_are_refused(tmp_path, faces):
    path = tmp_path / "other.pt"
    torch.save({"layer.weight": torch.zeros(2, 3)}, path)
    with pytest.raises(ValueError, match=re.compile("other.pt.*missing.*unexpected", re.DOTALL)):
        FaceNetEmbedder("small_resnet", weights=path).fit(faces.data)
    with pytest.raises(FileNotFoundError, match="nowhere.pt"):
        FaceNetEmbedder("small_resnet", weights="nowhere.pt").fit(faces.data)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_own_weights_are_loaded_and_can_be_trained_on(tmp_path, faces, trained, suffix):
    path = tmp_path / f"own.{suffix}"
    tensors = {name: torch.tensor(values) for name, values in trained.weights_.items()}
    if suffix == "pt":
        torch.save(tensors, path)
    else:
        from safetensors.torch import save_file

        save_file(tensors, path)
    frozen = FaceNetEmbedder("small_resnet", weights=path).fit(faces.data)
    np.testing.assert_array_equal(frozen.transform(faces.data), trained.transform(faces.data))
    tuned = FaceNetEmbedder("small_resnet", path, trainable="all", max_epochs=1, random_state=0)
    tuned.fit(faces.data, faces.target)
    assert not np.array_equal(tuned.transform(faces.data), trained.transform(faces.data))


def pooled_network():
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 8))


def embed_plainly(module, images, color, mean, std):
    """Unit vectors of RGB images, without skface."""
    planes = images[..., ::-1] if color == "bgr" else images
    batch = (planes.transpose(0, 3, 1, 2).astype(np.float32) - mean) / std
    with torch.inference_mode():
        vectors = module.eval()(torch.from_numpy(np.ascontiguousarray(batch, np.float32))).numpy()
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("backbone", ["small_resnet", "iresnet18", "iresnet_mini", "retail_0095"])
def test_a_file_takes_the_preprocessing_of_its_backbone(backbone, tmp_path):
    spec = BACKBONES[backbone]
    size = spec.input_size or (48, 40)
    images = make_faces(2, 2, image_size=128, random_state=1).data[:, : size[0], : size[1]]
    torch.manual_seed(0)
    module = spec.build(spec.embedding_dim, (3, *size))
    torch.save(module.state_dict(), tmp_path / "own.pt")
    embedder = FaceNetEmbedder(
        backbone, tmp_path / "own.pt", precision="float32", runtime="torch"
    ).fit(images)
    found = embedder.preprocessing_
    assert (found.color, found.mean, found.std) == (spec.color, spec.mean, spec.std)
    assert found.size == size
    expected = embed_plainly(module, images, spec.color, spec.mean, spec.std)
    np.testing.assert_allclose(embedder.transform(images), expected, atol=1e-5)


def test_a_callable_takes_pixels_from_minus_one_to_one(faces, tmp_path):
    torch.manual_seed(0)
    module = pooled_network()
    torch.save(module.state_dict(), tmp_path / "own.pt")
    embedder = FaceNetEmbedder(pooled_network, tmp_path / "own.pt", precision="float32")
    expected = embed_plainly(module, faces.data, "rgb", 127.5, 127.5)
    np.testing.assert_allclose(embedder.fit_transform(faces.data), expected, atol=1e-5)


def test_registered_weights_take_the_preprocessing_of_their_entry(monkeypatch):
    images = make_faces(2, 2, image_size=112, random_state=1).data
    entry = REGISTRY["skface-mini"]
    other = dataclasses.replace(entry.preprocessing, color="bgr", mean=100.0, std=(50.0, 60, 70))
    embedder = FaceNetEmbedder(precision="float32", runtime="torch")
    before = embedder.fit(images).preprocessing_
    assert before == dataclasses.replace(entry.preprocessing, size=(112, 112))
    module = get_backbone("iresnet_mini").build(256, (3, 112, 112))
    module.load_state_dict({name: torch.tensor(v) for name, v in embedder.weights_.items()})
    changed = dataclasses.replace(entry, name="changed", preprocessing=other)
    monkeypatch.setitem(REGISTRY, "changed", changed)
    embedder.set_params(weights="changed").fit(images)
    assert embedder.preprocessing_ == dataclasses.replace(other, size=(112, 112))
    std = np.reshape([50.0, 60, 70], (3, 1, 1))
    expected = embed_plainly(module, images, "bgr", 100.0, std)
    np.testing.assert_allclose(embedder.transform(images), expected, atol=1e-5)


def test_inception_ignores_published_logits(tmp_path, faces):
    module = get_backbone("inception_resnet_v1").build(512, (3, 160, 160))
    state = {**module.state_dict(), "logits.weight": torch.zeros(10, 512)}
    torch.save(state, tmp_path / "published.pt")
    embedder = FaceNetEmbedder("inception_resnet_v1", tmp_path / "published.pt", runtime="torch")
    assert embedder.fit(faces.data[:2]).transform(faces.data[:2]).shape == (2, 512)
    assert "logits.weight" not in embedder.weights_


def test_retail_weights_equal_openvino(retail, shared_weights, faces):
    openvino = pytest.importorskip("openvino")
    X = make_faces(2, 2, image_size=128, random_state=1).data
    compiled = openvino.Core().compile_model(
        str(shared_weights / f"{RETAIL}.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    bgr = np.ascontiguousarray(X[..., ::-1].transpose(0, 3, 1, 2), dtype=np.float32)
    expected = np.stack([compiled(face[None])[0].ravel() for face in bgr])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    retail.set_params(precision="float32")
    np.testing.assert_allclose(retail.fit(X).transform(X), expected, atol=1e-3)


def test_frozen_weights_need_no_labels_and_never_train(retail, faces):
    embedder = retail.fit(faces.data)
    before = {name: values.copy() for name, values in embedder.weights_.items()}
    embedder.fit(faces.data, faces.target)
    assert embedder.history_ == {}
    for name, values in before.items():
        np.testing.assert_array_equal(embedder.weights_[name], values)


def test_packaged_weights_work_without_network_or_labels(faces, no_yunet):
    embedder = FaceNetEmbedder().fit(faces.data)
    assert (embedder.backbone_, embedder.input_shape_) == ("iresnet_mini", (3, 112, 112))
    assert embedder.weights_["embedding.weight"].dtype == np.float32  # halves in the file only
    assert embedder.transform(faces.data).shape == (40, 256)


CHANGES = {
    "rotated": lambda photo: photo.rotate(15),
    "mirrored": PIL.ImageOps.mirror,
    "shrunk": lambda photo: photo.resize((photo.width // 2, photo.height // 2)),
    "dark": lambda photo: photo.point(lambda value: value // 3),
    "bright": lambda photo: photo.point(lambda value: 255 - (255 - value) // 2),
    "cropped": lambda photo: photo.crop((25, 0, photo.width - 25, photo.height - 60)),
    "gray": lambda photo: photo.convert("L"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_packaged_weights_recognize_changed_photos(change, portraits, no_yunet):
    photos = [PIL.Image.open(path) for path in portraits]
    photos += [change(photo) for photo in photos]
    vectors = FaceNetEmbedder().fit_transform(FaceAligner().fit_transform(photos))
    cosines = vectors[:2] @ vectors[2:].T
    assert np.diag(cosines).min() > 0.6
    assert cosines[[0, 1], [1, 0]].max() < 0.4


def test_packaged_weights_tell_people_apart(shared_data, skface_home):
    photos = load_face_folder(shared_data / "att_faces")
    chosen = np.arange(len(photos.target)) % 10 < 3  # three photos of each of 40 people
    crops = FaceAligner().fit_transform(photos.data[chosen])
    vectors = FaceNetEmbedder().fit_transform(crops)
    pairs = make_pairs(photos.target[chosen], random_state=0)
    left, right = vectors[pairs.indices].swapaxes(0, 1)
    assert equal_error_rate(pairs.target, np.sum(left * right, axis=1)).rate < 0.03
