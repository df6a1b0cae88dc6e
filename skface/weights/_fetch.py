"""Find the files of registered weights, verify them, or download them."""

import hashlib
import logging
import os
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import platformdirs

from skface.exceptions import WeightsError
from skface.weights._registry import REGISTRY, WeightsEntry, WeightsFile, weights_info

_log = logging.getLogger("skface")


def fetch_weights(
    name: str, *, sha256: str | None = None, download: bool = True
) -> tuple[Path, ...]:
    """Find the files of registered weights, or download them if that is allowed.

    A file with another size or hash than the registry raises an error if it comes with skface or is
    in ``SKFACE_HOME``; the file is not changed. In the per-user cache, such a file is downloaded
    again.

    Parameters
    ----------
    name : str
        A name from :func:`list_weights`.
    sha256 : str, default=None
        SHA-256 in hexadecimal, for weights whose hash the registry does not know.
    download : bool, default=True
        Whether to download missing files, unless ``SKFACE_OFFLINE`` forbids it.

    Returns
    -------
    tuple of Path
        Verified files in one folder. The one to open is first.

    Raises
    ------
    ValueError
        If the name is not registered, or `sha256` contradicts the registry.
    WeightsError
        If a file is not available and may not or cannot be downloaded, or has another size or hash
        than the published one. The message names file, URL, size, SHA-256, and the folders where to
        save it. For a file of skface itself, it says to install skface again.
    """
    entry = weights_info(name)
    files = entry.files
    if sha256 is not None:
        files = _with_hash(entry, sha256)
    unverifiable = [file for file in files if file.sha256 is None]
    if unverifiable:
        file = unverifiable[0]
        raise WeightsError(
            f"weights={name!r}: the registry has no SHA-256 for {file.filename} ({file.url}), "
            "and only verified files are loaded. Get the hash from a source that you trust, and "
            f"pass it: fetch_weights({name!r}, sha256=...), or python -m skface.weights fetch "
            f"{name} --sha256 .... Both give a path: pass it to the embedder, weights=path, with "
            f"backbone={entry.backbone!r}, after FaceAligner({name!r})."
        )
    # files that belong together, such as .xml and .bin, come from one folder
    paths = locate_weights(name)
    for path, file in zip(paths, files, strict=True):
        problem = _problem(path, file)
        if not problem:
            continue
        found = f"weights={name!r}: {path} {problem}"
        if file.url is None:
            raise WeightsError(f"{found}. It comes with skface: install skface again.")
        if path.parent == _home():
            raise WeightsError(f"{found}. {_advice(file)}")
        if not download:
            remedy = "Delete it, or fetch" if os.path.lexists(path) else "Fetch"
            raise WeightsError(
                f"{found}. {remedy} it: python -m skface.weights fetch {name}. {_advice(file)}"
            )
        _download(entry, file, path.parent, problem)
    return paths


def locate_weights(name: str) -> tuple[Path, ...]:
    """Return the paths of registered weights, without reading the files.

    Parameters
    ----------
    name : str
        A name from :func:`list_weights`.

    Returns
    -------
    tuple of Path
        One path per file, the one to open first. The files need not exist.

    Warns
    -----
    UserWarning
        If ``SKFACE_HOME`` does not name a folder.
    """
    entry = weights_info(name)
    names = [file.filename for file in entry.files]
    folder = _home()
    if all(file.url is None for file in entry.files):
        return tuple(Path(__file__).with_name("files") / filename for filename in names)
    if folder is not None and not os.path.isdir(folder):
        warnings.warn(
            f"SKFACE_HOME={os.environ['SKFACE_HOME']!r} is not a folder, so {name!r} is looked up "
            "in the per-user cache. Correct the variable, or unset it.",
            stacklevel=2,
        )
    if folder is None or not any(os.path.lexists(folder / filename) for filename in names):
        folder = platformdirs.user_cache_path("skface")
    return tuple(folder / filename for filename in names)


def weights_files(weights: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Return the files that weights are read from.

    Parameters
    ----------
    weights : str or path
        A registered name, or a file.

    Returns
    -------
    tuple of Path
        One or two files, the one to open first. They need not exist.
    """
    if isinstance(weights, str) and weights in REGISTRY:
        return locate_weights(weights)
    path = Path(weights)
    return (path, path.with_suffix(".bin")) if path.suffix == ".xml" else (path,)


def _home() -> Path | None:
    home = os.environ.get("SKFACE_HOME")
    return Path(os.path.expanduser(home)) if home else None


def _is_offline() -> bool:
    return os.environ.get("SKFACE_OFFLINE", "") not in ("", "0")


def _with_hash(entry: WeightsEntry, sha256: str) -> tuple[WeightsFile, ...]:
    """Add a user's hash to the files that have none; a known hash is never replaced."""
    sha256 = sha256.lower()
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ValueError(f"sha256={sha256!r} is not a SHA-256 of 64 hexadecimal digits.")
    known = {file.filename: file.sha256 for file in entry.files}
    if not {None, sha256} & set(known.values()):
        hashes = ", ".join(f"{found} for {filename}" for filename, found in known.items())
        raise ValueError(
            f"sha256={sha256!r} contradicts the registry, which has {hashes} of "
            f"{entry.name!r}. Leave sha256 out."
        )
    return tuple(replace(file, sha256=file.sha256 or sha256) for file in entry.files)


def _problem(path: Path, file: WeightsFile) -> str | None:
    """Return what is wrong with a file, or None if it is the published one."""
    try:
        size, found = path.stat().st_size, _sha256(path)
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if file.size is not None and size != file.size:
        return f"has {size:,} bytes instead of {file.size:,}, SHA-256 {found}"
    return None if found == file.sha256 else f"has SHA-256 {found} instead of {file.sha256}"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _advice(file: WeightsFile) -> str:
    """Return how to install a file by hand."""
    home = _home()
    folders = [str(platformdirs.user_cache_path("skface"))]
    if home is None:
        folders.append("a folder of your own that the environment variable SKFACE_HOME names")
    else:
        folders.insert(0, f"{home} (SKFACE_HOME)")
    size = "of unknown size" if file.size is None else f"{file.size:,} bytes"
    return (
        f"To install it by hand, download {file.url} ({size}, SHA-256 {file.sha256}) and save "
        f"it as {file.filename} in {' or '.join(folders)}."
    )


def _download(entry: WeightsEntry, file: WeightsFile, folder: Path, problem: str) -> None:
    """Download a file to a temporary folder, verify it, and move it to its place."""
    found = f"weights={entry.name!r}: {folder / file.filename} {problem}"
    if _is_offline():
        raise WeightsError(
            f"{found}, and SKFACE_OFFLINE={os.environ['SKFACE_OFFLINE']} forbids downloading it. "
            f"{_advice(file)}"
        )
    import pooch

    # a warning, so that the user sees the license even if logging is not configured
    _log.warning(
        "Downloading weights %r from %s to %s. License: %s. Source: %s. Training data: %s.",
        entry.name,
        file.url,
        folder,
        entry.license,
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
                raise ValueError(f"the received file {received}.")
            path.replace(folder / file.filename)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{found}, and downloading it failed: {str(error).rstrip('.')}. {_advice(file)}"
        ) from error
