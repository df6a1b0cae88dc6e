"""What a process may compute with: runtimes that are installed, and its share of threads."""

import importlib.util
import os

import joblib


def is_installed(runtime: str) -> bool:
    """Tell whether a runtime can be imported, without importing it."""
    return importlib.util.find_spec(runtime) is not None


def thread_share() -> int:
    """Return how many threads this process may compute with.

    joblib gives its worker processes their share through the environment, which OpenMP reads but
    other runtimes do not.
    """
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(given) if given.isdigit() and int(given) > 0 else joblib.cpu_count()
