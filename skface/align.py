"""FaceAligner and the crop geometries: from a photo to the crop that a network was trained with."""

import os
import warnings
from collections.abc import Callable
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import Bunch, check_scalar
from sklearn.utils.validation import check_is_fitted

from skface._callbacks import fit_as_one_task
from skface._validation import check_option, name_some
from skface._yunet import YuNet, resize
from skface.base import live
from skface.images import ImageError, Rows, check_images, is_missing, to_bytes
from skface.inference._threads import thread_share
from skface.pairs import row_images
from skface.weights import REGISTRY, WeightsError, fetch_weights, locate_weights, weights_info


class Geometry(NamedTuple):
    """A crop: where five landmarks come to lie, and how large it is.

    Attributes
    ----------
    points : ndarray of shape (5, 2)
        x and y in pixels of the viewer's left eye, right eye, nose, left and right mouth corner.
    size : tuple (width, height)
        Pixels of the crop.
    """

    points: np.ndarray
    size: tuple[int, int]


_ARCFACE = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)
_SPHEREFACE = _ARCFACE - (8, 0)

#: Crops by name. The first three are the published templates of the networks trained with them.
GEOMETRIES = {
    "arcface-112": Geometry(_ARCFACE, (112, 112)),
    "sphereface-112x96": Geometry(_SPHEREFACE, (96, 112)),
    "open-model-zoo-128": Geometry(_SPHEREFACE / (96, 112) * 128, (128, 128)),
    # The FaceNet networks saw boxes of an MTCNN detector, widened by a margin, and no landmarks.
    # This puts an average face where the middle of such a box, of which it fills 0.9, lies.
    "facenet-160": Geometry((_ARCFACE - (56, 72)) * 1.65 + (80, 94), (160, 160)),
}

_N_VALUES = 15  # of a face: x, y, width, height, five points, score
_PHOTOS_OF_A_LOT = 8


class FaceNotFoundError(ValueError):
    """No face, or more than one where a single one is wanted; names every such photo."""


def resolve_geometry(geometry: Any) -> Geometry:
    """Turn the name of a crop, the name of weights, or points and a size into a geometry.

    Parameters
    ----------
    geometry : str or tuple (points, (width, height))
        A name in `GEOMETRIES`; the name of registered weights, for the crop that these want; or
        five (x, y) points and the size of the crop, in pixels.

    Returns
    -------
    Geometry
        Points as float64.

    Raises
    ------
    ValueError
        If the name is unknown, or the points or the size cannot be used.

    Examples
    --------
    >>> from skface.align import resolve_geometry
    >>> resolve_geometry("face-reidentification-retail-0095").size
    (128, 128)
    """
    if isinstance(geometry, str):
        by_weights = {name: entry.geometry for name, entry in REGISTRY.items() if entry.geometry}
        check_option(geometry, "geometry", (*GEOMETRIES, *by_weights))
        return GEOMETRIES[by_weights.get(geometry, geometry)]
    try:
        points, (width, height) = geometry
        points = np.array(points, dtype=np.float64)
        is_usable = points.shape == (5, 2) and np.isfinite(points).all()
        is_usable = is_usable and (points != points[0]).any()
        is_sized = all(isinstance(side, Integral) and side > 0 for side in (width, height))
    except (TypeError, ValueError):
        is_usable = is_sized = False
    if not (is_usable and is_sized):
        raise ValueError(
            f"geometry={geometry!r} is neither a name nor (points, (width, height)) with five "
            "(x, y) points and a size in pixels."
        )
    return Geometry(points, (int(width), int(height)))


class FaceAligner(
    CallbackSupportMixin, TransformerMixin, BaseEstimator, auto_wrap_output_keys=None
):
    """Cut the face out of a photo, upright and in the place where a network expects it.

    Faces and their five landmarks are found by OpenCV's YuNet [1]_ or by a network of that kind
    which comes with skface, one face is chosen, and the photo is turned, scaled and shifted so that
    its landmarks come as near as they can to those of the crop (the least-squares similarity [2]_).
    What a network guesses at one face from several places is averaged [3]_, so that a little noise
    moves its landmarks only a little. Photos may differ in size. Of pairs, each distinct photo is
    worked on once.

    Parameters
    ----------
    geometry : str or tuple (points, (width, height)), default="skface-mini"
        The crop: the name of registered weights ("the crop that these want"), "arcface-112",
        "sphereface-112x96", "open-model-zoo-128", "facenet-160", or five (x, y) points and a size
        in pixels. The default is the crop of the default weights of embedders. "facenet-160" is an
        approximation: those networks were trained on boxes without landmarks.
    detector : str, path or callable, default="auto"
        What finds the faces:

        * "auto": YuNet, the better one, if its file is at hand, else "skface-detector". Nothing is
          downloaded; `detector_name_` says which one it is. Name the detector where a
          ``Pipeline(memory=...)`` keeps what was fitted: to it, "auto" is "auto".
        * "yunet": downloaded if it is not at hand and that is allowed.
        * "skface-detector": comes with skface.
        * an ONNX file of YuNet;
        * a function that takes a photo, an (H, W, 3) RGB array of uint8, and returns its faces as
          an array (k, 15): x, y, width and height of the box, x and y of viewer's left eye, right
          eye, nose, left and right mouth corner, and a score. With `n_jobs` it is called by several
          threads at a time.

        Networks are run by onnxruntime where that is installed, which is faster than OpenCV.
    face_policy : {"largest", "centre", "best-score", "single"}, default="largest"
        Which face of several is meant. "centre" weighs nearness to the middle of the photo against
        size; "single" takes several faces for a failure.
    min_score : float, default=0.6
        Least score of a face, from 0 to 1.
    detection_size : int, default=640
        Longer side, in pixels, that larger photos are scaled down to before a network looks at
        them. Faces of a few pixels need more; time grows with the square, and 320 is enough for
        photos that a face fills. Photos of less than 240 pixels are enlarged to these, but twice at
        most. If no face is found, half the scale is tried, since faces wider than some 600 pixels
        may be missed or mistaken, and then up to twice the size of the photo.
    on_failure : {"raise", "nan"}, default="raise"
        What to do with a photo without the face that is wanted: an error that names all of them,
        or a row of NaN and a warning. "nan" also accepts files that are missing or broken.
    image_shape : tuple (H, W) or (H, W, 3), default=None
        Shape of one photo, needed for flattened rows only.
    n_jobs : int, default=None
        Photos worked on at a time, in threads; -1 means all processors. None means what a
        :func:`joblib.parallel_config` context says, and without one as many as this process may
        compute with for a network, but one for a function.

    Attributes
    ----------
    geometry_ : Geometry
        Template and size of the crop.
    detector_ : ndarray of shape (n_bytes,), dtype uint8, or callable
        The detector's file, so that a pickled aligner needs none.
    detector_name_ : str
        Which detector that is: its registered name, its path, or the name of the function.

    See Also
    --------
    FaceNetEmbedder : Embeds the crops.
    make_face_verifier : Aligner, embedder and verifier that fit each other.

    References
    ----------
    .. [1] W. Wu, H. Peng, S. Yu. YuNet: A Tiny Millisecond-level Face Detector. Machine
       Intelligence Research 20, 2023.
    .. [2] S. Umeyama. Least-squares estimation of transformation parameters between two point
       patterns. IEEE PAMI 13(4), 1991.
    .. [3] V. Bazarevsky, Y. Kartynnik, A. Vakunov, K. Raveendran, M. Grundmann. BlazeFace:
       Sub-millisecond Neural Face Detection on Mobile GPUs. CVPR Workshop, 2019, section 3.4.

    Examples
    --------
    >>> import numpy as np
    >>> from skface import FaceAligner
    >>> photos = np.zeros((3, 60, 60, 3), dtype=np.uint8)  # nobody is on them
    >>> aligner = FaceAligner(detector="skface-detector").fit(photos)
    >>> [len(scores) for scores in aligner.detect(photos).scores]
    [0, 0, 0]

    A detector of your own, which finds the same face wherever it looks:

    >>> def detector(photo):
    ...     eyes_nose_mouth = [20, 20, 40, 20, 30, 30, 22, 42, 38, 42]
    ...     return np.array([[10, 5, 40, 50, *eyes_nose_mouth, 0.9]])
    >>> FaceAligner(detector=detector).fit_transform(photos).shape
    (3, 128, 128, 3)
    """

    def __init__(
        self,
        geometry="skface-mini",
        *,
        detector="auto",
        face_policy="largest",
        min_score=0.6,
        detection_size=640,
        on_failure="raise",
        image_shape=None,
        n_jobs=None,
    ):
        self.geometry = geometry
        self.detector = detector
        self.face_policy = face_policy
        self.min_score = min_score
        self.detection_size = detection_size
        self.on_failure = on_failure
        self.image_shape = image_shape
        self.n_jobs = n_jobs

    @fit_as_one_task
    def fit(self, X, y=None):
        """Load the detector; nothing is learned from the photos.

        Parameters
        ----------
        X : faces or pairs
            Any rows that :func:`skface.images.check_images` accepts.
        y : object
            Ignored.

        Returns
        -------
        self : FaceAligner
            The fitted aligner.

        Raises
        ------
        ValueError
            If a parameter or `X` is invalid.
        skface.weights.WeightsError
            If the detector's file is not what was published, or is not at hand and may not or
            cannot be downloaded.
        """
        self._check_rows(X)
        self.geometry_ = resolve_geometry(self.geometry)
        self.detector_, self.detector_name_ = _load_detector(self.detector)
        return self

    def transform(self, X):
        """Cut out the face of every photo.

        Parameters
        ----------
        X : faces or pairs
            As in `fit`.

        Returns
        -------
        crops : ndarray of shape (n, height, width, 3) or (n, 2, height, width, 3)
            RGB. uint8 with ``on_failure="raise"``. With "nan" float32 from 0 to 1, and NaN where
            the face was not found.

        Raises
        ------
        FaceNotFoundError
            With ``on_failure="raise"``, if photos have no face, or several under
            ``face_policy="single"``. Every photo is tried first, and all are named.
        skface.images.ImageError
            With ``on_failure="raise"``, if files cannot be read; all are named.
        FileNotFoundError
            With ``on_failure="raise"``, if files do not exist; before any photo is tried.
        """
        check_is_fitted(self)
        rows = self._check_rows(X)
        width, height = self.geometry_.size
        shape = (len(rows.images), height, width, 3)
        in_bytes = self.on_failure == "raise"
        crops = np.empty(shape, np.uint8) if in_bytes else np.full(shape, np.nan, np.float32)

        def crop(slots, photo, faces):
            face = _choose(faces, photo.shape, self.face_policy)
            pixels = _warp(photo, face[4:14].reshape(5, 2), self.geometry_)
            crops[slots] = pixels if in_bytes else np.divide(pixels, 255, dtype=np.float32)

        self._for_each_photo(rows, crop)
        return rows.regroup(crops)

    def detect(self, X):
        """Find all faces, to see what `transform` chooses from.

        Parameters
        ----------
        X : faces or pairs
            As in `fit`.

        Returns
        -------
        faces : Bunch of three lists with one item per row
            ``boxes`` (k, 4) as x, y, width and height, ``landmarks`` (k, 5, 2) as x and y, both in
            pixels of the photo, and ``scores`` (k,), highest first. k is 0 for a photo without a
            face. For pairs every item is a tuple of two such arrays.

        Raises
        ------
        FaceNotFoundError, skface.images.ImageError, FileNotFoundError
            With ``on_failure="raise"``, as `transform`, for photos that are NaN and for files that
            are missing or broken; not for photos without a face.
        """
        check_is_fitted(self)
        rows = self._check_rows(X)
        found = [np.empty((0, _N_VALUES))] * len(rows.images)

        def keep(slots, photo, faces):
            for slot in slots:
                found[slot] = faces

        self._for_each_photo(rows, keep)

        def per_row(part):
            parts = [part(faces) for faces in found]
            if rows.arity == 1:
                return parts
            return list(zip(parts[::2], parts[1::2], strict=True))

        return Bunch(
            boxes=per_row(lambda faces: faces[:, :4]),
            landmarks=per_row(lambda faces: faces[:, 4:14].reshape(-1, 5, 2)),
            scores=per_row(lambda faces: faces[:, 14]),
        )

    def set_output(self, *, transform=None):
        """Do nothing: crops are images, which no data frame holds.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            Ignored, so that a pipeline with this step can set the output of the others.

        Returns
        -------
        self : FaceAligner
            The same aligner.
        """
        return self

    def _value_state(self) -> dict[str, Any]:
        """Return what the crops depend on beside the photos."""
        names = ("geometry_", "detector_", "face_policy", "min_score", "detection_size")
        return {name: getattr(self, name) for name in (*names, "on_failure", "image_shape")}

    def _fit_sources(self) -> tuple[Path, ...]:
        """Name the files that `fit` reads, which learns nothing from its rows."""
        if callable(self.detector):
            return ()
        detector = _resolve_auto(self.detector)
        if isinstance(detector, str) and detector in REGISTRY:
            return locate_weights(detector)
        return (Path(detector),)

    def _check_rows(self, X) -> Rows:
        check_option(self.face_policy, "face_policy", tuple(_POLICIES))
        check_option(self.on_failure, "on_failure", ("raise", "nan"))
        check_scalar(self.min_score, "min_score", Real, min_val=0, max_val=1)
        if isinstance(self.min_score, bool) or np.isnan(self.min_score):
            raise ValueError(f"min_score={self.min_score!r} is no number from 0 to 1.")
        check_scalar(self.detection_size, "detection_size", Integral, min_val=32)
        return check_images(X, image_shape=self.image_shape, check_files=self.on_failure == "raise")

    def _for_each_photo(self, rows: Rows, work: Callable) -> None:
        """Call ``work(slots, photo, faces)`` in threads, and report the photos that fail.

        `slots` are the places that a photo has among the images of `rows`.
        """
        chosen, inverse = row_images(rows)
        slots = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
        detect = self._build_detector()

        # Failures are returned as text: the traceback of an error would keep its photo in memory.
        def try_one(place):
            name = rows.images.name(chosen[place])
            try:
                photo = rows.images[chosen[place]]
            except FileNotFoundError:
                return ImageError, f"{name}: there is no such file"
            except ImageError as error:
                return ImageError, str(error)  # begins with the name
            try:
                photo = _in_bytes(photo)
                work(slots[place], photo, detect(photo))
            except (FaceNotFoundError, cv2.error) as error:
                return FaceNotFoundError, f"{name}: {error}"

        # Threads, because the results are written to arrays of this process. joblib's own, since
        # scikit-learn's would set the filters of warnings, which all threads share, per photo.
        # Several photos at a time, for handing over takes time too, and several lots per thread.
        lot = max(1, min(_PHOTOS_OF_A_LOT, len(chosen) // (8 * thread_share())))
        outcomes = Parallel(n_jobs=self._n_threads(), require="sharedmem", batch_size=lot)(
            delayed(try_one)(place) for place in range(len(chosen))
        )
        failures = [outcome for outcome in outcomes if outcome is not None]
        if failures:
            self._report(failures, len(chosen))

    def _n_threads(self) -> int | None:
        """Return how many photos to work on at a time; None leaves it to joblib."""
        is_open = self.n_jobs is None and get_active_backend()[1] is None
        return thread_share() if is_open and not callable(self.detector_) else self.n_jobs

    def _report(self, failures: list[tuple[type[Exception], str]], n_photos: int) -> None:
        """Raise, or warn of, what went wrong."""
        detector = getattr(self, "detector_name_", self.detector)  # older pickles lack the name
        summary = f"{len(failures)} of {n_photos} photos cannot be aligned (detector: {detector})"
        reasons = [reason.rstrip(".\n") for _, reason in failures]
        if self.on_failure == "nan":
            warnings.warn(
                f"{summary}: {name_some(reasons, limit=20)}. Their faces count as not found.",
                stacklevel=4,
            )
            return
        kinds = {kind for kind, _ in failures}
        if kinds == {ImageError}:
            raise ImageError(
                f"{summary}: {', '.join(reasons)}. Remove or replace these photos, or set "
                "on_failure='nan' to mark them and go on."
            )
        ways_out = ["Remove or replace these photos"]
        if any(_SEVERAL in reason for reason in reasons):
            ways_out.append("choose another face_policy")
        if any(_SEVERAL not in reason for reason in reasons):
            if detector == "skface-detector":
                ways_out.append("fit with detector='yunet'")
            ways_out.append("lower min_score")
        raise FaceNotFoundError(
            f"{summary}: {', '.join(reasons)}. {', '.join(ways_out)}, look at detect(X), or set "
            "on_failure='nan' to mark them and go on."
        )

    def _build_detector(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function that finds the faces of a photo, highest score first."""
        if callable(self.detector_):
            find = _checked(self.detector_)
        else:
            network = live(self, self.detector_, lambda: YuNet(self.detector_))

            def find(photo):
                return network(photo, float(self.min_score), self.detection_size)

        def detect(photo):
            faces = find(photo)
            faces = faces[faces[:, 14] >= self.min_score]
            return faces[np.argsort(-faces[:, 14], kind="stable")]

        return detect

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.input_tags.three_d_array = True
        tags.input_tags.two_d_array = self.image_shape is not None
        tags.input_tags.allow_nan = self.on_failure == "nan"
        tags.requires_fit = True
        return tags


def _in_bytes(photo: np.ndarray) -> np.ndarray:
    """Return pixels as uint8, which detector and warp take."""
    if is_missing(photo):
        raise FaceNotFoundError("a face that was not found before (NaN)")
    return np.ascontiguousarray(to_bytes(photo))


# ------------------------------------------------------------------------------- finding faces


def _resolve_auto(detector: Any) -> Any:
    """Return the registered name that "auto" stands for now, and any other detector as it is."""
    if not (isinstance(detector, str) and detector == "auto"):
        return detector
    is_at_hand = any(os.path.lexists(path) for path in locate_weights("yunet"))
    return "yunet" if is_at_hand else "skface-detector"


def _load_detector(detector: Any) -> tuple[np.ndarray | Callable, str]:
    """Return the bytes of a network's file, or the callable, and its name."""
    if callable(detector):
        return detector, getattr(detector, "__name__", type(detector).__name__)
    given, detector = detector, _resolve_auto(detector)
    if isinstance(detector, str) and detector in REGISTRY:
        if weights_info(detector).kind != "detector":
            raise ValueError(f"detector={detector!r} are weights of an embedder.")
        path = _fetch(detector, given)
    else:
        if not isinstance(detector, str | os.PathLike) or not os.path.isfile(detector):
            known = [name for name, entry in REGISTRY.items() if entry.kind == "detector"]
            raise ValueError(
                f"detector={detector!r} is neither a function, a file nor one of auto, "
                f"{name_some(known)}."
            )
        path = Path(detector)
    model = np.fromfile(path, dtype=np.uint8)
    try:
        YuNet(model)(np.zeros((64, 64, 3), dtype=np.uint8), 0.5, 64)
    except cv2.error as error:
        raise ValueError(
            f"detector={str(path)!r} is no YuNet model that OpenCV reads: {error}"
        ) from error
    return model, str(detector)


def _fetch(name: str, given: str) -> Path:
    """Return the file of a registered detector; "auto" never downloads."""
    try:
        return fetch_weights(name, download=given != "auto")[0]
    except WeightsError as error:
        if given != "auto" or name != "yunet":
            raise
        raise WeightsError(
            f"detector='auto' found YuNet's file, but {error} Or set detector='skface-detector'."
        ) from error


def _checked(detector: Callable) -> Callable[[np.ndarray], np.ndarray]:
    """Wrap a user's detector in a check of what it returns."""

    def find(photo):
        faces = np.asarray(detector(photo), dtype=np.float64)
        if faces.size == 0:
            return np.empty((0, _N_VALUES))
        if faces.ndim != 2 or faces.shape[1] != _N_VALUES or not np.isfinite(faces).all():
            raise ValueError(
                f"detector={detector!r} returned shape {faces.shape}; expected finite (k, 15): x, "
                "y, width, height, five points and a score per face."
            )
        return faces

    return find


# ------------------------------------------------------------------------------ choosing one


_SEVERAL = "faces under face_policy='single'"


def _largest(faces, shape):
    return np.argmax(faces[:, 2] * faces[:, 3])


def _centre(faces, shape):
    height, width = shape[:2]
    away = np.hypot(*(faces[:, :2] + faces[:, 2:4] / 2 - (width / 2, height / 2)).T)
    size = np.sqrt(np.clip(faces[:, 2] * faces[:, 3], 0, None))
    return np.argmax(size - 2 * away)


def _best_score(faces, shape):
    return np.argmax(faces[:, 14])


def _single(faces, shape):
    if len(faces) > 1:
        raise FaceNotFoundError(f"{len(faces)} {_SEVERAL}")
    return 0


_POLICIES = {
    "largest": _largest,
    "centre": _centre,
    "best-score": _best_score,
    "single": _single,
}


def _choose(faces: np.ndarray, shape: tuple[int, ...], policy: str) -> np.ndarray:
    if not len(faces):
        raise FaceNotFoundError("no face found")
    return faces[_POLICIES[policy](faces, shape)]


# ------------------------------------------------------------------------------------ warping


def _warp(photo: np.ndarray, points: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Warp a photo so that its landmarks come nearest to those of the crop."""
    matrix = fit_similarity(points, geometry.points)
    scale = np.hypot(*matrix[:, 0])
    if scale < 0.5:
        # bilinear sampling skips pixels when it shrinks by more than two: average them first
        small = resize(photo, 2 * scale)
        ratio = np.divide(photo.shape[1::-1], small.shape[1::-1])
        # pixel centres lie at half integers of the photo's extent
        enlarge = np.column_stack([np.diag(ratio), ratio / 2 - 0.5])
        matrix = matrix @ np.vstack([enlarge, (0, 0, 1)])
        photo = small
    return cv2.warpAffine(photo, matrix, geometry.size, flags=cv2.INTER_LINEAR)


def fit_similarity(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Find rotation, scaling and shift that bring points nearest to targets (least squares).

    In the plane, with points as complex numbers, a similarity without reflection is z -> a z + b,
    and Umeyama's solution is a linear regression.

    Parameters
    ----------
    points, targets : ndarray of shape (k, 2)
        x and y, k >= 2.

    Returns
    -------
    matrix : ndarray of shape (2, 3)
        Acts on (x, y, 1).

    Raises
    ------
    FaceNotFoundError
        If all points coincide.

    Examples
    --------
    >>> import numpy as np
    >>> from skface.align import fit_similarity
    >>> fit_similarity(np.array([[0, 0], [2, 0]]), np.array([[1, 1], [1, 5]])).round(6) + 0
    array([[ 0., -2.,  1.],
           [ 2.,  0.,  1.]])
    """
    z, w = (np.asarray(p, dtype=np.float64) @ (1, 1j) for p in (points, targets))
    centred = z - z.mean()
    spread = np.vdot(centred, centred).real
    if spread == 0:
        raise FaceNotFoundError("the five landmarks of the face coincide")
    a = np.vdot(centred, w - w.mean()) / spread
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
