"""What a download leaves, what it reports, and when it is forbidden."""

import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pooch
import pytest
from toy_weights import FILES, HASHES, contents, names_everything, put, register

from skface.exceptions import WeightsError
from skface.weights import fetch_weights, weights_info


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


def test_a_download_shows_license_and_source_once_and_nothing_else(site, caplog, capfd):
    caplog.set_level(logging.WARNING)
    fetch_weights("toy")
    fetch_weights("toy")
    (record,) = caplog.records
    assert record.name == "skface"
    for fact in (f"http://127.0.0.1:{site.server_port}/toy.pt", "toy license", "toy source"):
        assert fact in record.getMessage()
    assert capfd.readouterr() == ("", "")


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


def test_a_server_that_does_not_run_is_named(site, cache, home, monkeypatch):
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
    with pytest.raises(WeightsError, match=r"toy\.pt (does not|has).*weights fetch toy"):
        fetch_weights("toy", download=False)
    assert contents(cache) == ({} if content is None else {"toy.pt": content})
    put(cache, "toy.pt")
    assert fetch_weights("toy", download=False) == (cache / "toy.pt",)
    assert site.requests == []
