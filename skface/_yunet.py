"""YuNet and its like: faces and landmarks of photos of any size, by onnxruntime or OpenCV."""

import importlib.util
import threading
import warnings

import cv2
import numpy as np

from skface.nn._locks import ProcessLock

# Smaller photos are enlarged to so many pixels, or twice. More costs time, and pairs of View 1
# are told apart no better where photos were looked at enlarged (tests/benchmarks/detection.py).
_ENLARGED_SIDE = 240
_MAX_ENLARGEMENT = 2.0
_MIN_SIDE = 64
_MULTIPLE = 32  # of the sides of its input: its coarsest stride
_STRIDES = (8, 16, 32)
_N_VALUES = 15  # of a face: x, y, width, height, five points, score
_OVERLAP = 0.3  # intersection over union from which two boxes are one face; OpenCV's default
_AGREEMENT = 0.5  # intersection over union from which the network's guesses are averaged
_MOST_BOXES = 5000  # that are compared; as in OpenCV
# OpenCV's log level is one for the whole process; it is lowered for a moment, by one thread.
_LOG_LEVEL = ProcessLock()
_LOG_ERRORS = 2
_OPENCV_LOG = getattr(cv2.utils, "logging", cv2)  # OpenCV 4 has setLogLevel in cv2


class YuNet:
    """Finds the faces of a photo, also for several threads at a time. Not to be pickled.

    Parameters
    ----------
    model : ndarray of uint8
        An ONNX file of YuNet, or of a network with inputs and outputs as YuNet has them.
    """

    def __init__(self, model: np.ndarray):
        self._find = _choose_runtime(model)

    def __call__(self, photo: np.ndarray, min_score: float, detection_size: int) -> np.ndarray:
        """Return the faces (k, 15), of a score above this, of an RGB photo of uint8.

        `detection_size` is the longer side in pixels that larger photos are scaled to.
        """
        longer = max(photo.shape[:2])
        largest = min(detection_size / longer, _MAX_ENLARGEMENT)
        scale = min(largest, max(_ENLARGED_SIDE / longer, 1))
        # YuNet misses faces that fill a large photo, and finds them in a smaller one
        for attempt in dict.fromkeys((scale, scale / 2, largest)):
            faces = self.at_scale(photo, min_score, attempt)
            if len(faces):
                break
        return faces

    def at_scale(self, photo: np.ndarray, min_score: float, scale: float) -> np.ndarray:
        """Return the faces of a photo that is looked at in another size."""
        resized = resize(photo, scale)
        height, width = resized.shape[:2]
        guesses = self._find(cv2.cvtColor(_padded(resized), cv2.COLOR_RGB2BGR), min_score)
        faces = _merge(guesses.astype(np.float64), min_score)
        # each side was rounded to whole pixels
        faces[:, :14] *= np.tile((photo.shape[1] / width, photo.shape[0] / height), 7)
        return faces


def resize(photo: np.ndarray, scale: float) -> np.ndarray:
    """Scale a photo, with sides of at least one pixel; averaging where it shrinks."""
    height, width = (max(1, round(side * scale)) for side in photo.shape[:2])
    if (height, width) == photo.shape[:2]:
        return photo
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(photo, (width, height), interpolation=method)


def _padded(photo: np.ndarray) -> np.ndarray:
    """Add black below and on the right, up to sides that the network takes.

    Of images narrower than `_MIN_SIDE` OpenCV 4 reads unset memory, and may report any face.
    """
    below, right = (
        max(_MIN_SIDE, -(-side // _MULTIPLE) * _MULTIPLE) - side for side in photo.shape[:2]
    )
    return cv2.copyMakeBorder(photo, 0, below, 0, right, cv2.BORDER_CONSTANT)


def _merge(guesses: np.ndarray, min_score: float) -> np.ndarray:
    """Make one face of all guesses (k, 15) at it: their average, with the score of the best.

    The network guesses at every face from several cells of its grids. The best guess alone, which
    non-maximum suppression keeps, jumps from cell to cell when pixels change a little; an average
    weighted by the scores does not (Bazarevsky et al., BlazeFace, 2019, section 3.4).
    """
    # as OpenCV does, which compares boxes of whole pixels
    boxes, scores = guesses[:, :4].astype(np.int32).tolist(), guesses[:, 14].tolist()
    best = cv2.dnn.NMSBoxes(boxes, scores, min_score, _OVERLAP, 1.0, _MOST_BOXES)
    faces = guesses[np.asarray(best, dtype=np.intp)]
    for face in faces:
        agree = guesses[_overlaps(face, guesses) >= _AGREEMENT]
        if len(agree):  # a box without an extent does not even agree with itself
            face[:14] = np.average(agree[:, :14], axis=0, weights=agree[:, 14])
    return faces


def _overlaps(face: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over union of the box of a face with those of others."""
    ends = np.minimum(face[:2] + face[2:4], others[:, :2] + others[:, 2:4])
    shared = np.clip(ends - np.maximum(face[:2], others[:, :2]), 0, None).prod(axis=1)
    areas = others[:, 2:4].prod(axis=1) + face[2:4].prod()
    return np.divide(shared, areas - shared, out=np.zeros(len(others)), where=areas > shared)


def _choose_runtime(model: np.ndarray):
    """Return what guesses at the faces, (k, 15), of BGR pixels of padded size."""
    runtime = _OpenCv(model)
    if importlib.util.find_spec("onnxruntime") is not None:
        try:
            faster = _OnnxRuntime(model)
        except Exception as error:  # onnxruntime's errors have no class in common
            warnings.warn(
                f"onnxruntime cannot run the detector, so OpenCV does, more slowly: {error}",
                stacklevel=2,
            )
        else:
            if faster.is_able:
                return faster
    return runtime


class _OpenCv:
    """OpenCV's own implementation of YuNet."""

    def __init__(self, model: np.ndarray):
        self._model = model
        self._nets = threading.local()  # one serves one thread at a time
        self._net()  # a file that OpenCV does not read is an error now

    def _net(self):
        if hasattr(self._nets, "own"):
            return self._nets.own
        with _LOG_LEVEL:
            # OpenCV 5 warns at every start that its new engine ignores the default target
            level = _OPENCV_LOG.setLogLevel(_LOG_ERRORS)
            try:
                self._nets.own = cv2.FaceDetectorYN.create(
                    "onnx",
                    self._model,
                    np.empty(0, np.uint8),
                    (_MIN_SIDE, _MIN_SIDE),
                    nms_threshold=1.0,  # all guesses
                    top_k=_MOST_BOXES,
                )
            finally:
                _OPENCV_LOG.setLogLevel(level)
        return self._nets.own

    def __call__(self, pixels: np.ndarray, min_score: float) -> np.ndarray:
        net = self._net()
        net.setScoreThreshold(min_score)
        net.setInputSize(pixels.shape[1::-1])
        faces = net.detect(pixels)[1]
        return np.empty((0, _N_VALUES)) if faces is None else faces


class _OnnxRuntime:
    """YuNet run by onnxruntime, which is faster than OpenCV.

    The outputs are read as ``cv::FaceDetectorYN`` does. `is_able` is False for files that fix the
    size of their input, and for other versions of the network.
    """

    def __init__(self, model: np.ndarray):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # as many photos at a time as the caller has threads, rather than threads for one photo
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model.tobytes(), options, providers=["CPUExecutionProvider"]
        )
        first = self._session.get_inputs()[0]
        self._input = first.name
        self._outputs = [
            f"{kind}_{stride}" for stride in _STRIDES for kind in ("cls", "obj", "bbox", "kps")
        ]
        leaves_size_open = not any(isinstance(side, int) for side in first.shape[2:])
        named = {output.name for output in self._session.get_outputs()}
        self.is_able = leaves_size_open and named == set(self._outputs)

    def __call__(self, pixels: np.ndarray, min_score: float) -> np.ndarray:
        # cv2.dnn.blobFromImage takes several times as long
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32)
        outputs = self._session.run(self._outputs, {self._input: planes})
        return np.concatenate(
            [
                _grid_faces(
                    stride, pixels.shape[1] // stride, min_score, *outputs[4 * i : 4 * i + 4]
                )
                for i, stride in enumerate(_STRIDES)
            ]
        )


def _grid_faces(stride, n_columns, min_score, classes, objectness, boxes, points):
    """Read the faces of one grid, whose cells are `stride` pixels wide."""
    scores = np.sqrt(np.clip(classes[0, :, 0], 0, 1) * np.clip(objectness[0, :, 0], 0, 1))
    (found,) = np.nonzero(scores >= min_score)
    corner = np.column_stack([found % n_columns, found // n_columns])
    boxes = boxes[0, found]
    size = np.exp(boxes[:, 2:])
    return stride * np.column_stack(
        [
            corner + boxes[:, :2] - size / 2,
            size,
            points[0, found] + np.tile(corner, 5),
            scores[found] / stride,
        ]
    )
