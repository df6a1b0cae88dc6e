"""Reading parameters: every format, broken files, and code that does not run."""

import io
import pickle
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from skface.weights import load_state

STATE = {
    "weight": torch.arange(6.0).reshape(2, 3),
    "half": torch.tensor([0.5, -2.0]).half(),
    "brain": torch.tensor([1.5, -2.0]).bfloat16(),
    "count": torch.tensor(7),
    "empty": torch.zeros(0, 3),
}


def saved(folder, state=STATE, suffix=".pt", **options):
    path = folder / f"state{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, **options)
    return path


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_every_format_gives_the_same_arrays(suffix, tmp_path):
    arrays = load_state(saved(tmp_path, suffix=suffix))
    assert arrays.keys() == STATE.keys()
    for name, tensor in STATE.items():
        assert isinstance(arrays[name], np.ndarray)
        assert arrays[name].shape == tuple(tensor.shape)
        assert arrays[name].tolist() == tensor.tolist()
    kinds = [arrays[name].dtype.name for name in STATE]
    assert kinds == ["float32", "float16", "float32", "int64", "float32"]


def test_parameters_and_files_of_old_torch_are_read(tmp_path):
    network = torch.nn.Linear(3, 2)
    old = saved(tmp_path, network.state_dict(), _use_new_zipfile_serialization=False)
    new = saved(tmp_path, dict(network.named_parameters()), ".pth")
    for path in (old, new):
        np.testing.assert_array_equal(load_state(path)["weight"], network.weight.detach())


def test_arrays_do_not_depend_on_the_file(tmp_path):
    path = tmp_path / "state.safetensors"
    safetensors.numpy.save_file({"weight": np.ones((100, 100))}, path)
    weight = load_state(path)["weight"]
    path.write_bytes(b"\0" * path.stat().st_size)
    weight += 1
    assert (weight == 2).all()


class Malice:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def pickled(malice):
    return pickle.dumps({"weight": malice}, protocol=2)


def torch_saved(malice, **options):
    buffer = io.BytesIO()
    torch.save({"weight": torch.ones(2), "extra": malice}, buffer, **options)
    return buffer.getvalue()


def torch_saved_old(malice):
    return torch_saved(malice, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("save", [pickled, torch_saved, torch_saved_old])
def test_code_in_a_file_is_refused_and_does_not_run(save, tmp_path):
    mark = tmp_path / "mark"
    path = tmp_path / "state.pt"
    path.write_bytes(save(Malice(mark)))
    with pytest.raises(ValueError, match=r"state\.pt.*run code"):
        load_state(path)
    assert not mark.exists()
    torch.load(path, weights_only=False) if save is not pickled else pickle.loads(path.read_bytes())
    assert mark.exists()


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_truncated_files_are_refused_by_name(suffix, options, tmp_path):
    path = saved(tmp_path, suffix=suffix, **options)
    whole = path.read_bytes()
    for n_bytes in np.linspace(0, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:n_bytes])
        with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*"):
            load_state(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1\n", struct.pack("Q", 9)],
    ids=["empty", "web page", "pointer", "nine"],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_foreign_files_are_called_broken(suffix, content, tmp_path):
    path = tmp_path / f"state{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"state\{suffix}.*(broken|cannot be read)"):
        load_state(path)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"state_dict": {"weight": torch.ones(2)}, "epoch": 3}, "'state_dict', 'epoch'.*alone"),
        ({"weight": torch.ones(2), "steps": [1, 2]}, "'steps'"),
        ({0: torch.ones(2)}, "0"),
        ([torch.ones(2)], "holds a list"),
        (torch.ones(2), "holds a Tensor"),
        ({"weight": torch.eye(2).to_sparse()}, "Sparse"),
        ({"weight": torch.ones(2, device="meta")}, "meta"),
    ],
)
def test_anything_but_a_plain_state_dict_is_refused(state, message, tmp_path):
    with pytest.raises(ValueError, match=rf"(?s)state\.pt.*{message}"):
        load_state(saved(tmp_path, state))


def test_other_endings_and_missing_files(tmp_path):
    with pytest.raises(ValueError, match=r"\.pt, \.pth or \.safetensors, not '\.pkl'"):
        load_state(tmp_path / "state.pkl")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        load_state(str(tmp_path / "nowhere.pt"))
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(FileNotFoundError, match=r"folder\.pt"):
        load_state(tmp_path / "folder.pt")
