"""Read the parameters of a network from a file, without running code from it."""

import os
import pickle
import struct
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from skface._utils.validation import format_items


def load_state(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read the parameters of a network from a file, without running code from it.

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
        If the file has another suffix, is broken, or holds anything but tensors.
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
            f"{path} cannot be read as a state dict: it is broken, or it holds more than tensors. "
            "Loading other objects could run code from the file, so skface never does. Save only "
            "tensors, torch.save(network.state_dict(), path), or convert it to .safetensors."
        ) from error
    # torch raises all of these for truncated files and files of other formats
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
    others = [
        key
        for key, value in state.items()
        if not (isinstance(key, str) and isinstance(value, torch.Tensor))
    ]
    if others:
        raise ValueError(
            f"{path} is not a plain state dict of tensors by name: see "
            f"{format_items(map(repr, others))}. Save the state dict alone."
        )
    return state


def _to_numpy(path: Path, name: str, tensor: Any) -> NDArray[Any]:
    try:
        # numpy has no bfloat16
        wide = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
        return wide.detach().numpy().copy()  # the tensor may be a view of the file
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{path} holds {name!r}, which is not a plain array: {error}") from error
