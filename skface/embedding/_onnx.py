"""OnnxEmbedder: the embedder contract for ONNX and OpenVINO files."""

from numbers import Integral
from pathlib import Path

import numpy as np
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_scalar

from skface._utils.callbacks import fit_as_one_task
from skface._utils.digests import digest_arrays
from skface._utils.per_process import STORE
from skface._utils.runtimes import is_installed
from skface._utils.validation import check_option
from skface.embedding._base import BaseEmbedder
from skface.inference import Preprocessing
from skface.inference._sessions import OnnxRuntimeSession, OpenVinoSession
from skface.weights import REGISTRY, fetch_weights, locate_weights, weights_info

_RUNTIMES = ("onnxruntime", "openvino")


class OnnxEmbedder(CallbackSupportMixin, BaseEmbedder):
    """Map faces to the unit sphere with a network from an ONNX or OpenVINO IR file.

    The file is read in `fit` and kept among the fitted attributes, so that a pickled pipeline
    carries it; the session that runs it is rebuilt in every process.

    Parameters
    ----------
    weights : str or path, default="sface"
        A registered name, which brings its own preprocessing, or a path to .onnx, or to an
        OpenVINO .xml with its .bin beside it.
    color : {"rgb", "bgr"}, default=None
        Order of the channels that the network wants. None: as registered, else "rgb".
    mean, std : float or tuple of three floats, default=None
        The network receives ``(pixels - mean) / std`` with pixels in 0..255. None: as registered,
        else 127.5.
    input_size : tuple (H, W), default=None
        Size of the faces, for files that leave it open. None takes the file's.
    runtime : {"auto", "onnxruntime", "openvino"}, default="auto"
        What runs the file; .xml needs OpenVINO. "auto" takes onnxruntime for .onnx if it is
        installed, else OpenVINO.
    image_shape : tuple (H, W) or (H, W, 3), default=None
        Shape of one image, needed for flattened rows only.
    batch_size : int, default=64
        Faces embedded at a time. It bounds memory, and changes results by
        rounding only.
    flip : bool, default=False
        Whether to average the embeddings of each face and its mirror image.

    Attributes
    ----------
    model_ : ndarray of shape (n_bytes,), dtype uint8
        The file.
    model_data_ : ndarray of shape (n_bytes,), dtype uint8, or None
        The .bin of an OpenVINO IR.
    model_digest_ : str
        Digest of the file, and of the .bin, in hexadecimal digits.
    runtime_ : {"onnxruntime", "openvino"}
        What runs it.
    preprocessing_ : Preprocessing
        Size, channel order and scaling of the network's input.
    embedding_dim_ : int
        Length of an embedding.

    See Also
    --------
    FaceNetEmbedder : The same for PyTorch networks, which can be trained.

    Examples
    --------
    >>> from skface import OnnxEmbedder
    >>> embedder = OnnxEmbedder("arcface.onnx", mean=127.5, std=127.5)  # a file of your own
    >>> embedder.fit(faces).transform(faces).shape  # doctest: +SKIP
    (32, 512)
    """

    def __init__(
        self,
        weights="sface",
        *,
        color=None,
        mean=None,
        std=None,
        input_size=None,
        runtime="auto",
        image_shape=None,
        batch_size=64,
        flip=False,
    ):
        self.weights = weights
        self.color = color
        self.mean = mean
        self.std = std
        self.input_size = input_size
        self.runtime = runtime
        self.image_shape = image_shape
        self.batch_size = batch_size
        self.flip = flip

    @fit_as_one_task
    def fit(self, X, y=None):
        """Read the file and prepare its input.

        Parameters
        ----------
        X : faces or pairs
            Any rows that :func:`skface._rows.check_images` accepts; only checked.
        y : Ignored
            For scikit-learn's conventions.

        Returns
        -------
        self : OnnxEmbedder
            The fitted embedder.

        Raises
        ------
        ValueError
            If a parameter or the network's input is not what embedders take.
        ImportError
            If no runtime that can run the file is installed.
        skface.exceptions.WeightsError
            If the weights are not at hand and may not or cannot be downloaded.
        """
        check_scalar(self.batch_size, "batch_size", Integral, min_val=1)
        check_option(self.runtime, "runtime", ("auto", *_RUNTIMES))
        if self.color is not None:
            check_option(self.color, "color", ("rgb", "bgr"))
        self._check_rows(X)
        path, registered = self._find_file()
        self.runtime_ = _choose_runtime(self.runtime, path)
        self.model_ = np.fromfile(path, dtype=np.uint8)
        self.model_data_ = None
        if path.suffix == ".xml":
            self.model_data_ = _read_beside(path, ".bin")
        files = {"model": self.model_, "data": self.model_data_}
        self.model_digest_ = digest_arrays(
            {name: content for name, content in files.items() if content is not None}
        )
        session = self._session()
        self.preprocessing_ = Preprocessing(
            self._face_size(session.input_shape, session.channels_last), *registered
        )
        probe = np.zeros((*self.preprocessing_.size, 3), dtype=np.uint8)
        self.embedding_dim_ = self._embed([probe]).shape[1]
        return self

    def _value_state(self):
        """Return what the embeddings depend on beside the faces."""
        names = ("model_digest_", "runtime_", "preprocessing_", "flip", "image_shape")
        return {name: getattr(self, name) for name in names}

    def _pretrained_files(self):
        """Name the files that `fit` reads, which learns nothing from its rows."""
        if isinstance(self.weights, str) and self.weights in REGISTRY:
            return locate_weights(self.weights)
        path = Path(self.weights)
        return (path, path.with_suffix(".bin")) if path.suffix == ".xml" else (path,)

    def _find_file(self):
        """Return the file, and color, mean and std."""
        color, mean, std = "rgb", 127.5, 127.5
        if isinstance(self.weights, str) and self.weights in REGISTRY:
            entry = weights_info(self.weights)
            path = Path(fetch_weights(self.weights)[0])
            color, mean, std = entry.color, entry.mean, entry.std
        else:
            path = Path(self.weights)
            if not path.is_file():
                raise FileNotFoundError(
                    f"weights={str(self.weights)!r} is neither a file nor a registered name "
                    f"({', '.join(REGISTRY)})."
                )
        if path.suffix not in (".onnx", ".xml"):
            raise ValueError(
                f"weights={str(self.weights)!r} is a {path.suffix or 'nameless'} file; expected "
                ".onnx or OpenVINO's .xml. PyTorch weights are used with FaceNetEmbedder."
            )
        given = (self.color, self.mean, self.std)
        return path, [
            default if own is None else own
            for own, default in zip(given, (color, mean, std), strict=True)
        ]

    def _face_size(self, shape, channels_last):
        size = tuple(shape[1:3] if channels_last else shape[2:4])
        known = all(isinstance(n, int) and n > 0 for n in size)
        if self.input_size is None:
            if not known:
                raise ValueError(
                    f"The network leaves the size of its input open ({shape}): set "
                    "input_size=(H, W)."
                )
            return size
        if known and tuple(self.input_size) != size:
            raise ValueError(
                f"input_size={self.input_size!r}, but the network takes {size} (H, W)."
            )
        return tuple(self.input_size)

    def _session(self):
        make = {"onnxruntime": OnnxRuntimeSession, "openvino": OpenVinoSession}[self.runtime_]
        return STORE.get(
            "session",
            (self.model_digest_, self.runtime_),
            lambda: make(self.model_, self.model_data_),
            owner=self,
        )

    def _embed(self, faces):
        session = self._session()
        batch = self.preprocessing_(faces)
        vectors = session.run(batch)
        if self.flip:
            mirrored = session.run(np.ascontiguousarray(batch[..., ::-1]))
            # each of length 1, so that neither outweighs the other
            vectors = sum(v / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors, mirrored))
        return vectors


def _choose_runtime(runtime, path):
    installed = [name for name in _RUNTIMES if is_installed(name)]
    able = ["openvino"] if path.suffix == ".xml" else list(_RUNTIMES)
    if runtime != "auto":
        if runtime not in able:
            raise ValueError(f"runtime={runtime!r} cannot run {path.name}; use 'openvino'.")
        able = [runtime]
    for name in able:
        if name in installed:
            return name
    extra = {"onnxruntime": "onnx", "openvino": "fast"}[able[0]]
    raise ImportError(
        f"{path.name} needs {' or '.join(able)}, which is not installed: pip install "
        f"'skface[{extra}]'."
    )


def _read_beside(path, suffix):
    data = path.with_suffix(suffix)
    if not data.is_file():
        raise FileNotFoundError(f"{path} needs {data.name} beside it, which does not exist.")
    return np.fromfile(data, dtype=np.uint8)
