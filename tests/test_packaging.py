"""Things that are written twice must agree."""

import re
from importlib.metadata import version
from pathlib import Path

import skface

ROOT = Path(__file__).resolve().parents[1]


def test_installed_version_is_the_packages():
    assert version("skface") == skface.__version__


def test_pre_commit_and_constraints_name_one_ruff():
    constrained = re.search(r"^ruff==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
    hooked = re.search(r"ruff-pre-commit\n\s+rev: v(.+)$", _read(".pre-commit-config.yaml"), re.M)
    assert hooked.group(1) == constrained.group(1)


def _read(name):
    return (ROOT / name).read_text(encoding="utf-8")
