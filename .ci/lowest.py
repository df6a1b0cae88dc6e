"""Print the lowest versions that pyproject.toml claims to work with, as pip requirements."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
names = ("fast", "onnx", "plot", "test")  # not the tools of "dev", which the tests do not use
lines = [*project["dependencies"], *(line for name in names for line in extras[name])]
for line in sorted(set(lines)):
    if match := re.fullmatch(r"([\w.-]+)>=([\w.]+)", line):
        print(f"{match[1]}=={match[2]}")
