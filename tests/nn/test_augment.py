"""Augmentation: what each strength does, and that each image is varied by itself."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from skface.nn.augment import Augmentation

OFF = {
    "flip": 0,
    "shift": 0,
    "zoom": 0,
    "rotation": 0,
    "brightness": 0,
    "contrast": 0,
    "blur": 0,
    "erase": 0,
}


def only(**strengths):
    return Augmentation(**{**OFF, **strengths})


def photos(n=16, channels=3, size=(20, 12), seed=0):
    return torch.rand(n, channels, *size, generator=torch.Generator().manual_seed(seed))


def draw(n=16, seed=0):
    return Augmentation().draw(n, torch.Generator().manual_seed(seed))


def smallest_draws(n=16):
    """Draws of 0: the left end of what is signed, the largest blur, and whatever has a chance."""
    return torch.zeros_like(draw(n))


def test_draws_are_uniform_repeatable_and_leave_the_global_generator_alone():
    before = torch.random.get_rng_state()
    draws = draw(4000, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(draws, draw(4000, seed=1))
    assert not torch.equal(draws, draw(4000, seed=2))
    assert draws.dtype == torch.float32
    assert draws.min() >= 0
    assert draws.max() < 1
    torch.testing.assert_close(
        draws.mean(dim=0), torch.full(draws.shape[1:], 0.5), atol=0.03, rtol=0
    )
    # Whether an image is flipped must not go along with whether it is blurred.
    correlations = torch.corrcoef(draws.T) - torch.eye(draws.shape[1])
    assert correlations.abs().max() < 0.08


def test_strengths_of_zero_return_the_images():
    assert torch.equal(only()(photos(), draw()), photos())
    # A strength that is on, but does nothing to these images.
    torch.testing.assert_close(only(flip=1e-9)(photos(), draw()), photos(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [1, 3, 16])
def test_images_are_varied_each_by_itself(size, channels):
    augmentation = Augmentation(erase=0.5, blur=0.5)
    images, draws = photos(40, channels, size=(23, 17)), draw(40)
    copied = images.clone()
    together = augmentation(images, draws)
    assert torch.equal(images, copied)
    slices = zip(images.split(size), draws.split(size), strict=True)
    assert torch.equal(together, torch.cat([augmentation(*one) for one in slices]))
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(together[order], augmentation(images[order], draws[order]))


def test_the_memory_format_stays_and_changes_nothing_else():
    images, augmentation = photos(), Augmentation(erase=0.5, blur=0.5)
    varied = augmentation(images, draw())
    relaid = augmentation(images.contiguous(memory_format=torch.channels_last), draw())
    assert varied.is_contiguous()
    assert relaid.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(relaid, varied, atol=1e-6, rtol=0)


def test_gray_images_of_one_and_of_three_channels_are_varied_alike():
    gray = photos(channels=1)
    varied = Augmentation(erase=0.5, blur=0.5)(gray, draw())
    spread = Augmentation(erase=0.5, blur=0.5)(gray.expand(-1, 3, -1, -1), draw())
    torch.testing.assert_close(spread, varied.expand(-1, 3, -1, -1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("value_range", [(0.0, 255.0), (-1.0, 1.0)])
def test_augmentation_means_the_same_on_every_scale(value_range):
    low, high = value_range
    expected = Augmentation()(photos(), draw())
    scaled = Augmentation(value_range)(photos() * (high - low) + low, draw())
    torch.testing.assert_close((scaled - low) / (high - low), expected, atol=1e-5, rtol=0)
    assert scaled.min() >= low
    assert scaled.max() <= high


def test_flip_mirrors_an_image_or_leaves_it():
    images = photos(n=200)
    varied = only(flip=0.5)(images, draw(200))
    flipped = (varied - images.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-4
    kept = (varied - images).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert (flipped ^ kept).all()
    assert 70 < flipped.sum() < 130


def test_shift_zoom_and_rotation_follow_a_loop_over_pixels():
    height, width = 20, 12
    images = photos(1)
    varied = only(shift=0.1, zoom=0.2, rotation=30.0)(images, smallest_draws(1))
    # A draw of 0 looks up smaller, turned the other way, and a tenth of each side nearer to 0.
    angle, scale = np.radians(-30.0), 0.8
    places = np.empty((2, height, width))
    for row in range(height):
        for column in range(width):
            y, x = row - (height - 1) / 2, column - (width - 1) / 2
            x_from = scale * (np.cos(angle) * x - np.sin(angle) * y) - 0.1 * width
            y_from = scale * (np.sin(angle) * x + np.cos(angle) * y) - 0.1 * height
            places[:, row, column] = y_from + (height - 1) / 2, x_from + (width - 1) / 2
    expected = [
        ndimage.map_coordinates(channel, places, order=1, mode="nearest")
        for channel in images[0].double().numpy()
    ]
    np.testing.assert_allclose(varied[0].numpy(), np.stack(expected), rtol=0, atol=1e-5)


def test_brightness_and_contrast_follow_the_formula():
    images = photos()
    varied = only(brightness=0.15, contrast=0.2)(images, smallest_draws())
    expected = ((images - 0.5) * 0.8 + 0.5 - 0.15).clamp(0, 1)
    torch.testing.assert_close(varied, expected)


@pytest.mark.parametrize("blur_sigma", [0.02, 0.1, 0.3])
def test_blur_equals_scipy(blur_sigma):
    images = photos()
    varied = only(blur=0.5, blur_sigma=blur_sigma)(images, smallest_draws())
    sigma = blur_sigma * 12
    expected = ndimage.gaussian_filter(
        images.double().numpy(),
        (0, 0, sigma, sigma),
        mode="nearest",
        radius=(0, 0, *[max(1, round(3 * sigma))] * 2),
    )
    np.testing.assert_allclose(varied.numpy(), expected, rtol=0, atol=1e-6)


def test_blur_leaves_the_other_images_alone():
    images = photos(400)
    blurred = (only(blur=0.2, blur_sigma=0.1)(images, draw(400)) != images).any(dim=(1, 2, 3))
    assert 50 < blurred.sum() < 110


def test_erase_paints_one_rectangle_of_one_shade():
    images = photos(400, size=(60, 40))
    varied = only(erase=0.25, erase_area=0.2)(images, draw(400))
    shades, shares, aspects = [], [], []
    for image, result in zip(images, varied, strict=True):
        changed = (image != result).any(dim=0)
        if changed.any():
            rows, columns = torch.nonzero(changed.any(1)), torch.nonzero(changed.any(0))
            part = result[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert part.unique().numel() == 1
            shades.append(part[0, 0, 0].item())
            shares.append(part[0].numel() / 2400)
            aspects.append(part.shape[2] / part.shape[1])
    assert 70 < len(shades) < 130
    assert 0 <= min(shades) < 0.1 < 0.9 < max(shades) <= 1
    assert 0.01 < min(shares) < 0.04 < 0.18 < max(shares) < 0.22
    assert 0.4 < min(aspects) < 0.7 < 1.5 < max(aspects) < 2.4


def test_rows_that_are_not_images_are_refused():
    with pytest.raises(ValueError, match=r"not \(16, 10\); disable augmentation"):
        Augmentation()(torch.rand(16, 10), draw())


def test_draws_of_another_batch_are_refused():
    with pytest.raises(ValueError, match=r"\(16, 21\) for these images, not \(8, 21\)"):
        Augmentation()(photos(), draw(8))


@pytest.mark.parametrize(
    ("strengths", "message"),
    [
        ({"flip": 1.5}, "flip=1.5 .* to 1"),
        ({"rotation": 200}, "rotation=200 .* to 180"),
        ({"blur": -0.1}, "blur=-0.1 .* number from 0"),
        ({"zoom": float("nan")}, "zoom=nan"),
        ({"erase": "often"}, "erase='often'"),
        ({"value_range": (1.0, 0.0)}, r"value_range=\(1.0, 0.0\) .* such as"),
    ],
)
def test_strengths_out_of_range_are_refused(strengths, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**strengths)


@pytest.mark.gpu
def test_a_gpu_varies_images_as_the_cpu_does():
    expected = Augmentation()(photos(64), draw(64))
    varied = Augmentation()(photos(64).cuda(), draw(64))
    torch.testing.assert_close(varied.cpu(), expected, atol=1e-4, rtol=0)
