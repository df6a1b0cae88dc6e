"""Fixtures that several test modules share."""

import os
from pathlib import Path

import platformdirs
import pytest
from joblib.externals.loky import get_reusable_executor

from skface._utils.runtimes import is_installed
from skface.inference._openvino import import_openvino

if is_installed("openvino"):
    import_openvino()  # before a test does, and nothing is reported to anybody

_BESIDE_REPOSITORY = Path(__file__).resolve().parents[2] / "shared"


def _shared(name):
    folder = Path(os.environ.get("SKFACE_SHARED") or _BESIDE_REPOSITORY) / name
    if not folder.is_dir():
        pytest.skip(f"needs {folder}; SKFACE_SHARED names the folder that holds {name}/")
    return folder


@pytest.fixture(scope="session")
def portraits():
    """Paths of two photographs in the public domain, of two people; tests/data/README.md."""
    folder = Path(__file__).with_name("data")
    return [str(folder / f"{name}.jpg") for name in ("grace_hopper", "eileen_collins")]


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real photographs."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_weights():
    """Folder of pretrained weights."""
    return _shared("weights")


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """Forbid downloads, in subprocesses too."""
    monkeypatch.setenv("SKFACE_OFFLINE", "1")


@pytest.fixture
def no_yunet(monkeypatch, tmp_path):
    """Hide all weights but those that come with skface; returns the folder of SKFACE_HOME."""
    home = tmp_path / "skface_home"
    home.mkdir()
    monkeypatch.setenv("SKFACE_HOME", str(home))
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "user_cache")
    return home


@pytest.fixture
def skface_home(shared_weights, monkeypatch):
    """Let registered weights be found in the shared folder."""
    monkeypatch.setenv("SKFACE_HOME", str(shared_weights))
    # joblib's workers have the environment of the test that started them
    get_reusable_executor().shutdown(wait=True)
    return shared_weights


def pytest_collection_modifyitems(items):
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
