"""OnnxEmbedder: embeddings by a network from an ONNX or OpenVINO file."""

from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_scalar

from skface._utils.callbacks import fit_as_one_task
from skface._utils.digests import digest_arrays
from skface._utils.docs import share_docs
from skface._utils.per_process import STORE
from skface._utils.runtimes import is_installed
from skface._utils.validation import check_option
from skface.embedding._base import BaseEmbedder
from skface.embedding._parameters import DOCS
from skface.inference import Preprocessing
from skface.inference._mirroring import embed_mirrored
from skface.inference._sessions import OnnxRuntimeSession, OpenVinoSession, Session
from skface.weights import REGISTRY, fetch_weights, weights_files, weights_info

_RUNTIMES = ("onnxruntime", "openvino")


@share_docs(DOCS)
class OnnxEmbedder(CallbackSupportMixin, BaseEmbedder):
    """Map faces to unit vectors with a network from an ONNX or OpenVINO file.

    `fit` reads the file and keeps its bytes as a fitted attribute, so a pickled pipeline needs no
    file. The session that runs the network is built once per process.

    Parameters
    ----------
    weights : str or path, default="sface"
        A registered name (see :func:`skface.weights.list_weights`), which has its own
        preprocessing; or a path to an .onnx file, or to an OpenVINO .xml with its .bin beside it.
    color : {"rgb", "bgr"}, default=None
        Order of the channels of the network's input. None takes that of registered weights, and
        "rgb" for a path.
    mean, std : float or tuple of three floats, default=None
        The network receives ``(pixels - mean) / std`` with pixels in 0..255. None takes those of
        registered weights, and 127.5 for a path.
    input_size : tuple (H, W), default=None
        Size of the faces, for files that take any size. None takes that of the file.
    runtime : {"auto", "onnxruntime", "openvino"}, default="auto"
        Library that runs the network; .xml needs OpenVINO. "auto" takes onnxruntime for .onnx if it
        is installed, else OpenVINO.
    image_shape : tuple (H, W) or (H, W, 3), default=None
        Shape of one image, needed for flattened rows only.
    %(batch_size)s
    %(flip)s

    Attributes
    ----------
    model_ : ndarray of shape (n_bytes,), dtype uint8
        The bytes of the .onnx or .xml file. Read-only.
    model_data_ : ndarray of shape (n_bytes,), dtype uint8, or None
        The bytes of the .bin of an OpenVINO .xml. Read-only.
    model_digest_ : str
        Digest of `model_` and `model_data_`, 32 hexadecimal digits.
    runtime_ : {"onnxruntime", "openvino"}
        The library in use.
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

    # set by `fit`
    model_: NDArray[np.uint8]
    model_data_: NDArray[np.uint8] | None
    model_digest_: str
    runtime_: str
    preprocessing_: Preprocessing
    embedding_dim_: int

    def __init__(
        self,
        weights: str | PathLike[str] = "sface",
        *,
        color: str | None = None,
        mean: float | tuple[float, float, float] | None = None,
        std: float | tuple[float, float, float] | None = None,
        input_size: tuple[int, int] | None = None,
        runtime: str = "auto",
        image_shape: tuple[int, ...] | None = None,
        batch_size: int = 64,
        flip: bool = False,
    ) -> None:
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
    def fit(self, X: Any, y: Any = None) -> Self:
        """Read the file of the network.

        Parameters
        ----------
        X : faces or pairs
            Rows of images, see the user guide. They are checked, and nothing is learned from them.
        y : Ignored
            Present for consistency with scikit-learn.

        Returns
        -------
        self : OnnxEmbedder
            The fitted embedder.

        Raises
        ------
        ValueError
            If a parameter or `X` is invalid, or if the network does not take images.
        FileNotFoundError
            If a file does not exist.
        ImportError
            If no library that can run the file is installed.
        skface.exceptions.WeightsError
            If the weights are not available and may not or cannot be downloaded.
        """
        check_scalar(self.batch_size, "batch_size", Integral, min_val=1)
        check_scalar(self.flip, "flip", (bool, np.bool_))
        check_option(self.runtime, "runtime", ("auto", *_RUNTIMES))
        if self.color is not None:
            check_option(self.color, "color", ("rgb", "bgr"))
        self._check_rows(X)
        path = self._find_file()
        runtime = _choose_runtime(self.runtime, path)
        model = _read(path)
        data = _read(path.with_suffix(".bin")) if path.suffix == ".xml" else None
        digest = digest_arrays({"model": model} if data is None else {"model": model, "data": data})
        session = _session(self, runtime, model, data, digest)
        size = self._face_size(session)
        preprocessing = self._choose_preprocessing(size)
        embedding_dim = session.run(preprocessing([np.zeros((*size, 3), dtype=np.uint8)])).shape[1]
        # all at the end, so that a fit that fails leaves the estimator as it was
        self.model_, self.model_data_, self.model_digest_ = model, data, digest
        self.runtime_ = runtime
        self.preprocessing_ = preprocessing
        self.embedding_dim_ = embedding_dim
        return self

    def _value_state(self) -> dict[str, Any]:
        """Return what the embeddings depend on beside the faces."""
        names = ("model_digest_", "runtime_", "preprocessing_", "flip", "image_shape")
        return {name: getattr(self, name) for name in names}

    def _pretrained_files(self) -> tuple[Path, ...] | None:
        """Name the files that `fit` reads; it learns nothing from its rows."""
        return weights_files(self.weights)

    def _find_file(self) -> Path:
        path = Path(self.weights)
        if isinstance(self.weights, str) and self.weights in REGISTRY:
            path = fetch_weights(self.weights)[0]
        if not path.is_file():
            raise FileNotFoundError(
                f"weights={str(self.weights)!r} is neither a file nor a registered name "
                f"({', '.join(REGISTRY)})."
            )
        if path.suffix not in (".onnx", ".xml"):
            raise ValueError(
                f"weights={str(self.weights)!r} is a file with suffix {path.suffix!r}; expected "
                ".onnx or OpenVINO's .xml. Use PyTorch weights with FaceNetEmbedder."
            )
        return path

    def _choose_preprocessing(self, size: tuple[int, int]) -> Preprocessing:
        """Return the value of the parameter, else of registered weights, else the default."""
        known = None
        if isinstance(self.weights, str) and self.weights in REGISTRY:
            known = weights_info(self.weights).preprocessing
        known = known or Preprocessing(None)
        return Preprocessing(
            size,
            known.color if self.color is None else self.color,
            known.mean if self.mean is None else self.mean,
            known.std if self.std is None else self.std,
        )

    def _face_size(self, session: Session) -> tuple[int, int]:
        shape = session.input_shape
        height, width = shape[1:3] if session.channels_last else shape[2:4]
        if self.input_size is None:
            if height is None or width is None:
                raise ValueError(
                    f"The network takes faces of any size ({shape}): set input_size=(H, W)."
                )
            return height, width
        asked_height, asked_width = self.input_size
        if height not in (None, asked_height) or width not in (None, asked_width):
            raise ValueError(
                f"input_size={self.input_size!r}, but the network takes {(height, width)} (H, W)."
            )
        return asked_height, asked_width

    def _embed(self, faces: list[NDArray[Any]]) -> NDArray[Any]:
        check_scalar(self.flip, "flip", (bool, np.bool_))  # it may change after fit
        session = _session(self, self.runtime_, self.model_, self.model_data_, self.model_digest_)
        batch = self.preprocessing_(faces)
        return embed_mirrored(session.run, batch) if self.flip else session.run(batch)


def _session(
    owner: OnnxEmbedder,
    runtime: str,
    model: NDArray[np.uint8],
    data: NDArray[np.uint8] | None,
    digest: str,
) -> Session:
    """Return what runs a network, built once per process."""
    make = {"onnxruntime": OnnxRuntimeSession, "openvino": OpenVinoSession}[runtime]
    return STORE.get("session", (digest, runtime), lambda: make(model, data), owner)


def _choose_runtime(runtime: str, path: Path) -> str:
    possible = ("openvino",) if path.suffix == ".xml" else _RUNTIMES
    if runtime != "auto":
        if runtime not in possible:
            raise ValueError(f"runtime={runtime!r} cannot run {path.name}; use 'openvino'.")
        possible = (runtime,)
    for name in possible:
        if is_installed(name):
            return name
    extra = {"onnxruntime": "onnx", "openvino": "fast"}[possible[0]]
    raise ImportError(
        f"{path.name} needs {' or '.join(possible)}, which is not installed: pip install "
        f"'skface[{extra}]'."
    )


def _read(path: Path) -> NDArray[np.uint8]:
    """Read a file as an array, which is known by its digest and must not change."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.with_suffix('.xml')} needs {path.name} beside it, which does not exist."
        )
    content = np.fromfile(path, dtype=np.uint8)
    content.flags.writeable = False
    return content
