"""Gradients of one batch: what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from skface.nn.distributed import ProcessGroup
from skface.nn.gradients import BatchGradients
from skface.nn.objectives import LabelLoss
from skface.nn.options import Options
from skface.nn.sampling import Batch

IMAGES = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
BATCH = Batch(np.arange(3), torch.tensor([0, 0, 1]))


def backward(loss, **options):
    module = nn.Linear(3, 2)
    gradients = BatchGradients(module, LabelLoss(loss), IMAGES.__getitem__, Options(**options))
    return gradients.backward(module, BATCH, torch.Generator(), epoch=1)


def test_a_batch_too_small_for_its_processes_is_refused_by_each_of_them():
    for rank in range(2):
        with pytest.raises(ValueError, match="batch of 3 faces gives some of 2 processes fewer"):
            backward(lambda z, labels: z.sum(), process_group=ProcessGroup(rank, 2))


def test_a_loss_that_ignores_the_embeddings_is_refused():
    constant = torch.ones((), requires_grad=True)
    with pytest.raises(TypeError, match="does not depend on the embeddings"):
        backward(lambda z, labels: 2 * constant)


def test_the_loss_is_returned_without_its_graph():
    measures = backward(lambda z, labels: z.square().sum())
    assert measures["loss"].item() == pytest.approx(3)  # three embeddings of unit length
    assert not measures["loss"].requires_grad
