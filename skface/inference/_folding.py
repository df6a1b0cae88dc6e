"""Rewriting a network that is not trained any more, so that fewer layers do the same."""

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
    except Exception:  # a forward pass may do anything, so tracing it may raise anything
        return copy.deepcopy(module)
    # checks of the input, which would disturb other tracers; but not what writes to a tensor
    folded.graph.eliminate_dead_code(lambda node: node.is_impure() or _is_in_place(node))
    folded.recompile()
    return folded


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
