"""The registry of pretrained weights: find or fetch files, verify them, read them.

An embedder, "skface-mini", and a detector, "skface-detector", come with skface. Any other file is
looked up by its name in the folder that the environment variable ``SKFACE_HOME`` names, then in the
per-user cache, and is downloaded into the cache only if it is in neither; ``SKFACE_OFFLINE=1``
forbids that. Size and SHA-256 are checked every time, and nothing is ever unpickled. On the command
line::

    python -m skface.weights list
    python -m skface.weights info NAME
    python -m skface.weights fetch NAME [--sha256 HASH]
"""

import argparse
import hashlib
import logging
import os
import pickle
import struct
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from skface._validation import check_option, name_some

_log = logging.getLogger("skface")


class WeightsError(OSError):
    """Weights that are not at hand, not what was published, or cannot be downloaded."""


@dataclass(frozen=True)
class WeightsFile:
    """One file of registered weights.

    Attributes
    ----------
    filename : str
        What the file is called in a folder.
    url : str or None
        Where it is published; None for a file that comes with skface.
    size : int or None
        Bytes, None if not known.
    sha256 : str or None
        SHA-256 in hexadecimal; None if not known, in which case the user must give it.
    """

    filename: str
    url: str | None
    size: int | None
    sha256: str | None


@dataclass(frozen=True)
class WeightsEntry:
    """What is known about registered weights.

    Attributes
    ----------
    name : str
        The name that estimators take.
    kind : {"embedder", "detector"}
        What the network does.
    files : tuple of WeightsFile
        Its files, the one to open first.
    licence : str
        Terms of the weights, as far as their distributor states them. Most are not skface's.
    source : str
        The project that publishes them.
    training_data : str
        What the network was trained on.
    backbone : str or None
        Network of :class:`skface.FaceNetEmbedder`; None for files that carry their own graph.
    geometry : str or None
        Crop of :class:`skface.FaceAligner` that an embedder was trained with.
    color : {"rgb", "bgr"}
        Order of the channels that the network wants.
    mean, std : float
        The network receives ``(pixels - mean) / std`` with pixels in 0..255.
    embedding_dim : int or None
        Length of an embedding.
    """

    name: str
    kind: str
    files: tuple[WeightsFile, ...]
    licence: str
    source: str
    training_data: str
    backbone: str | None = None
    geometry: str | None = None
    color: str = "rgb"
    mean: float = 0.0
    std: float = 1.0
    embedding_dim: int | None = None


_ZOO = (
    "https://media.githubusercontent.com/media/opencv/opencv_zoo/"
    "47534e27c9851bb1128ccc0102f1145e27f23f98/models"
)
_FACENET_PYTORCH = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"
_RETAIL = (
    "https://storage.openvinotoolkit.org/repositories/open_model_zoo/2023.0/models_bin/1/"
    "face-reidentification-retail-0095/FP16"
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
        licence="Apache-2.0, like its teacher's; the photos it learnt from are for research use",
        source="comes with skface, trained by tools/train_mini.py; see docs/model_card.md",
        training_data=(
            "LFW View 1 and 12 celebrities of Glint360K, without labels, as "
            "face-reidentification-retail-0095 embeds them"
        ),
        backbone="iresnet-mini",
        geometry="open-model-zoo-128",
        mean=127.5,
        std=128.0,
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
        licence="MIT, like its teacher's; the photos it learnt from are for research use",
        source="comes with skface, trained by tools/train_detector.py; see docs/model_card.md",
        training_data="LFW View 1, as yunet finds its faces",
        color="bgr",
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
        licence="MIT",
        source="opencv/opencv_zoo, models/face_detection_yunet",
        training_data="WIDER FACE",
        color="bgr",
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
        licence="Apache-2.0, as stated by opencv_zoo",
        source="opencv/opencv_zoo, models/face_recognition_sface",
        training_data="not stated by the distributor",
        # as cv2.FaceRecognizerSF feeds it: aligned to ArcFace's points, channels swapped to RGB,
        # pixels 0..255 as they are
        geometry="arcface-112",
        embedding_dim=128,
    ),
    WeightsEntry(
        name="vggface2",
        kind="embedder",
        files=(
            WeightsFile(
                "20180402-114759-vggface2.pt",
                f"{_FACENET_PYTORCH}/20180402-114759-vggface2.pt",
                111_898_327,
                "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b",
            ),
        ),
        licence="code MIT; weights: not stated, VGGFace2 is research data",
        source="timesler/facenet-pytorch v2.2.9, converted from davidsandberg/facenet",
        training_data="VGGFace2",
        backbone="inception_resnet_v1",
        geometry="facenet-160",
        mean=127.5,
        std=128.0,
        embedding_dim=512,
    ),
    WeightsEntry(
        name="casia-webface",
        kind="embedder",
        files=(
            WeightsFile(
                "20180408-102900-casia-webface.pt",
                f"{_FACENET_PYTORCH}/20180408-102900-casia-webface.pt",
                None,
                None,
            ),
        ),
        licence="code MIT; weights: not stated, CASIA-WebFace is research data",
        source="timesler/facenet-pytorch v2.2.9, converted from davidsandberg/facenet",
        training_data="CASIA-WebFace",
        backbone="inception_resnet_v1",
        geometry="facenet-160",
        mean=127.5,
        std=128.0,
        embedding_dim=512,
    ),
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
        licence="Apache-2.0",
        source="Open Model Zoo 2023.0, face-reidentification-retail-0095",
        training_data="not stated by the distributor",
        backbone="retail-0095",
        geometry="open-model-zoo-128",
        color="bgr",
        embedding_dim=256,
    ),
)

#: Registered weights by name.
REGISTRY = {entry.name: entry for entry in _ENTRIES}


def list_weights() -> list[str]:
    """Name the registered weights.

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
    """Tell what is known about registered weights, without looking for their files.

    Parameters
    ----------
    name : str
        A name from :func:`list_weights`.

    Returns
    -------
    WeightsEntry
        Licence, source, files, and what the network wants as input.

    Raises
    ------
    ValueError
        If the name is not registered.

    Examples
    --------
    >>> from skface.weights import weights_info
    >>> weights_info("yunet").licence
    'MIT'
    """
    return REGISTRY[check_option(name, "weights", REGISTRY)]


def fetch_weights(
    name: str, *, sha256: str | None = None, download: bool = True
) -> tuple[Path, ...]:
    """Find the files of registered weights, or download them if that is allowed.

    A wrong file of skface or in ``SKFACE_HOME`` is an error and stays as it is; a wrong file in the
    per-user cache is downloaded again.

    Parameters
    ----------
    name : str
        A name from :func:`list_weights`.
    sha256 : str, default=None
        SHA-256 in hexadecimal, for weights whose hash the registry does not know.
    download : bool, default=True
        Whether a download is allowed, where ``SKFACE_OFFLINE`` does not forbid it.

    Returns
    -------
    tuple of Path
        Verified files, the one to open first. They lie in one folder.

    Raises
    ------
    ValueError
        If the name is not registered, or `sha256` contradicts the registry.
    WeightsError
        If a file is not at hand and may not or cannot be downloaded, or is not what was
        published. The message names file, URL, size, SHA-256, and the folders to put it into; a
        broken file of skface itself asks for another installation.
    """
    entry = weights_info(name)
    files = entry.files
    if sha256 is not None:
        files = _with_hash(entry, sha256)
    unverifiable = [file for file in files if file.sha256 is None]
    if unverifiable:
        file = unverifiable[0]
        raise WeightsError(
            f"weights={name!r}: the registry knows no SHA-256 for {file.filename} ({file.url}), "
            "and nothing is loaded unverified. Get its hash from somebody you trust, and pass it: "
            f"fetch_weights({name!r}, sha256=...), or python -m skface.weights fetch {name} "
            f"--sha256 ...; then pass the path that this returns as weights, with "
            f"backbone={entry.backbone!r}, after FaceAligner({name!r})."
        )
    # files that belong together, as .xml and .bin do, are taken from one folder
    paths = locate_weights(name)
    for path, file in zip(paths, files, strict=True):
        problem = _problem(path, file)
        if not problem:
            continue
        place = f"weights={name!r}: {path} {problem}"
        if file.url is None:
            raise WeightsError(f"{place}. It comes with skface: install skface again.")
        if path.parent == _home():
            raise WeightsError(f"{place}. {_advice(file)}")
        if not download:
            way_out = "Delete it, or fetch" if os.path.lexists(path) else "Fetch"
            raise WeightsError(
                f"{place}. {way_out} it: python -m skface.weights fetch {name}. {_advice(file)}"
            )
        _download(entry, file, path.parent, problem)
    return paths


def locate_weights(name: str) -> tuple[Path, ...]:
    """Tell where :func:`fetch_weights` looks for files first, without looking into them.

    Parameters
    ----------
    name : str
        A name from :func:`list_weights`.

    Returns
    -------
    tuple of Path
        One per file, the one to open first; they need not exist.

    Warns
    -----
    UserWarning
        If ``SKFACE_HOME`` names no folder.
    """
    entry = weights_info(name)
    names = [file.filename for file in entry.files]
    folder = _home()
    if all(file.url is None for file in entry.files):
        return tuple(Path(__file__).with_name("data") / filename for filename in names)
    if folder is not None and not os.path.isdir(folder):  # which never raises
        warnings.warn(
            f"SKFACE_HOME={os.environ['SKFACE_HOME']!r} is no folder, so that {name!r} is looked "
            "for elsewhere: correct it, or unset it.",
            stacklevel=2,
        )
    if folder is None or not any(os.path.lexists(folder / filename) for filename in names):
        folder = platformdirs.user_cache_path("skface")
    return tuple(folder / filename for filename in names)


def load_state(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read the parameters of a network without unpickling objects.

    Parameters
    ----------
    path : path
        A state dict saved by ``torch.save`` (.pt or .pth), or a .safetensors file.

    Returns
    -------
    dict of str to ndarray
        Parameters and buffers by name.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file has another ending, is broken, or holds anything but tensors.
    """
    path = Path(path)
    if path.suffix not in (".pt", ".pth", ".safetensors"):
        raise ValueError(f"{path}: expected .pt, .pth or .safetensors, not {path.suffix!r}.")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist.")
    state = _load_safetensors(path) if path.suffix == ".safetensors" else _load_torch(path)
    return {name: _to_numpy(path, name, tensor) for name, tensor in state.items()}


def _load_safetensors(path: Path) -> dict[str, Any]:
    import safetensors
    from safetensors.torch import load_file  # numpy's has no bfloat16

    try:
        return load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as safetensors: {error}.") from error


def _load_torch(path: Path) -> dict[str, Any]:
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} cannot be read as a state dict: it is broken, or it holds more than tensors, "
            "and loading those could run code from the file, which skface never does. Save tensors "
            "only, torch.save(network.state_dict(), path), or convert it to .safetensors."
        ) from error
    # torch reports truncated and foreign files through all of these
    except (
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
        struct.error,
    ) as error:
        raise ValueError(f"{path} cannot be read as a state dict: {error}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds a {type(state).__name__}, not a state dict.")
    odd = [
        key
        for key, value in state.items()
        if not (isinstance(key, str) and isinstance(value, torch.Tensor))
    ]
    if odd:
        raise ValueError(
            f"{path} is no plain state dict of tensors by name: see {name_some(map(repr, odd))}. "
            "Save the state dict alone."
        )
    return state


def _to_numpy(path: Path, name: str, tensor: Any) -> np.ndarray:
    try:
        # numpy has no bfloat16
        wide = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
        return wide.detach().numpy().copy()  # which does not depend on the file
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{path} holds {name!r}, which is no plain array: {error}") from error


def _home() -> Path | None:
    home = os.environ.get("SKFACE_HOME")
    return Path(os.path.expanduser(home)) if home else None


def _is_offline() -> bool:
    return os.environ.get("SKFACE_OFFLINE", "") not in ("", "0")


def _with_hash(entry: WeightsEntry, sha256: str) -> tuple[WeightsFile, ...]:
    """Complete files by the hash that the user gives; never replace a known one."""
    sha256 = sha256.lower()
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ValueError(f"sha256={sha256!r} is no SHA-256: 64 hexadecimal digits are.")
    known = {file.filename: file.sha256 for file in entry.files}
    if not {None, sha256} & set(known.values()):
        hashes = ", ".join(f"{found} for {filename}" for filename, found in known.items())
        raise ValueError(
            f"sha256={sha256!r} contradicts the registry, which knows {hashes} of "
            f"{entry.name!r}; leave sha256 out."
        )
    return tuple(replace(file, sha256=file.sha256 or sha256) for file in entry.files)


def _problem(path: Path, file: WeightsFile) -> str | None:
    """Say what is wrong with a file on disk; None if it is what was published."""
    try:
        size, found = path.stat().st_size, _sha256(path)
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if file.size is not None and size != file.size:
        return f"has {size:,} bytes instead of {file.size:,}, SHA-256 {found}"
    return None if found == file.sha256 else f"has SHA-256 {found} instead of {file.sha256}"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _advice(file: WeightsFile) -> str:
    """Say how to put a file into place by hand."""
    home = _home()
    folders = [str(platformdirs.user_cache_path("skface"))]
    if home is None:
        folders.append("a folder of your own that the environment variable SKFACE_HOME names")
    else:
        folders.insert(0, f"{home} (SKFACE_HOME)")
    size = "of unknown size" if file.size is None else f"{file.size:,} bytes"
    return (
        f"To put it into place by hand, get {file.url} ({size}, SHA-256 {file.sha256}) and save "
        f"it as {file.filename} in {' or '.join(folders)}."
    )


def _download(entry: WeightsEntry, file: WeightsFile, folder: Path, problem: str) -> None:
    """Download into a temporary folder; move the file into place once it is what was published."""
    place = f"weights={entry.name!r}: {folder / file.filename} {problem}"
    if _is_offline():
        raise WeightsError(
            f"{place}, and SKFACE_OFFLINE={os.environ['SKFACE_OFFLINE']} forbids to download it. "
            f"{_advice(file)}"
        )
    import pooch

    # a warning, because it is shown where no logging is set up: the user is to see the licence
    _log.warning(
        "Downloading weights %r from %s to %s. Licence: %s. Source: %s. Training data: %s.",
        entry.name,
        file.url,
        folder,
        entry.licence,
        entry.source,
        entry.training_data,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            path = Path(temporary) / file.filename
            pooch.HTTPDownloader()(file.url, str(path), None)
            received = _problem(path, file)
            if received:
                raise ValueError(f"what was received {received}.")
            path.replace(folder / file.filename)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{place}, and downloading it failed: {str(error).rstrip('.')}. {_advice(file)}"
        ) from error


def _describe(entry: WeightsEntry) -> str:
    lines = [
        f"{entry.name} ({entry.kind})",
        f"  licence:       {entry.licence}",
        f"  source:        {entry.source}",
        f"  training data: {entry.training_data}",
    ]
    if entry.kind == "embedder":
        lines.append(f"  embedding:     {entry.embedding_dim} values; crop {entry.geometry}")
    for file in entry.files:
        size = "size unknown" if file.size is None else f"{file.size:,} bytes"
        lines += [
            f"  file:          {file.filename}, {size}",
            f"                 {file.url or 'comes with skface'}",
            f"                 SHA-256 {file.sha256 or 'unknown'}",
        ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments without the program's name; None takes the process's.

    Returns
    -------
    int
        Exit status: 0, or 1 if weights could not be had.
    """
    parser = argparse.ArgumentParser(
        prog="python -m skface.weights", description="Show and fetch pretrained weights."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name all registered weights, with licence and source")
    info = commands.add_parser("info", help="show licence, source, files and hashes")
    fetch = commands.add_parser("fetch", help="find or download weights, and verify them")
    for command in (info, fetch):
        command.add_argument("name", metavar="NAME", help="a name that 'list' shows")
    fetch.add_argument("--sha256", help="hash of weights whose hash the registry does not know")
    args = parser.parse_args(argv)

    if args.command == "list":
        for entry in REGISTRY.values():
            print(f"{entry.name}\n  licence: {entry.licence}\n  source:  {entry.source}")
        return 0
    try:
        print(_describe(weights_info(args.name)))
        if args.command == "fetch":
            for path in fetch_weights(args.name, sha256=args.sha256):
                print(path)
    except (WeightsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
