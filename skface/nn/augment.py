"""Random variation of face crops, drawn per image and computed per batch."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def augment(
    images: Tensor,
    generator: torch.Generator,
    *,
    value_range: tuple[float, float] = (0.0, 1.0),
    flip: float = 0.5,
    shift: float = 0.05,
    zoom: float = 0.08,
    rotation: float = 5.0,
    brightness: float = 0.15,
    contrast: float = 0.2,
) -> Tensor:
    """Flip, shift, zoom and rotate each image a little, and vary its light.

    Parameters
    ----------
    images : float Tensor of shape (n, channels, height, width)
        Images; left unchanged.
    generator : torch.Generator
        Source of the random choices.
    value_range : (float, float), default=(0.0, 1.0)
        Black and white in `images`, such as (0, 255), or (-1, 1) for standardised pixels. Results
        stay inside it.
    flip : float, default=0.5
        Probability of mirroring left and right, 0 to 1.
    shift : float, default=0.05
        Largest shift along each axis, as a share of the side.
    zoom : float, default=0.08
        Largest relative change of size.
    rotation : float, default=5.0
        Largest rotation in degrees.
    brightness : float, default=0.15
        Largest change of brightness, as a share of the range.
    contrast : float, default=0.2
        Largest relative change of contrast about the mean of the image.

    Returns
    -------
    Tensor of shape (n, channels, height, width)
        New images of the same type on the same device.

    Raises
    ------
    ValueError
        If `images` does not have four dimensions.

    Examples
    --------
    >>> import torch
    >>> images = torch.full((2, 3, 8, 8), 0.5)
    >>> varied = augment(images, torch.Generator().manual_seed(0))
    >>> varied.shape, bool((varied >= 0).all() and (varied <= 1).all())
    (torch.Size([2, 3, 8, 8]), True)
    """
    if images.ndim != 4:
        raise ValueError(
            f"images must have the shape (n, channels, height, width), not {tuple(images.shape)}; "
            "switch augmentation off for rows that are not images."
        )

    def uniform(largest: float) -> Tensor:
        draws = torch.rand(len(images), generator=generator, device=generator.device)
        return (2 * draws - 1).to(images) * largest

    mirror = torch.where(uniform(1.0) < 2 * flip - 1, -1.0, 1.0).to(images)
    angle = uniform(math.radians(rotation))
    scale = 1 + uniform(zoom)
    # affine_grid runs from -1 to 1 along both sides, whatever their lengths: a rotation has to
    # go through pixels, and a shift by the whole side is 2.
    height, width = images.shape[-2:]
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    across = torch.stack([mirror * cosine, -sine * height / width, 2 * uniform(shift)], dim=1)
    down = torch.stack([mirror * sine * width / height, cosine, 2 * uniform(shift)], dim=1)
    grid = F.affine_grid(torch.stack([across, down], dim=1), list(images.shape), False)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)

    low, high = value_range
    gain = 1 + uniform(contrast)[:, None, None, None]
    lift = uniform(brightness)[:, None, None, None] * (high - low)
    mean = moved.mean(dim=(1, 2, 3), keepdim=True)
    return ((moved - mean) * gain + mean + lift).clamp(low, high)
