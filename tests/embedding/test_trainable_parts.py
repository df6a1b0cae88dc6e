"""`trainable`: which parts of a network a fit changes."""

import numpy as np
import pytest
import torch

from skface import FaceNetEmbedder, make_faces
from skface.nn.backbones import get_backbone
from skface.nn.freezing import stages


@pytest.mark.parametrize(
    ("trainable", "n_changed"), [("all", None), ("head", 0), (0, 0), (1, 1), ("none", -1)]
)
def test_trainable_decides_which_stages_change(trainable, n_changed, faces, tmp_path):
    donor = FaceNetEmbedder(weights=None, max_epochs=1, random_state=0)
    donor.fit(faces.data, faces.target)
    path = tmp_path / "own.pt"
    torch.save({name: torch.tensor(v) for name, v in donor.weights_.items()}, path)
    embedder = FaceNetEmbedder(
        "small_resnet", path, trainable=trainable, max_epochs=1, random_state=0
    )
    embedder.fit(faces.data, faces.target)

    module = get_backbone("small_resnet").build(128, (3, 32, 32))
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    changed = [
        any(
            not np.array_equal(embedder.weights_[name], donor.weights_[name])
            for part in stage
            for name in (names[id(parameter)] for parameter in part.parameters())
        )
        for stage in stages(module)
    ]
    n_last = len(changed) if n_changed is None else n_changed + 1
    assert changed == [False] * (len(changed) - n_last) + [True] * n_last


def test_too_many_stages_are_refused(faces):
    with pytest.raises(ValueError, match="trainable=99"):
        FaceNetEmbedder(weights=None, trainable=99).fit(faces.data, faces.target)


def test_fine_tuning_pretrained_weights():
    faces = make_faces(6, 3, image_size=112, random_state=0)
    embedder = FaceNetEmbedder(trainable="head", learning_rate=1e-4, max_epochs=2, random_state=0)
    tuned = embedder.fit(faces.data, faces.target)
    frozen = FaceNetEmbedder().fit(faces.data)
    different = [
        name
        for name in frozen.weights_
        if not np.array_equal(frozen.weights_[name], tuned.weights_[name])
    ]
    assert {name.partition(".")[0] for name in different} == {"embedding", "norm"}
