"""A user's script in strict mode gets no type error of skface's making."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import skface

SCRIPT = Path(__file__).with_name("data") / "typed_user_script.py"


def test_package_says_that_it_is_typed():
    assert Path(skface.__file__).with_name("py.typed").is_file()


def test_strict_mypy_accepts_normal_use(tmp_path):
    pytest.importorskip("mypy")
    script = shutil.copy(SCRIPT, tmp_path)
    config = tmp_path / "mypy.ini"
    # scikit-learn has no types of its own, which is not skface's making
    config.write_text("[mypy]\nstrict = True\n[mypy-sklearn.*]\nignore_missing_imports = True\n")
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), str(script)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
