"""Argument checks and error wording that the whole package shares."""

from collections.abc import Collection, Iterable
from typing import Any


def check_option(value: Any, name: str, options: Collection[str]) -> Any:
    """Return `value` if it is one of `options`, else raise a ValueError that lists them."""
    if not isinstance(value, str) or value not in options:
        known = ", ".join(repr(option) for option in options)
        raise ValueError(f"{name}={value!r} is not one of {known}.")
    return value


def name_some(items: Iterable[Any], limit: int = 5) -> str:
    """Name the first few of `items` and count the rest: ``'3, 7, 9 and 12 more'``."""
    names = [str(item) for item in items]
    if len(names) <= limit:
        return ", ".join(names)
    return f"{', '.join(names[:limit])} and {len(names) - limit} more"
