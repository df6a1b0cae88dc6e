"""Checks of image shapes, shared by the backbones for images."""

from torch import Tensor


def check_in_shape(in_shape: tuple[int, ...], minimum: int) -> tuple[int, int]:
    """Return (H, W) of ``in_shape`` = (3, H, W), each at least ``minimum`` pixels."""
    if len(in_shape) != 3 or in_shape[0] != 3 or min(in_shape[1:]) < minimum:
        raise ValueError(
            f"in_shape={tuple(in_shape)} does not suit this backbone, which needs (3, H, W) with "
            f"H and W of at least {minimum} pixels; enlarge the images or choose another backbone."
        )
    return in_shape[1], in_shape[2]


def check_images_fit(x: Tensor, in_shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless images have the shape that a network was built for."""
    if tuple(x.shape[1:]) != in_shape:
        raise ValueError(
            f"This network was built for images of shape {in_shape} and was given "
            f"{tuple(x.shape[1:])}; resize them, or build the network for that shape."
        )
