"""Networks to run, and the vectors of the plain module."""

import dataclasses

import torch
from torch import nn

from skface.inference import Network, Preprocessing
from skface.inference._probes import compare_vectors
from skface.nn.backbones import BACKBONES

IMAGE_BACKBONES = [name for name, spec in BACKBONES.items() if not spec.flat]
SIZES = {"inception_resnet_v1": (96, 96)}  # for speed; it takes any size


def network_of(module, backbone, size, preprocessing=None):
    """A network over faces of a size, by default as that of a callable."""
    preprocessing = preprocessing or Preprocessing(None)
    module = module.float().eval()
    with torch.inference_mode():
        embedding_dim = module(torch.zeros(1, 3, *size)).shape[1]
    preprocessing = dataclasses.replace(preprocessing, size=size)
    return Network(backbone, (3, *size), preprocessing, embedding_dim, module)


def callable_network(build, size=(32, 32), seed=0):
    """The network of a class or function without arguments."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return network_of(build(), build, size)


def lively_network(backbone, seed=0, size=None):
    """A network whose batch normalizations have statistics, as after training."""
    spec = BACKBONES[backbone]
    size = size or SIZES.get(backbone, spec.input_size or (48, 40))
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        module = spec.build(spec.embedding_dim, (3, *size))
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.1)
                part.running_var.uniform_(0.5, 2)
    preprocessing = Preprocessing(None, spec.color, spec.mean, spec.std)
    return network_of(module, backbone, size, preprocessing)


def largest_gap(expected, found):
    return 1 - compare_vectors(expected, found).min()


def plainly(network, images):
    with torch.inference_mode():
        return network.module(torch.from_numpy(network.inputs(images))).numpy()
