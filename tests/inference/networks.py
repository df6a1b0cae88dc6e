"""Networks to run, and what the plain module gives."""

import torch
from torch import nn

from skface.embedding._network import build_network
from skface.inference._probes import compare_vectors
from skface.nn.backbones import BACKBONES

IMAGE_BACKBONES = [name for name, spec in BACKBONES.items() if not spec.flat]
SIZES = {"inception_resnet_v1": (96, 96)}  # for speed; it takes any size


def lively_network(backbone, seed=0):
    """A network whose batch normalisations have statistics, as after training."""
    spec = BACKBONES[backbone]
    size = SIZES.get(backbone, spec.input_size or (48, 40))
    network = build_network(backbone, (3, *size), None, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for part in network.module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1, generator=generator)
            part.running_var.uniform_(0.5, 2, generator=generator)
    return network


def largest_gap(expected, found):
    return 1 - compare_vectors(expected, found).min()


def plainly(network, images):
    with torch.inference_mode():
        return network.module(torch.from_numpy(network.inputs(images))).numpy()
