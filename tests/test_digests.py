"""Digests of content."""

import numpy as np
import pytest

from skface._utils.digests import digest_arrays, digest_bytes

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(())}


def test_layout_in_memory_and_order_do_not_matter():
    again = {"b": ARRAYS["b"].copy(), "a": np.asfortranarray(ARRAYS["a"])}
    assert digest_arrays(again) == digest_arrays(ARRAYS)
    assert digest_bytes(b"ab") == digest_bytes(bytearray(b"ab"))


@pytest.mark.parametrize(
    "other",
    [
        {"a": ARRAYS["a"], "c": ARRAYS["b"]},
        {"a": ARRAYS["a"]},
        {**ARRAYS, "a": ARRAYS["a"].reshape(3, 2)},
        {**ARRAYS, "a": ARRAYS["a"].view(np.int32)},
        {**ARRAYS, "a": ARRAYS["a"] + 1},
    ],
    ids=["name", "number", "shape", "dtype", "values"],
)
def test_every_part_of_the_content_matters(other):
    assert digest_arrays(other) != digest_arrays(ARRAYS)
