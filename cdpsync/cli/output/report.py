"""A report in its three forms, and how it is written: a table, JSON or CSV."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO, TYPE_CHECKING

from cdpsync.cli.formats import Format
from cdpsync.serialize.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Json = object
"""A value that `json.dumps` takes."""

SAMPLE = 1_000
"""The number of rows that decide how wide a table's columns are."""

_GAP = "  "


@dataclass(frozen=True, slots=True)
class Heading:
    """The head of a table's column."""

    name: str
    number: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A second table of a report, with other columns, and its notes."""

    headings: Sequence[Heading]
    rows: Sequence[Sequence[str | None]]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a command in its three forms.

    `document` is the JSON. `keys` and `records` are the CSV's header and rows. `headings` and
    `rows` are the table, with `notes` below it; None in a row is a value that does not apply.
    `more` stands below them.
    """

    document: Json
    keys: Sequence[str]
    records: Sequence[Mapping[str, Json]]
    headings: Sequence[Heading]
    rows: Sequence[Sequence[str | None]]
    notes: Sequence[str] = ()
    more: Part | None = None


def show(report: Report, form: Format) -> None:
    """Write a report to stdout."""
    with stdout() as out:
        if form is Format.JSON:
            out.write(json.dumps(report.document, indent=2, ensure_ascii=False) + "\n")
        elif form is Format.CSV:
            out.write(csv_line(report.keys))
            for record in report.records:
                out.write(csv_line([_csv_field(record[key]) for key in report.keys]))
        else:
            parts = [Part(report.headings, report.rows, report.notes), report.more]
            shown = [part for part in parts if part and part.rows]
            for part in shown:
                out.write("\n" if part is not shown[0] else "")
                write_table(out, part.headings, part.rows, null="-")
                out.writelines(f"{printable(note)}\n" for note in part.notes)


@contextmanager
def stdout() -> Iterator[IO[str]]:
    """Lend stdout, and return without an error when its reader has closed it (`| head`)."""
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout once more at its exit, so stdout must lead to the null device.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def csv_line(fields: Iterable[str | None]) -> str:
    """Return a line of CSV. None leaves its field empty; empty text is quoted: `""`."""
    return ",".join("" if field is None else _csv_quoted(field) for field in fields) + "\n"


def write_table(
    out: IO[str],
    headings: Sequence[Heading],
    rows: Iterable[Sequence[str | None]],
    *,
    null: str = "NULL",
) -> None:
    """Write a table: drawn and folded to fit a terminal, else in plain aligned columns."""
    if out.isatty():
        _draw(out, headings, list(rows), null)
    else:
        _align(out, headings, rows, null)


def _align(
    out: IO[str], headings: Sequence[Heading], rows: Iterable[Sequence[str | None]], null: str
) -> None:
    from rich.cells import cell_len

    remaining = iter(_plain(rows, null))
    sample = list(islice(remaining, SAMPLE))
    names = [printable(heading.name) for heading in headings]
    widths = [max(map(cell_len, column)) for column in zip(names, *sample, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = []
        for cell, heading, width in zip(cells, headings, widths, strict=True):
            blank = " " * (width - cell_len(cell))
            padded.append(blank + cell if heading.number else cell + blank)
        return _GAP.join(padded).rstrip() + "\n"

    out.write(line(names))
    out.write(line(["-" * width for width in widths]))
    for cells in chain(sample, remaining):
        out.write(line(cells))


def _plain(rows: Iterable[Sequence[str | None]], null: str) -> Iterator[list[str]]:
    for row in rows:
        yield [null if cell is None else printable(cell) for cell in row]


def _draw(
    out: IO[str], headings: Sequence[Heading], rows: Sequence[Sequence[str | None]], null: str
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=out, highlight=False)
    if _too_wide(headings, rows, console.width):
        return _draw_upright(out, headings, rows, null)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(
            Text(printable(heading.name)),
            justify="right" if heading.number else "left",
            overflow="fold",
            no_wrap=heading.number,
        )
    for row in rows:
        # Text, not str, because rich would take data such as [red] for markup.
        table.add_row(
            *(Text(null, "dim") if cell is None else Text(printable(cell)) for cell in row)
        )
    console.print(table)
    return None


def _too_wide(
    headings: Sequence[Heading], rows: Sequence[Sequence[str | None]], width: int
) -> bool:
    """Whether the columns do not fit, however they are folded.

    Text needs room for eight characters; a number is never folded and needs its full width.
    """
    longest = [len(heading.name) for heading in headings]
    for row in rows:
        longest = [max(n, len(cell or "")) for n, cell in zip(longest, row, strict=True)]
    needed = (
        n if heading.number else min(n, 8) for n, heading in zip(longest, headings, strict=True)
    )
    return sum(needed) + len(_GAP) * len(longest) > width


def _draw_upright(
    out: IO[str], headings: Sequence[Heading], rows: Sequence[Sequence[str | None]], null: str
) -> None:
    """Write a line per value, because the terminal has no room for the columns."""
    names = [printable(heading.name) for heading in headings]
    width = max(map(len, names))
    for number, row in enumerate(_plain(rows, null), start=1):
        out.write(f"-- {number:,} " + "-" * width + "\n")
        for name, cell in zip(names, row, strict=True):
            out.write(f"{name:<{width}}{_GAP}{cell}\n")


def _csv_field(value: Json) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _csv_quoted(field: str) -> str:
    if field and not any(sign in field for sign in ',"\r\n'):
        return field
    return '"' + field.replace('"', '""') + '"'
