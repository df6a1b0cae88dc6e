"""Building networks: with given weights or random ones, on the CPU."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from skface.embedding._network import build_network
from skface.nn.backbones import BACKBONES
from skface.nn.rng import private_global_rng


def test_given_weights_are_not_kept_waiting_by_a_training():
    state = build_network("small_resnet", (3, 32, 32), None).state()
    state.pop(next(name for name in state if name.endswith("num_batches_tracked")))
    with ThreadPoolExecutor(1) as pool, private_global_rng(0):  # as training does, for an epoch
        before = torch.get_rng_state()
        building = pool.submit(build_network, "small_resnet", (3, 32, 32), None, state=state)
        built = building.result(timeout=60)
        assert torch.equal(torch.get_rng_state(), before)
    for name, values in built.state().items():
        assert name.endswith("num_batches_tracked") or (values == state[name]).all()
    assert all((values == 0).all() for name, values in built.state().items() if name not in state)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_given_weights_are_all_that_a_registered_network_is(backbone):
    spec = BACKBONES[backbone]
    shape = (7,) if spec.flat else (3, *(spec.input_size or (96, 96)))
    if backbone.startswith("iresnet"):
        shape = (3, 32, 32)  # whose last layer is small
    given = tensors_of(build_network(backbone, shape, None, seed=1).module)
    found = tensors_of(build_network(backbone, shape, None, state=given).module)
    assert found.keys() == given.keys()
    for name, values in given.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_what_a_network_computes_for_itself_is_left_alone():
    class Network(nn.Linear):
        def __init__(self):
            super().__init__(12, 2)
            self.register_buffer("scale", torch.full((1,), 3.0), persistent=False)

        def forward(self, faces):
            return super().forward(faces.flatten(1)) * self.scale

    state = build_network(Network, (3, 2, 2), None).state()
    assert build_network(Network, (3, 2, 2), None, state=state).module.scale == 3


def tensors_of(module):
    """Return parameters and all buffers, also those that no state dict has."""
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor.detach().numpy().copy() for name, tensor in named}


def test_networks_are_built_on_the_cpu_whatever_the_default():
    torch.set_default_device("meta")
    try:
        network = build_network("small_resnet", (3, 32, 32), None)
        again = build_network("small_resnet", (3, 32, 32), None, state=network.state())
        old = {k: v for k, v in network.state().items() if not k.endswith("num_batches_tracked")}
        uncounted = build_network("small_resnet", (3, 32, 32), None, state=old)
    finally:
        torch.set_default_device(None)
    for built in (network, again, uncounted):
        assert {tensor.device.type for tensor in built.module.state_dict().values()} == {"cpu"}
