"""Digests of arrays and bytes: equal content has equal digests in every process."""

import hashlib

import numpy as np

_DIGEST_BYTES = 16


def digest_arrays(arrays: dict[str, np.ndarray]) -> str:
    """Digest arrays by name, whatever their order and memory layout.

    Parameters
    ----------
    arrays : dict of str to ndarray
        The arrays.

    Returns
    -------
    str
        32 hexadecimal digits.

    Examples
    --------
    >>> import numpy as np
    >>> from skface._utils.digests import digest_arrays
    >>> a, b = np.zeros((2, 3)), np.ones(4, np.float32)
    >>> digest_arrays({"a": a, "b": b}) == digest_arrays({"b": b, "a": np.asfortranarray(a)})
    True
    >>> digest_arrays({"a": a}) == digest_arrays({"a": a.T})
    False
    """
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{len(name)} {name} {array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def digest_bytes(content: bytes | memoryview) -> str:
    """Digest bytes, as 32 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()
