"""Things that are written twice must agree."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import skface
from skface.weights import REGISTRY

ROOT = Path(__file__).resolve().parents[1]


def test_installed_version_is_the_packages():
    assert version("skface") == skface.__version__


def test_pre_commit_and_constraints_name_one_ruff():
    constrained = re.search(r"^ruff==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
    hooked = re.search(r"ruff-pre-commit\n\s+rev: v(.+)$", _read(".pre-commit-config.yaml"), re.M)
    assert hooked.group(1) == constrained.group(1)


def test_files_of_the_package_are_the_registered_weights():
    folder = ROOT / "skface" / "weights" / "files"
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    files = [file for entry in REGISTRY.values() for file in entry.files if file.url is None]
    assert sizes == {file.filename: file.size for file in files}
    assert sizes["skface-mini.safetensors"] <= 6_000_000
    assert sizes["skface-detector.onnx"] <= 1_000_000


def test_licenses_of_packaged_weights_are_stated_and_enclosed():
    project = tomllib.loads(_read("pyproject.toml"))["project"]
    stated = project["license"].split(" AND ")
    enclosed = [path.name for pattern in project["license-files"] for path in ROOT.glob(pattern)]
    for entry in REGISTRY.values():
        if entry.files[0].url is None:
            license = re.match(r"[\w.-]+", entry.license).group()
            assert license in stated
            assert f"{license}.txt" in enclosed


def _read(name):
    return (ROOT / name).read_text(encoding="utf-8")
