"""Draw cartoon faces: geometry and colors depend on the person, all else on the photo.

Every value is drawn from a table of middle and half-width. Faces are painted in layers, many faces
at a time. A layer is an opacity per pixel, computed from distances to ellipses and curves, and a
color. Coordinates run over the picture from -1 to 1, x to the right and y down. Angles are in
radians.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np

# Values of a person: (middle, half-width). Lengths are in halves of the picture's width.
_PERSON = {
    "head_width": (0.50, 0.09),
    "head_height": (0.66, 0.08),
    "jaw": (0.22, 0.20),
    "eye_spacing": (0.205, 0.045),
    "eye_height": (-0.08, 0.06),
    "eye_width": (0.092, 0.022),
    "eye_openness": (0.55, 0.15),
    "eye_slant": (0.0, 0.18),
    "brow_gap": (0.115, 0.035),
    "brow_width": (0.14, 0.035),
    "brow_thickness": (0.026, 0.016),
    "brow_slant": (0.0, 0.22),
    "brow_arch": (1.2, 1.6),
    "nose_length": (0.235, 0.06),
    "nose_width": (0.085, 0.032),
    "mouth_height": (0.355, 0.045),
    "mouth_width": (0.17, 0.05),
    "lip_thickness": (0.038, 0.018),
    "hairline": (-0.36, 0.14),
    "hair_slant": (0.0, 0.35),
    "hair_curve": (0.5, 0.8),
    "hair_volume": (1.14, 0.10),
    "hair_length": (0.15, 0.75),
    "ear_size": (0.09, 0.035),
    "beard": (-0.25, 1.0),
    "melanin": (0.45, 0.45),
    "skin_hue": (0.0, 1.0),
    "hair_darkness": (0.55, 0.45),
    "hair_redness": (0.0, 1.0),
    "iris_hue": (0.5, 0.5),
    "lip_redness": (0.5, 0.5),
}

# Values of a photo, at difficulty 0.5.
_PHOTO = {
    "yaw": (0.0, 0.38),
    "pitch": (0.0, 0.20),
    "roll": (0.0, 0.16),
    "zoom": (0.22, 0.10),
    "shift_x": (0.0, 0.09),
    "shift_y": (0.0, 0.09),
    "light_x": (0.0, 1.0),
    "light_y": (-0.3, 0.6),
    "contrast": (0.42, 0.34),
    "exposure": (0.0, 0.38),
    "warmth": (0.0, 0.11),
    "smile": (0.3, 0.9),
    "mouth_open": (0.0, 0.05),
    "eyelids": (-0.05, 0.35),
    "brow_raise": (0.0, 0.03),
    "blur": (0.3, 0.5),
    "noise": (0.015, 0.02),
}

_SKIN = np.array([(0.97, 0.84, 0.75), (0.80, 0.58, 0.43), (0.36, 0.23, 0.16)])
_HAIR = np.array([(0.93, 0.83, 0.58), (0.48, 0.31, 0.18), (0.07, 0.06, 0.06)])
_IRIS = np.array([(0.32, 0.18, 0.09), (0.35, 0.48, 0.27), (0.35, 0.55, 0.78)])
# Faces painted at a time, so that their layers fit the processor's cache.
_N_AT_A_TIME = 32


def draw_faces(
    identity: np.ndarray, image_size: int, difficulty: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw one picture per entry of `identity`.

    Parameters
    ----------
    identity : ndarray of shape (n,), dtype int
        The person of every picture, from 0.
    image_size : int
        Height and width in pixels.
    difficulty : float
        From 0 to 1, see :func:`skface.make_faces`.
    rng : Generator
        Source of the random numbers.

    Returns
    -------
    pictures : ndarray of shape (n, image_size, image_size, 3), dtype uint8
        RGB.
    """
    n = len(identity)
    people = _draw(_PERSON, identity.max() + 1, 1.25 - difficulty / 2, rng)
    photos = _draw(_PHOTO, n, 2 * difficulty, rng)
    photos["color"] = rng.uniform(0.05, 0.95, (n, 6, 3, 1, 1)).astype(np.float32)
    photos["place"] = rng.uniform(-1, 1, (n, 10, 1, 1)).astype(np.float32)
    likely = np.array([0.16, 0.12, 0.36]) * difficulty  # glasses, sunglasses, something in front
    photos["worn"] = (rng.uniform(size=(n, 3, 1, 1)) < likely[:, None, None]).astype(np.float32)
    pictures = np.empty((n, image_size, image_size, 3), dtype=np.uint8)
    for start in range(0, n, _N_AT_A_TIME):
        part = slice(start, start + _N_AT_A_TIME)
        values = {name: value[identity[part]] for name, value in people.items()}
        values |= {name: value[part] for name, value in photos.items()}
        pictures[part] = _expose(_paint(SimpleNamespace(**values), image_size), values, rng)
    return pictures


def _draw(
    table: dict[str, tuple[float, float]], n: int, strength: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw every value of a table n times, shaped to broadcast over pictures."""
    return {
        name: (middle + strength * width * rng.uniform(-1, 1, n)).astype(np.float32)[:, None, None]
        for name, (middle, width) in table.items()
    }


def _paint(p: SimpleNamespace, size: int) -> np.ndarray:
    """Paint the layers, from the background to what occludes the face."""
    steps = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
    x, y = steps[None, None, :], steps[None, :, None]
    edge = 3 / size  # opacity rises over one and a half pixels

    def inside(depth: np.ndarray) -> np.ndarray:
        return np.clip(depth / edge + 0.5, 0, 1)

    def ellipse(dx: Any, dy: Any, width: Any, height: Any) -> np.ndarray:
        return inside((1 - _length(dx / width, dy / height)) * np.minimum(width, height))

    skin = _mix(_SKIN, p.melanin) + p.skin_hue[:, None] * _rgb(0.03, 0, -0.04)
    hair = _mix(_HAIR, p.hair_darkness) + np.maximum(p.hair_redness, 0)[:, None] * _rgb(
        0.14, -0.01, -0.05
    )
    lips = skin * _rgb(0.95, 0.62, 0.62) + p.lip_redness[:, None] * _rgb(0.06, -0.10, -0.06)

    # the picture, upright and centered on the head
    cos, sin = np.cos(p.roll), np.sin(p.roll)
    zoom = 1 + p.zoom
    u = (cos * (x - p.shift_x) + sin * (y - p.shift_y)) / zoom
    v = (cos * (y - p.shift_y) - sin * (x - p.shift_x)) / zoom

    blobs = np.exp(-4 * ((x - p.place[:, 0]) ** 2 + (y - p.place[:, 1]) ** 2))
    slope = 0.5 + 0.5 * np.clip(p.place[:, 2] * x + p.place[:, 3] * y, -1, 1)
    pixels = p.color[:, 0] + (p.color[:, 1] - p.color[:, 0]) * slope[:, None]

    def lay(opacity: np.ndarray, color: Any) -> None:
        nonlocal pixels
        pixels += opacity[:, None] * (color - pixels)

    lay(0.8 * blobs, p.color[:, 2])

    # behind the face
    rise = np.minimum(v, 0) / (p.head_height * p.hair_volume)
    beside = (1 - _length(u / (p.head_width * p.hair_volume), rise)) * p.head_width
    lay(inside(np.minimum(beside, p.hair_length - v)), 0.8 * hair)
    lay(inside(np.minimum(0.55 * p.head_width - np.abs(u), v)), 0.75 * skin)
    lay(ellipse(u, v - 1.25, 1.0 + 0 * u, 0.5), p.color[:, 3])
    lay(ellipse(np.abs(u) - 0.95 * p.head_width, v, 0.6 * p.ear_size, p.ear_size), 0.9 * skin)

    # the head with its jaw; its surface is that of a turned ellipsoid
    width = p.head_width * (1 - p.jaw * np.clip(v / p.head_height, 0, 1) ** 2)
    across, down = u / width, v / p.head_height
    radius = np.sqrt(across**2 + np.abs(down) ** 2.4)
    head = inside((1 - radius) * p.head_width)
    lay(head, skin)
    fx = p.head_width * np.sin(np.arcsin(np.clip(across, -1, 1)) - p.yaw)
    fy = p.head_height * np.sin(np.arcsin(np.clip(down, -1, 1)) - p.pitch)

    def on_head(opacity: np.ndarray, color: Any) -> None:
        lay(head * opacity, color)

    beard = np.clip(0.4 + p.beard, 0, 0.9) * (p.beard > 0)
    on_head(beard * np.clip(8 * (fy - p.mouth_height + 0.1 + 1.5 * fx**2), 0, 1), 0.9 * hair)

    # both eyes at once, mirrored
    ex = np.abs(fx) - p.eye_spacing
    ey = fy - p.eye_height + p.eye_slant * ex
    opening = p.eye_width * np.clip(p.eye_openness * (1 + p.eyelids), 0.12, 1)
    on_head(0.35 * ellipse(ex, ey, 1.35 * p.eye_width, 1.5 * opening + 0.02), 0.75 * skin)
    eye = ellipse(ex, ey, p.eye_width, opening)
    on_head(eye, np.float32(0.93))
    gaze = ex - 0.25 * p.eye_width * p.place[:, 4] * np.sign(fx)
    on_head(
        eye * ellipse(gaze, ey, 0.55 * p.eye_width, 0.55 * p.eye_width), _mix(_IRIS, p.iris_hue)
    )
    on_head(eye * ellipse(gaze, ey, 0.24 * p.eye_width, 0.24 * p.eye_width), np.float32(0.05))
    lid = np.abs(_length(ex / p.eye_width, ey / opening) - 1) * opening
    on_head(inside(0.014 - lid) * (ey < 0.3 * opening), np.float32(0.15))
    bx = ex - 0.02
    by = fy - p.eye_height + p.brow_gap + p.brow_raise + p.brow_slant * bx + p.brow_arch * bx**2
    brow = np.minimum(p.brow_thickness - np.abs(by), p.brow_width - np.abs(bx))
    on_head(inside(brow), 0.7 * hair)

    # the nose stands out, so it moves further than the rest when the head turns
    nx = fx - 0.15 * np.sin(p.yaw)
    ny = fy - p.eye_height - p.nose_length
    on_head(0.4 * ellipse(nx, ny, p.nose_width, 0.05), 0.6 * skin)
    on_head(0.8 * ellipse(np.abs(nx) - 0.5 * p.nose_width, ny - 0.015, 0.025, 0.017), 0.25 * skin)
    bridge = np.exp(-(((nx + 0.3 * p.nose_width * np.sign(p.light_x)) / 0.03) ** 2))
    on_head(0.3 * bridge * inside(np.minimum(-ny, ny + p.nose_length)), 0.55 * skin)

    along = fx / p.mouth_width
    my = fy - p.mouth_height + 0.05 * p.smile * (along**2 - 0.4)
    taper = np.clip(1 - along**2, 0, None)
    gap = np.maximum(p.mouth_open, 0) * taper
    on_head(inside(p.lip_thickness * taper + gap - np.abs(my)) * (taper > 0), lips)
    on_head(inside(0.006 * taper + gap - np.abs(my)) * (taper > 0), 0.35 * lips)

    fringe = p.hairline + p.hair_slant * fx + p.hair_curve * fx**2 - fy
    on_head(inside(fringe), hair)

    frame = _length(ex / 0.145, ey / 0.115)
    on_head(p.worn[:, 0] * inside(0.016 - 0.12 * np.abs(frame - 1)), 0.4 * p.color[:, 4])
    on_head(p.worn[:, 1] * inside(0.12 * (1.05 - frame)), 0.25 * p.color[:, 4])

    # light from one side, by Lambert's law on the ellipsoid
    nz = np.sqrt(np.clip(1 - across**2 - down**2, 0, 1))
    light = (p.light_x * across + p.light_y * down + nz) / np.sqrt(p.light_x**2 + p.light_y**2 + 1)
    shade = 1 - p.contrast + p.contrast * 1.4 * np.clip(light, 0, 1)
    pixels *= (1 + head * (shade - 1))[:, None]

    reach = 0.29 + 0.11 * p.place[:, 5:7]
    apart = np.maximum(
        np.abs(x - p.place[:, 7]) - reach[:, 0], np.abs(y - p.place[:, 8]) - reach[:, 1]
    )
    lay(p.worn[:, 2] * inside(-apart), p.color[:, 5])
    return pixels


def _length(dx: Any, dy: Any) -> Any:
    return np.sqrt(dx**2 + dy**2)  # np.hypot takes five times as long


def _mix(palette: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Interpolate between the colors of a palette, t from 0 to 1."""
    place = np.clip(t.ravel(), 0, 1) * (len(palette) - 1)
    weights = np.clip(1 - np.abs(place[:, None] - np.arange(len(palette))), 0, 1)
    return (weights @ palette).astype(np.float32)[:, :, None, None]


def _rgb(red: float, green: float, blue: float) -> np.ndarray:
    return np.array((red, green, blue), dtype=np.float32)[:, None, None]


def _expose(
    pixels: np.ndarray, values: dict[str, np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Apply the effects of a camera: exposure, tint, blur and noise."""
    warmth, exposure, blur, noise = (
        values[name][:, None] for name in ("warmth", "exposure", "blur", "noise")
    )
    pixels *= 2**exposure * (1 + warmth * _rgb(1, 0, -1))
    blurred = pixels
    for axis in (2, 3):
        for _ in range(2):
            blurred = (blurred + np.roll(blurred, 1, axis)) / 2
        blurred = np.roll(blurred, -1, axis)
    pixels += np.clip(blur, 0, 1) * (blurred - pixels)
    pixels += np.maximum(noise, 0) * rng.standard_normal(pixels.shape, dtype=np.float32)
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
