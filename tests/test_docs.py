"""The Python in README.md and in the user guide runs as it is printed, block after block."""

import re
from pathlib import Path

import numpy as np
import pytest

from skface import make_pairs

ROOT = Path(__file__).resolve().parents[1]


def run_blocks(name, namespace):
    text = (ROOT / name).read_text(encoding="utf-8")
    for match in re.finditer(r"^```python\n(.*?)^```$", text, re.M | re.S):
        lines_above = "\n" * text.count("\n", 0, match.start(1))  # line numbers of the document
        exec(compile(lines_above + match.group(1), name, "exec"), namespace)


def test_user_guide():
    namespace = {}
    run_blocks("docs/user_guide.md", namespace)
    assert namespace["embedder"].transform(namespace["face_pairs"][:3]).shape == (3, 2, 128)


def test_readme(shared_data, skface_home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = sorted((shared_data / "lfw_home" / "lfw_funneled").iterdir())
    people = [folder for folder in folders if len(list(folder.glob("*.jpg"))) == 2][:24]
    photos = np.array([str(path) for folder in people for path in sorted(folder.iterdir())])
    drawn = make_pairs([Path(path).parent.name for path in photos], n_impostor=48, random_state=0)
    namespace = {
        "pairs": photos[drawn.indices],
        "same": drawn.target,
        "people": drawn.identities,
        "new_pairs": photos[drawn.indices[:4]],
    }
    with pytest.warns(UserWarning, match="far"):  # 48 different pairs are few for far=1e-3
        run_blocks("README.md", namespace)
    expected = namespace["search"].predict(namespace["new_pairs"])
    np.testing.assert_array_equal(namespace["verifier"].predict(namespace["new_pairs"]), expected)
