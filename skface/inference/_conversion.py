"""Converting a torch network to OpenVINO."""

import warnings
from typing import Any

import torch
from torch import nn

from skface.inference._folding import ONE_TRACE_AT_A_TIME
from skface.inference._openvino import import_openvino


def to_openvino(
    module: nn.Module, input_shape: tuple[int, ...], *, is_registered: bool = False
) -> Any:
    """Convert a network for batches of any size.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode, on the CPU, in float32.
    input_shape : tuple
        (3, H, W) of its faces.
    is_registered : bool, default=False
        Whether the module is known to branch on shapes only, which do not change.

    Returns
    -------
    openvino.Model
        The same function.

    Raises
    ------
    ValueError
        If another module branches on its input. A trace would keep one branch.
    """
    openvino = import_openvino()
    with (
        ONE_TRACE_AT_A_TIME,
        torch.inference_mode(),
        warnings.catch_warnings(record=True) as caught,
    ):
        # of all warnings only those of tracing are new: the plain network has given the others
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", torch.jit.TracerWarning)
        faces = torch.zeros(2, *input_shape, dtype=torch.float32, device="cpu")
        # no second trace to compare with: the engine compares the vectors
        traced = torch.jit.trace(module, faces, check_trace=False)
    if caught and not is_registered:
        raise ValueError(f"it may take another branch for other faces: {caught[0].message}")
    return openvino.convert_model(traced, input=[openvino.PartialShape([-1, *input_shape])])
