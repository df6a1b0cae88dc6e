"""Running a torch network that is not trained: precision, runtimes, and batches that fit caches."""

import warnings

import numpy as np
import torch
from torch import Tensor, nn

from skface._runtimes import import_openvino
from skface.nn.folding import ONE_TRACE_AT_A_TIME, FusedConv2d

# glibc takes blocks above 32 MiB from the kernel and hands them back after every use, and writing
# to fresh pages takes longer than the arithmetic (mallopt(3), M_MMAP_THRESHOLD). What convolutions
# need besides has to fit too.
_MOST_ACTIVATION_BYTES = 24 * 2**20
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def resolve_precision(precision: str, device: torch.device | str) -> str:
    """Return the arithmetic that a network embeds in.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
        "auto" means bfloat16 where the processor multiplies it natively (AVX512-BF16 or AMX on a
        CPU), else float32.
    device : torch.device or str
        What runs the network.

    Returns
    -------
    {"float32", "bfloat16"}
        The arithmetic. A network whose vectors it spoils is run in float32 after all, with a
        warning.

    Examples
    --------
    >>> from skface.nn.inference import resolve_precision
    >>> resolve_precision("float32", "cpu")
    'float32'
    """
    if precision != "auto":
        return precision
    kind = torch.device(device).type
    if kind == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = kind == "cpu" and _cpu_multiplies_bfloat16()
    return "bfloat16" if native else "float32"


class TorchNetwork:
    """A network that torch runs.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode; it is moved and cast in place.
    device : torch.device
        Where it runs.
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic inside.
    is_registered : bool, default=False
        Whether the module keeps the conventions of :data:`skface.nn.backbones.BACKBONES`, so that
        images may be laid out with their channels last, as convolutions like them, and its first
        convolution, which sees the pixels, stays in float32: bfloat16 has 8 bits for them.
    """

    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        precision: str = "float32",
        *,
        is_registered: bool = False,
    ):
        self._device = device
        self._format = torch.channels_last if is_registered else torch.contiguous_format
        dtype = _DTYPES[precision]
        self._copies = not is_registered
        self._input_dtype = torch.float32 if is_registered else dtype
        if is_registered:
            convolutions = (nn.Conv2d, FusedConv2d)
            first = next(part for part in module.modules() if isinstance(part, convolutions))
            first.register_forward_hook(lambda _module, _inputs, output: output.to(dtype))
            layers = [part for part in module.modules() if not [*part.children()]]
            for layer in layers:
                if layer is not first:
                    layer.to(dtype)
        else:
            module.to(dtype)
        self._module = module.to(device)
        if is_registered:
            self._module.to(memory_format=torch.channels_last)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return the vectors of a float32 batch, as float32."""
        # precision is decided here, not by the surroundings of the caller
        with torch.inference_mode(), torch.autocast(self._device.type, enabled=False):
            tensor = torch.from_numpy(batch)
            if self._device.type == "cuda":
                # out of pinned memory the copy does not wait for what the card is busy with
                tensor = tensor.pin_memory()
            tensor = tensor.to(self._device, non_blocking=True)
            # a network may write to its input, which others are still to see
            tensor = tensor.to(self._input_dtype, memory_format=self._format, copy=self._copies)
            return self._module(tensor).float().cpu().numpy()

    def faces_at_a_time(self, input_shape: tuple[int, ...]) -> int:
        """Return for how many faces the largest activation stays small enough for a CPU.

        Parameters
        ----------
        input_shape : tuple
            (3, H, W) of the faces.

        Returns
        -------
        int
            1 or more.

        Examples
        --------
        >>> import torch
        >>> from torch import nn
        >>> from skface.nn.inference import TorchNetwork
        >>> network = TorchNetwork(nn.Conv2d(3, 64, 1), torch.device("cpu"))
        >>> network.faces_at_a_time((3, 64, 64))  # 1 MiB of output each
        24
        """
        face = np.zeros((1, *input_shape), dtype=np.float32)
        most = face.nbytes

        def measure(_module: nn.Module, inputs: tuple, output: Tensor) -> None:
            nonlocal most
            tensors = [part for part in (*inputs, output) if isinstance(part, Tensor)]
            # an output may have been wider before it was cast
            widest = max((tensor.itemsize for tensor in tensors), default=0)
            if isinstance(output, Tensor):
                most = max(most, output.numel() * widest)

        hooks = [part.register_forward_hook(measure) for part in self._module.modules()]
        try:
            self(face)
        finally:
            for hook in hooks:
                hook.remove()
        return max(1, _MOST_ACTIVATION_BYTES // most)


def cosine_gaps(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return 1 - cosine of each row of two arrays of vectors.

    Rows of `expected` that are zero or not finite say nothing and are left out; rows of `found`
    that are, and vectors of another length, are infinitely far away.

    Examples
    --------
    >>> import numpy as np
    >>> from skface.nn.inference import cosine_gaps
    >>> cosine_gaps(np.eye(2), np.array([[3.0, 0.0], [0.0, -1.0]]))
    array([0., 2.])
    """
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    lengths = np.linalg.norm(expected, axis=1)
    telling = np.isfinite(lengths) & (lengths > 0)
    if expected.shape != found.shape:
        return np.full(np.count_nonzero(telling), np.inf)
    expected, found, lengths = expected[telling], found[telling], lengths[telling]
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = (expected * found).sum(axis=1) / (lengths * np.linalg.norm(found, axis=1))
    return 1 - np.nan_to_num(cosines, nan=-np.inf)


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


def _cpu_multiplies_bfloat16() -> bool:
    able = getattr(torch.cpu, "get_capabilities", dict)()  # which old versions lack
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
