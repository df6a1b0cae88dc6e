"""What the pictures share: colours, wording of numbers, and the late import of matplotlib."""

from typing import Any

SAME = "#00436B"  # dark, DIFFERENT is light: told apart in grey and by the colour-blind
DIFFERENT = "#E69F00"


def import_pyplot(display: str) -> Any:
    """Import ``matplotlib.pyplot``, or say how to get it; `display` is who needs it."""
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError(
            f"{display} needs matplotlib, which is not installed: pip install 'skface[plot]'."
        ) from error
    return matplotlib.pyplot


def axes_and_figure(display: str, ax: Any) -> tuple[Any, Any]:
    """Return the axes to draw on, new ones for None, and their figure."""
    pyplot = import_pyplot(display)
    if ax is None:
        _, ax = pyplot.subplots(layout="constrained")  # what is beside the axes is not cut off
    return ax, ax.figure


def percent(rate: float) -> str:
    """Write a rate as ``'0.33 %'``."""
    return f"{100 * rate:.3g} %"


def count(n: int, noun: str) -> str:
    """Write ``'1 pair'`` or ``'3,000 pairs'``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def shorten(text: str, length: int) -> str:
    """Cut `text` to at most `length` characters, the last of which then is an ellipsis."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def legend_on_top(ax: Any, handles: list, line: Any = None) -> Any:
    """Put a legend at the top of the axes, and let everything else end below it.

    `line` is a vertical line across the axes.
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
