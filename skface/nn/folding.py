"""Rewriting a network that is not trained any more, so that fewer layers do the same."""

import copy
import operator
import platform
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from skface.nn._locks import ProcessLock

# torch keeps one record of what is being traced for the whole process
ONE_TRACE_AT_A_TIME = ProcessLock()
# What a batch normalisation can become part of, if it comes right before.
_FUSE = {
    (nn.Conv2d, nn.BatchNorm2d): fuse_conv_bn_eval,
    (nn.Linear, nn.BatchNorm1d): fuse_linear_bn_eval,
}


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Return a copy whose batch normalisations are part of the convolutions before them.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode.

    Returns
    -------
    nn.Module
        The same function. If `module` cannot be traced it is a plain copy.

    Examples
    --------
    >>> from torch import nn
    >>> from skface.nn.folding import fold_batch_norm
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).eval()
    >>> any(isinstance(part, nn.BatchNorm2d) for part in fold_batch_norm(network).modules())
    False
    """
    traced = copy.deepcopy(module)
    try:
        with ONE_TRACE_AT_A_TIME:
            graph = _OneThreadTracer().trace(traced)
        folded = fx.GraphModule(traced, graph)
        _fold(folded)
    except Exception:  # a forward pass may do anything, so tracing it may raise anything
        return copy.deepcopy(module)
    # checks of the input, which would disturb other tracers; but not what writes to a tensor
    folded.graph.eliminate_dead_code(lambda node: node.is_impure() or _is_in_place(node))
    folded.recompile()
    return folded


def can_fuse_convolutions(precision: str) -> bool:
    """Tell whether a network that :func:`fuse_convolutions` has changed runs on this processor.

    Parameters
    ----------
    precision : {"float32", "bfloat16"}
        Its arithmetic.

    Examples
    --------
    >>> from skface.nn.folding import can_fuse_convolutions
    >>> can_fuse_convolutions("bfloat16") <= can_fuse_convolutions("float32")
    True
    """
    # elsewhere oneDNN hands on to other libraries, with which nobody has measured it
    is_x86 = platform.machine().lower() in {"x86_64", "amd64"}
    if not is_x86 or not torch.backends.mkldnn.is_available():
        return False
    return precision == "float32" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def fuse_convolutions(network: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """Let every convolution scale, add and rectify as it writes its result, on a CPU.

    One pass over memory takes the place of up to four. The weights are laid out for the processor
    once, where PyTorch does it anew for every batch.

    Parameters
    ----------
    network : nn.Module
        What :func:`fold_batch_norm` returned, which is changed. It must not write to tensors that
        it uses again; those of :data:`skface.nn.backbones.BACKBONES` do not.
    input_shape : tuple
        (3, H, W) of its faces.

    Returns
    -------
    nn.Module
        The same function, for inference only; once it has run it cannot be copied or pickled. What
        `fold_batch_norm` could not trace is returned as it is.

    Notes
    -----
    It calls the operators of PyTorch that ``torch.compile`` uses for networks with frozen weights.
    They are not documented, so what comes out has to be compared with the network as it was.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from skface.nn.folding import fold_batch_norm, fuse_convolutions
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
    >>> fused = fuse_convolutions(fold_batch_norm(network), (3, 16, 16))
    >>> len(list(fused.children()))
    1
    >>> faces = torch.ones(2, 3, 16, 16)
    >>> with torch.inference_mode():
    ...     torch.testing.assert_close(fused(faces), network(faces))
    """
    if not isinstance(network, fx.GraphModule):
        return network
    parts = dict(network.named_modules(remove_duplicate=False))
    with torch.inference_mode():
        faces = torch.zeros(2, *input_shape, dtype=torch.float32, device="cpu")
        ShapeProp(network).propagate(faces)
    layers = [node for node in network.graph.nodes if node.op == "call_module"]
    n_calls = Counter(parts[node.target] for node in layers)
    for node in layers:
        layer = parts[node.target]
        is_plain = type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and len(node.args)
        if is_plain and not isinstance(layer.padding, str) and n_calls[layer] == 1:
            _fuse_what_follows(network, node, parts)
    network.delete_all_unused_submodules()
    network.recompile()
    return network


def _fuse_what_follows(network: fx.GraphModule, node: fx.Node, parts: dict[str, nn.Module]) -> None:
    """Make the layers behind a convolution, as far as nothing else sees its result, part of it."""
    last, scale, added, rectifies = node, 1.0, None, False
    follower = _only_user(last)
    if (factor := _factor(follower, last)) is not None:
        last, scale = follower, factor
        follower = _only_user(last)
    if (addend := _addend(follower, last)) is not None:
        last, added = follower, addend
        follower = _only_user(last)
    if follower is not None and _rectifies(follower, parts):
        last, rectifies = follower, True
    shape = node.args[0].meta["tensor_meta"].shape
    layer = FusedConv2d(parts[node.target], scale, rectifies=rectifies, input_shape=shape)
    network.set_submodule(node.target, layer)
    with network.graph.inserting_before(last):
        inputs = (node.args[0],) if added is None else (node.args[0], added)
        fused = network.graph.call_module(node.target, inputs)
    fused.meta = last.meta
    last.replace_all_uses_with(fused)
    while last is not node:
        before = next(n for n in last.all_input_nodes if n is not added)
        network.graph.erase_node(last)
        last = before
    network.graph.erase_node(node)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _factor(node: fx.Node | None, scaled: fx.Node) -> float | None:
    """Return the number with which `node` multiplies, or None if it does not."""
    if node is None or node.target not in (operator.mul, torch.mul):
        return None
    factors = [arg for arg in node.args if arg is not scaled]
    return factors[0] if len(factors) == 1 and isinstance(factors[0], int | float) else None


def _addend(node: fx.Node | None, scaled: fx.Node) -> fx.Node | None:
    """Return what `node` adds, if it is a tensor of the same shape and type."""
    if node is None or node.target not in (operator.add, torch.add) or node.kwargs:
        return None
    others = [arg for arg in node.args if arg is not scaled]
    if len(others) != 1 or not isinstance(others[0], fx.Node):
        return None
    added, result = (n.meta.get("tensor_meta") for n in (others[0], scaled))
    is_alike = getattr(added, "shape", None) == result.shape and added.dtype == result.dtype
    # maps of one pixel have strides that PyTorch 2.6 cannot tell oneDNN of
    return others[0] if is_alike and result.shape[2:].numel() > 1 else None


def _rectifies(node: fx.Node, parts: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return type(parts[node.target]) is nn.ReLU
    return node.target in (F.relu, torch.relu)


class FusedConv2d(nn.Module):
    """A convolution that may add another tensor to its result, and rectify it.

    Parameters
    ----------
    conv : nn.Conv2d
        With zeros around its input.
    scale : float
        Factor of its result.
    rectifies : bool
        Whether negative results, after the addition, become zero.
    input_shape : tuple of int (n, C, H, W)
        What to expect; other numbers of faces than n may come too.
    """

    def __init__(self, conv: nn.Conv2d, scale: float, *, rectifies: bool, input_shape: tuple):
        super().__init__()
        self.weight = nn.Parameter(conv.weight.detach() * scale, requires_grad=False)
        bias = None if conv.bias is None else conv.bias.detach() * scale
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self._geometry = conv.padding, conv.stride, conv.dilation, conv.groups
        self._rectifies = rectifies
        self._input_shape = input_shape
        self._laid_out: Tensor | None = None  # by the first call, when the precision is settled

    def forward(self, faces: Tensor, added: Tensor | None = None) -> Tensor:
        """Convolve, add if there is something to add, and rectify."""
        if self._laid_out is None:
            self._laid_out = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, *self._geometry, self._input_shape
            )
            self.weight = None
        convolve = torch.ops.mkldnn._convolution_pointwise
        layer = self._laid_out, self.bias, *self._geometry
        if added is None:
            return convolve(faces, *layer, "relu" if self._rectifies else "none", [], None)
        rectify = "relu" if self._rectifies else None
        return convolve.binary(faces, added, *layer, "add", 1.0, rectify, [], None)


class _OneThreadTracer(fx.Tracer):
    """Traces what one thread does.

    A trace replaces how *every* module of the process is called, so without this a network that
    another thread trains or runs meanwhile would fail, or end in the graph.
    """

    def __init__(self):
        super().__init__()
        self._thread = threading.get_ident()

    def create_args_for_root(self, *args: Any, **kwargs: Any) -> Any:
        # while it is set, no thread of the process can run what torch.compile made
        fx._symbolic_trace._is_fx_tracing_flag = False
        return super().create_args_for_root(*args, **kwargs)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple, kwargs: dict
    ) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def _fold(network: fx.GraphModule) -> None:
    """Make each batch normalisation part of the layer before it, if nothing else sees that layer.

    Layers that are called more than once stay as they are.
    """
    parts = dict(network.named_modules(remove_duplicate=False))
    layers = [node for node in network.graph.nodes if node.op == "call_module"]
    n_calls = Counter(parts[node.target] for node in layers)
    for node in layers:
        before = node.args[0] if node.args else None
        if before not in layers or len(before.users) > 1:
            continue
        layer, norm = parts[before.target], parts[node.target]
        fuse = _FUSE.get((type(layer), type(norm)))
        if fuse is None or not norm.track_running_stats or n_calls[layer] + n_calls[norm] > 2:
            continue
        network.set_submodule(before.target, fuse(layer, norm))
        node.replace_all_uses_with(before)
        network.graph.erase_node(node)
    network.delete_all_unused_submodules()


def _is_in_place(node: fx.Node) -> bool:
    """Recognise the methods whose names end so by torch's convention."""
    return node.op == "call_method" and node.target.endswith("_")
