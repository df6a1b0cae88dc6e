"""Fixtures of the tests of rows."""

import PIL.Image
import pytest
from six_faces import RGB


@pytest.fixture
def files(tmp_path):
    """Six lossless files of the faces in RGB."""
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for path, pixels in zip(paths, RGB, strict=True):
        PIL.Image.fromarray(pixels).save(path)
    return [str(path) for path in paths]
