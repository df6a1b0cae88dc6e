"""Stages of a network, freezing them, and training mode for the parts that are trained."""

from numbers import Integral

from torch import nn

__all__ = ["freeze", "stages", "train_mode"]


def stages(module: nn.Module) -> list[tuple[nn.Module, ...]]:
    """Split a network into the parts that can be frozen separately.

    Each child of the network that has weight matrices or kernels starts a stage. Children are
    assumed to run in the order of registration. A child whose parameters are all vectors, such as
    batch normalization or PReLU, belongs to the stage before it. Children without parameters belong
    to no stage.

    Parameters
    ----------
    module : nn.Module
        Network.

    Returns
    -------
    list of tuple of nn.Module
        Stages, input first; the last one is the head, such as a projection to the embedding and
        its normalization. A network without such children is one stage. Otherwise, parameters that
        the network itself holds are in no stage.

    Examples
    --------
    >>> network = nn.Sequential(nn.Linear(4, 3), nn.PReLU(), nn.Linear(3, 2), nn.BatchNorm1d(2))
    >>> for stage in stages(network):
    ...     print(*(type(part).__name__ for part in stage))
    Linear PReLU
    Linear BatchNorm1d
    """
    found: list[tuple[nn.Module, ...]] = []
    for child in module.children():
        dimensions = [parameter.ndim for parameter in child.parameters()]
        if not dimensions:
            continue
        if found and max(dimensions) <= 1:
            found[-1] += (child,)
        else:
            found.append((child,))
    if not found and any(True for _ in module.parameters()):
        found.append((module,))
    return found


def freeze(module: nn.Module, trainable: str | int) -> None:
    """Freeze all parameters of a network but those of its last stages.

    Parameters
    ----------
    module : nn.Module
        Network; ``requires_grad`` of its parameters is set.
    trainable : {"all", "head", "none"} or int
        Parameters that are trained. The head is the last of the `stages`; an int, at least 0, means
        the head and that many stages before it. Parameters in no stage are trained with "all" only.

    Raises
    ------
    ValueError
        If `trainable` is none of these, or more than the stages before the head.

    Examples
    --------
    >>> network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 2))
    >>> freeze(network, 1)
    >>> [layer.weight.requires_grad for layer in network]
    [False, True, True]
    """
    if trainable in ("all", "none"):
        module.requires_grad_(trainable == "all")
        return
    n_before = 0 if trainable == "head" else trainable
    if not isinstance(n_before, Integral) or isinstance(n_before, bool) or n_before < 0:
        raise ValueError(
            f"trainable={trainable!r} must be 'all', 'head', 'none', or the number of stages "
            "before the head that are trained with it, 0 or more."
        )
    parts = stages(module)
    most = max(0, len(parts) - 1)
    if n_before > most:
        raise ValueError(
            f"trainable={trainable!r} asks for more stages than this network has before its head, "
            f"which is {most}; give at most {most}, or 'all'."
        )
    module.requires_grad_(False)
    for stage in parts[most - n_before :]:
        for part in stage:
            part.requires_grad_(True)


def train_mode(module: nn.Module) -> None:
    """Put a network in training mode, except the parts without trainable parameters.

    Running statistics of frozen batch normalization must not change, and dropout inside a frozen
    part would only add noise.

    Parameters
    ----------
    module : nn.Module
        Network, changed in place.

    Examples
    --------
    >>> frozen, head = nn.BatchNorm1d(2).requires_grad_(False), nn.Linear(2, 2)
    >>> train_mode(nn.Sequential(frozen, head))
    >>> frozen.training, head.training
    (False, True)
    """
    module.train()
    for part in module.modules():
        parameters = list(part.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            part.eval()
