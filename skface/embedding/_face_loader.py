"""The faces of a training set, loaded in batches as the input of a network."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skface._rows import iter_batches
from skface.embedding._network import Network
from skface.embedding._training_set import TrainingSet

_MOST_CACHED_BYTES = 2**29  # of decoded training faces
_READ_AT_A_TIME = 64


class FaceLoader:
    """Loads the faces of a training set as the input of a network.

    All of them are read once at the start, so that a bad file is found before hours of training.
    Decoded pixels are kept, as uint8, if those of all faces fit into half a gigabyte.

    Parameters
    ----------
    network : Network
        The network.
    faces : TrainingSet
        The faces.
    device : torch.device
        Where to put them.
    """

    def __init__(self, network: Network, faces: TrainingSet, device: torch.device) -> None:
        self.network = network
        self.faces = faces
        self.device = device
        self._pixels = None
        # Convolutions follow the layout of the images, and on a CPU are faster channels last. A
        # backbone that the caller wrote may count on the usual one, such as for `view`.
        self._layout = torch.contiguous_format
        if network.preprocessing is not None:
            if device.type == "cpu" and isinstance(network.backbone, str):
                self._layout = torch.channels_last
            shape = (len(faces.places), *network.input_shape[1:], 3)
            if np.prod(shape, dtype=np.int64) <= _MOST_CACHED_BYTES:
                self._pixels = np.empty(shape, dtype=np.uint8)
        self._read_all()

    def __call__(self, rows: NDArray[Any]) -> torch.Tensor:
        return self._inputs(rows).contiguous(memory_format=self._layout)

    def _inputs(self, rows: NDArray[Any]) -> torch.Tensor:
        if self._pixels is None:
            return torch.from_numpy(self.network.inputs(self._decode(rows))).to(self.device)
        pixels = torch.from_numpy(self._pixels[rows])
        return self.network.standardize(pixels.to(self.device, non_blocking=True))

    def _read_all(self) -> None:
        start = 0
        for _, faces in iter_batches(self.faces.rows.images, self.faces.places, _READ_AT_A_TIME):
            if self._pixels is not None:
                to_bytes = self.network.preprocessing.to_bytes
                self._pixels[start : start + len(faces)] = [to_bytes(face) for face in faces]
            start += len(faces)

    def _decode(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        images, places = self.faces.rows.images, self.faces.places[rows]
        ((_, faces),) = iter_batches(images, places, len(places))
        return faces
