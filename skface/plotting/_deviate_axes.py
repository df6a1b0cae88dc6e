"""Normal-deviate axes: rates on the scale of the normal quantile function."""

from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

_TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999)
_NEARLY = 1e-12  # rates of 0 and 1 are drawn here, far outside the axes


def _to_deviate(rate: Any) -> Any:
    """Apply the normal quantile function to rates; 0 and 1 become finite."""
    return ndtri(np.clip(rate, _NEARLY, 1 - _NEARLY))


def set_deviate_axes(ax: Any, fmr: np.ndarray, fnmr: np.ndarray, *, is_first: bool) -> None:
    """Set scales and limits so that the axes show this curve and those already drawn."""
    limits = np.array([_visible_range(fmr, fnmr), _visible_range(fnmr, fmr)])
    if is_first:
        ax.set_xscale("function", functions=(_to_deviate, ndtr))
        ax.set_yscale("function", functions=(_to_deviate, ndtr))
        ax.set(xlabel="FMR: impostor pairs accepted (%)", ylabel="FNMR: genuine pairs rejected (%)")
        ax.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle=":", zorder=0)
        ax.grid(color="0.9", linewidth=0.8)
        ax.set_axisbelow(True)
    else:
        shown = np.array([ax.get_xlim(), ax.get_ylim()])
        limits[:, 0] = np.minimum(limits[:, 0], shown[:, 0])
        limits[:, 1] = np.maximum(limits[:, 1], shown[:, 1])
    ax.set(xlim=limits[0], ylim=limits[1])
    for axis, (low, high) in zip((ax.xaxis, ax.yaxis), limits, strict=True):
        axis.set_ticks([tick for tick in _TICKS if low <= tick <= high])
        axis.set_major_formatter(lambda rate, _: f"{100 * rate:g}")


def _visible_range(rate: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Choose limits: from half the smallest rate to the rate at which the other becomes 0."""
    low = min(rate[rate > 0].min() / 2, 0.01)
    return low, np.clip(rate[other == 0].min(), 0.5, 0.99)
