"""Networks that map a face to an embedding, by name.

Every backbone takes float32 ``(pixels - mean) / std`` of shape (n, 3, H, W), or (n, n_features) if
it is flat, and returns (n, embedding_dim) embeddings that are not normalized. The children of a
module are registered in the order in which they run, input first. They are the stages that
:mod:`skface.nn.freezing` freezes separately.

Importing this module does not import torch: a backbone's own module is imported when the backbone
is built, or when its class is looked up here.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

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
    "is_flat",
    "load_retail0095_ir",
]

# Names that are imported when they are first used, and their modules.
_MODULES = {
    "IResNet": "iresnet",
    "IResNetMini": "iresnet_mini",
    "InceptionResnetV1": "inception_resnet_v1",
    "MLP": "mlp",
    "MobileFaceNet": "mobilefacenet",
    "Retail0095": "retail0095",
    "SmallResNet": "small",
    "iresnet18": "iresnet",
    "iresnet50": "iresnet",
    "load_retail0095_ir": "retail0095",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True)
class BackboneSpec:
    """Description of a backbone, available before torch is imported.

    Parameters
    ----------
    name : str
        Name in ``BACKBONES``.
    factory : str
        Name of the class or function of this package that builds the network.
    embedding_dim : int
        Default length of an embedding.
    input_size : tuple of int (H, W) or None, default=None
        Size in pixels of the images that the network is made for; None if it adapts to the images.
    color : {"rgb", "bgr"}, default="rgb"
        Order of the color channels.
    mean, std : float
        The input of the network is ``(pixels - mean) / std``, for pixels from 0 to 255.
    flat : bool, default=False
        Whether a row is a feature vector instead of an image. Vectors are not preprocessed.

    Examples
    --------
    >>> BACKBONES["mlp"].build(8, (5,))
    MLP(...)
    """

    name: str
    factory: str
    embedding_dim: int
    input_size: tuple[int, int] | None = None
    color: str = "rgb"
    mean: float = 127.5
    std: float = 128.0
    flat: bool = False

    def build(self, embedding_dim: int, input_shape: tuple[int, ...]) -> "nn.Module":
        """Build the network with random weights.

        They are drawn from torch's global generator; to control them, call this within
        ``torch.random.fork_rng()`` and seed there.

        Parameters
        ----------
        embedding_dim : int
            Length of an embedding.
        input_shape : tuple of int
            Shape of one row: (3, H, W), or (n_features,) if the backbone is flat.

        Returns
        -------
        nn.Module
            The network, in training mode.

        Raises
        ------
        ValueError
            If the backbone cannot take rows of that shape.
        """
        network: nn.Module = __getattr__(self.factory)(embedding_dim, input_shape)
        return network


BACKBONES = {
    spec.name: spec
    for spec in (
        BackboneSpec("inception_resnet_v1", "InceptionResnetV1", 512, input_size=(160, 160)),
        BackboneSpec("iresnet18", "iresnet18", 512, input_size=(112, 112), std=127.5),
        BackboneSpec("iresnet50", "iresnet50", 512, input_size=(112, 112), std=127.5),
        BackboneSpec("iresnet_mini", "IResNetMini", 256, input_size=(112, 112)),
        BackboneSpec("mobilefacenet", "MobileFaceNet", 128),
        BackboneSpec(
            "retail_0095", "Retail0095", 256, input_size=(128, 128), color="bgr", mean=0.0, std=1.0
        ),
        BackboneSpec("small_resnet", "SmallResNet", 128),
        BackboneSpec("mlp", "MLP", 64, mean=0.0, std=1.0, flat=True),
    )
}


def get_backbone(name: str) -> BackboneSpec:
    """Look up a backbone by name.

    Parameters
    ----------
    name : str
        A key of ``BACKBONES``.

    Returns
    -------
    BackboneSpec
        Its description.

    Raises
    ------
    ValueError
        If there is no backbone of that name.

    Examples
    --------
    >>> from skface.nn.backbones import get_backbone
    >>> spec = get_backbone("retail_0095")
    >>> spec.input_size, spec.color, spec.embedding_dim
    ((128, 128), 'bgr', 256)
    """
    try:
        return BACKBONES[name]
    except (KeyError, TypeError):
        known = ", ".join(map(repr, BACKBONES))
        raise ValueError(f"backbone={name!r} is not one of {known}.") from None


def is_flat(backbone: Any) -> bool:
    """Return whether a backbone takes feature vectors instead of images.

    Parameters
    ----------
    backbone : object
        A name, which need not be registered, or a callable.

    Returns
    -------
    bool
        False unless it is the name of a flat backbone.

    Examples
    --------
    >>> is_flat("mlp"), is_flat("small_resnet"), is_flat(None)
    (True, False, False)
    """
    return isinstance(backbone, str) and backbone in BACKBONES and BACKBONES[backbone].flat
