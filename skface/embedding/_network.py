"""The network of an estimator: choosing, building, loading and running it."""

import copy
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skface._rows import Rows, iter_batches
from skface._utils.digests import digest_arrays
from skface._utils.per_process import STORE, load_once
from skface._utils.validation import check_option, format_items
from skface.inference import Engine, Network, Preprocessing, resolve_precision
from skface.inference._network import State
from skface.nn.backbones import BACKBONES, get_backbone, is_flat, load_retail0095_ir
from skface.nn.distributed import local_rank
from skface.nn.rng import private_global_rng
from skface.weights import REGISTRY, fetch_weights, load_state, weights_info


@dataclass(frozen=True)
class BackboneChoice:
    """A network that is chosen, but not built: the shape of its input is not known.

    Attributes
    ----------
    backbone : str or callable
        A registered name, or a function that builds a module.
    state : dict of str to ndarray or None
        Given weights; None for random ones.
    preprocessing : Preprocessing
        Channel order and scaling of its images, without a size.
    origin : str, path or None
        Name or file of the weights, for messages.
    """

    backbone: str | Callable[[], nn.Module]
    state: State | None
    preprocessing: Preprocessing
    origin: Any = None


def choose_backbone(backbone: Any, weights: Any) -> BackboneChoice:
    """Choose a network by the parameters `backbone` and `weights` of an estimator.

    Registered weights have the preprocessing of their entry; any other network has that of its
    backbone.

    Raises
    ------
    TypeError, ValueError
        If a parameter is invalid, or the two contradict each other.
    FileNotFoundError, skface.exceptions.WeightsError
        If the weights are not available.
    """
    if isinstance(backbone, nn.Module):
        raise TypeError(
            f"backbone is a {type(backbone).__name__}, a network: pass a function without "
            "arguments that builds one, so that every fit starts from a new one."
        )
    if not (weights is None or isinstance(weights, str | PathLike)):
        raise TypeError(f"weights={weights!r} is neither a name, nor a path, nor None.")
    if backbone is not None and not callable(backbone):
        check_option(backbone, "backbone", tuple(BACKBONES))
    if weights is None:
        backbone = "small_resnet" if backbone is None else backbone
        return BackboneChoice(backbone, None, _backbone_preprocessing(backbone))
    if isinstance(weights, str) and weights in REGISTRY:
        entry = weights_info(weights)
        if entry.backbone is None:
            raise ValueError(
                f"weights={weights!r} belong to no backbone of skface. Use ONNX embedders with "
                "OnnxEmbedder, and detectors with FaceAligner."
            )
        if backbone not in (None, entry.backbone):
            raise ValueError(
                f"weights={weights!r} belong to backbone={entry.backbone!r}, not {backbone!r}: "
                "leave backbone out, or set weights=None to train it from scratch."
            )
        state = _read_state(fetch_weights(weights)[0])
        preprocessing = entry.preprocessing or _backbone_preprocessing(entry.backbone)
        return BackboneChoice(entry.backbone, state, preprocessing, weights)
    path = Path(weights)
    if not path.is_file():
        raise FileNotFoundError(
            f"weights={str(weights)!r} is neither a file nor a registered name "
            f"({', '.join(REGISTRY)})."
        )
    if backbone is None and path.suffix == ".xml":
        backbone = "retail_0095"
    if backbone is None:
        raise ValueError(
            f"weights={str(weights)!r} is a file, so backbone must name its network: "
            f"{', '.join(BACKBONES)}, or a callable."
        )
    preprocessing = _backbone_preprocessing(backbone)
    return BackboneChoice(backbone, _read_state(path), preprocessing, weights)


def _backbone_preprocessing(backbone: str | Callable[[], nn.Module]) -> Preprocessing:
    if callable(backbone):
        return Preprocessing(None)
    spec = get_backbone(backbone)
    return Preprocessing(None, spec.color, spec.mean, spec.std)


def choose_input_shape(
    backbone: Any, image_shape: tuple[int, ...] | None, rows: Rows, batch_size: int
) -> tuple[int, ...]:
    """Return (3, H, W) of the network's faces, or (d,) of its vectors."""
    spec = None if callable(backbone) else get_backbone(backbone)
    if spec is not None and spec.flat:
        return (rows.images[0].shape[-1],)
    if spec is not None and spec.input_size is not None:
        return (3, *spec.input_size)
    return (3, *choose_face_size(image_shape, rows, batch_size))


def choose_face_size(
    image_shape: tuple[int, ...] | None, rows: Rows, batch_size: int
) -> tuple[int, int]:
    """Return (H, W) for a network that takes any size: that of `image_shape`, or of the faces."""
    if image_shape is not None:
        return image_shape[0], image_shape[1]
    return rows.size or _common_size(rows, batch_size)


def build_network(
    choice: BackboneChoice,
    input_shape: tuple[int, ...],
    embedding_dim: int | None,
    *,
    seed: int = 0,
) -> Network:
    """Build a network, with its given weights or with random ones.

    Parameters
    ----------
    choice : BackboneChoice
        The network.
    input_shape : tuple
        (3, H, W), or (d,).
    embedding_dim : int or None
        Length of an embedding; None takes the network's own.
    seed : int, default=0
        Seed of random weights.

    Returns
    -------
    Network
        In evaluation mode, on the CPU.
    """
    backbone, state = choice.backbone, choice.state
    # on the CPU, whatever the default device of torch is
    with torch.device("cpu"):
        module = _build_module(
            backbone, input_shape, embedding_dim, None if state is not None else seed
        )
    if state is not None:
        _load_into(module, state, choice.origin)
    preprocessing = None
    if not is_flat(backbone):
        _, height, width = input_shape
        preprocessing = replace(choice.preprocessing, size=(height, width))
    # in single precision, as its input, whatever the default of torch is
    network = Network(backbone, input_shape, preprocessing, 0, module.float().eval())
    return replace(network, embedding_dim=_measure_dim(network))


def _build_module(
    backbone: str | Callable[[], nn.Module],
    input_shape: tuple[int, ...],
    embedding_dim: int | None,
    seed: int | None,
) -> nn.Module:
    """Build a module; a registered one without a seed is on the meta device, for weights."""
    if not isinstance(backbone, str):
        with private_global_rng(seed or 0):
            # copied, because a callable may return the same module every time
            module = copy.deepcopy(backbone())
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"backbone={backbone!r} returned a {type(module).__name__}, not a torch.nn.Module."
            )
        return module
    spec = get_backbone(backbone)
    width = spec.embedding_dim if embedding_dim is None else embedding_dim
    if seed is None:
        # draws no random numbers, so it need not wait for a training in another thread
        with torch.device("meta"):
            return spec.build(width, input_shape)
    with private_global_rng(seed):
        return spec.build(width, input_shape)


def fitted_attributes(network: Network) -> dict[str, Any]:
    """Return the fitted attributes of an estimator with this network, by name."""
    weights = network.state()
    for array in weights.values():
        array.flags.writeable = False  # estimators share them, and their digest stands for them
    return {
        "backbone_": network.backbone,
        "input_shape_": network.input_shape,
        "preprocessing_": network.preprocessing,
        "embedding_dim_": network.embedding_dim,
        "weights_": weights,
        "weights_digest_": digest_arrays(weights),
    }


def load_pretrained(estimator: Any, files: tuple[Path, ...], rows: Rows) -> dict[str, Any]:
    """Return the fitted attributes of an estimator with given weights.

    Files are read once per process while they are unchanged.

    Parameters
    ----------
    estimator : NetworkEstimator
        An estimator that trains nothing.
    files : tuple of Path
        The files of its weights.
    rows : Rows
        The rows of `fit`, for the size of the faces.

    Returns
    -------
    dict
        Attributes by name. Arrays are read-only, because estimators share them.
    """

    def read() -> dict[str, Any]:
        choice = choose_backbone(estimator.backbone, estimator.weights)
        input_shape = choose_input_shape(
            choice.backbone, estimator.image_shape, rows, estimator.batch_size
        )
        return fitted_attributes(build_network(choice, input_shape, estimator.embedding_dim))

    if callable(estimator.backbone):  # it may build another network at the next call
        return read()
    shape = estimator.image_shape
    key = (
        estimator.backbone,
        str(estimator.weights),
        estimator.embedding_dim,
        None if shape is None else tuple(shape),
    )
    attributes = load_once("network", files, key, read, estimator)
    return attributes | {"weights_": dict(attributes["weights_"])}


def rebuild_network(estimator: Any) -> Network:
    """Build the network of a fitted estimator from its attributes."""
    preprocessing = estimator.preprocessing_
    choice = BackboneChoice(
        estimator.backbone_,
        estimator.weights_,
        Preprocessing(None) if preprocessing is None else preprocessing,
    )
    return build_network(choice, estimator.input_shape_, estimator.embedding_dim_)


def engine_for(estimator: Any) -> Engine:
    """Return the engine of a fitted estimator, built once per process."""
    device = embedding_device(estimator.device, estimator.runtime)
    settings = (device, resolve_precision(estimator.precision, device), estimator.runtime)
    backbone: Any = estimator.backbone_
    try:
        hash(backbone)
    except TypeError:  # a callable without a hash: its engine is not shared
        backbone = weakref.ref(estimator)
    # with the shape of the input, because networks of equal weights may take several
    key = (
        backbone,
        estimator.input_shape_,
        estimator.preprocessing_,
        estimator.weights_digest_,
        *settings,
    )
    return STORE.get(
        "engine", key, lambda: Engine(rebuild_network(estimator), *settings), estimator
    )


def embedding_device(device: str, runtime: str) -> torch.device:
    """Return the device that embeds faces. With OpenVINO, "auto" means the CPU."""
    return choose_device("cpu" if runtime == "openvino" and device == "auto" else device)


def choose_device(device: str) -> torch.device:
    """Return the device that `device` names; "auto" means the best one.

    Under `torchrun`, "auto" gives each process its own GPU.

    Raises
    ------
    ValueError
        If `device` is not a device of torch, or not available.
    """
    if device != "auto":
        try:
            chosen = torch.device(device)
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                f"device={device!r} is not a device of torch, such as 'cpu', 'cuda' or 'auto'."
            ) from error
        if (chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()) or (
            chosen.type == "mps" and not torch.backends.mps.is_available()
        ):
            raise ValueError(
                f"device={device!r} is not on this machine, or this build of torch cannot use it. "
                "'auto' takes the best device that is available."
            )
        return chosen
    if torch.cuda.is_available():
        return torch.device("cuda", local_rank() % torch.cuda.device_count())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _measure_dim(network: Network) -> int:
    device = next(
        (tensor.device for tensor in network.module.state_dict().values()), torch.device("cpu")
    )
    with torch.inference_mode():
        face = torch.zeros(1, *network.input_shape, dtype=torch.float32, device=device)
        out = network.module(face)
    if not isinstance(out, Tensor):
        raise TypeError(
            f"backbone={network.backbone!r} returned a {type(out).__name__} for one face; expected "
            "a Tensor (1, d). Let the network return its embeddings only."
        )
    if out.ndim != 2:
        raise ValueError(
            f"backbone={network.backbone!r} returned shape {tuple(out.shape)} for one face; "
            "expected (1, d)."
        )
    return out.shape[1]


def _read_state(path: Path) -> State:
    if Path(path).suffix == ".xml":
        return load_retail0095_ir(path)
    return load_state(path)


def _load_into(module: nn.Module, state: State, origin: Any) -> None:
    """Load arrays into a module, without the classifier that published weights may have."""
    wanted = {name: tuple(t.shape) for name, t in module.state_dict().items()}
    given = {
        name: np.shape(array)
        for name, array in state.items()
        if name in wanted or not name.startswith("logits.")
    }
    # old files lack the counters of batch normalization, which do not affect embeddings
    missing = [n for n in wanted if n not in given and not n.endswith("num_batches_tracked")]
    extra = [n for n in given if n not in wanted]
    odd = [
        f"{n} {given[n]} for {wanted[n]}" for n in wanted if given.get(n, wanted[n]) != wanted[n]
    ]
    problems = [
        f"{what}: {format_items(names)}"
        for what, names in (("missing", missing), ("unexpected", extra), ("of other shape", odd))
        if names
    ]
    if problems:
        raise ValueError(
            f"weights={str(origin)!r} do not fit the network; {'; '.join(problems)}. Check "
            "backbone and embedding_dim."
        )
    own = module.state_dict()
    tensors = {
        name: torch.from_numpy(np.array(state[name], order="C")).to(like.dtype)
        if name in given
        else torch.zeros(like.shape, dtype=like.dtype, device="cpu")
        for name, like in own.items()
    }
    # A module on the meta device has no memory to copy into. A module of the user's keeps its
    # tensors, because layers may share one.
    module.load_state_dict(tensors, assign=all(like.is_meta for like in own.values()))


def _common_size(rows: Rows, batch_size: int) -> tuple[int, int]:
    """Return the size of faces by decoding them; all must have the same."""
    sizes: dict[tuple[int, ...], int] = {}
    every = np.arange(len(rows.images))
    for batch, faces in iter_batches(rows.images, every, batch_size):
        for i, face in zip(batch, faces, strict=True):
            sizes.setdefault(face.shape[:2], i)
    if len(sizes) > 1:
        found = format_items(f"{size} in {rows.images.name(i)}" for size, i in sizes.items())
        raise ValueError(
            f"X holds faces of {len(sizes)} sizes (H, W): {found}. Set image_shape=(H, W) to "
            "resize them, or align photos with FaceAligner."
        )
    ((height, width),) = sizes
    return height, width
