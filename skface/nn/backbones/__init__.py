"""Registry of the networks that turn a face into a vector.

Every backbone takes float32 ``(pixels - mean) / std`` as (n, 3, H, W), or (n, n_features) where it
is flat, and returns the raw (n, embedding_dim) embedding; whoever uses it normalises. Children of
a module are registered in the order in which they run, input first, and are the stages that
`skface.nn.freezing` freezes apart.
"""

from collections.abc import Callable
from dataclasses import dataclass

from skface.nn.backbones.inception_resnet_v1 import InceptionResnetV1
from skface.nn.backbones.iresnet import IResNet, iresnet18, iresnet50
from skface.nn.backbones.iresnet_mini import IResNetMini
from skface.nn.backbones.mlp import MLP
from skface.nn.backbones.mobilefacenet import MobileFaceNet
from skface.nn.backbones.retail0095 import Retail0095, load_retail0095_ir
from skface.nn.backbones.small import SmallResNet

__all__ = [
    "BACKBONES",
    "MLP",
    "BackboneSpec",
    "IResNet",
    "IResNetMini",
    "InceptionResnetV1",
    "MobileFaceNet",
    "Retail0095",
    "SmallResNet",
    "get_backbone",
    "iresnet18",
    "iresnet50",
    "load_retail0095_ir",
]


@dataclass(frozen=True)
class BackboneSpec:
    """What there is to know about a backbone before building it.

    Parameters
    ----------
    name : str
        Name in the registry.
    build : callable
        ``build(embedding_dim, in_shape) -> nn.Module`` with random weights, drawn from torch's
        global generator: wrap it in ``torch.random.fork_rng`` and seed inside to control them.
        ``in_shape`` is the shape of one row: (3, H, W), or (n_features,) if ``flat``.
    embedding_dim : int
        Width of the embedding unless told otherwise.
    input_size : tuple of int (H, W) or None, default=None
        Image size in pixels that the network is meant for; None if it adapts to ``in_shape``.
    color : {"rgb", "bgr"}, default="rgb"
        Order of the colour planes.
    mean, std : float
        The network is fed ``(pixels - mean) / std`` of pixels in 0..255.
    flat : bool, default=False
        Whether a row is a feature vector, fed as it is, rather than an image.
    """

    name: str
    build: Callable
    embedding_dim: int
    input_size: tuple[int, int] | None = None
    color: str = "rgb"
    mean: float = 127.5
    std: float = 128.0
    flat: bool = False


BACKBONES = {
    spec.name: spec
    for spec in (
        BackboneSpec("inception_resnet_v1", InceptionResnetV1, 512, input_size=(160, 160)),
        BackboneSpec("iresnet18", iresnet18, 512, input_size=(112, 112), std=127.5),
        BackboneSpec("iresnet50", iresnet50, 512, input_size=(112, 112), std=127.5),
        BackboneSpec("iresnet-mini", IResNetMini, 256, input_size=(112, 112)),
        BackboneSpec("mobilefacenet", MobileFaceNet, 128),
        BackboneSpec(
            "retail-0095", Retail0095, 256, input_size=(128, 128), color="bgr", mean=0.0, std=1.0
        ),
        BackboneSpec("small-resnet", SmallResNet, 128),
        BackboneSpec("mlp", MLP, 64, mean=0.0, std=1.0, flat=True),
    )
}


def get_backbone(name):
    """Look a backbone up by name.

    Parameters
    ----------
    name : str
        A key of ``BACKBONES``.

    Returns
    -------
    BackboneSpec
        Its entry.

    Raises
    ------
    ValueError
        If there is no backbone of that name.

    Examples
    --------
    >>> from skface.nn.backbones import get_backbone
    >>> spec = get_backbone("retail-0095")
    >>> spec.input_size, spec.color, spec.embedding_dim
    ((128, 128), 'bgr', 256)
    """
    try:
        return BACKBONES[name]
    except (KeyError, TypeError):
        known = ", ".join(map(repr, BACKBONES))
        raise ValueError(f"backbone={name!r} is not one of {known}.") from None
