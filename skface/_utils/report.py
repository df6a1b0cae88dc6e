"""Results that are data to a program and text to a reader."""

from collections.abc import Sequence

from sklearn.utils import Bunch


class Report(Bunch):
    """A Bunch that prints as its `text`."""

    def __str__(self) -> str:
        return self.text


def table(rows: Sequence[Sequence[object]]) -> str:
    """Align columns, the first one to the left; the first row holds the headings."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for first, *others in cells:
        aligned = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *aligned]))
    return "\n".join(lines)
