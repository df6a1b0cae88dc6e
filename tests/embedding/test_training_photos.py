"""Reading of training photos: once, all errors first, in the layout of the network."""

import re

import numpy as np
import PIL.Image
import pytest
import torch
from tiny_fits import RecordingNetwork, recorded_rows, tiny, weights_of
from torch import nn

from skface import FaceNetEmbedder
from skface._rows import check_images
from skface.embedding._face_loader import FaceLoader
from skface.embedding._training_set import collect_faces
from skface.inference import Network, Preprocessing


@pytest.fixture
def paths(faces, tmp_path):
    """The faces as PNG files."""
    paths = [str(tmp_path / f"{i}.png") for i in range(len(faces.data))]
    for path, pixels in zip(paths, faces.data, strict=True):
        PIL.Image.fromarray(pixels).save(path)
    return paths


def test_all_photos_that_cannot_be_read_are_named_before_training(faces, paths):
    for i in (3, 30):
        with open(paths[i], "w") as file:
            file.write("no photo")
    embedder = FaceNetEmbedder(RecordingNetwork, None, image_shape=(32, 32), augment=False)
    with pytest.raises(ValueError, match=re.compile(r"2 of 40 .*3\.png.*30\.png", re.DOTALL)):
        embedder.fit(paths, faces.target)
    assert not recorded_rows(faces.data, training=True)


def test_training_photos_are_decoded_once(faces, paths, monkeypatch):
    opened = []
    open_image = PIL.Image.open
    monkeypatch.setattr(
        PIL.Image,
        "open",
        lambda source, *args, **kw: opened.append(source) or open_image(source, *args, **kw),
    )
    from_paths = tiny(max_epochs=4, image_shape=(32, 32)).fit(paths, faces.target)
    assert len(opened) == len(paths)
    from_arrays = tiny(max_epochs=4).fit(faces.data, faces.target)
    np.testing.assert_array_equal(weights_of(from_paths), weights_of(from_arrays))


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_faces_that_fill_no_memory_are_decoded_again(color, faces, paths, monkeypatch):
    preprocessing = Preprocessing((24, 24), color, mean=100.0, std=50.0)
    network = Network(nn.Flatten, (3, 24, 24), preprocessing, 1728, nn.Flatten())
    rows = check_images(paths)
    chosen = collect_faces(rows, faces.target, "tests", want_pairs=False, want_identities=True)
    cached = FaceLoader(network, chosen, torch.device("cpu"))
    decoding = FaceLoader(network, chosen, torch.device("cpu"), most_cached_bytes=0)
    some = np.array([5, 3, 39])
    # cached pixels are rounded to uint8
    torch.testing.assert_close(cached(some), decoding(some), atol=0.51 / 50, rtol=0)
    for path in paths:
        PIL.Image.new("RGB", (24, 24)).save(path)
    assert (decoding(some) == -2).all()
    assert not (cached(some) == -2).all()


class Viewing(nn.Module):
    """A backbone as people write them, which takes features as a `view`, not a reshape."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 4, stride=4)
        self.embedding = nn.Linear(8 * 8 * 8, 16)

    def forward(self, images):
        features = self.convolution(images).relu()
        return self.embedding(features.view(len(features), -1))


@pytest.mark.filterwarnings("ignore:.*OpenVINO in .* cannot run it:UserWarning")
@pytest.mark.parametrize("augment", [True, False])
def test_a_backbone_of_the_caller_gets_images_in_the_usual_layout(augment, faces):
    embedder = FaceNetEmbedder(
        Viewing, None, max_epochs=1, augment=augment, early_stopping=True, random_state=0
    )
    assert embedder.fit(faces.data, faces.target).transform(faces.data).shape == (40, 16)


def test_registered_backbones_are_trained_channels_last_on_a_cpu(faces, monkeypatch):
    layouts = []
    conv2d = nn.Conv2d.forward

    def watch(layer, images):
        if layer.training:
            layouts.append(images.is_contiguous(memory_format=torch.channels_last))
        return conv2d(layer, images)

    monkeypatch.setattr(nn.Conv2d, "forward", watch)
    FaceNetEmbedder("small_resnet", None, max_epochs=1, random_state=0, device="cpu").fit(
        faces.data, faces.target
    )
    assert layouts
    assert all(layouts)
