"""Random augmentation of face crops, drawn per image and computed per batch."""

import math
from dataclasses import dataclass, fields
from numbers import Real
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Augmentation"]

_SMALLEST_ERASED_AREA = 0.02


@dataclass(frozen=True)
class Augmentation:
    """Random flip, shift, zoom, rotation, brightness, contrast, blur and erasing of each image.

    `draw` draws the random numbers, and calling the object uses them. To augment a batch in slices,
    or on several devices, draw once for the whole batch, and pass each slice of the images with its
    slice of the draws. The result is the same as for the whole batch.

    Parameters
    ----------
    value_range : (float, float), default=(0.0, 1.0)
        Pixel values of black and white, such as (0, 255), or (-1, 1) for standardized pixels.
    flip : float, default=0.5
        Probability of a horizontal flip, 0 to 1.
    shift : float, default=0.05
        Largest shift along each axis, as a fraction of the side, 0 to 1.
    zoom : float, default=0.08
        Largest relative change of size, 0 to 1.
    rotation : float, default=5.0
        Largest rotation in degrees, 0 to 180.
    brightness : float, default=0.15
        Largest change of brightness, as a fraction of the range, 0 to 1.
    contrast : float, default=0.2
        Largest relative change of contrast about mid-gray, 0 to 1.
    blur : float, default=0.2
        Probability of a Gaussian blur, 0 to 1.
    blur_sigma : float, default=0.015
        Largest standard deviation of the blur, as a fraction of the width, 0 to 1.
    erase : float, default=0.25
        Probability of filling a rectangle with one shade of gray, 0 to 1 [1]_.
    erase_area : float, default=0.15
        Largest area of that rectangle, as a fraction of the image, 0 to 1. The smallest is 2 %.
        The width is half to twice the height.
    tint : float, default=0.0
        Largest relative change of each channel, independent of the others, 0 to 1.
    gray : float, default=0.0
        Probability of conversion to gray, 0 to 1.
    blend : float, default=0.0
        Probability of blending with another image, whose weight is 0 to 1 [2]_. A blend of two
        faces has no identity, so this is used for distillation only, where the target is the
        teacher's embedding of the blend [3]_.

    Raises
    ------
    ValueError
        If a parameter is out of its range, or `value_range` is not an interval.

    References
    ----------
    .. [1] Z. Zhong, L. Zheng, G. Kang, S. Li, Y. Yang. Random Erasing Data Augmentation. AAAI 2020.
    .. [2] H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz. mixup: Beyond Empirical Risk
       Minimization. ICLR 2018.
    .. [3] L. Beyer, X. Zhai, A. Royer, L. Markeeva, R. Anil, A. Kolesnikov. Knowledge Distillation:
       A Good Teacher Is Patient and Consistent. CVPR 2022.

    Examples
    --------
    >>> import torch
    >>> augmentation = Augmentation(rotation=10)
    >>> images = torch.full((4, 3, 8, 8), 0.5)
    >>> draws = augmentation.draw(4, torch.Generator().manual_seed(0))
    >>> varied = augmentation(images, draws)
    >>> varied.shape
    torch.Size([4, 3, 8, 8])
    >>> torch.equal(varied[2:], augmentation(images[2:], draws[2:]))
    True
    """

    value_range: tuple[float, float] = (0.0, 1.0)
    flip: float = 0.5
    shift: float = 0.05
    zoom: float = 0.08
    rotation: float = 5.0
    brightness: float = 0.15
    contrast: float = 0.2
    blur: float = 0.2
    blur_sigma: float = 0.015
    erase: float = 0.25
    erase_area: float = 0.15
    tint: float = 0.0
    gray: float = 0.0
    blend: float = 0.0

    def __post_init__(self) -> None:
        """Raise a ValueError if a parameter is out of its range."""
        low, high = self.value_range
        if not -math.inf < low < high < math.inf:
            raise ValueError(
                f"value_range={self.value_range!r} must be (black, white), two finite numbers of "
                "which the first is smaller, such as (0, 255)."
            )
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            largest = 180 if field.name == "rotation" else 1
            if not (isinstance(value, Real) and 0 <= float(value) <= largest):
                raise ValueError(
                    f"{field.name}={value!r} must be a number from 0, which disables it, to "
                    f"{largest}."
                )

    def draw(self, n_images: int, generator: torch.Generator) -> Tensor:
        """Draw the random numbers that augment a batch.

        Parameters
        ----------
        n_images : int
            Number of images of the whole batch.
        generator : torch.Generator
            Generator of the random numbers.

        Returns
        -------
        Tensor of shape (n_images, n_draws)
            Numbers in [0, 1) of type float32, a row per image, on the device of the generator.
            `n_draws` does not depend on the parameters.
        """
        shape = (n_images, len(_Draws._fields))
        return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float32)

    def __call__(self, images: Tensor, draws: Tensor, partners: Tensor | None = None) -> Tensor:
        """Augment images by given random numbers.

        Parameters
        ----------
        images : float Tensor of shape (n, channels, height, width)
            Images with values in `value_range`, gray or color; not changed.
        draws : Tensor of shape (n, n_draws)
            What `draw` returned, or its rows for these images.
        partners : float Tensor like `images`, default=None
            Images to blend with, one for each image; required if `blend` is above 0, else unused.

        Returns
        -------
        Tensor of shape (n, channels, height, width)
            New images of the same type, device and memory format (contiguous or channels last),
            with values in `value_range`. Each depends only on its own image, partner and draws, and
            is bitwise the same in every batch.

        Raises
        ------
        ValueError
            If `images` does not have four dimensions, or `draws` or `partners` do not fit them.
        """
        if images.ndim != 4:
            raise ValueError(
                f"images must have the shape (n, channels, height, width), not "
                f"{tuple(images.shape)}; disable augmentation for rows that are not images."
            )
        if draws.shape != (len(images), len(_Draws._fields)):
            raise ValueError(
                f"draws must have the shape {(len(images), len(_Draws._fields))} for these images, "
                f"not {tuple(draws.shape)}; get them from draw(n_images, generator)."
            )
        if self.blend and (partners is None or partners.shape != images.shape):
            found = "none" if partners is None else f"shape {tuple(partners.shape)}"
            raise ValueError(
                f"blend={self.blend!r} needs partners of shape {tuple(images.shape)}, one for each "
                f"image, not {found}."
            )
        # The few numbers per image are computed on the CPU in double precision: in single
        # precision, the last bit of sines and exponentials may depend on the size of the batch, and
        # on a GPU, selecting the images to blur would need a synchronization. Below, products and
        # sums are separate operations, because fused ones round differently on some elements.
        draw = _Draws(*draws.cpu().double().unbind(1))
        layout = torch.contiguous_format
        if not images.is_contiguous() and images.is_contiguous(memory_format=torch.channels_last):
            layout = torch.channels_last
        if self.blend and partners is not None:
            images = self._blend(images, partners, draw)
        if self.flip or self.shift or self.zoom or self.rotation:
            images = self._move(images, draw)
        if self.blur and self.blur_sigma:
            images = self._blur(images, draw)
        images = self._relight(images, draw)
        if self.gray:
            self._turn_gray_in_place(images, draw)
        if self.erase:
            self._erase_in_place(images, draw)
        return images.contiguous(memory_format=layout)  # grid_sample may have changed it

    def _move(self, images: Tensor, draw: "_Draws") -> Tensor:
        mirror = torch.where(draw.mirror < self.flip, -1.0, 1.0)
        angle = math.radians(self.rotation) * _signed(draw.angle)
        scale = 1 + self.zoom * _signed(draw.scale)
        across, down = (2 * self.shift * _signed(shift) for shift in (draw.across, draw.down))
        # Coordinates of grid_sample are -1 to 1 along both sides, independent of their lengths: a
        # rotation needs the ratio of the sides, and a shift by the whole side is 2.
        height, width = images.shape[-2:]
        cosine, sine = scale * angle.cos(), scale * angle.sin()
        to_x = torch.stack([mirror * cosine, -sine * height / width, across])
        to_y = torch.stack([mirror * sine * width / height, cosine, down])
        by_x, by_y, fixed = torch.stack([to_x, to_y], dim=2).to(images)[..., None, None]
        x, y = _pixel_centers(width, images), _pixel_centers(height, images)[:, None]
        places = by_x * x + (by_y * y + fixed)  # (n, 2, height, width)
        return F.grid_sample(
            images, places.permute(0, 2, 3, 1), padding_mode="border", align_corners=False
        )

    def _blur(self, images: Tensor, draw: "_Draws") -> Tensor:
        chosen, draw = _select(draw, draw.blur < self.blur)
        largest = self.blur_sigma * images.shape[-1]
        radius = max(1, round(3 * largest))
        sigma = largest * (1 - draw.sigma)  # above 0
        weights = torch.exp(-((torch.arange(radius + 1) / sigma[:, None]) ** 2) / 2)
        weights /= 2 * weights.sum(dim=1, keepdim=True) - weights[:, :1]
        # One weight per distance and image: (radius + 1, n, 1, 1, 1).
        weights = weights.T.to(images)[..., None, None, None]
        chosen = chosen.to(images.device)
        blurred = images[chosen]
        for dim, margins in ((2, (0, 0, radius, radius)), (3, (radius, radius, 0, 0))):
            size = blurred.shape[dim]
            wide = F.pad(blurred, margins, mode="replicate")
            blurred *= weights[0]
            for distance in range(1, radius + 1):
                before = wide.narrow(dim, radius - distance, size)
                after = wide.narrow(dim, radius + distance, size)
                blurred += (before + after).mul_(weights[distance])
        return images.index_copy(0, chosen, blurred)

    def _relight(self, images: Tensor, draw: "_Draws") -> Tensor:
        low, high = self.value_range
        gain = 1 + self.contrast * _signed(draw.contrast)
        lift = (high - low) * self.brightness * _signed(draw.brightness)
        lift += (1 - gain) * (low + high) / 2  # mid-gray is not changed
        gain, lift = torch.stack([gain, lift]).to(images)[..., None, None, None].unbind()
        if not self.tint:
            return (images * gain).add_(lift).clamp_(low, high)
        # Tints do not change black: (x - low) * tint + low, after gain and lift.
        tints = 1 + self.tint * _signed(torch.stack([draw.red, draw.green, draw.blue], dim=1))
        tints = tints[:, : images.shape[1], None, None].to(images)
        return (images * gain).add_(lift - low).mul_(tints).add_(low).clamp_(low, high)

    def _blend(self, images: Tensor, partners: Tensor, draw: "_Draws") -> Tensor:
        share = torch.where(draw.blend < self.blend, draw.share, 0.0)
        share = share[:, None, None, None].to(images)
        return images * (1 - share) + partners * share

    def _turn_gray_in_place(self, images: Tensor, draw: "_Draws") -> None:
        chosen = torch.nonzero(draw.gray < self.gray).flatten().to(images.device)
        images[chosen] = images[chosen].mean(dim=1, keepdim=True).expand_as(images[chosen])

    def _erase_in_place(self, images: Tensor, draw: "_Draws") -> None:
        chosen, draw = _select(draw, draw.erase < self.erase)
        low, high = self.value_range
        height, width = images.shape[-2:]
        smallest = min(_SMALLEST_ERASED_AREA, self.erase_area)
        area = height * width * (smallest + (self.erase_area - smallest) * draw.area)
        aspect = 2 ** _signed(draw.aspect)
        tall, wide = (area / aspect).sqrt(), (area * aspect).sqrt()
        rows = _within(height, draw.top * (height - tall), tall)
        columns = _within(width, draw.left * (width - wide), wide)
        covered = (rows[:, :, None] & columns[:, None, :])[:, None].to(images.device)
        shade = (low + (high - low) * draw.shade)[:, None, None, None].to(images)
        chosen = chosen.to(images.device)
        images[chosen] = torch.where(covered, shade, images[chosen])


class _Draws(NamedTuple):
    """The columns of the draws, each of shape (n,)."""

    mirror: Tensor
    angle: Tensor
    scale: Tensor
    across: Tensor
    down: Tensor
    blur: Tensor
    sigma: Tensor
    contrast: Tensor
    brightness: Tensor
    erase: Tensor
    area: Tensor
    aspect: Tensor
    top: Tensor
    left: Tensor
    shade: Tensor
    red: Tensor
    green: Tensor
    blue: Tensor
    gray: Tensor
    blend: Tensor
    share: Tensor


def _select(draw: _Draws, mask: Tensor) -> tuple[Tensor, _Draws]:
    """Return the indices where the mask is true, and the draws at them."""
    places = torch.nonzero(mask).flatten()
    return places, _Draws(*(column[places] for column in draw))


def _signed(draw: Tensor) -> Tensor:
    """Map [0, 1) to [-1, 1)."""
    return 2 * draw - 1


def _pixel_centers(n: int, like: Tensor) -> Tensor:
    """Return the coordinates of `n` pixels along a side from -1 to 1."""
    return ((2 * torch.arange(n, dtype=torch.float64) + 1) / n - 1).to(like)


def _within(n: int, start: Tensor, length: Tensor) -> Tensor:
    """Mark the pixels whose center is in the interval of each image, as (n_images, n)."""
    centers = torch.arange(n) + 0.5
    return (start[:, None] <= centers) & (centers < (start + length)[:, None])
