"""FaceAligner: from photos to crops of faces."""

import warnings
from collections.abc import Callable
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import Bunch, check_scalar
from sklearn.utils.validation import check_is_fitted

from skface._rows import Rows, check_images, distinct_indices, is_missing, to_bytes
from skface._utils.callbacks import fit_as_one_task
from skface._utils.per_process import STORE
from skface._utils.runtimes import thread_share
from skface._utils.validation import check_option, format_items
from skface.alignment._detectors import Detector, check_detector, load_detector, resolve_auto
from skface.alignment._geometry import resolve_geometry, warp
from skface.alignment._policies import POLICIES, SEVERAL, choose_face
from skface.alignment._yunet import N_VALUES, YuNet
from skface.exceptions import FaceNotFoundError, ImageError
from skface.weights import REGISTRY, locate_weights

_MAX_PHOTOS_PER_TASK = 8

Slots = NDArray[np.intp]  # indices of a photo among the images of the rows: pairs may repeat it


class FaceAligner(
    CallbackSupportMixin,
    TransformerMixin,
    BaseEstimator,
    auto_wrap_output_keys=None,  # type: ignore[call-arg]  # of scikit-learn's untyped base
):
    """Detect the face of each photo, and crop it as a network expects it.

    A detector finds faces and five landmarks of each: OpenCV's YuNet [1]_, or a smaller network
    that comes with skface. One face is chosen. The photo is rotated, scaled and shifted so that the
    landmarks fit those of the crop (least-squares similarity [2]_). The detector finds one face in
    several cells of its grids. These detections are averaged [3]_, so that the landmarks vary less
    with noise. Photos may differ in size. Each distinct photo of pairs is processed once.

    Parameters
    ----------
    geometry : str or tuple (points, (width, height)), default="skface-mini"
        The crop. The name of registered weights means the crop that they were trained with. Other
        names are "arcface-112", "sphereface-112x96", "open-model-zoo-128" and "facenet-160". A
        tuple holds five (x, y) points and a size, in pixels. The default is the crop of the default
        weights. "facenet-160" is an approximation, because those networks were trained on boxes,
        without landmarks.
    detector : str, path or callable, default="auto"
        The detector:

        * "auto": YuNet, which is better, if its file is available, else "skface-detector". Nothing
          is downloaded. `detector_name_` says which one is used. ``Pipeline(memory=...)`` does not
          notice that "auto" means another detector on another machine: with `memory`, name the
          detector.
        * "yunet": downloaded if it is not available, unless ``SKFACE_OFFLINE=1`` is set.
        * "skface-detector": comes with skface.
        * path of an ONNX file with the inputs and outputs of YuNet.
        * function from a photo, (H, W, 3) RGB of uint8, to its faces, (k, 15): x, y, width and
          height of the box; x and y of the left eye (as the viewer sees it), right eye, nose, left
          and right mouth corner; and a score. With `n_jobs`, several threads call it at a time.

        onnxruntime runs the network if it is installed, because it is faster than OpenCV.
    face_policy : {"largest", "center", "best_score", "single"}, default="largest"
        Which face to use if there are several. "center" weighs the size of a face against its
        distance from the center of the photo. With "single", several faces are a failure.
    min_score : float, default=0.6
        Lowest score of a face, from 0 to 1.
    detection_size : int, default=640
        Longer side, in pixels, to which larger photos are scaled down for detection. The time grows
        with its square. Faces of a few pixels need a larger value; 320 is enough for photos that a
        face fills. Photos whose longer side has less than 240 pixels are enlarged to 240, by a
        factor of at most 2. If no face is found, detection is repeated at half the scale, because
        faces wider than about 600 pixels may be missed. If there is still none, it is repeated with
        the longer side at `detection_size`, or at twice the size of the photo if that is less.
    on_failure : {"raise", "nan"}, default="raise"
        What to do with photos without a usable face. "raise" raises an error that names all of
        them. "nan" warns, and returns crops of NaN for them; missing and broken files are treated
        in the same way.
    image_shape : tuple (H, W) or (H, W, 3), default=None
        Shape of one photo, needed for flattened rows only.
    n_jobs : int, default=None
        Number of threads, each of which processes a photo at a time; -1 means all processors. None
        means the number that a :func:`joblib.parallel_config` context sets. Without such a context,
        a detector network runs in all threads that this process may use, and a function in one.

    Attributes
    ----------
    geometry_ : Geometry
        Landmarks and size of the crop.
    detector_ : ndarray of shape (n_bytes,), dtype uint8, or callable
        The detector's file, read-only, so that a pickled aligner needs no file.
    detector_digest_ : str or None
        Digest of the file; None for a callable.
    detector_name_ : str
        Registered name of the detector, its path, or the name of the function.

    See Also
    --------
    FaceNetEmbedder : Embeds the crops.
    make_face_verifier : Pipeline of an aligner, an embedder and a verifier that match.

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
    >>> photos = np.zeros((3, 60, 60, 3), dtype=np.uint8)  # without faces
    >>> aligner = FaceAligner(detector="skface-detector").fit(photos)
    >>> [len(scores) for scores in aligner.detect(photos).scores]
    [0, 0, 0]

    A custom detector, which finds the same face in every photo:

    >>> def detector(photo):
    ...     eyes_nose_mouth = [20, 20, 40, 20, 30, 30, 22, 42, 38, 42]
    ...     return np.array([[10, 5, 40, 50, *eyes_nose_mouth, 0.9]])
    >>> FaceAligner(detector=detector).fit_transform(photos).shape
    (3, 128, 128, 3)
    """

    def __init__(
        self,
        geometry: str | tuple[ArrayLike, tuple[int, int]] = "skface-mini",
        *,
        detector: str | PathLike[str] | Callable[[NDArray[np.uint8]], ArrayLike] = "auto",
        face_policy: str = "largest",
        min_score: float = 0.6,
        detection_size: int = 640,
        on_failure: str = "raise",
        image_shape: tuple[int, ...] | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.geometry = geometry
        self.detector = detector
        self.face_policy = face_policy
        self.min_score = min_score
        self.detection_size = detection_size
        self.on_failure = on_failure
        self.image_shape = image_shape
        self.n_jobs = n_jobs

    @fit_as_one_task
    def fit(self, X: Any, y: Any = None) -> Self:
        """Load the detector; nothing is learned from the photos.

        Parameters
        ----------
        X : faces or pairs
            Rows of photos, see the user guide.
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
        skface.exceptions.WeightsError
            If the detector's file is not what was published, or is not available and may not or
            cannot be downloaded.
        """
        self._check_rows(X)
        self.geometry_ = resolve_geometry(self.geometry)
        loaded = load_detector(self.detector, self)
        self.detector_, self.detector_digest_, self.detector_name_ = loaded
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """Crop the face of every photo.

        Parameters
        ----------
        X : faces or pairs
            As in `fit`.

        Returns
        -------
        crops : ndarray of shape (n, height, width, 3) or (n, 2, height, width, 3)
            RGB. With ``on_failure="raise"``, uint8. With "nan", float32 from 0 to 1, and NaN where
            no usable face was found.

        Raises
        ------
        FaceNotFoundError
            With ``on_failure="raise"``, if photos have no face, or several with
            ``face_policy="single"``. All photos are tried first, and the message names each that
            failed.
        skface.exceptions.ImageError
            With ``on_failure="raise"``, if files cannot be read. The message names all of them.
        FileNotFoundError
            With ``on_failure="raise"``, if files do not exist. It is raised before any photo is
            processed, and names all of them.
        """
        check_is_fitted(self)
        rows = self._check_rows(X)
        width, height = self.geometry_.size
        shape = (len(rows.images), height, width, 3)
        in_bytes = self.on_failure == "raise"
        crops = np.empty(shape, np.uint8) if in_bytes else np.full(shape, np.nan, np.float32)

        def crop(slots: Slots, photo: NDArray[np.uint8], faces: NDArray[np.float64]) -> None:
            face = choose_face(faces, photo.shape, self.face_policy)
            pixels = warp(photo, face[4:14].reshape(5, 2), self.geometry_)
            crops[slots] = pixels if in_bytes else np.divide(pixels, 255, dtype=np.float32)

        self._for_each_photo(rows, crop)
        return rows.regroup(crops)

    def detect(self, X: Any) -> Bunch:
        """Detect all faces, among which `transform` chooses.

        Parameters
        ----------
        X : faces or pairs
            As in `fit`.

        Returns
        -------
        faces : Bunch of three lists with one item per row
            ``boxes`` (k, 4) as x, y, width and height, ``landmarks`` (k, 5, 2) as x and y, both in
            pixels of the photo, and ``scores`` (k,), highest first. k is 0 for a photo without a
            face. For pairs, every item is a tuple of two such arrays.

        Raises
        ------
        FaceNotFoundError, skface.exceptions.ImageError, FileNotFoundError
            With ``on_failure="raise"``, as in `transform`, for photos that are NaN and for files
            that are missing or broken. A photo without a face is not an error here.
        """
        check_is_fitted(self)
        rows = self._check_rows(X)
        found = [np.empty((0, N_VALUES))] * len(rows.images)

        def keep(slots: Slots, photo: NDArray[np.uint8], faces: NDArray[np.float64]) -> None:
            for slot in slots:
                found[slot] = faces

        self._for_each_photo(rows, keep)

        def per_row(part: Callable[[NDArray[np.float64]], NDArray[Any]]) -> list[Any]:
            parts = [part(faces) for faces in found]
            if rows.arity == 1:
                return parts
            return list(zip(parts[::2], parts[1::2], strict=True))

        return Bunch(
            boxes=per_row(lambda faces: faces[:, :4]),
            landmarks=per_row(lambda faces: faces[:, 4:14].reshape(-1, 5, 2)),
            scores=per_row(lambda faces: faces[:, 14]),
        )

    def set_output(self, *, transform: str | None = None) -> Self:
        """Do nothing, because a data frame cannot hold crops.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            Ignored, so that ``Pipeline.set_output`` works for the other steps.

        Returns
        -------
        self : FaceAligner
            The same aligner.
        """
        return self

    def _value_state(self) -> dict[str, Any]:
        """Return everything besides the photos that the crops depend on."""
        names = ("geometry_", "face_policy", "min_score", "detection_size", "on_failure")
        state = {name: getattr(self, name) for name in (*names, "image_shape")}
        return state | {"detector": self.detector_digest_ or self.detector_}

    def _pretrained_files(self) -> tuple[Path, ...]:
        """Return the files that `fit` reads; it learns nothing from its rows."""
        if callable(self.detector):
            return ()
        detector = resolve_auto(self.detector)
        if isinstance(detector, str) and detector in REGISTRY:
            return locate_weights(detector)
        return (Path(detector),)

    def _check_rows(self, X: Any) -> Rows:
        check_option(self.face_policy, "face_policy", tuple(POLICIES))
        check_option(self.on_failure, "on_failure", ("raise", "nan"))
        check_scalar(self.min_score, "min_score", Real, min_val=0, max_val=1)
        if isinstance(self.min_score, bool) or np.isnan(self.min_score):
            raise ValueError(f"min_score={self.min_score!r} is not a number from 0 to 1.")
        check_scalar(self.detection_size, "detection_size", Integral, min_val=32)
        return check_images(X, image_shape=self.image_shape, check_files=self.on_failure == "raise")

    def _for_each_photo(
        self,
        rows: Rows,
        work: Callable[[Slots, NDArray[np.uint8], NDArray[np.float64]], None],
    ) -> None:
        """Call ``work(slots, photo, faces)`` for each distinct photo, in threads.

        `slots` are the indices of the photo among the images of `rows`. Photos that fail are
        reported at the end.
        """
        chosen, inverse = distinct_indices(rows)
        slots = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
        detect = self._build_detector()

        # Failures are returned as text, because the traceback of an error holds the photo.
        def try_one(number: int) -> tuple[type[Exception], str] | None:
            name = rows.images.name(chosen[number])
            try:
                photo = rows.images[chosen[number]]
            except FileNotFoundError:
                return ImageError, f"{name}: there is no such file"
            except ImageError as error:
                return ImageError, str(error)  # begins with the name
            try:
                photo = _as_contiguous_bytes(photo)
                work(slots[number], photo, detect(photo))
            except (FaceNotFoundError, cv2.error) as error:
                return FaceNotFoundError, f"{name}: {error}"
            return None

        # Threads, because `work` writes to arrays of this process. joblib's Parallel and not
        # scikit-learn's, which would set the warning filters of all threads for every photo.
        # Several photos per task, because dispatching takes time, and several tasks per thread.
        n_photos = max(1, min(_MAX_PHOTOS_PER_TASK, len(chosen) // (8 * thread_share())))
        n_jobs = self.n_jobs
        if n_jobs is None:
            n_jobs = get_active_backend()[1]  # joblib ignores it where the backend has processes
        if n_jobs is None and not callable(self.detector_):
            n_jobs = thread_share()
        outcomes = Parallel(n_jobs=n_jobs, require="sharedmem", batch_size=n_photos)(
            delayed(try_one)(number) for number in range(len(chosen))
        )
        failures = [outcome for outcome in outcomes if outcome is not None]
        if failures:
            self._report(failures, len(chosen))

    def _report(self, failures: list[tuple[type[Exception], str]], n_photos: int) -> None:
        """Raise an error about the photos that failed, or warn."""
        detector = self.detector_name_
        summary = f"{len(failures)} of {n_photos} photos cannot be aligned (detector: {detector})"
        reasons = [reason.rstrip(".\n") for _, reason in failures]
        if self.on_failure == "nan":
            warnings.warn(
                f"{summary}: {format_items(reasons, limit=20)}. Their faces count as not found.",
                stacklevel=4,
            )
            return
        kinds = {kind for kind, _ in failures}
        if kinds == {ImageError}:
            raise ImageError(
                f"{summary}: {', '.join(reasons)}. Remove or replace these photos, or set "
                "on_failure='nan' to mark them and go on."
            )
        remedies = ["Remove or replace these photos"]
        if any(SEVERAL in reason for reason in reasons):
            remedies.append("choose another face_policy")
        if any(SEVERAL not in reason for reason in reasons):
            if detector == "skface-detector":
                remedies.append("fit with detector='yunet'")
            remedies.append("lower min_score")
        raise FaceNotFoundError(
            f"{summary}: {', '.join(reasons)}. {', '.join(remedies)}, look at detect(X), or set "
            "on_failure='nan' to mark them and go on."
        )

    def _build_detector(self) -> Detector:
        """Return a function from a photo to its faces, highest score first."""
        if callable(self.detector_):
            find = check_detector(self.detector_)
        else:
            key, model = self.detector_digest_, self.detector_
            network = STORE.get("detector", key, lambda: YuNet(model), self)

            def find(photo: NDArray[np.uint8]) -> NDArray[np.float64]:
                return network(photo, float(self.min_score), self.detection_size)

        def detect(photo: NDArray[np.uint8]) -> NDArray[np.float64]:
            faces = find(photo)
            faces = faces[faces[:, 14] >= self.min_score]
            return faces[np.argsort(-faces[:, 14], kind="stable")]

        return detect

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.input_tags.three_d_array = True
        tags.input_tags.two_d_array = self.image_shape is not None
        tags.input_tags.allow_nan = self.on_failure == "nan"
        tags.requires_fit = True
        return tags


def _as_contiguous_bytes(photo: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert pixels to contiguous uint8."""
    if is_missing(photo):
        raise FaceNotFoundError("an earlier step did not find the face (NaN)")
    return np.ascontiguousarray(to_bytes(photo))
