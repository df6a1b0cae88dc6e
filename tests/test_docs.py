"""The Python in README.md and in the user guide runs as it is printed, block after block."""

import itertools
import re
import shutil
from pathlib import Path

import numpy as np
import PIL.Image

ROOT = Path(__file__).resolve().parents[1]


def run_blocks(name, namespace, n_blocks=None):
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.finditer(r"^```python\n(.*?)^```$", text, re.M | re.S)
    for match in itertools.islice(blocks, n_blocks):
        lines_above = "\n" * text.count("\n", 0, match.start(1))  # line numbers of the document
        exec(compile(lines_above + match.group(1), name, "exec"), namespace)


def test_user_guide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    run_blocks("docs/user_guide.md", namespace)
    assert namespace["embedder"].transform(namespace["face_pairs"][:3]).shape == (3, 2, 128)


def test_first_lines_of_the_readme(portraits, no_yunet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in portraits:
        folder = tmp_path / "photos" / Path(path).stem
        folder.mkdir(parents=True)
        for degrees in (-8, 0, 8):
            PIL.Image.open(path).rotate(degrees).save(folder / f"{degrees}.jpg")
    shutil.copy(portraits[0], "door.jpg")
    PIL.Image.open(portraits[0]).convert("L").save("passport.jpg")
    namespace = {}
    run_blocks("README.md", namespace, n_blocks=1)
    loaded = namespace["verifier"]
    run_blocks("README.md", namespace, n_blocks=2)
    assert namespace["verifier"] is not loaded  # the second learned from photos/
    verifier = loaded
    assert verifier.predict_proba([["door.jpg", "passport.jpg"]])[0, 1] > 0.5
    assert verifier.predict_proba([["door.jpg", portraits[1]]])[0, 1] < 0.5


def test_readme(shared_data, skface_home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = sorted((shared_data / "lfw_home" / "lfw_funneled").iterdir())
    people = [folder for folder in folders if len(list(folder.glob("*.jpg"))) == 2][:24]
    for folder in people:
        shutil.copytree(folder, tmp_path / "photos" / folder.name)
    for name, photo in zip(("door", "passport"), sorted(people[0].iterdir()), strict=True):
        shutil.copy(photo, f"{name}.jpg")
    namespace = {}
    run_blocks("README.md", namespace)
    expected = namespace["search"].predict(namespace["new_pairs"])
    np.testing.assert_array_equal(namespace["verifier"].predict(namespace["new_pairs"]), expected)
