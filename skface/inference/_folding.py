"""Folding batch normalization into the layer before it, for networks that are not trained."""

import copy
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from skface.nn._locks import ProcessLock

# torch keeps one record of what is being traced for the whole process
ONE_TRACE_AT_A_TIME = ProcessLock()
# Layers that a batch normalization right behind them can be folded into.
_FUSE: dict[tuple[type, type], Callable[..., nn.Module]] = {
    (nn.Conv2d, nn.BatchNorm2d): fuse_conv_bn_eval,
    (nn.Linear, nn.BatchNorm1d): fuse_linear_bn_eval,
}


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Return a copy whose batch normalizations are part of the convolutions before them.

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
    >>> from skface.inference._folding import fold_batch_norm
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
    except Exception:  # tracing a module of the user's may raise anything
        return copy.deepcopy(module)
    # remove checks of the input, which would disturb other tracers, but keep writes to tensors
    folded.graph.eliminate_dead_code(lambda node: node.is_impure() or _is_in_place(node))
    folded.recompile()
    return folded


class _OneThreadTracer(fx.Tracer):
    """A tracer that records the calls of one thread.

    While torch traces, it intercepts the calls of every module in the process. Without this class,
    a network that another thread runs meanwhile would fail, or become part of the graph.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def create_args_for_root(self, *args: Any, **kwargs: Any) -> Any:
        # while it is set, no thread can run a compiled module
        fx._symbolic_trace._is_fx_tracing_flag = False
        return super().create_args_for_root(*args, **kwargs)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def _fold(network: fx.GraphModule) -> None:
    """Fold each batch normalization into the layer before it, if nothing else uses its output.

    Layers that are called more than once stay as they are.
    """
    parts = dict(network.named_modules(remove_duplicate=False))
    layers = [node for node in network.graph.nodes if node.op == "call_module"]
    n_calls = Counter(parts[str(node.target)] for node in layers)
    for node in layers:
        before = node.args[0] if node.args else None
        if not isinstance(before, fx.Node) or before not in layers or len(before.users) > 1:
            continue
        layer, norm = parts[str(before.target)], parts[str(node.target)]
        fuse = _FUSE.get((type(layer), type(norm)))
        if fuse is None or not norm.track_running_stats or n_calls[layer] + n_calls[norm] > 2:
            continue
        network.set_submodule(str(before.target), fuse(layer, norm))
        node.replace_all_uses_with(before)
        network.graph.erase_node(node)
    network.delete_all_unused_submodules()


def _is_in_place(node: fx.Node) -> bool:
    """Return whether a node writes to its tensor: by torch's convention, its name ends in "_"."""
    return node.op == "call_method" and str(node.target).endswith("_")
