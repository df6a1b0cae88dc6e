"""Every public docstring is complete numpydoc: parameters, types, returns, errors."""

import importlib
import inspect
import pkgutil
import typing

import pytest

import skface

docscrape = pytest.importorskip("numpydoc.docscrape")
validate = pytest.importorskip("numpydoc.validate")

IGNORED = {
    "ES01",  # a summary of one line can be enough
    "EX01",  # not every method needs an example of its own
    "PR06",  # "integer Tensor" is no mistake for "int"
    "RT02",  # scikit-learn names a single returned value: "self : FaceNetEmbedder"
    "SA01",  # no see-also sections
    "YD01",  # context managers yield nothing
}


def public_modules():
    """Every module of the package without an underscore in its dotted name."""
    names = [info.name for info in pkgutil.walk_packages(skface.__path__, "skface.")]
    public = [name for name in names if not any(part[0] == "_" for part in name.split("."))]
    return [skface, *map(importlib.import_module, public)]


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
    assert len(module.__all__) == len(set(module.__all__))
    assert all(hasattr(module, name) for name in module.__all__)


def problems(name):
    """What the validator finds, but for IGNORED."""
    ignored = set(IGNORED)
    thing = pkgutil.resolve_name(name)
    fields = getattr(thing, "_fields", None) or getattr(thing, "__dataclass_fields__", ())
    attributes = docscrape.NumpyDocString(inspect.getdoc(thing))["Attributes"]
    documented = {name for line in attributes for name in line.name.split(", ")}
    if (fields and documented >= set(fields)) or typing.Protocol in getattr(thing, "__bases__", ()):
        ignored.add("PR01")  # fields are documented once, as attributes; a protocol is not called
    return [error for error in validate.validate(name)["errors"] if error[0] not in ignored]


@pytest.mark.parametrize("name", public_objects())
def test_docstring_is_complete(name):
    assert not problems(name)
