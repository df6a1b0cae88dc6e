"""`checkpoint_dir`: a fit that was killed resumes."""

import errno
import functools
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from sklearn.base import clone
from tiny_fits import (
    CountedLoss,
    RecordingNetwork,
    StopAfter,
    recorded_rows,
    tiny,
    tiny_network,
    weights_of,
)
from torch import nn

from skface import DistilledEmbedder, FaceNetEmbedder, make_faces
from skface.nn.backbones import get_backbone

KILLED = textwrap.dedent(
    """
    import os, sys, numpy as np
    from skface import FaceNetEmbedder, make_faces
    from skface.nn.checkpoint import Checkpoint

    folder, n_epochs, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    save, count = Checkpoint.save, []

    def save_and_die(self, state):
        save(self, state)
        count.append(1)
        if len(count) == n_epochs:
            os._exit(9)

    Checkpoint.save = save_and_die
    faces = make_faces(10, 4, image_size=32, difficulty=0.2, random_state=0)
    embedder = FaceNetEmbedder(
        weights=None, max_epochs=4, loss="arcface", early_stopping=True, validation_fraction=0.3,
        checkpoint_dir=folder, random_state=0,
    )
    embedder.fit(faces.data, faces.target)
    np.savez(out, **embedder.weights_)
    """
)


def test_a_killed_run_resumes_to_the_same_network(faces, tmp_path):
    def run(n_epochs):
        command = [sys.executable, "-c", KILLED, tmp_path / "runs", str(n_epochs), tmp_path / "out"]
        return subprocess.run(command, check=False).returncode

    assert run(n_epochs=2) == 9
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert run(n_epochs=1) == 9  # one more epoch, and killed again
    assert run(n_epochs=99) == 0
    embedder = FaceNetEmbedder(
        weights=None, max_epochs=4, loss="arcface", early_stopping=True, validation_fraction=0.3,
        random_state=0,
    )  # fmt: skip
    embedder.fit(faces.data, faces.target)
    with np.load(tmp_path / "out.npz") as resumed:
        for name, values in embedder.weights_.items():
            np.testing.assert_array_equal(resumed[name], values, err_msg=name)


def test_checkpoints_of_other_runs_are_not_taken(faces, tmp_path):
    first = tiny(checkpoint_dir=tmp_path).fit(faces.data, faces.target)
    other = tiny(checkpoint_dir=tmp_path, margin=0.5).fit(faces.data, faces.target)
    tiny(checkpoint_dir=tmp_path).fit(faces.data[:-1], faces.target[:-1])
    tiny(checkpoint_dir=tmp_path, random_state=1).fit(faces.data, faces.target)
    assert len(list(tmp_path.iterdir())) == 4
    assert not np.array_equal(weights_of(first), weights_of(other))


def test_a_complete_run_is_not_trained_again(faces, tmp_path):
    loss = CountedLoss()
    first = tiny(checkpoint_dir=tmp_path, loss=loss).fit(faces.data, faces.target)
    n_steps = loss.n_calls
    # these affect speed or output only
    again = tiny(checkpoint_dir=tmp_path, loss=loss, batch_size=3, flip=True)
    again.fit(faces.data, faces.target)
    assert loss.n_calls == n_steps > 0
    np.testing.assert_array_equal(weights_of(again), weights_of(first))


class Repulsion(nn.Module):
    """A loss with settings that neither its repr nor its state dict shows."""

    def __init__(self, exponent):
        super().__init__()
        self.exponent = exponent
        self.register_buffer("scale", torch.ones(1))

    def forward(self, embeddings, labels):
        return -self.scale[0] * torch.pdist(embeddings).pow(self.exponent).mean()


def repel(embeddings, labels, exponent=1.0):
    return Repulsion(exponent)(embeddings, labels)


def test_checkpoints_tell_losses_apart(faces, tmp_path):
    losses = [Repulsion(1.0), Repulsion(2.0), repel, functools.partial(repel, exponent=2.0)]
    backbones = [tiny_network, functools.partial(tiny_network)]
    for loss in losses:
        for backbone in backbones:
            FaceNetEmbedder(
                backbone, None, loss=loss, max_epochs=1, checkpoint_dir=tmp_path, random_state=0
            ).fit(faces.data, faces.target)
    assert len(list(tmp_path.iterdir())) == len(losses) * len(backbones)


FIT_WITH_A_LOSS_OF_TENSORS = """
import sys
import torch
from skface import FaceNetEmbedder, make_faces
from skface.nn.losses import MarginSoftmax

torch.manual_seed(0)
loss = MarginSoftmax(10, 128, kind="arcface")
faces = make_faces(10, 4, image_size=32, difficulty=0.2, random_state=0)
FaceNetEmbedder(
    weights=None, loss=loss, max_epochs=1, checkpoint_dir=sys.argv[1], random_state=0
).fit(faces.data, faces.target)
"""


def test_processes_agree_on_the_checkpoint_of_a_loss_with_tensors(tmp_path):
    for _ in range(2):
        command = [sys.executable, "-c", FIT_WITH_A_LOSS_OF_TENSORS, tmp_path]
        subprocess.run(command, check=True)
    assert len(list(tmp_path.iterdir())) == 1


def file_of_weights(folder, seed):
    """Write random weights of "small_resnet" to a file."""
    spec = get_backbone("small_resnet")
    torch.manual_seed(seed)
    state = spec.build(spec.embedding_dim, (3, 32, 32)).state_dict()
    torch.save(state, folder / "teacher.pth")
    return folder / "teacher.pth"


def test_checkpoints_know_a_teacher_that_need_not_be_fitted(tmp_path):
    photos = make_faces(4, 2, image_size=32, random_state=0).data
    params = {"max_epochs": 1, "checkpoint_dir": tmp_path, "random_state": 0}
    pretrained = FaceNetEmbedder("small_resnet", file_of_weights(tmp_path, 0), image_shape=(32, 32))
    names = set()
    for teacher in (pretrained, clone(pretrained).fit(photos)):
        DistilledEmbedder(teacher, "small_resnet", **params).fit(photos)
        names.add(tuple(path.name for path in tmp_path.glob("*.pt")))
    assert len(names) == 1  # fitted or not, it is one run
    file_of_weights(tmp_path, 1)  # the same file with other weights
    DistilledEmbedder(pretrained, "small_resnet", **params).fit(photos)
    assert len(list(tmp_path.glob("*.pt"))) == 2


def test_checkpoints_refuse_functions_without_a_name(faces, tmp_path):
    with pytest.raises(ValueError, match=r"loss=.*lambda.*named function"):
        tiny(loss=lambda e, y: e.sum(), checkpoint_dir=tmp_path).fit(faces.data, faces.target)


def test_numbers_of_numpy_do_not_spoil_a_checkpoint(faces, tmp_path):
    params = {"learning_rate": np.float64(1e-3), "weight_decay": np.float64(1e-4)}
    embedder = tiny(checkpoint_dir=tmp_path, max_epochs=np.int64(2), **params)
    before = weights_of(embedder.fit(faces.data, faces.target))
    np.testing.assert_array_equal(weights_of(embedder.fit(faces.data, faces.target)), before)


def test_a_checkpoint_dir_that_cannot_be_is_refused_before_training(faces, tmp_path, monkeypatch):
    def fit(checkpoint_dir):
        embedder = FaceNetEmbedder(
            RecordingNetwork, None, checkpoint_dir=checkpoint_dir, augment=False, random_state=0
        )
        embedder.fit(faces.data, faces.target)

    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(FileExistsError, match="file"):
        fit(tmp_path / "file")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=r"checkpoints.*cannot be written to"):
        fit(tmp_path / "checkpoints")
    assert not recorded_rows(faces.data, training=True)


def test_a_full_disk_leaves_the_last_checkpoint_and_nothing_else(faces, tmp_path, monkeypatch):
    def fill(state, file):
        file.write(b"half of a checkpoint")
        raise OSError(errno.ENOSPC, "No space left on device")

    embedder = tiny(checkpoint_dir=tmp_path).set_callbacks(StopAfter(1))
    embedder.fit(faces.data, faces.target)
    (path,) = tmp_path.iterdir()
    saved = path.read_bytes()
    monkeypatch.setattr(torch, "save", fill)
    with pytest.raises(OSError, match="No space left"):
        tiny(checkpoint_dir=tmp_path).fit(faces.data, faces.target)
    assert [other.read_bytes() for other in tmp_path.iterdir()] == [saved]


def test_checkpoints_need_a_seed_and_a_readable_file(faces, tmp_path):
    with pytest.raises(ValueError, match="random_state to be an int"):
        tiny(checkpoint_dir=tmp_path, random_state=None).fit(faces.data, faces.target)
    embedder = tiny(checkpoint_dir=tmp_path).fit(faces.data, faces.target)
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(
        ValueError, match=re.compile(f"{path.name} cannot be read.*remove it", re.DOTALL)
    ):
        embedder.fit(faces.data, faces.target)
