"""Descriptions of parameters that several classes share."""

from collections.abc import Callable, Mapping
from typing import TypeVar

C = TypeVar("C", bound=type)


def share_docs(docs: Mapping[str, str]) -> Callable[[C], C]:
    r"""Decorate a class: put shared texts into its docstring.

    Parameters
    ----------
    docs : mapping of str to str
        Texts by name. A line of the docstring that is ``%(name)s`` and nothing else is replaced by
        the text of that name, with the indentation of the line.

    Returns
    -------
    callable
        The decorator. It raises KeyError for a name without a text.

    Examples
    --------
    >>> @share_docs({"seed": "seed : int\n    Seed of the generator."})
    ... class Sampler:
    ...     '''Draw.
    ...
    ...     %(seed)s
    ...     '''
    >>> import inspect
    >>> print(inspect.getdoc(Sampler))
    Draw.
    <BLANKLINE>
    seed : int
        Seed of the generator.
    """

    def decorate(cls: C) -> C:
        if cls.__doc__ is None:  # python -OO
            return cls
        lines = []
        for line in cls.__doc__.splitlines():
            text = line.strip()
            if text.startswith("%(") and text.endswith(")s"):
                indentation = line[: len(line) - len(line.lstrip())]
                shared = docs[text[2:-2]].strip("\n").splitlines()
                lines += [indentation + part if part else part for part in shared]
            else:
                lines.append(line)
        cls.__doc__ = "\n".join(lines)
        return cls

    return decorate
