"""The Python in README.md and in the user guide runs as it is printed, block after block."""

import re
import shutil
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def run_blocks(name, namespace):
    text = (ROOT / name).read_text(encoding="utf-8")
    for match in re.finditer(r"^```python\n(.*?)^```$", text, re.M | re.S):
        lines_above = "\n" * text.count("\n", 0, match.start(1))  # line numbers of the document
        exec(compile(lines_above + match.group(1), name, "exec"), namespace)


def test_user_guide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    run_blocks("docs/user_guide.md", namespace)
    assert namespace["embedder"].transform(namespace["face_pairs"][:3]).shape == (3, 2, 128)


def test_readme(shared_data, skface_home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = sorted((shared_data / "lfw_home" / "lfw_funneled").iterdir())
    people = [folder for folder in folders if len(list(folder.glob("*.jpg"))) == 2][:24]
    for folder in people:
        shutil.copytree(folder, tmp_path / "photos" / folder.name)
    namespace = {}
    run_blocks("README.md", namespace)
    expected = namespace["search"].predict(namespace["new_pairs"])
    np.testing.assert_array_equal(namespace["verifier"].predict(namespace["new_pairs"]), expected)
