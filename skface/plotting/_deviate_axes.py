"""Axes on which rates are stretched by the quantile function of the normal distribution."""

from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

_TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999)
_NEARLY = 1e-12  # where rates of 0 and 1 are drawn, far outside of any axes


def _to_deviate(rate: Any) -> Any:
    """Stretch rates by the normal quantile function, 0 and 1 to finite numbers far out."""
    return ndtri(np.clip(rate, _NEARLY, 1 - _NEARLY))


def set_deviate_axes(ax: Any, fmr: np.ndarray, fnmr: np.ndarray, *, is_first: bool) -> None:
    """Stretch the axes, and make them show this curve beside those that are there already."""
    limits = np.array([_visible_range(fmr, fnmr), _visible_range(fnmr, fmr)])
    if is_first:
        ax.set_xscale("function", functions=(_to_deviate, ndtr))
        ax.set_yscale("function", functions=(_to_deviate, ndtr))
        ax.set(xlabel="FMR: different people accepted (%)", ylabel="FNMR: same person rejected (%)")
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
    """Choose limits: from half of the smallest rate up to where the other rate becomes 0."""
    low = min(rate[rate > 0].min() / 2, 0.01)
    return low, np.clip(rate[other == 0].min(), 0.5, 0.99)
