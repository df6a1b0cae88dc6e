"""Colors, wording of numbers and legends of the Displays, and the late import of matplotlib."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GENUINE = "#00436B"  # dark, and IMPOSTOR light: distinct in gray and for the color-blind
IMPOSTOR = "#E69F00"


def import_pyplot(display: str) -> Any:
    """Import ``matplotlib.pyplot`` for `display`, or raise an error that says how to install it."""
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError(
            f"{display} needs matplotlib, which is not installed: pip install 'skface[plot]'."
        ) from error
    return matplotlib.pyplot


def axes_and_figure(display: str, ax: "Axes | None") -> "tuple[Axes, Any]":
    """Return the axes to draw on (new ones if `ax` is None), and their figure or subfigure."""
    pyplot = import_pyplot(display)
    if ax is None:
        _, ax = pyplot.subplots(layout="constrained")  # which leaves room for labels and legend
    return ax, ax.figure


def percent(rate: float) -> str:
    """Write a rate as ``'0.33 %'``."""
    return f"{100 * rate:.3g} %"


def count(n: int, noun: str) -> str:
    """Write ``'1 pair'`` or ``'3,000 pairs'``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def shorten(text: str, length: int) -> str:
    """Cut `text` to at most `length` characters, with an ellipsis at the end."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def legend_on_top(ax: Any, handles: list[Any], line: Any = None) -> Any:
    """Put a legend at the top of the axes, and make room so that it covers nothing.

    `line` is a vertical line across the axes, which is cut off below the legend.
    """
    legend = ax.legend(handles=handles, loc="upper left", frameon=False, fontsize="small")
    share = legend.get_window_extent().height / ax.get_window_extent().height + 0.02
    room = 1 - min(share, 0.8)
    scale = ax.yaxis.get_transform()
    low, high = scale.transform(ax.get_ylim())
    ax.set_ylim(top=scale.inverted().transform(low + (high - low) / room))
    if line is not None:
        line.set_ydata([0, room])
    return legend
