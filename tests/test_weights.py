"""Weights: where files are found, what is accepted, what a download leaves, what is unpickled."""

import hashlib
import http.server
import io
import logging
import pickle
import re
import socket
import struct
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import platformdirs
import pooch
import pytest
import safetensors.numpy
import safetensors.torch
import torch

import skface
from skface.alignment import GEOMETRIES
from skface.exceptions import WeightsError
from skface.nn.backbones import BACKBONES
from skface.weights import (
    REGISTRY,
    WeightsEntry,
    WeightsFile,
    fetch_weights,
    list_weights,
    load_state,
    locate_weights,
    main,
    weights_info,
)

FILES = {
    "toy.pt": b"one file " * 100,
    "twin.xml": b"graph of two files " * 10,
    "twin.bin": b"constants of two files " * 100,
}
HASHES = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
UNKNOWN = "0" * 64


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        content = self.server.files.get(self.path[1:])
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) + self.server.n_missing_bytes))
        self.end_headers()
        half = len(content) // 2
        self.wfile.write(content[:half])
        self.server.midway()
        self.wfile.write(content[half:])

    def log_message(self, *args):
        pass


def register(monkeypatch, name, port, *filenames, **facts):
    files = tuple(
        WeightsFile(
            filename, f"http://127.0.0.1:{port}/{filename}", len(FILES[filename]), HASHES[filename]
        )
        for filename in filenames
    )
    entry = WeightsEntry(name, "embedder", files, "toy licence", "toy source", "toy data")
    monkeypatch.setitem(REGISTRY, name, replace(entry, **facts))
    return files


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


def put(folder, *filenames, content=None):
    folder.mkdir(parents=True, exist_ok=True)
    for filename in filenames:
        (folder / filename).write_bytes(FILES[filename] if content is None else content)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


# Where files are found -------------------------------------------------------------------------


def test_skface_home_comes_before_the_cache(site, home, cache):
    put(cache, "toy.pt")
    assert fetch_weights("toy") == (cache / "toy.pt",)
    put(home, "toy.pt")
    assert fetch_weights("toy") == (home / "toy.pt",)
    assert site.requests == []


def test_a_tilde_in_skface_home_is_the_home_folder(site, monkeypatch, tmp_path):
    put(tmp_path / "weights", "toy.pt")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("SKFACE_HOME", "~/weights")
    assert fetch_weights("toy") == (tmp_path / "weights" / "toy.pt",)


def test_an_empty_skface_home_is_none(site, cache, monkeypatch):
    monkeypatch.setenv("SKFACE_HOME", "")
    put(cache, "toy.pt")
    assert fetch_weights("toy") == (cache / "toy.pt",)


@pytest.mark.parametrize("value", ["nowhere", "~nobody-of-this-name/weights", "a file", "x" * 300])
def test_skface_home_that_is_no_folder_is_warned_about(value, site, cache, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("a file").touch()
    monkeypatch.setenv("SKFACE_HOME", value)
    put(cache, "toy.pt")
    with pytest.warns(UserWarning, match=f"SKFACE_HOME='{value}' is no folder"):
        assert fetch_weights("toy") == (cache / "toy.pt",)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fetch_weights("skface-mini")  # which comes with skface


@pytest.mark.parametrize("content", [b"", FILES["toy.pt"][:-1], FILES["toy.pt"].upper()])
def test_a_wrong_file_in_skface_home_is_an_error_and_stays(content, site, home, cache):
    put(home, "toy.pt", content=content)
    put(cache, "toy.pt")
    with pytest.raises(WeightsError, match=rf"toy\.pt has .*{hashlib.sha256(content).hexdigest()}"):
        fetch_weights("toy")
    assert contents(home) == {"toy.pt": content}
    assert site.requests == []


def test_a_folder_or_a_dead_link_in_skface_home_is_an_error(site, home):
    (home / "toy.pt").mkdir()
    with pytest.raises(WeightsError, match=r"home.*toy\.pt cannot be read"):
        fetch_weights("toy")
    (home / "toy.pt").rmdir()
    (home / "toy.pt").symlink_to(home / "moved")
    with pytest.raises(WeightsError, match=r"home.*toy\.pt is not there"):
        fetch_weights("toy")
    assert site.requests == []


def test_files_that_belong_together_come_from_one_folder(site, home, cache):
    put(home, "twin.bin")
    put(cache, "twin.xml", "twin.bin")
    with pytest.raises(WeightsError, match=r"home.*twin\.xml is not there"):
        fetch_weights("twin")
    put(home, "twin.xml")
    assert fetch_weights("twin") == (home / "twin.xml", home / "twin.bin")
    assert site.requests == []


# Downloads -------------------------------------------------------------------------------------


def test_a_download_is_moved_into_place_when_it_is_complete(site, cache):
    depths = []  # of the files in the cache, while one arrives beside its place
    site.midway = lambda: depths.extend(
        len(path.relative_to(cache).parts) for path in cache.rglob("*") if path.is_file()
    )
    assert fetch_weights("toy") == (cache / "toy.pt",)
    assert depths == [2]
    assert contents(cache) == {"toy.pt": FILES["toy.pt"]}
    fetch_weights("toy")
    assert site.requests == ["/toy.pt"]


@pytest.mark.parametrize("content", [b"", FILES["toy.pt"][:-1], FILES["toy.pt"].upper()])
def test_a_wrong_file_in_the_cache_is_replaced_and_never_written_to(content, site, cache, tmp_path):
    put(cache, "toy.pt", content=content)
    (tmp_path / "held").hardlink_to(cache / "toy.pt")
    seen = []
    site.midway = lambda: seen.append((cache / "toy.pt").read_bytes())
    fetch_weights("toy")
    assert seen == [content]
    assert (tmp_path / "held").read_bytes() == content
    assert contents(cache) == {"toy.pt": FILES["toy.pt"]}


def test_only_missing_files_are_downloaded(site, cache):
    put(cache, "twin.xml")
    assert fetch_weights("twin") == (cache / "twin.xml", cache / "twin.bin")
    assert site.requests == ["/twin.bin"]
    assert contents(cache) == {name: FILES[name] for name in ("twin.xml", "twin.bin")}


def test_simultaneous_downloads_do_not_disturb_each_other(site, cache):
    everybody = threading.Barrier(4, timeout=10)
    site.midway = everybody.wait
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fetch_weights, ["toy"] * 4))
    assert found == [(cache / "toy.pt",)] * 4
    assert contents(cache) == {"toy.pt": FILES["toy.pt"]}


def test_a_download_shows_licence_and_source_once_and_nothing_else(site, caplog, capfd):
    caplog.set_level(logging.WARNING)
    fetch_weights("toy")
    fetch_weights("toy")
    (record,) = caplog.records
    assert record.name == "skface"
    for fact in (f"http://127.0.0.1:{site.server_port}/toy.pt", "toy licence", "toy source"):
        assert fact in record.getMessage()
    assert capfd.readouterr() == ("", "")


def names_everything(error, file, folder):
    facts = (
        file.filename,
        file.url,
        "unknown size" if file.size is None else f"{file.size:,} bytes",
        file.sha256,
        str(folder),
    )
    return [fact for fact in facts if fact not in str(error)] == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda site: site.files.update({"toy.pt": FILES["twin.bin"]}), HASHES["twin.bin"]),
        (lambda site: site.files.update({"toy.pt": FILES["toy.pt"].upper()}), "has SHA-256"),
        (lambda site: site.files.update({"toy.pt": b""}), "has 0 bytes instead of 900"),
        (lambda site: site.files.clear(), "404"),
        (lambda site: setattr(site, "n_missing_bytes", 7), "7 more expected"),
    ],
    ids=["other file", "other hash", "empty", "not published", "cut off"],
)
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_failed_download_leaves_the_cache_as_it_was(spoil, message, before, site, cache):
    if before is not None:
        put(cache, "toy.pt", content=before)
    spoil(site)
    with pytest.raises(WeightsError, match=message) as raised:
        fetch_weights("toy")
    assert names_everything(raised.value, weights_info("toy").files[0], cache)
    assert contents(cache) == ({} if before is None else {"toy.pt": before})


def test_an_interrupted_download_leaves_nothing(site, cache, monkeypatch):
    def stop(self, url, output_file, pooch):
        Path(output_file).write_bytes(FILES["toy.pt"][:10])
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        fetch_weights("toy")
    assert contents(cache) == {}


def test_a_server_that_nobody_runs_is_named(site, cache, home, monkeypatch):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        (file,) = register(monkeypatch, "toy", bound.getsockname()[1], "toy.pt")
        with pytest.raises(WeightsError, match="refused") as raised:
            fetch_weights("toy")
    assert names_everything(raised.value, file, cache)
    assert f"{home} (SKFACE_HOME)" in str(raised.value)


def test_a_cache_that_cannot_be_written_is_named(site, cache):
    cache.parent.write_text("no folder")
    with pytest.raises(WeightsError, match="downloading it failed") as raised:
        fetch_weights("toy")
    assert names_everything(raised.value, weights_info("toy").files[0], cache)
    assert "SKFACE_HOME" in str(raised.value)


def test_a_folder_in_the_way_is_named_and_stays(site, cache):
    (cache / "toy.pt").mkdir(parents=True)
    with pytest.raises(WeightsError, match=r"toy\.pt cannot be read.*downloading it failed"):
        fetch_weights("toy")
    assert list(cache.rglob("*")) == [cache / "toy.pt"]


def test_offline_finds_files_and_forbids_downloads(site, cache, monkeypatch):
    monkeypatch.setenv("SKFACE_OFFLINE", "1")
    with pytest.raises(WeightsError, match="SKFACE_OFFLINE=1") as raised:
        fetch_weights("toy")
    assert names_everything(raised.value, weights_info("toy").files[0], cache)
    assert not cache.exists()
    put(cache, "toy.pt")
    assert fetch_weights("toy") == (cache / "toy.pt",)
    assert site.requests == []


@pytest.mark.parametrize("value", ["", "0"])
def test_offline_can_be_switched_off(value, site, cache, monkeypatch):
    monkeypatch.setenv("SKFACE_OFFLINE", value)
    assert fetch_weights("toy") == (cache / "toy.pt",)


@pytest.mark.parametrize("content", [None, b"", FILES["toy.pt"].upper()])
def test_a_download_can_be_forbidden_by_the_caller(content, site, cache):
    if content is not None:
        put(cache, "toy.pt", content=content)
    with pytest.raises(WeightsError, match=r"toy\.pt (is not|has).*weights fetch toy"):
        fetch_weights("toy", download=False)
    assert contents(cache) == ({} if content is None else {"toy.pt": content})
    put(cache, "toy.pt")
    assert fetch_weights("toy", download=False) == (cache / "toy.pt",)
    assert site.requests == []


# Hashes that the user gives --------------------------------------------------------------------


@pytest.fixture
def unverifiable(site, monkeypatch):
    file = replace(weights_info("toy").files[0], size=None, sha256=None)
    monkeypatch.setitem(REGISTRY, "toy", replace(REGISTRY["toy"], files=(file,)))
    return file


def test_what_cannot_be_verified_is_refused_wherever_it_lies(unverifiable, site, home, cache):
    put(home, "toy.pt")
    put(cache, "toy.pt")
    with pytest.raises(WeightsError, match=r"no SHA-256 for toy\.pt.*sha256=") as raised:
        fetch_weights("toy")
    assert unverifiable.url in str(raised.value)
    assert site.requests == []


def test_a_given_hash_makes_weights_verifiable(unverifiable, site, cache):
    assert fetch_weights("toy", sha256=HASHES["toy.pt"].upper()) == (cache / "toy.pt",)
    with pytest.raises(WeightsError, match=HASHES["toy.pt"]) as raised:
        fetch_weights("toy", sha256=UNKNOWN)
    assert names_everything(raised.value, replace(unverifiable, sha256=UNKNOWN), cache)
    assert contents(cache) == {"toy.pt": FILES["toy.pt"]}
    with pytest.raises(WeightsError, match="no SHA-256"):
        fetch_weights("toy")


def test_a_given_hash_may_repeat_a_known_one_but_not_replace_it(site, cache):
    put(cache, "toy.pt")
    assert fetch_weights("toy", sha256=HASHES["toy.pt"]) == (cache / "toy.pt",)
    with pytest.raises(ValueError, match=f"{UNKNOWN}.*contradicts.*{HASHES['toy.pt']}"):
        fetch_weights("toy", sha256=UNKNOWN)
    put(cache, "twin.xml", "twin.bin")
    for name in ("twin.xml", "twin.bin"):
        assert len(fetch_weights("twin", sha256=HASHES[name])) == 2


@pytest.mark.parametrize("sha256", ["", "abc", "g" * 64, "0" * 63, "md5:" + "0" * 60])
def test_what_is_no_hash_is_refused(sha256, unverifiable, site):
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        fetch_weights("toy", sha256=sha256)
    assert site.requests == []


def test_casia_webface_is_refused_with_a_way_out():
    with pytest.raises(WeightsError, match=r"casia-webface\.pt") as raised:
        fetch_weights("casia-webface")
    for word in ("sha256=", "--sha256", "backbone='inception_resnet_v1'"):
        assert word in str(raised.value)


# What is read ----------------------------------------------------------------------------------

STATE = {
    "weight": torch.arange(6.0).reshape(2, 3),
    "half": torch.tensor([0.5, -2.0]).half(),
    "brain": torch.tensor([1.5, -2.0]).bfloat16(),
    "count": torch.tensor(7),
    "empty": torch.zeros(0, 3),
}


def saved(folder, state=STATE, suffix=".pt", **options):
    path = folder / f"state{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, **options)
    return path


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_every_format_gives_the_same_arrays(suffix, tmp_path):
    arrays = load_state(saved(tmp_path, suffix=suffix))
    assert arrays.keys() == STATE.keys()
    for name, tensor in STATE.items():
        assert isinstance(arrays[name], np.ndarray)
        assert arrays[name].shape == tuple(tensor.shape)
        assert arrays[name].tolist() == tensor.tolist()
    kinds = [arrays[name].dtype.name for name in STATE]
    assert kinds == ["float32", "float16", "float32", "int64", "float32"]


def test_parameters_and_files_of_old_torch_are_read(tmp_path):
    network = torch.nn.Linear(3, 2)
    old = saved(tmp_path, network.state_dict(), _use_new_zipfile_serialization=False)
    new = saved(tmp_path, dict(network.named_parameters()), ".pth")
    for path in (old, new):
        np.testing.assert_array_equal(load_state(path)["weight"], network.weight.detach())


def test_arrays_do_not_depend_on_the_file(tmp_path):
    path = tmp_path / "state.safetensors"
    safetensors.numpy.save_file({"weight": np.ones((100, 100))}, path)
    weight = load_state(path)["weight"]
    path.write_bytes(b"\0" * path.stat().st_size)
    weight += 1
    assert (weight == 2).all()


class Malice:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def pickled(malice):
    return pickle.dumps({"weight": malice}, protocol=2)


def torch_saved(malice, **options):
    buffer = io.BytesIO()
    torch.save({"weight": torch.ones(2), "extra": malice}, buffer, **options)
    return buffer.getvalue()


def torch_saved_old(malice):
    return torch_saved(malice, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("save", [pickled, torch_saved, torch_saved_old])
def test_code_in_a_file_is_refused_and_does_not_run(save, tmp_path):
    mark = tmp_path / "mark"
    path = tmp_path / "state.pt"
    path.write_bytes(save(Malice(mark)))
    with pytest.raises(ValueError, match=r"state\.pt.*run code"):
        load_state(path)
    assert not mark.exists()
    torch.load(path, weights_only=False) if save is not pickled else pickle.loads(path.read_bytes())
    assert mark.exists()


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_truncated_files_are_refused_by_name(suffix, options, tmp_path):
    path = saved(tmp_path, suffix=suffix, **options)
    whole = path.read_bytes()
    for n_bytes in np.linspace(0, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:n_bytes])
        with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*"):
            load_state(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1\n", struct.pack("Q", 9)],
    ids=["empty", "web page", "pointer", "nine"],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_foreign_files_are_called_broken(suffix, content, tmp_path):
    path = tmp_path / f"state{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"state\{suffix}.*(broken|cannot be read)"):
        load_state(path)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"state_dict": {"weight": torch.ones(2)}, "epoch": 3}, "'state_dict', 'epoch'.*alone"),
        ({"weight": torch.ones(2), "steps": [1, 2]}, "'steps'"),
        ({0: torch.ones(2)}, "0"),
        ([torch.ones(2)], "holds a list"),
        (torch.ones(2), "holds a Tensor"),
        ({"weight": torch.eye(2).to_sparse()}, "Sparse"),
        ({"weight": torch.ones(2, device="meta")}, "meta"),
    ],
)
def test_anything_but_a_plain_state_dict_is_refused(state, message, tmp_path):
    with pytest.raises(ValueError, match=rf"(?s)state\.pt.*{message}"):
        load_state(saved(tmp_path, state))


def test_other_endings_and_missing_files(tmp_path):
    with pytest.raises(ValueError, match=r"\.pt, \.pth or \.safetensors, not '\.pkl'"):
        load_state(tmp_path / "state.pkl")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        load_state(str(tmp_path / "nowhere.pt"))
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(FileNotFoundError, match=r"folder\.pt"):
        load_state(tmp_path / "folder.pt")


# What is registered ----------------------------------------------------------------------------

PINS = {
    "face_detection_yunet_2026may.onnx": (
        229_738,
        "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
    ),
    "face_recognition_sface_2021dec.onnx": (
        38_696_353,
        "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    ),
    "20180402-114759-vggface2.pt": (
        111_898_327,
        "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b",
    ),
    "20180408-102900-casia-webface.pt": (None, None),
    "face-reidentification-retail-0095.xml": (
        350_427,
        "ce53d2c9c08c0bd1c1660fb8a5b6d0e3e4ec19eb92f1036d2d83a85e83082dce",
    ),
    "face-reidentification-retail-0095.bin": (
        2_213_628,
        "241229ca3d206321868d46ce74a3c0b06c49cea58db7dc70b2e842ff287545d1",
    ),
}


PACKAGED = {"skface-mini", "skface-detector"}


def test_sizes_and_hashes_are_as_published():
    files = [file for entry in REGISTRY.values() for file in entry.files if file.url is not None]
    assert {file.filename: (file.size, file.sha256) for file in files} == PINS
    assert len(files) == len(PINS)
    for file in files:
        assert re.fullmatch(rf"https://[^?#]+/{re.escape(file.filename)}", file.url)


@pytest.mark.parametrize("entry", REGISTRY.values(), ids=list(REGISTRY))
def test_entries_agree_with_backbones_and_crops(entry):
    assert weights_info(entry.name) is entry
    assert entry.licence and entry.source and entry.training_data
    assert entry.kind in ("embedder", "detector")
    if entry.kind == "embedder":
        assert entry.geometry in GEOMETRIES
    if entry.backbone is not None:
        spec = BACKBONES[entry.backbone]
        width, height = GEOMETRIES[entry.geometry].size
        # what is cut out larger is shrunk by the embedder
        assert height >= spec.input_size[0]
        assert width * spec.input_size[0] == height * spec.input_size[1]
        for fact in ("color", "mean", "std", "embedding_dim"):
            assert getattr(entry, fact) == getattr(spec, fact)


def test_unknown_names_are_answered_with_the_known_ones():
    for look_up in (weights_info, fetch_weights):
        with pytest.raises(ValueError, match=r"'facenet' is not one of .*'yunet', .*'vggface2'"):
            look_up("facenet")
    assert list_weights() == list(REGISTRY)


@pytest.mark.parametrize("name", ["yunet", "face-reidentification-retail-0095"])
def test_the_real_files_are_what_is_registered(name, skface_home):
    filenames = [file.filename for file in weights_info(name).files]
    assert fetch_weights(name) == tuple(skface_home / filename for filename in filenames)


def test_weights_of_the_package_need_neither_folder_nor_network(cache, home):
    for name in PACKAGED:
        paths = fetch_weights(name)  # sizes and hashes are those of the registry
        for path in paths:
            (home / path.name).write_bytes(b"another file")
            assert path.parent == Path(skface.__file__).parent / "data"
        assert fetch_weights(name) == locate_weights(name) == paths
    assert not cache.exists()


def test_packaged_embedders_are_stored_in_halves():
    path = fetch_weights("skface-mini")[0]
    assert {values.dtype for values in load_state(path).values()} == {np.dtype(np.float16)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "has SHA-256 .* instead of 0000"),
        ({"size": 5}, "bytes instead of 5"),
        ({"filename": "lost.safetensors"}, r"lost\.safetensors is not there"),
    ],
)
def test_broken_weights_of_the_package_are_refused(change, message, monkeypatch):
    entry = weights_info("skface-mini")
    files = (replace(entry.files[0], **change),)
    monkeypatch.setitem(REGISTRY, "skface-mini", replace(entry, files=files))
    with pytest.raises(WeightsError, match=f"{message}.*comes with skface: install skface again"):
        fetch_weights("skface-mini")


# Command line ----------------------------------------------------------------------------------


def test_list_shows_every_licence_and_source(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for entry in REGISTRY.values():
        for fact in (entry.name, entry.licence, entry.source):
            assert fact in out


@pytest.mark.parametrize("name", REGISTRY)
def test_info_shows_what_is_known(name, capsys):
    assert main(["info", name]) == 0
    out = capsys.readouterr().out
    entry = weights_info(name)
    assert entry.licence in out and entry.source in out and entry.training_data in out
    for file in entry.files:
        size = "size unknown" if file.size is None else f"{file.size:,} bytes"
        place = file.url or "comes with skface"
        assert place in out and size in out and (file.sha256 or "SHA-256 unknown") in out


def test_fetch_prints_the_paths(site, cache, capsys):
    assert main(["fetch", "twin"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-2:] == [str(cache / "twin.xml"), str(cache / "twin.bin")]
    assert "toy licence" in out and "toy source" in out


def test_fetch_takes_a_hash(unverifiable, cache, capsys):
    assert main(["fetch", "toy", "--sha256", HASHES["toy.pt"]]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(cache / "toy.pt")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "facenet"], "'facenet' is not one of"),
        (["fetch", "facenet"], "'facenet' is not one of"),
        (["fetch", "vggface2"], "SKFACE_OFFLINE=1"),
        (["fetch", "casia-webface"], "--sha256"),
        (["fetch", "vggface2", "--sha256", UNKNOWN], "contradicts"),
        (["fetch", "vggface2", "--sha256", "abc"], "64 hexadecimal digits"),
    ],
)
def test_failures_are_one_line_and_status_1(arguments, message, capsys):
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


@pytest.mark.parametrize("arguments", [[], ["fetch"], ["delete", "toy"]])
def test_wrong_usage_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert "usage: python -m skface.weights" in capsys.readouterr().err


def test_the_module_runs_and_loads_nothing_that_it_does_not_need():
    code = (
        "import runpy, sys; sys.argv = ['weights', 'list']\n"
        "try: runpy.run_module('skface.weights', run_name='__main__')\n"
        "except SystemExit as error: status = error.code\n"
        "print(status, *{'torch', 'pooch', 'requests', 'safetensors'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    lines = run.stdout.splitlines()
    assert (lines[0], lines[-1], run.stderr) == ("skface-mini", "0", "")
