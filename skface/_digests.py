"""Digests of content: equal content has the same digest in every process and on every machine."""

import hashlib
from collections.abc import Mapping

import numpy as np

_N_BYTES = 16


def digest_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """Digest named arrays, in any order.

    Parameters
    ----------
    arrays : dict of str to ndarray
        Such as the weights of a network.

    Returns
    -------
    str
        32 hexadecimal digits. They depend on names, dtypes, shapes and values.

    Examples
    --------
    >>> import numpy as np
    >>> from skface._digests import digest_arrays
    >>> a, b = np.zeros(2), np.ones(3)
    >>> digest_arrays({"a": a, "b": b}) == digest_arrays({"b": b, "a": a})
    True
    """
    digest = hashlib.blake2b(digest_size=_N_BYTES)
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def digest_bytes(content: bytes) -> str:
    """Digest bytes.

    Parameters
    ----------
    content : bytes-like
        Such as a file.

    Returns
    -------
    str
        32 hexadecimal digits.

    Examples
    --------
    >>> from skface._digests import digest_bytes
    >>> len(digest_bytes(b"content"))
    32
    """
    return hashlib.blake2b(content, digest_size=_N_BYTES).hexdigest()
