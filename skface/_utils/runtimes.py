"""Runtimes that are installed, and the threads that a process may use."""

import importlib.util
import os

import joblib


def is_installed(runtime: str) -> bool:
    """Return whether a runtime can be imported, without importing it."""
    return importlib.util.find_spec(runtime) is not None


def thread_share() -> int:
    """Return the number of threads that this process may compute with.

    joblib sets the share of its worker processes in ``OMP_NUM_THREADS``, which OpenMP reads and
    other runtimes do not.
    """
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(given) if given.isdigit() and int(given) > 0 else joblib.cpu_count()
