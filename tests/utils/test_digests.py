"""Digests of arrays, and of any value."""

import functools
import math
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from skface._utils.digests import digest_arrays, digest_bytes, digest_value

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


def digest(value):
    return digest_value(value, "value")


def half(X):
    return X / 2


def double(X):
    return X * 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (half, double),
        (np.log1p, np.exp),
        (math.sin, math.cos),
        (np.clip, np.sort),
        (functools.partial(np.clip, a_min=0), functools.partial(np.clip, a_min=1)),
        (torch.nn.ReLU, torch.nn.Tanh),
        (torch.nn.ReLU(), torch.nn.Tanh()),
        (torch.nn.LeakyReLU(0.1), torch.nn.LeakyReLU(0.2)),
        (torch.arange(4), torch.arange(4) + 1),
        (torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.float16)),
        (torch.float32, torch.float64),
        (Path("a"), Path("b")),
        ([1, 2], (1, 2)),
        (1, True),
        (1, 1.0),
        ("1", b"1"),
        (np.float32(1), np.float64(1)),
        (np.array(["a", None]), np.array(["a", "b"], dtype=object)),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
        ([["a"], "b"], ["a", ["b"]]),
    ],
    ids=str,
)
def test_values_have_digests_of_their_own_that_survive_pickling(one, other):
    assert digest(one) != digest(other)
    for value in (one, other):
        assert digest(pickle.loads(pickle.dumps(value))) == digest(value)


def test_equal_values_have_equal_digests_however_they_were_built(tmp_path):
    array, text = np.arange(5.0), "".join(["a", "b"])
    scaler = StandardScaler().fit(np.random.default_rng(0).random((9, 4)))
    one = {"x": array, "y": array, 3: ("ab", text), "scale": scaler, "set": {"p", "q", 4}}
    twice = {3: ("ab", "ab"), "scale": clone(scaler), "y": array[:], "x": array.copy()}
    twice["scale"].fit(np.random.default_rng(0).random((9, 4)))
    other = {"set": {4, "q", "p"}} | twice
    joblib.dump(one, tmp_path / "one")
    loaded = joblib.load(tmp_path / "one", mmap_mode="r")
    assert digest(one) == digest(other) == digest(loaded)
    for changed in ({"x": array[::-1]}, {"x": array.astype(np.float32)}, {3: ["ab", "ab"]}):
        assert digest(one | changed) != digest(one)


def test_estimators_are_digested_by_what_their_output_depends_on():
    X = np.random.default_rng(0).random((20, 6))
    pca = PCA(3, svd_solver="full", random_state=0).fit(X)
    assert digest(clone(pca).set_params(random_state=1).fit(X)) == digest(pca)
    for other in (PCA(3).fit(X[1:]), PCA(4).fit(X), PCA(3, whiten=True).fit(X)):
        assert digest(other) != digest(pca)
    before = digest(pca)
    pca.mean_[2] += 1
    assert digest(pca) != before


def test_digests_agree_between_processes():
    code = textwrap.dedent(
        """
        import numpy as np
        from sklearn.pipeline import make_pipeline
        from sklearn.decomposition import PCA
        from sklearn.preprocessing import FunctionTransformer
        from skface._utils.digests import digest_value
        X = np.arange(24.0).reshape(6, 4) % 7
        odd = {"b": {3, 1, "z", "a", frozenset("xyz")}, 1: np.float32(2), "a": (None, 1j, b"x")}
        pipe = make_pipeline(FunctionTransformer(kw_args=odd), PCA(2, svd_solver="full"))
        pipe.steps[-1][1].fit(X)
        print(digest_value(pipe, "pipe").hex())
        """
    )
    seen = set()
    for seed in "123":
        environment = os.environ | {"PYTHONHASHSEED": seed}
        program = [sys.executable, "-c", code]
        output = subprocess.run(
            program, check=True, capture_output=True, text=True, env=environment
        )
        seen.add(output.stdout)
    assert len(seen) == 1


def of_main(source):
    namespace = {"__name__": "__main__"}
    exec(source, namespace)
    return namespace["made"]


def test_functions_of_the_main_program_are_identified_if_allowed(monkeypatch):
    made = of_main("def made(X): return X")
    monkeypatch.setattr(sys.modules["__main__"], "made", made, raising=False)
    with pytest.raises(ValueError, match=r"loss=<function made.*named function or class"):
        digest_value(made, "loss")
    assert digest_value(made, "loss", allow_main=True) == digest_value(
        made, "loss", allow_main=True
    )
    with pytest.raises(ValueError, match=r"loss\[0\]=<function .*lambda"):
        digest_value([lambda X: X], "loss", allow_main=True)


class Node:
    def __init__(self):
        self.owner = [self]


def test_a_value_that_contains_itself_is_refused():
    contained = []
    contained.append(contained)
    for value in (contained, {"a": contained}, Node()):
        with pytest.raises(ValueError, match=r"^loss[\[.]\S*=.* cannot be identified by another"):
            digest_value(value, "loss")
