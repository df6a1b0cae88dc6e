"""What the backbones for images check about the shape that they are built for."""


def check_in_shape(in_shape, minimum):
    """Return (H, W) of ``in_shape`` = (3, H, W), each at least ``minimum`` pixels."""
    if len(in_shape) != 3 or in_shape[0] != 3 or min(in_shape[1:]) < minimum:
        raise ValueError(
            f"in_shape={tuple(in_shape)} does not suit this backbone, which needs (3, H, W) with "
            f"H and W of at least {minimum} pixels; enlarge the images or choose another backbone."
        )
    return tuple(in_shape[1:])


def check_images_fit(x, in_shape):
    """Refuse images of another shape than the one that a network is tied to."""
    if tuple(x.shape[1:]) != in_shape:
        raise ValueError(
            f"This network was built for images of shape {in_shape} and was given "
            f"{tuple(x.shape[1:])}; resize them, or build the network for that shape."
        )
