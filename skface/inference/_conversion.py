"""Converting a torch network to OpenVINO."""

import warnings

import torch
from torch import nn

from skface.inference._folding import ONE_TRACE_AT_A_TIME
from skface.inference._openvino import import_openvino


def to_openvino(
    module: nn.Module, input_shape: tuple[int, ...], *, is_registered: bool = False
) -> object:
    """Convert a network in memory, for batches of any size.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode, on the CPU, in float32.
    input_shape : tuple
        (3, H, W) of its faces.
    is_registered : bool, default=False
        Whether the module is known to branch on shapes only, which are the same always.

    Returns
    -------
    openvino.Model
        The same function.

    Raises
    ------
    ValueError
        If another module branches on its input, of which a trace would keep one way.
    """
    openvino = import_openvino()
    with (
        ONE_TRACE_AT_A_TIME,
        torch.inference_mode(),
        warnings.catch_warnings(record=True) as caught,
    ):
        # the plain network has given all others, but torch's of tracing, which OpenVINO asks for
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", torch.jit.TracerWarning)
        faces = torch.zeros(2, *input_shape, dtype=torch.float32, device="cpu")
        # tracing twice, to compare, would double the time; what comes out is compared anyway
        traced = torch.jit.trace(module, faces, check_trace=False)
    if caught and not is_registered:
        raise ValueError(f"it may do something else for other faces: {caught[0].message}")
    return openvino.convert_model(traced, input=[openvino.PartialShape([-1, *input_shape])])
