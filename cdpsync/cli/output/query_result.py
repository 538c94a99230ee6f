"""Rows of a query, written as they stream in: to stdout, or to a file as a whole."""

from __future__ import annotations

import os
from contextlib import contextmanager
from itertools import chain, islice
from typing import IO, TYPE_CHECKING

from cdpsync.cli.formats import Format
from cdpsync.cli.output import log
from cdpsync.cli.output.fit import ELLIPSIS, fitted
from cdpsync.cli.output.report import SAMPLE, Heading, csv_line, stdout, write_table
from cdpsync.errors import ConfigError
from cdpsync.serialize.text import plural, printable
from cdpsync.serialize.values import cell_of, csv_of, is_number, json_encoders, json_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from cdpsync.catalog import QueryResult
    from cdpsync.model import Column

Row = tuple[object, ...]

ON_SCREEN = 1_000
"""The most rows that are drawn on a terminal; a file or a pipe gets every row."""

COUNTED = 1_000_000
"""How many more rows are counted, because to count all of a huge answer would take minutes."""


def write_stdout(result: QueryResult, form: Format, *, full: bool = False) -> int:
    """Write the rows of a query to stdout, and return their number.

    A table on a terminal is cut to its width, unless it is to be shown in `full`.
    """
    rows = _Counted(result.rows())
    with stdout() as out:
        if form is Format.TABLE and out.isatty():
            _write_on_screen(out, result.columns, _first_read(iter(rows)), full=full)
        else:
            _write(out, result.columns, iter(rows), form)
    return rows.count


def write_file(path: Path, result: QueryResult, form: Format) -> int:
    """Write the rows to a file, and return their number. On an error the file does not change."""
    with _in_place_of(path) as temporary:
        if form is Format.PARQUET:
            return result.write_parquet(temporary)
        rows = _Counted(result.rows())
        with temporary.open("w", encoding="utf-8", newline="") as out:
            _write(out, result.columns, iter(rows), form)
        return rows.count


class _Counted:
    """Rows that are counted while they are read."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self.count += 1
            yield row


@contextmanager
def _in_place_of(path: Path) -> Iterator[Path]:
    """Lend a file beside `path` that gets this name if the body raises nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.is_dir():
            raise ConfigError(f"{path}: this is a folder. Name a file.")
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _write(out: IO[str], columns: Sequence[Column], rows: Iterator[Row], form: Format) -> None:
    rows = _first_read(rows)
    if form is Format.TABLE:
        _write_table(out, columns, rows)
    elif form is Format.CSV:
        out.write(csv_line(column.name for column in columns))
        out.writelines(csv_line(map(csv_of, row)) for row in rows)
    elif form is Format.MARKDOWN:
        _write_markdown(out, columns, rows)
    elif form is Format.JSONL:
        out.writelines(f"{line}\n" for line in _objects(columns, rows))
    else:
        _write_list(out, _objects(columns, rows))


def _first_read(rows: Iterator[Row]) -> Iterator[Row]:
    """Read the first rows before anything is written, because most failing queries fail there."""
    return chain(list(islice(rows, SAMPLE)), rows)


def _headings(columns: Sequence[Column]) -> list[Heading]:
    return [Heading(column.name, is_number(column)) for column in columns]


def _write_table(out: IO[str], columns: Sequence[Column], rows: Iterator[Row]) -> None:
    write_table(out, _headings(columns), ([cell_of(value) for value in row] for row in rows))


def _write_on_screen(
    out: IO[str], columns: Sequence[Column], rows: Iterator[Row], *, full: bool
) -> None:
    """Draw the first rows on a terminal, and tell what it does not show."""
    from rich.console import Console

    cells = [[cell_of(value) for value in row] for row in islice(rows, ON_SCREEN)]
    if full:
        write_table(out, _headings(columns), cells)
    else:
        table = fitted(_headings(columns), cells, Console(file=out).width)
        write_table(out, table.headings, table.rows)
        if table.left_out:
            out.write(f"{ELLIPSIS} {plural(table.left_out, 'more column')}\n")
        out.flush()  # before the hint on stderr
        if table.left_out or table.is_cut:
            what = "wide values are cut" if table.is_cut else "not every column is shown"
            log.warn(f"{what}. --full shows everything; so does -o json, and a pipe.", event="cut")
    more = sum(1 for _ in islice(rows, COUNTED + 1))
    if more:
        least = "at least " if more > COUNTED else ""
        log.warn(
            f"{ON_SCREEN:,} of {least}{ON_SCREEN + more:,} rows shown. A pipe, -o csv or --to FILE "
            "gets all.",
            event="shortened",
        )


def _write_markdown(out: IO[str], columns: Sequence[Column], rows: Iterator[Row]) -> None:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |\n"

    out.write(line(_markdown(column.name) for column in columns))
    out.write(line("---:" if is_number(column) else "---" for column in columns))
    out.writelines(line(_markdown(cell_of(value) or "") for value in row) for row in rows)


def _markdown(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("|", "\\|")
    return printable(escaped.replace("\r\n", "<br>").replace("\n", "<br>"))


def _objects(columns: Sequence[Column], rows: Iterable[Row]) -> Iterator[str]:
    """Go through the rows as JSON objects, each on one line."""
    names = [f"{json_of(name)}: " for name in _distinct(column.name for column in columns)]
    encoders = json_encoders(columns)
    for row in rows:
        parts = [
            name + encode(value) for name, encode, value in zip(names, encoders, row, strict=True)
        ]
        yield f"{{{', '.join(parts)}}}"


def _distinct(names: Iterable[str]) -> Iterator[str]:
    """Add numbers to names that repeat, because an object has each key once."""
    used: set[str] = set()
    for name in names:
        distinct, number = name, 0
        while distinct in used:
            number += 1
            distinct = f"{name}_{number}"
        used.add(distinct)
        yield distinct


def _write_list(out: IO[str], objects: Iterator[str]) -> None:
    first = next(objects, None)
    if first is None:
        out.write("[]\n")
        return
    out.write(f"[\n  {first}")
    out.writelines(f",\n  {line}" for line in objects)
    out.write("\n]\n")
