"""Digest of everything that the values of a fitted transformer depend on."""

import functools
from typing import Any

from sklearn.base import BaseEstimator

from skface._utils.digests import digest_bytes, digest_value, package_version
from skface._version import __version__

_FORMAT = 4  # of digests, and of what skface computes between two versions
# Another version of these may round differently, or find another face.
_COMPUTING_PACKAGES = (
    "numpy",
    "onnxruntime",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
    "opencv-python",
    "opencv-python-headless",
    "openvino",
    "pillow",
    "scikit-learn",
    "scipy",
    "torch",
)


def fingerprint(transformer: BaseEstimator, *more: Any) -> bytes:
    """Digest everything that the values of a fitted transformer depend on.

    These are its class, its parameters and fitted attributes, as in
    :func:`skface._utils.digests.digest_value`, and the versions of the packages that compute.

    Parameters
    ----------
    transformer : estimator
        A fitted transformer or pipeline.
    *more : object
        Other objects that the values depend on.

    Returns
    -------
    bytes
        16 bytes.

    Raises
    ------
    ValueError
        If a part of it cannot be identified: a lambda, a function or class that is local or of the
        main program, or an object that cannot be pickled.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skface.cache._fingerprint import fingerprint
    >>> X = np.random.default_rng(0).random((9, 4))
    >>> fingerprint(PCA(2).fit(X)) == fingerprint(PCA(2, random_state=1).fit(X))
    True
    >>> fingerprint(PCA(2).fit(X)) == fingerprint(PCA(2).fit(X[1:]))
    False
    """
    try:
        state = digest_value(transformer, type(transformer).__name__)
    except ValueError as error:
        raise ValueError(f"{error} Or set cache=None.") from error
    return digest_bytes(_versions() + state + digest_value(more, "more"))


@functools.cache
def _versions() -> bytes:
    """Digest the versions of all packages that compute, imported or not."""
    versions = map(package_version, _COMPUTING_PACKAGES)
    return digest_value([_FORMAT, __version__, *versions], "versions")
