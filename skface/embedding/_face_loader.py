"""FaceLoader: faces of a training set in batches, as the input of a network."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skface._rows import iter_batches
from skface.embedding._network import Network
from skface.embedding._training_set import TrainingSet

_READ_AT_A_TIME = 64


class FaceLoader:
    """Loads faces of a training set as the input of a network.

    All faces are read once at the start, so that a bad file raises before training begins. Their
    decoded pixels are kept, as uint8, if all of them fit into `most_cached_bytes`.

    Parameters
    ----------
    network : Network
        The network.
    faces : TrainingSet
        The faces.
    device : torch.device
        Device of the batches.
    most_cached_bytes : int, default=2**29
        Most bytes of decoded pixels to keep.
    """

    def __init__(
        self,
        network: Network,
        faces: TrainingSet,
        device: torch.device,
        *,
        most_cached_bytes: int = 2**29,
    ) -> None:
        self.network = network
        self.faces = faces
        self.device = device
        self._pixels: NDArray[np.uint8] | None = None
        # On a CPU, convolutions are faster with the channels last. A backbone of the user's may
        # need the usual layout, for `view` for example.
        self._layout = torch.contiguous_format
        if network.preprocessing is not None:
            if device.type == "cpu" and isinstance(network.backbone, str):
                self._layout = torch.channels_last
            shape = (len(faces.places), *network.input_shape[1:], 3)
            if np.prod(shape, dtype=np.int64) <= most_cached_bytes:
                self._pixels = np.empty(shape, dtype=np.uint8)
        self._read_all()

    def __call__(self, rows: NDArray[Any]) -> torch.Tensor:
        """Return the given faces of the training set as one batch."""
        return self._inputs(rows).contiguous(memory_format=self._layout)

    def _inputs(self, rows: NDArray[Any]) -> torch.Tensor:
        if self._pixels is None:
            return torch.from_numpy(self.network.inputs(self._decode(rows))).to(self.device)
        pixels = torch.from_numpy(self._pixels[rows])
        return self.network.standardize(pixels.to(self.device, non_blocking=True))

    def _read_all(self) -> None:
        start = 0
        for _, faces in iter_batches(self.faces.rows.images, self.faces.places, _READ_AT_A_TIME):
            if self._pixels is not None and self.network.preprocessing is not None:
                to_bytes = self.network.preprocessing.to_bytes
                self._pixels[start : start + len(faces)] = [to_bytes(face) for face in faces]
            start += len(faces)

    def _decode(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        images, places = self.faces.rows.images, self.faces.places[rows]
        ((_, faces),) = iter_batches(images, places, len(places))
        return faces
