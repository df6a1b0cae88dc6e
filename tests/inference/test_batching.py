"""Batches that memory does not hold."""

import warnings

import numpy as np
import pytest
import torch

from skface.inference._batching import AdaptiveBatcher


def fail_above(n_faces, error):
    """A network that runs out of memory above so many faces."""
    sizes = []

    def run(batch):
        if len(batch) > n_faces:
            raise error
        sizes.append(len(batch))
        return batch * 2

    return run, sizes


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_out_of_memory_halves_the_batch_once_and_for_all(error):
    run, sizes = fail_above(3, error)
    run_batches = AdaptiveBatcher(run)
    batch = np.arange(10.0).reshape(10, 1)
    with pytest.warns(UserWarning, match="batch_size=2") as caught:
        np.testing.assert_array_equal(run_batches(batch), batch * 2)
    assert len(caught) == 1
    assert sizes == [2] * 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_batches(batch)
    with pytest.raises(type(error)):
        AdaptiveBatcher(fail_above(0, error)[0])(batch)


def test_other_errors_are_not_hidden():
    run, _ = fail_above(0, RuntimeError("weights are broken"))
    with pytest.raises(RuntimeError, match="broken"):
        AdaptiveBatcher(run)(np.zeros((4, 1)))
