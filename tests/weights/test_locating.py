"""Where files are found, and how they are verified."""

import hashlib
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from toy_weights import FILES, HASHES, UNKNOWN, contents, names_everything, put

from skface.exceptions import WeightsError
from skface.weights import fetch_weights


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
    with pytest.warns(UserWarning, match=f"SKFACE_HOME='{value}' is not a folder"):
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
    with pytest.raises(WeightsError, match=r"home.*toy\.pt does not exist"):
        fetch_weights("toy")
    assert site.requests == []


def test_files_that_belong_together_come_from_one_folder(site, home, cache):
    put(home, "twin.bin")
    put(cache, "twin.xml", "twin.bin")
    with pytest.raises(WeightsError, match=r"home.*twin\.xml does not exist"):
        fetch_weights("twin")
    put(home, "twin.xml")
    assert fetch_weights("twin") == (home / "twin.xml", home / "twin.bin")
    assert site.requests == []


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
