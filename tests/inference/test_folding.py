"""Folding of batch normalization into the layer before it."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from networks import IMAGE_BACKBONES, lively_network
from torch import nn

from skface.inference._folding import fold_batch_norm


@pytest.mark.parametrize("backbone", IMAGE_BACKBONES)
def test_folding_leaves_no_normalization_after_a_convolution(backbone):
    network = lively_network(backbone)
    folded = fold_batch_norm(network.module)
    n_left = sum(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    # those of an IResNet that come before a convolution, whose padding is not normalized
    expected = {"iresnet18": 9, "iresnet50": 25, "iresnet_mini": 10}.get(backbone, 0)
    assert n_left == expected
    images = torch.randn(2, *network.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(folded(images), network.module(images), rtol=1e-3, atol=1e-3)


def test_folding_does_not_disturb_other_threads():
    begun, done = threading.Event(), threading.Event()

    class Waiting(nn.Sequential):
        def forward(self, faces):
            begun.set()
            assert done.wait(60)
            return super().forward(faces)

    compiled = torch.compile(nn.Linear(4, 4), backend="eager")
    compiled(torch.zeros(1, 4))
    module = Waiting(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    faces = torch.ones(2, 3, 8, 8)
    expected = other(faces)
    with ThreadPoolExecutor(2) as pool:
        folding = pool.submit(fold_batch_norm, module)
        assert begun.wait(60)
        second = pool.submit(fold_batch_norm, copy.deepcopy(other).eval())
        try:
            torch.testing.assert_close(other(faces), expected)
            assert compiled(torch.zeros(1, 4)).shape == (1, 4)
        finally:
            done.set()
        for folded in (folding.result(), second.result()):
            assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())


def test_layers_that_are_used_twice_are_not_folded():
    class Network(nn.Module):
        def __init__(self, *layers):
            super().__init__()
            self.first, self.norm, self.last, self.last_norm = layers

        def forward(self, faces):
            hidden = self.first(faces)
            hidden = self.norm(hidden) + hidden
            hidden = self.last_norm(self.last(hidden))
            return self.last_norm(self.last(hidden)).mean((2, 3))

    torch.manual_seed(0)
    module = Network(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    faces = torch.randn(5, 3, 8, 8)
    module(faces)  # in training mode, so that the statistics are not those of the start
    folded = fold_batch_norm(module.eval())
    assert sum(isinstance(part, nn.BatchNorm2d) for part in folded.modules()) == 2
    torch.testing.assert_close(folded(faces), module(faces))


def test_folding_takes_a_linear_layer_too():
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4))
    faces = torch.randn(5, 3, 2, 2)
    module(faces)
    folded = fold_batch_norm(module.eval())
    assert not any(isinstance(part, nn.BatchNorm1d) for part in folded.modules())
    torch.testing.assert_close(folded(faces), module(faces))
