"""Stages of networks, and which of their parameters train."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from skface.nn.backbones import BACKBONES  # noqa: E402
from skface.nn.freezing import freeze, stages, train_mode  # noqa: E402


class Network(nn.Module):
    """Two stages and a head, with a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3, 3))
        self.stem = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.slope = nn.PReLU(4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.embedding = nn.Linear(4, 2)
        self.last_norm = nn.BatchNorm1d(2)


def trained(network):
    """Names of the trainable parameters' owners: "stem" for "stem.weight", "scale" for itself."""
    named = network.named_parameters()
    return {name.partition(".")[0] for name, parameter in named if parameter.requires_grad}


def stage_names(network):
    names = {child: name for name, child in network.named_children()}
    return [tuple(names[part] for part in stage) for stage in stages(network)]


def test_vectors_of_parameters_belong_to_the_stage_before():
    network = Network()
    assert stage_names(network) == [
        ("stem", "norm", "slope"),
        ("body",),
        ("embedding", "last_norm"),
    ]


def test_a_normalization_that_comes_first_is_a_stage():
    assert stage_names(nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))) == [("0",), ("1",)]


def test_a_network_without_parts_is_one_stage():
    layer = nn.Linear(2, 2)
    assert stages(layer) == [(layer,)]
    assert stages(nn.ReLU()) == []


def test_stages_of_the_backbones():
    shapes = {"mlp": (7,), "inception_resnet_v1": (3, 80, 80)}
    found = {}
    for name, spec in BACKBONES.items():
        with torch.device("meta"):  # names alone: no memory, no random numbers
            found[name] = stage_names(spec.build(8, shapes.get(name, (3, 64, 64))))
    iresnet = [("conv1", "bn1", "prelu"), ("layer1",), ("layer2",), ("layer3",), ("layer4", "bn2")]
    assert found["iresnet18"] == found["iresnet50"] == [*iresnet, ("fc", "features")]
    mobile = ["stem", "stage1", "stage2", "stage3", "stage4", "stage5", "pool"]
    assert found["mobilefacenet"] == [*((name,) for name in mobile), ("embedding", "norm")]
    assert found["retail_0095"] == [*((name,) for name in mobile), ("embedding",)]
    small = ["stem", "stage1", "stage2", "stage3"]
    assert found["small_resnet"] == [*((name,) for name in small), ("embedding", "norm")]
    assert found["mlp"] == [("hidden",), ("embedding",)]
    inception = found["inception_resnet_v1"]
    assert inception[0] == ("conv2d_1a",)
    assert inception[-2:] == [("block8",), ("last_linear", "last_bn")]
    assert len(inception) == 13


@pytest.mark.parametrize(
    ("trainable", "expected"),
    [
        ("none", set()),
        ("head", {"embedding", "last_norm"}),
        (0, {"embedding", "last_norm"}),
        (1, {"embedding", "last_norm", "body"}),
        (2, {"embedding", "last_norm", "body", "stem", "norm", "slope"}),
        ("all", {"embedding", "last_norm", "body", "stem", "norm", "slope", "scale"}),
    ],
)
def test_freeze_leaves_the_last_stages_trainable(trainable, expected):
    network = Network()
    freeze(network, "none")
    freeze(network, trainable)
    assert trained(network) == expected
    freeze(network, "all")
    freeze(network, trainable)
    assert trained(network) == expected


def test_freeze_of_a_network_without_parts():
    layer = nn.Linear(2, 2)
    freeze(layer, "none")
    freeze(layer, "head")
    assert trained(layer) == {"weight", "bias"}
    with pytest.raises(ValueError, match="at most 0"):
        freeze(layer, 1)


def test_freeze_refuses_more_stages_than_there_are_and_changes_nothing():
    network = Network()
    with pytest.raises(ValueError, match="trainable=3 .* is 2; give at most 2, or 'all'"):
        freeze(network, 3)
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("trainable", ["last", -1, 1.0, True, None])
def test_freeze_refuses_what_is_no_choice(trainable):
    with pytest.raises(ValueError, match=f"trainable={trainable!r} must be"):
        freeze(Network(), trainable)


def test_train_mode_leaves_frozen_parts_in_evaluation_mode():
    network = Network()
    freeze(network, "head")
    train_mode(network)
    assert network.training
    assert network.last_norm.training
    assert not network.norm.training
    assert not network.body[2].training
    freeze(network, "all")
    train_mode(network)
    assert all(part.training for part in network.modules())
