"""A table cut to the width of a terminal: wide text ends with `…`, last columns are left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.cli.output.report import Heading
from cdpsync.serialize.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

ELLIPSIS = "…"

_GAP = 2
_NARROWEST = 16
"""The width to which text is cut before a column is left out."""

Row = list[str | None]


@dataclass(frozen=True, slots=True)
class FittedTable:
    """The part of a table that a terminal has room for."""

    headings: Sequence[Heading]
    rows: Sequence[Row]
    left_out: int
    """How many columns are left out."""
    is_cut: bool
    """Whether a value or a name is cut."""


def fitted(
    headings: Sequence[Heading], rows: Sequence[Sequence[str | None]], width: int
) -> FittedTable:
    """Return a table of at most `width` cells: text is cut, numbers are whole or left out.

    The text of all columns is cut to the same width, the largest with which they fit. If none is
    large enough, the last columns are left out. The first one is always there.
    """
    from rich.cells import cell_len

    texts = [[_short(cell, width) for cell in row] for row in rows]
    names = [_short(heading.name, width) or "" for heading in headings]
    widths = [
        max([cell_len(name), *(cell_len(row[n] or "NULL") for row in texts)])
        for n, name in enumerate(names)
    ]
    kinds = [heading.number for heading in headings]
    most = next(
        (most for most in range(width, _NARROWEST, -1) if _room(widths, kinds, most) <= width),
        _NARROWEST,
    )
    count = len(headings)
    while count > 1 and _room(widths[:count], kinds[:count], most) > width:
        count -= 1
    if count == 1 < len(headings) or count == len(headings) == 1:
        most = max(most, width)
    limits = [width if is_number else most for is_number in kinds[:count]]
    cut = [[_cut(text, limit) for text, limit in zip(row, limits, strict=False)] for row in texts]
    shown = tuple(
        Heading(_cut(name, limit) or "", heading.number)
        for name, heading, limit in zip(names, headings, limits, strict=False)
    )
    is_cut = any(size > limit for size, limit in zip(widths, limits, strict=False))
    return FittedTable(shown, cut, len(headings) - count, is_cut)


def _room(widths: Sequence[int], kinds: Sequence[bool], most: int) -> int:
    """Return the cells that columns take whose text is cut to `most`."""
    used = (n if is_number else min(n, most) for n, is_number in zip(widths, kinds, strict=True))
    return sum(used) + _GAP * len(widths)


def _short(text: str | None, width: int) -> str | None:
    """Return a text as it is drawn; of a long one only its beginning, because it may be huge."""
    return None if text is None else printable(text[: width * 8 + 1])


def _cut(text: str | None, most: int) -> str | None:
    """Return the beginning of a text that is wider than `most` cells, with an ellipsis."""
    from rich.cells import cell_len, set_cell_size

    if text is None or cell_len(text) <= most:
        return text
    return set_cell_size(text, most - 1).rstrip() + ELLIPSIS
