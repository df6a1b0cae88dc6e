"""Running a fixed network by torch: precision, memory layout, and batches that fit caches."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# glibc returns blocks above 32 MiB to the kernel after every use, and writing to fresh pages takes
# longer than the arithmetic (mallopt(3), M_MMAP_THRESHOLD). 24 MiB leaves room for the workspace of
# convolutions.
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
        Device that runs the network.

    Returns
    -------
    {"float32", "bfloat16"}
        The arithmetic. :class:`Engine` still chooses float32, with a warning, for a network whose
        vectors it would change.

    Examples
    --------
    >>> from skface.inference._torch import resolve_precision
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
        Whether the module is one of :data:`skface.nn.backbones.BACKBONES`. Its images are laid out
        with the channels last, which convolutions run faster on. Its first convolution stays in
        float32, because bfloat16 has only 8 bits for the pixels.
    """

    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        precision: str = "float32",
        *,
        is_registered: bool = False,
    ) -> None:
        self._device = device
        self._format = torch.channels_last if is_registered else torch.contiguous_format
        dtype = _DTYPES[precision]
        self._copies = not is_registered
        self._input_dtype = torch.float32 if is_registered else dtype
        if is_registered:
            first = next(part for part in module.modules() if isinstance(part, nn.Conv2d))
            first.register_forward_hook(lambda _module, _inputs, output: output.to(dtype))
            layers = [part for part in module.modules() if not [*part.children()]]
            for layer in layers:
                if layer is not first:
                    layer.to(dtype)
        else:
            module.to(dtype)
        self._module = module.to(device)
        if is_registered:
            self._module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Return the vectors of a float32 batch, as float32."""
        # the precision is that of this object, whatever autocast the caller uses
        with torch.inference_mode(), torch.autocast(self._device.type, enabled=False):
            tensor = torch.from_numpy(batch)
            if self._device.type == "cuda":
                # from pinned memory, the copy does not wait for the work that the GPU has begun
                tensor = tensor.pin_memory()
            tensor = tensor.to(self._device, non_blocking=True)
            # a network may write to its input, which the caller still needs
            tensor = tensor.to(self._input_dtype, memory_format=self._format, copy=self._copies)
            return self._module(tensor).float().cpu().numpy()

    def faces_at_a_time(self, input_shape: tuple[int, ...]) -> int:
        """Return how many faces a CPU embeds at a time without large allocations.

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
        >>> from skface.inference._torch import TorchNetwork
        >>> network = TorchNetwork(nn.Conv2d(3, 64, 1), torch.device("cpu"))
        >>> network.faces_at_a_time((3, 64, 64))  # 1 MiB of output each
        24
        """
        face = np.zeros((1, *input_shape), dtype=np.float32)
        most = face.nbytes

        def measure(_module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            nonlocal most
            tensors = [part for part in (*inputs, output) if isinstance(part, Tensor)]
            # the output was cast from the type of an input that may be wider
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


def _cpu_multiplies_bfloat16() -> bool:
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
