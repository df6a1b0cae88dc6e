"""From faces to the input of a network: size, channel order and scaling."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Preprocessing:
    """Size, channel order and scaling of the input of a network.

    Attributes
    ----------
    size : tuple (H, W) or None
        Faces of another size are resized to it; None leaves them as they are.
    color : {"rgb", "bgr"}
        Order of the channels.
    mean, std : float or tuple of three floats
        The network receives ``(pixels - mean) / std`` with pixels in 0..255. Three values are those
        of the channels, in the order of `color`.

    Examples
    --------
    >>> import numpy as np
    >>> from skface.inference import Preprocessing
    >>> face = np.full((32, 32, 3), 255, dtype=np.uint8)
    >>> batch = Preprocessing((112, 112), mean=127.5, std=127.5)([face])
    >>> batch.shape, batch.max()
    ((1, 3, 112, 112), np.float32(1.0))
    """

    size: tuple[int, int] | None
    color: str = "rgb"
    mean: float | tuple[float, float, float] = 127.5
    std: float | tuple[float, float, float] = 127.5

    def __call__(self, faces: list[NDArray[Any]]) -> NDArray[np.float32]:
        """Turn (H, W, 3) RGB faces into one float32 batch (n, 3, H, W)."""
        mean, std = (
            np.asarray(value, dtype=np.float32).reshape(-1, 1, 1) for value in (self.mean, self.std)
        )
        height, width = faces[0].shape[:2] if self.size is None else self.size
        batch = np.empty((len(faces), 3, height, width), dtype=np.float32)
        for i, face in enumerate(faces):
            planes = self._pixels(face).transpose(2, 0, 1)
            # face by face, so that each stays in the cache until it is done
            batch[i] = planes[::-1] if self.color == "bgr" else planes
            batch[i] -= mean
            batch[i] /= std
        return batch

    def to_bytes(self, face: NDArray[Any]) -> NDArray[np.uint8]:
        """Resize a face and round its pixels.

        Parameters
        ----------
        face : ndarray of shape (h, w, 3)
            RGB, of uint8, or of floats in 0..1.

        Returns
        -------
        ndarray of shape (H, W, 3), dtype uint8
            The face at `size`.
        """
        return np.rint(self._pixels(face)).astype(np.uint8)

    def _pixels(self, face: NDArray[Any]) -> NDArray[np.float32]:
        """Return float32 pixels in 0..255, of the network's size."""
        scale = 1 if face.dtype == np.uint8 else 255
        pixels = np.ascontiguousarray(face * np.float32(scale), dtype=np.float32)
        if self.size is None or pixels.shape[:2] == self.size:
            return pixels
        import cv2

        height, width = self.size
        # averaging over areas avoids aliasing when shrinking; bilinear is smooth when enlarging
        shrinks = pixels.shape[0] >= height and pixels.shape[1] >= width
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = cv2.resize(pixels, (width, height), interpolation=method)
        return np.asarray(resized, dtype=np.float32)
