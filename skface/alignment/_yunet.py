"""YuNet and networks with its inputs and outputs, run by onnxruntime or OpenCV."""

import threading
import warnings
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from skface._utils.runtimes import is_installed
from skface.nn._locks import ProcessLock

Photo = NDArray[np.uint8]  # (H, W, 3)
Faces = NDArray[Any]  # (k, N_VALUES), floating

N_VALUES = 15  # x, y, width, height, five points (x, y), score

# Photos are enlarged until their longer side has so many pixels, by `_MAX_ENLARGEMENT` at most. A
# larger size costs time and improves nothing on View 1 (tests/benchmarks/detection.py).
_ENLARGED_SIDE = 240
_MAX_ENLARGEMENT = 2.0
_MIN_SIDE = 64  # OpenCV 4 reads unset memory of narrower images, and may report any face
_SIDE_MULTIPLE = 32  # the coarsest stride
_STRIDES = (8, 16, 32)
# Intersection over union, of two boxes of one face. OpenCV's default.
_SAME_FACE_IOU = 0.3
# Intersection over union with the best box of a face, for detections that are averaged.
_AGREEMENT = 0.5
_MAX_CANDIDATES = 5000  # in non-maximum suppression, as in OpenCV
# OpenCV's log level is shared by the process: one thread at a time lowers it, and sets it back.
_LOG_LEVEL_LOCK = ProcessLock()
_LOG_ERRORS = 2
_OPENCV_LOG: Any = getattr(cv2.utils, "logging", cv2)  # OpenCV 4 has setLogLevel in cv2


class YuNet:
    """Detects faces; several threads can call it at a time. It cannot be pickled.

    Parameters
    ----------
    model : ndarray of shape (n_bytes,), dtype uint8
        An ONNX file of YuNet, or of a network with the same inputs and outputs.
    """

    def __init__(self, model: NDArray[np.uint8]) -> None:
        self._detect = _choose_runtime(model)

    def __call__(self, photo: Photo, min_score: float, detection_size: int) -> Faces:
        """Detect the faces of a photo.

        Parameters
        ----------
        photo : ndarray of shape (H, W, 3), dtype uint8
            RGB.
        min_score : float
            Lowest score of a face.
        detection_size : int
            Longer side, in pixels, to which larger photos are scaled down.

        Returns
        -------
        ndarray of shape (k, 15)
            The faces, in pixels of the photo.
        """
        longer = max(photo.shape[:2])
        largest = min(detection_size / longer, _MAX_ENLARGEMENT)
        scale = min(largest, max(_ENLARGED_SIDE / longer, 1))
        # YuNet misses faces that fill a large photo, and detects them at half the scale
        for attempt in dict.fromkeys((scale, scale / 2, largest)):
            faces = self._detect_at(attempt, photo, min_score)
            if len(faces):
                break
        return faces

    def _detect_at(self, scale: float, photo: Photo, min_score: float) -> Faces:
        resized = resize(photo, scale)
        height, width = resized.shape[:2]
        pixels = cv2.cvtColor(_pad(resized), cv2.COLOR_RGB2BGR)
        candidates = self._detect(np.asarray(pixels, dtype=np.uint8), min_score)
        faces = _merge_candidates(candidates.astype(np.float64), min_score)
        # not the scale, because each side was rounded to whole pixels
        faces[:, :14] *= np.tile((photo.shape[1] / width, photo.shape[0] / height), 7)
        return faces


def resize(photo: Photo, scale: float) -> Photo:
    """Scale a photo, to sides of at least one pixel; pixels are averaged where it shrinks."""
    height, width = (max(1, round(side * scale)) for side in photo.shape[:2])
    if (height, width) == photo.shape[:2]:
        return photo
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(photo, (width, height), interpolation=method), dtype=np.uint8)


def _pad(photo: Photo) -> Photo:
    """Add black pixels below and on the right, up to sides that the network takes."""
    below, right = (
        max(_MIN_SIDE, -(-side // _SIDE_MULTIPLE) * _SIDE_MULTIPLE) - side
        for side in photo.shape[:2]
    )
    padded = cv2.copyMakeBorder(photo, 0, below, 0, right, cv2.BORDER_CONSTANT)
    return np.asarray(padded, dtype=np.uint8)


def _merge_candidates(candidates: Faces, min_score: float) -> Faces:
    """Merge all candidates (k, 15) of a face: their average, with the highest score.

    The network detects a face in several cells of its grids. Non-maximum suppression alone would
    keep the best candidate, which jumps from cell to cell when pixels change a little. An average
    weighted by the scores does not (Bazarevsky et al., BlazeFace, 2019, section 3.4).
    """
    # as OpenCV does, which suppresses boxes of whole pixels
    boxes, scores = candidates[:, :4].astype(np.int32).tolist(), candidates[:, 14].tolist()
    best = cv2.dnn.NMSBoxes(boxes, scores, min_score, _SAME_FACE_IOU, 1.0, _MAX_CANDIDATES)
    faces = candidates[np.asarray(best, dtype=np.intp)]
    for face in faces:
        averaged = candidates[_intersection_over_union(face, candidates) >= _AGREEMENT]
        if len(averaged):  # a box of no area has no overlap, not even with itself
            face[:14] = np.average(averaged[:, :14], axis=0, weights=averaged[:, 14])
    return faces


def _intersection_over_union(face: Faces, others: Faces) -> NDArray[np.float64]:
    """Return the intersection over union of the box of a face (15,) with others (k, 15)."""
    ends = np.minimum(face[:2] + face[2:4], others[:, :2] + others[:, 2:4])
    shared = np.clip(ends - np.maximum(face[:2], others[:, :2]), 0, None).prod(axis=1)
    areas = others[:, 2:4].prod(axis=1) + face[2:4].prod()
    return np.divide(shared, areas - shared, out=np.zeros(len(others)), where=areas > shared)


def _choose_runtime(model: NDArray[np.uint8]) -> Callable[[Photo, float], Faces]:
    """Return a function from padded BGR pixels and a score to candidates (k, 15)."""
    by_opencv = _OpenCv(model)
    if not is_installed("onnxruntime"):
        return by_opencv
    try:
        by_onnxruntime = _OnnxRuntime(model)
    except Exception as error:  # onnxruntime's errors have no base class of their own
        warnings.warn(
            f"onnxruntime cannot run the detector, so OpenCV does, more slowly: {error}",
            stacklevel=2,
        )
        return by_opencv
    return by_onnxruntime if by_onnxruntime.is_supported else by_opencv


class _OpenCv:
    """OpenCV's implementation of YuNet."""

    def __init__(self, model: NDArray[np.uint8]) -> None:
        self._model = model
        self._nets = threading.local()  # a network serves one thread at a time
        self._net()  # raises the error of a file that OpenCV cannot read

    def _net(self) -> cv2.FaceDetectorYN:
        if not hasattr(self._nets, "own"):
            with _LOG_LEVEL_LOCK:
                # OpenCV 5 warns at every start that its new engine ignores the default target
                level = _OPENCV_LOG.setLogLevel(_LOG_ERRORS)
                try:
                    self._nets.own = cv2.FaceDetectorYN.create(
                        "onnx",
                        self._model,
                        np.empty(0, np.uint8),
                        (_MIN_SIDE, _MIN_SIDE),
                        nms_threshold=1.0,  # all candidates
                        top_k=_MAX_CANDIDATES,
                    )
                finally:
                    _OPENCV_LOG.setLogLevel(level)
        return self._nets.own

    def __call__(self, pixels: Photo, min_score: float) -> Faces:
        net = self._net()
        net.setScoreThreshold(min_score)
        net.setInputSize((pixels.shape[1], pixels.shape[0]))
        faces: Faces | None = net.detect(pixels)[1]
        return np.empty((0, N_VALUES)) if faces is None else faces


class _OnnxRuntime:
    """YuNet run by onnxruntime, faster than by OpenCV; outputs are read as OpenCV reads them.

    `is_supported` is False for files that fix the size of their input, and for other versions of
    the network.
    """

    def __init__(self, model: NDArray[np.uint8]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # FaceAligner runs a photo per thread, so that a photo gets one
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model.tobytes(), options, providers=["CPUExecutionProvider"]
        )
        first = self._session.get_inputs()[0]
        self._input = first.name
        self._outputs = [
            f"{kind}_{stride}" for stride in _STRIDES for kind in ("cls", "obj", "bbox", "kps")
        ]
        takes_any_size = not any(isinstance(side, int) for side in first.shape[2:])
        names = {output.name for output in self._session.get_outputs()}
        self.is_supported = takes_any_size and names == set(self._outputs)

    def __call__(self, pixels: Photo, min_score: float) -> Faces:
        # faster than cv2.dnn.blobFromImage
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32)
        outputs = self._session.run(self._outputs, {self._input: planes})
        n_columns = [pixels.shape[1] // stride for stride in _STRIDES]
        return np.concatenate(
            [
                _read_grid(stride, n_columns[i], min_score, *outputs[4 * i : 4 * i + 4])
                for i, stride in enumerate(_STRIDES)
            ]
        )


def _read_grid(
    stride: int,
    n_columns: int,
    min_score: float,
    classes: NDArray[np.float32],
    objectness: NDArray[np.float32],
    boxes: NDArray[np.float32],
    points: NDArray[np.float32],
) -> Faces:
    """Return the candidates (k, 15) of one grid, whose cells are `stride` pixels wide."""
    scores = np.sqrt(np.clip(classes[0, :, 0], 0, 1) * np.clip(objectness[0, :, 0], 0, 1))
    (cells,) = np.nonzero(scores >= min_score)
    corners = np.column_stack([cells % n_columns, cells // n_columns])
    boxes = boxes[0, cells]
    sizes = np.exp(boxes[:, 2:])
    in_strides = (corners + boxes[:, :2] - sizes / 2, sizes, points[0, cells] + np.tile(corners, 5))
    return np.column_stack([stride * np.hstack(in_strides), scores[cells]])
