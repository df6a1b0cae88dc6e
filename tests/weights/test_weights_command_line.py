"""The command line ``python -m skface.weights``."""

import subprocess
import sys

import pytest
from toy_weights import HASHES, UNKNOWN

from skface.weights import REGISTRY, weights_info
from skface.weights.__main__ import main


def test_list_shows_every_license_and_source(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for entry in REGISTRY.values():
        for fact in (entry.name, entry.license, entry.source):
            assert fact in out


@pytest.mark.parametrize("name", REGISTRY)
def test_info_shows_what_is_known(name, capsys):
    assert main(["info", name]) == 0
    out = capsys.readouterr().out
    entry = weights_info(name)
    assert entry.license in out and entry.source in out and entry.training_data in out
    for file in entry.files:
        size = "size unknown" if file.size is None else f"{file.size:,} bytes"
        place = file.url or "comes with skface"
        assert place in out and size in out and (file.sha256 or "SHA-256 unknown") in out


def test_fetch_prints_the_paths(site, cache, capsys):
    assert main(["fetch", "twin"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-2:] == [str(cache / "twin.xml"), str(cache / "twin.bin")]
    assert "toy license" in out and "toy source" in out


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
