"""Fixtures of the tests of weights."""

import http.server
import threading
from dataclasses import replace

import platformdirs
import pytest
from toy_weights import FILES, Site, register

from skface.weights import REGISTRY, weights_info


@pytest.fixture
def site(monkeypatch):
    """A server on the loopback, which publishes "toy" and "twin", and may be downloaded from."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.files = dict(FILES)
    server.requests = []
    server.n_missing_bytes = 0
    server.midway = lambda: None
    register(monkeypatch, "toy", server.server_port, "toy.pt")
    register(monkeypatch, "twin", server.server_port, "twin.xml", "twin.bin")
    monkeypatch.delenv("SKFACE_OFFLINE")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """The per-user cache, a folder that does not exist yet."""
    monkeypatch.delenv("SKFACE_HOME", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "skface"


@pytest.fixture
def home(monkeypatch, tmp_path):
    """The folder that SKFACE_HOME names."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("SKFACE_HOME", str(folder))
    return folder


@pytest.fixture
def unverifiable(site, monkeypatch):
    file = replace(weights_info("toy").files[0], size=None, sha256=None)
    monkeypatch.setitem(REGISTRY, "toy", replace(REGISTRY["toy"], files=(file,)))
    return file
