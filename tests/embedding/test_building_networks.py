"""Building networks: with given weights or random ones, on the CPU."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from skface import FaceNetEmbedder
from skface.nn.backbones import BACKBONES, get_backbone
from skface.nn.rng import private_global_rng

PLAIN = {"precision": "float32", "runtime": "torch"}


def saved_backbone(name, shape, path, *, without_counters=False):
    """Build a network with statistics as after training, and save its state."""
    torch.manual_seed(1)
    module = get_backbone(name).build(BACKBONES[name].embedding_dim, shape).eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    state = module.state_dict()
    if without_counters:
        state = {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")}
    torch.save(state, path)
    return module


@pytest.fixture(scope="module")
def faces():
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def test_given_weights_need_not_wait_for_a_training(faces, tmp_path):
    saved_backbone("small_resnet", (3, 32, 32), tmp_path / "own.pt")
    embedder = FaceNetEmbedder("small_resnet", tmp_path / "own.pt")
    with ThreadPoolExecutor(1) as pool, private_global_rng(0):  # as training does, for an epoch
        before = torch.get_rng_state()
        pool.submit(embedder.fit, faces).result(timeout=60)
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("backbone", sorted(set(BACKBONES) - {"iresnet50"}))  # as iresnet18
def test_given_weights_are_all_of_a_registered_network(backbone, tmp_path):
    spec = BACKBONES[backbone]
    rng = np.random.default_rng(0)
    if spec.flat:
        shape, X = (7,), rng.normal(size=(3, 7)).astype(np.float32)
        batch = X
    else:
        height, width = spec.input_size or (96, 96)
        shape, X = (3, height, width), rng.integers(0, 256, (3, height, width, 3), dtype=np.uint8)
        planes = X[..., ::-1] if spec.color == "bgr" else X
        batch = (planes.transpose(0, 3, 1, 2).astype(np.float32) - spec.mean) / spec.std
    module = saved_backbone(backbone, shape, tmp_path / "own.pt")
    embedder = FaceNetEmbedder(backbone, tmp_path / "own.pt", **PLAIN).fit(X)
    assert embedder.weights_.keys() == module.state_dict().keys()
    for name, values in module.state_dict().items():
        np.testing.assert_array_equal(embedder.weights_[name], values, err_msg=name)
    # with the buffers that no state dict has
    with torch.inference_mode():
        expected = module(torch.tensor(batch, dtype=torch.float32)).numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(embedder.transform(X), expected, atol=1e-5)


def test_weights_without_counters_of_batch_normalization_are_taken(faces, tmp_path):
    path = tmp_path / "old.pt"
    module = saved_backbone("small_resnet", (3, 32, 32), path, without_counters=True)
    embedder = FaceNetEmbedder("small_resnet", path).fit(faces)
    assert embedder.weights_.keys() == module.state_dict().keys()
    counters = [n for n in embedder.weights_ if n.endswith("num_batches_tracked")]
    assert counters
    assert all(embedder.weights_[name] == 0 for name in counters)


class Scaled(nn.Linear):
    """A network with a buffer that its state dict lacks."""

    def __init__(self):
        super().__init__(3 * 32 * 32, 2)
        self.register_buffer("offset", torch.full((2,), 3.0), persistent=False)

    def forward(self, faces):
        return super().forward(faces.flatten(1)) + self.offset


def test_buffers_that_a_network_makes_itself_are_kept(faces, tmp_path):
    torch.manual_seed(0)
    module = Scaled()
    torch.save(module.state_dict(), tmp_path / "own.pt")
    embedder = FaceNetEmbedder(Scaled, tmp_path / "own.pt", **PLAIN).fit(faces)
    batch = (faces.transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 127.5
    with torch.inference_mode():
        expected = module(torch.from_numpy(batch)).numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(embedder.transform(faces), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["random", "given", "given without counters"])
def test_networks_are_built_on_the_cpu_whatever_the_default(kind, faces, tmp_path):
    path = tmp_path / "own.pt"
    saved_backbone("small_resnet", (3, 32, 32), path, without_counters=kind.endswith("counters"))
    embedder = FaceNetEmbedder(
        "small_resnet", None if kind == "random" else path, trainable="none", random_state=0
    )
    expected = embedder.fit(faces).transform(faces)
    torch.set_default_device("meta")
    try:
        vectors = embedder.fit(faces).transform(faces)
    finally:
        torch.set_default_device(None)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
