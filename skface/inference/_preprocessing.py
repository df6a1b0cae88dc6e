"""How a network wants its faces."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants its faces.

    Attributes
    ----------
    size : tuple (H, W) or None
        Faces of another size are resized to it; None leaves them as they are.
    color : {"rgb", "bgr"}
        Order of the channels.
    mean, std : float or tuple of three floats
        The network receives ``(pixels - mean) / std`` with pixels in 0..255.
    """

    size: tuple[int, int] | None
    color: str = "rgb"
    mean: float | tuple[float, float, float] = 127.5
    std: float | tuple[float, float, float] = 127.5

    def __call__(self, faces: list[np.ndarray]) -> np.ndarray:
        """Turn (H, W, 3) RGB faces into one float32 batch (n, 3, H, W)."""
        mean, std = (
            np.asarray(value, dtype=np.float32).reshape(-1, 1, 1) for value in (self.mean, self.std)
        )
        batch = None
        for i, face in enumerate(faces):
            planes = self._pixels(face).transpose(2, 0, 1)
            if batch is None:
                batch = np.empty((len(faces), *planes.shape), dtype=np.float32)
            # face by face, each stays in the cache until it is done
            batch[i] = planes[::-1] if self.color == "bgr" else planes
            batch[i] -= mean
            batch[i] /= std
        return batch

    def to_bytes(self, face: np.ndarray) -> np.ndarray:
        """Resize an (H, W, 3) face and round its pixels to uint8."""
        return np.rint(self._pixels(face)).astype(np.uint8)

    def _pixels(self, face: np.ndarray) -> np.ndarray:
        """Return float32 pixels in 0..255, of the network's size."""
        face = _in_bytes(face)
        if self.size is None or face.shape[:2] == self.size:
            return face
        import cv2

        height, width = self.size
        # averaging over areas avoids aliasing when shrinking; bilinear is smooth when enlarging
        shrinks = face.shape[0] >= height and face.shape[1] >= width
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return cv2.resize(face, (width, height), interpolation=method)


def _in_bytes(face: np.ndarray) -> np.ndarray:
    """Return float32 pixels in 0..255 from uint8, or from floats in 0..1."""
    scale = 1 if face.dtype == np.uint8 else 255
    return np.ascontiguousarray(face * np.float32(scale), dtype=np.float32)
