"""Decoding image files to RGB pixels."""

import functools
import os
import re
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
import PIL.ImageFile
import PIL.ImageOps
from numpy.typing import NDArray

from skface.exceptions import ImageError

# Pillow goes by content, not by name: it would start Ghostscript for an EPS file named .jpg.
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

# In the scan of a JPEG, 0xff is followed by stuffing or a restart marker (ITU-T T.81, B.1.1.2).
_UNEXPECTED_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")


@functools.cache
def formats() -> tuple[str, ...]:
    """Return Pillow's names of the formats that are read."""
    PIL.Image.init()  # registers what this build of Pillow has
    return tuple(name for name in _FORMATS if name in PIL.Image.OPEN)


def decode(source: str | os.PathLike[str] | BinaryIO) -> NDArray[Any]:
    """Decode an image file to RGB.

    The EXIF orientation is applied. Palettes are expanded, gray is repeated in three channels, 16
    bits are reduced to 8, and transparent pixels are composited over white.

    Parameters
    ----------
    source : path or binary file object
        An image in a format that Pillow reads without other programs, such as JPEG, PNG, TIFF,
        WebP or PGM.

    Returns
    -------
    ndarray of shape (H, W, 3), dtype uint8
        RGB pixels, 0..255.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImageError
        If the file is not an image, is truncated, has a pixel format without a known range, or has
        more pixels than ``PIL.Image.MAX_IMAGE_PIXELS`` (a decompression bomb).
    """
    try:
        with PIL.Image.open(source, formats=formats()) as image:
            refuse_bomb(image)
            pixels = _from_plain_jpeg(image)
            return to_rgb(image) if pixels is None else pixels
    except FileNotFoundError:
        raise
    except ImageError as error:
        raise ImageError(f"{_source_name(source)}: {error}") from error
    # Pillow's decoders report broken files through all of these.
    except (
        OSError,
        ValueError,
        SyntaxError,
        TypeError,
        IndexError,
        ArithmeticError,
        MemoryError,
        PIL.Image.DecompressionBombError,
    ) as error:
        raise ImageError(
            f"{_source_name(source)}: not a readable image ({type(error).__name__}: {error})."
        ) from error


def _source_name(source: Any) -> str:
    is_path = isinstance(source, str | os.PathLike)
    return os.fspath(source) if is_path else str(getattr(source, "name", "image"))


def refuse_bomb(image: PIL.Image.Image) -> None:
    """Raise ImageError if an image has more pixels than Pillow's limit."""
    limit = PIL.Image.MAX_IMAGE_PIXELS
    width, height = image.size
    if limit is not None and width * height > limit:
        raise ImageError(
            f"{width} x {height} pixels exceed the limit of {limit:,} that guards against "
            "decompression bombs; shrink the photo, or raise PIL.Image.MAX_IMAGE_PIXELS if you "
            "trust it."
        )


def _from_plain_jpeg(image: PIL.ImageFile.ImageFile) -> NDArray[Any] | None:
    """Decode an upright JPEG of one scan with OpenCV: the same pixels in less time.

    Pillow has read the header. Returns None for all other files, which are left to Pillow.
    """
    if (
        image.format != "JPEG"
        or image.mode not in ("L", "RGB")
        or {"exif", "xmp"} & set(image.info)
        or image.fp is None
    ):
        return None
    image.fp.seek(0)
    data = image.fp.read()
    # OpenCV does not fail on a truncated or damaged file: it fills the missing part with gray
    if not _is_whole_jpeg(data):
        return None
    import cv2

    try:
        pixels = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error:  # more pixels than OpenCV's own limit
        return None
    return pixels if pixels is not None and pixels.shape[1::-1] == image.size else None


def _is_whole_jpeg(data: bytes) -> bool:
    """Return whether a JPEG ends with its only scan, and that has no unexpected markers."""
    scan = data.find(b"\xff\xda")
    return (
        scan >= 0
        and data.endswith(b"\xff\xd9")
        and not _UNEXPECTED_MARKER.search(data, scan + 2, len(data) - 2)
    )


def to_rgb(image: PIL.Image.Image) -> NDArray[Any]:
    """Return the pixels of an opened image, upright, as (H, W, 3) RGB of uint8.

    Raises ImageError for pixel formats without a known range, and the errors of Pillow's decoders.
    """
    image = PIL.ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        # "I;16" from PNG and TIFF, "I" from 16-bit PGM; Pillow's own conversion would clip at 255.
        pixels = np.asarray(image)
        if image.mode == "I" and (pixels.min() < 0 or not 255 < pixels.max() <= 65535):
            raise ImageError(
                f"32-bit integers from {pixels.min()} to {pixels.max()} have no known pixel range; "
                "save it with 8 or 16 bits."
            )
        return np.repeat((pixels >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "F":
        raise ImageError("floating-point files have no known pixel range; save it with 8 bits.")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = PIL.Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))
