"""The way of a pair through the package, as docs/architecture.md describes it."""

import sys
import threading
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import skface
from skface import make_face_verifier

PACKAGE = Path(skface.__file__).parent


def modules_that_run(function):
    """Call a function; return the top-level modules of skface whose code ran, in any thread."""
    files = set()

    def record(frame, event, arg):
        files.add(frame.f_code.co_filename)

    before = sys.getprofile()
    threading.setprofile(record)
    sys.setprofile(record)
    try:
        function()
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    inside = [Path(file) for file in files if Path(file).is_relative_to(PACKAGE)]
    return {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in inside}


@pytest.mark.parametrize("is_cached", [False, True])
def test_paths_become_decisions_in_at_most_twelve_modules(is_cached, portraits, tmp_path):
    turned = []
    for i, path in enumerate(portraits):
        turned.append(str(tmp_path / f"{i}.png"))
        PIL.Image.open(path).rotate(10).save(turned[-1])
    (hopper, collins), (hopper_turned, collins_turned) = portraits, turned
    pairs = np.array(
        [
            [hopper, hopper_turned],
            [collins, collins_turned],
            [hopper, collins_turned],
            [collins, hopper_turned],
        ],
        dtype=object,
    )
    pipe = make_face_verifier(cache=tmp_path / "cache" if is_cached else None)
    decisions = []
    modules = modules_that_run(
        lambda: decisions.extend(pipe.fit(pairs, [1, 1, 0, 0]).predict(pairs))
    )
    assert decisions == [1, 1, 0, 0]
    expected = {"_rows", "alignment", "embedding", "inference", "verification", "metrics"}
    expected |= {"per_face", "cache"} if is_cached else set()
    # loading the network and what everything uses
    assert expected <= modules <= expected | {"_utils", "nn", "weights", "exceptions"}
