"""Fixtures of the tests of alignment."""

import sys
import threading
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
from toy_faces import WALL

from skface._utils.per_process import STORE


@pytest.fixture
def save(tmp_path):
    def save(name, pixels, **options):
        path = tmp_path / name
        PIL.Image.fromarray(pixels).save(path, **options)
        return str(path)

    return save


@pytest.fixture(scope="module")
def paths(shared_data):
    """One photograph of each of 12 people, of one face that YuNet is sure of."""
    names = (
        "AJ_Cook AJ_Lamas Aaron_Guiel Aaron_Peirsol Aaron_Sorkin Abdoulaye_Wade Abdullah_Gul "
        "Abel_Pacheco Adam_Sandler Adam_Scott Adrian_Nastase Adriana_Lima"
    )
    folder = shared_data / "lfw_home" / "lfw_funneled"
    return [str(folder / name / f"{name}_0001.jpg") for name in names.split()]


@pytest.fixture(scope="module")
def photos(portraits):
    """Two photographs of two people, decoded."""
    return [np.asarray(PIL.Image.open(path)) for path in portraits]


@pytest.fixture(params=["skface-detector", "yunet"])
def detector(request):
    """Each registered detector; YuNet where its file is available."""
    if request.param == "yunet":
        request.getfixturevalue("skface_home")
    return request.param


@pytest.fixture
def bad_files(save, tmp_path):
    """A missing file, a text, and a wall."""
    text = tmp_path / "text.jpg"
    text.write_text("no photo")
    return [str(tmp_path / "nowhere.jpg"), str(text), save("wall.png", WALL)]


@pytest.fixture
def empty_store():
    """Let the test start without the networks of others, and leave none of its own."""
    STORE.clear()
    yield
    STORE.clear()


@pytest.fixture
def no_onnxruntime(monkeypatch, empty_store):
    """Hide onnxruntime, as if it were not installed."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)


@pytest.fixture
def sessions(monkeypatch, empty_store):
    """Record the inputs that onnxruntime gets, and the threads; `barrier` holds threads up."""
    onnxruntime = pytest.importorskip("onnxruntime")
    record = SimpleNamespace(inputs=[], threads=set(), barrier=None)

    class Session(onnxruntime.InferenceSession):
        def run(self, names, inputs):
            record.inputs += inputs.values()
            record.threads.add(threading.get_ident())
            if record.barrier is not None:
                record.barrier.wait(timeout=30)
            return super().run(names, inputs)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    return record
