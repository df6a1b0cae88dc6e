"""The registry: one table of pretrained weights, their files, licenses and preprocessing."""

from dataclasses import dataclass

from skface._utils.validation import check_option
from skface.inference import Preprocessing


@dataclass(frozen=True)
class WeightsFile:
    """One file of registered weights.

    Attributes
    ----------
    filename : str
        Its name in a folder.
    url : str or None
        Where it is published, or None for a file that comes with skface.
    size : int or None
        Number of bytes, or None if it is not known.
    sha256 : str or None
        SHA-256 in hexadecimal, or None if it is not known. The user then has to give it.
    """

    filename: str
    url: str | None
    size: int | None
    sha256: str | None


@dataclass(frozen=True)
class WeightsEntry:
    """Registered weights: files, license, origin, and how to use the network.

    Attributes
    ----------
    name : str
        The name that estimators take.
    kind : {"embedder", "detector"}
        What the network does.
    files : tuple of WeightsFile
        The files. The one to open is first.
    license : str
        Terms of the weights, as stated by their distributor.
    source : str
        The project that publishes them.
    training_data : str
        Data that the network was trained on.
    backbone : str or None
        Backbone of :class:`skface.FaceNetEmbedder`, or None for a file that holds the network
        itself.
    geometry : str or None
        Crop of :class:`skface.FaceAligner` that an embedder was trained with; None for detectors.
    preprocessing : Preprocessing or None
        Channel order and scaling of the network's input; None for detectors.
    embedding_dim : int or None
        Length of an embedding; None for detectors.
    """

    name: str
    kind: str
    files: tuple[WeightsFile, ...]
    license: str
    source: str
    training_data: str
    backbone: str | None = None
    geometry: str | None = None
    preprocessing: Preprocessing | None = None
    embedding_dim: int | None = None


_ZOO = (
    "https://media.githubusercontent.com/media/opencv/opencv_zoo/"
    "47534e27c9851bb1128ccc0102f1145e27f23f98/models"
)
_RETAIL = (
    "https://storage.openvinotoolkit.org/repositories/open_model_zoo/2023.0/models_bin/1/"
    "face-reidentification-retail-0095/FP16"
)


def _facenet(
    name: str, data: str, filename: str, size: int | None, sha256: str | None
) -> WeightsEntry:
    """Return the entry of a network that facenet-pytorch publishes."""
    releases = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"
    return WeightsEntry(
        name=name,
        kind="embedder",
        files=(WeightsFile(filename, f"{releases}/{filename}", size, sha256),),
        license=f"code MIT; weights: not stated, {data} is research data",
        source="timesler/facenet-pytorch v2.2.9, converted from davidsandberg/facenet",
        training_data=data,
        backbone="inception_resnet_v1",
        geometry="facenet-160",
        preprocessing=Preprocessing(None, "rgb", 127.5, 128.0),
        embedding_dim=512,
    )


_ENTRIES = (
    WeightsEntry(
        name="skface-mini",
        kind="embedder",
        files=(
            WeightsFile(
                "skface-mini.safetensors",
                None,
                5_262_752,
                "6013403186f5cf9d251b54693ddaa9c5125833c0fd9e89963e25618d1cd46700",
            ),
            WeightsFile(
                "skface-mini-scores.npz",
                None,
                16_103,
                "bf3ca2fc417aee492d58f3e4f501161a3f0b7ab7a4971a32f491467e9b9e7964",
            ),
        ),
        license="Apache-2.0, as its teacher's; the training photos are for research use",
        source=(
            "comes with skface, trained by examples/packaged_weights/train_mini.py; see "
            "docs/model_card.md"
        ),
        training_data=(
            "LFW View 1 and 12 celebrities of Glint360K, without labels; the targets are "
            "embeddings by face-reidentification-retail-0095"
        ),
        backbone="iresnet_mini",
        geometry="open-model-zoo-128",
        preprocessing=Preprocessing(None, "rgb", 127.5, 128.0),
        embedding_dim=256,
    ),
    WeightsEntry(
        name="skface-detector",
        kind="detector",
        files=(
            WeightsFile(
                "skface-detector.onnx",
                None,
                882_400,
                "514db05152b8cdadd080f0e978394dc39a5e87fa7a26aa241594f8e9d452e0d0",
            ),
        ),
        license="MIT, as its teacher's; the training photos are for research use",
        source=(
            "comes with skface, trained by examples/packaged_weights/train_detector.py; see "
            "docs/model_card.md"
        ),
        training_data="LFW View 1; the targets are detections by yunet",
    ),
    WeightsEntry(
        name="yunet",
        kind="detector",
        files=(
            WeightsFile(
                "face_detection_yunet_2026may.onnx",
                f"{_ZOO}/face_detection_yunet/face_detection_yunet_2026may.onnx",
                229_738,
                "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
            ),
        ),
        license="MIT",
        source="opencv/opencv_zoo, models/face_detection_yunet",
        training_data="WIDER FACE",
    ),
    WeightsEntry(
        name="sface",
        kind="embedder",
        files=(
            WeightsFile(
                "face_recognition_sface_2021dec.onnx",
                f"{_ZOO}/face_recognition_sface/face_recognition_sface_2021dec.onnx",
                38_696_353,
                "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
            ),
        ),
        license="Apache-2.0, as stated by opencv_zoo",
        source="opencv/opencv_zoo, models/face_recognition_sface",
        training_data="not stated by the distributor",
        # as cv2.FaceRecognizerSF: ArcFace's crop, RGB, pixels 0..255 without scaling
        geometry="arcface-112",
        preprocessing=Preprocessing(None, "rgb", 0.0, 1.0),
        embedding_dim=128,
    ),
    _facenet(
        "vggface2",
        "VGGFace2",
        "20180402-114759-vggface2.pt",
        111_898_327,
        "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b",
    ),
    _facenet("casia-webface", "CASIA-WebFace", "20180408-102900-casia-webface.pt", None, None),
    WeightsEntry(
        name="face-reidentification-retail-0095",
        kind="embedder",
        files=(
            WeightsFile(
                "face-reidentification-retail-0095.xml",
                f"{_RETAIL}/face-reidentification-retail-0095.xml",
                350_427,
                "ce53d2c9c08c0bd1c1660fb8a5b6d0e3e4ec19eb92f1036d2d83a85e83082dce",
            ),
            WeightsFile(
                "face-reidentification-retail-0095.bin",
                f"{_RETAIL}/face-reidentification-retail-0095.bin",
                2_213_628,
                "241229ca3d206321868d46ce74a3c0b06c49cea58db7dc70b2e842ff287545d1",
            ),
        ),
        license="Apache-2.0",
        source="Open Model Zoo 2023.0, face-reidentification-retail-0095",
        training_data="not stated by the distributor",
        backbone="retail_0095",
        geometry="open-model-zoo-128",
        preprocessing=Preprocessing(None, "bgr", 0.0, 1.0),
        embedding_dim=256,
    ),
)

#: Registered weights by name.
REGISTRY = {entry.name: entry for entry in _ENTRIES}


def list_weights() -> list[str]:
    """Return the names of the registered weights.

    Returns
    -------
    list of str
        The names that estimators and :func:`weights_info` take.

    Examples
    --------
    >>> from skface.weights import list_weights
    >>> list_weights()
    ['skface-mini', 'skface-detector', 'yunet', 'sface', 'vggface2', 'casia-webface',
     'face-reidentification-retail-0095']
    """
    return list(REGISTRY)


def weights_info(name: str) -> WeightsEntry:
    """Return the entry of registered weights; the files need not exist.

    Parameters
    ----------
    name : str
        A name from :func:`list_weights`.

    Returns
    -------
    WeightsEntry
        License, source, files, and the preprocessing of the network.

    Raises
    ------
    ValueError
        If the name is not registered.

    Examples
    --------
    >>> from skface.weights import weights_info
    >>> weights_info("yunet").license
    'MIT'
    """
    return REGISTRY[check_option(name, "weights", REGISTRY)]
