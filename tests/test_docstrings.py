"""Every public docstring is complete numpydoc: parameters, types, returns, errors."""

import importlib
import inspect
import pkgutil

import pytest

import skface

numpydoc = pytest.importorskip("numpydoc.validate")

# Style that ruff checks already, and sections that not every object needs.
IGNORED = {
    "ES01",  # no extended summary
    "EX01",  # no examples
    "GL01",  # summary on the first line
    "GL02",  # closing quotes on the last line
    "PR06",  # "str" and "int" are numpydoc's own names for types
    "PR09",  # a description may end with a literal or a list
    "RT03",
    "RT04",
    "RT05",
    "SA01",  # no see-also section
    "SS06",  # a summary of one line is checked by ruff
    "YD01",
}


def public_modules():
    """Every module of the package without an underscore in its dotted name, with `__all__`."""
    yield skface
    for info in pkgutil.walk_packages(skface.__path__, "skface."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            yield importlib.import_module(info.name)


def public_objects():
    """Dotted names of public functions, classes and their methods, each once."""
    names = {}
    for module in public_modules():
        for name in module.__all__:
            thing = getattr(module, name)
            if not (inspect.isclass(thing) or inspect.isfunction(thing)):
                continue
            if not thing.__module__.startswith("skface"):
                continue
            names.setdefault(id(thing), f"{module.__name__}.{name}")
            if not inspect.isclass(thing):
                continue
            for attribute, member in vars(thing).items():
                if not attribute.startswith("_") and inspect.isfunction(member):
                    names.setdefault(id(member), f"{module.__name__}.{name}.{attribute}")
    return sorted(names.values())


@pytest.mark.parametrize("module", public_modules(), ids=lambda module: module.__name__)
def test_public_modules_list_their_names(module):
    assert module.__doc__
    assert list(module.__all__) == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("name", public_objects())
def test_docstring_is_complete(name):
    found = numpydoc.validate(name)["errors"]
    problems = [f"{code}: {message}" for code, message in found if code not in IGNORED]
    assert not problems
