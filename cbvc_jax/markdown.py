"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def row(cells: Iterable[str]) -> str:
    """One line of a table, without a line end; bars inside the cells are escaped."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def head(cells: Sequence[str]) -> str:
    """The first two lines of a table, its header and the rule under it, without a line end after them."""
    return f"{row(cells)}\n|{'---|' * len(cells)}"


def table(header: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """A whole table, without a line end after it."""
    return "\n".join([head(header), *map(row, rows)])
