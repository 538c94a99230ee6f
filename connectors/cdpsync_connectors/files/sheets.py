"""The sheets of workbooks: which of them are streams, their rows as a CSV, their columns' types."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cdpsync.connector.exact_types import UNKNOWN
from cdpsync.errors import ConnectError, ReadError
from cdpsync_connectors.files.records import Record
from cdpsync_connectors.files.rewrite import standard_field
from cdpsync_connectors.files.workbook import address, open_workbook
from cdpsync_connectors.files.workbook_values import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import TextIO

    from cdpsync_connectors.files.discover import File
    from cdpsync_connectors.files.rejected import Rejected
    from cdpsync_connectors.files.schema import FileSchema
    from cdpsync_connectors.files.workbook import Cell, Sheet, Workbook
    from cdpsync_connectors.files.workbook_values import Value

Kinds = tuple[Kind, ...]
"""The kinds of the values in each column of a sheet."""

_TYPES = {
    Kind.NONE: UNKNOWN,
    Kind.BOOLEAN: "BOOLEAN",
    Kind.DATE: "DATE",
    Kind.TIMESTAMP: "TIMESTAMP",
    Kind.DATE | Kind.TIMESTAMP: "TIMESTAMP",
    Kind.TIME: "TIME",
}


@dataclass(frozen=True, slots=True)
class SheetRules:
    """Which sheets are read, and what of their cells is header, row and NULL."""

    names: tuple[str, ...] = ()
    header: bool = True
    skip: int = 0
    nulls: frozenset[str] = frozenset()


def with_sheets(files: Iterable[File], names: Sequence[str]) -> tuple[File, ...]:
    """Return the files, a workbook as one for each of its sheets that is read.

    Those are the sheets of these names, or else the visible ones that have a value. A workbook that
    has no such sheet, or cannot be read, has its `unreadable_reason`.
    """
    return tuple(part for file in files for part in _parts(file, names))


def _parts(file: File, names: Sequence[str]) -> list[File]:
    if file.format != "xlsx" or file.unreadable_reason is not None:
        return [file]
    try:
        with open_workbook(file.path) as workbook:
            chosen = names or _visible(workbook)
            parts = [replace(file, sheet=n, is_named_by_sheet=len(chosen) > 1) for n in chosen]
            return [_with_reason(part, workbook) for part in parts]
    except (ReadError, ConnectError) as error:
        return [replace(file, unreadable_reason=error.message)]


def _visible(workbook: Workbook) -> list[str]:
    names = [s.name for s in workbook.sheets if s.is_visible and workbook.has_value(s)]
    if not names:
        raise ReadError(f"{workbook.path}: no visible sheet has a cell with a value.")
    return names


def _with_reason(part: File, workbook: Workbook) -> File:
    try:
        _sheet(workbook, part.sheet)
    except ReadError as error:
        return replace(part, unreadable_reason=error.message)
    return part


def _sheet(workbook: Workbook, name: str) -> Sheet:
    for sheet in workbook.sheets:
        if sheet.name == name:
            return sheet
    others = ", ".join(sheet.name for sheet in workbook.sheets)
    raise ReadError(
        f'{workbook.path}: has no sheet "{name}"; it has {others}. Correct sheet: of the source.'
    )


def notices(files: Iterable[File], names: Sequence[str]) -> Iterator[str]:
    """Yield a notice for each workbook with hidden sheets that are not read."""
    for path in () if names else dict.fromkeys(file.path for file in files):
        with open_workbook(path) as workbook:
            hidden = [s.name for s in workbook.sheets if not s.is_visible and workbook.has_value(s)]
        if hidden:
            yield f"{path}: hidden sheets are read only if sheet: names them: {', '.join(hidden)}"


def write_sheet(
    file: File, rules: SheetRules, target: TextIO, rejected: Rejected | None = None
) -> Kinds:
    """Write the rows of a workbook's sheet to `target` as CSV, each text in quotes; NULL is empty.

    Raises ReadError, with the cell, for a value that cannot be one of the lake, or is outside of
    the columns. With `rejected` such a row is set aside instead, and each other one has its number
    and its text behind it.
    """
    with open_workbook(file.path) as workbook:
        sheet = _sheet(workbook, file.sheet)
        writer = _Writer(file, rules.nulls, target, rejected)
        if not rules.header:
            writer.columns = _extent(_rows(workbook, sheet, rules.skip))
        for number, cells in _rows(workbook, sheet, rules.skip):
            if not writer.columns:
                writer.columns = range(cells[0].column, cells[-1].column + 1)
                writer.write_header(number, cells)
            else:
                writer.write_or_reject(number, cells)
        if not writer.columns:
            below = f" below row {rules.skip}" if rules.skip else ""
            raise ReadError(f"{writer.place}: has no cell with a value{below}.")
        return tuple(writer.kinds[column] for column in writer.columns)


def _rows(workbook: Workbook, sheet: Sheet, skip: int) -> Iterator[tuple[int, list[Cell]]]:
    return (row for row in workbook.rows(sheet) if row[0] > skip)


def _extent(rows: Iterable[tuple[int, list[Cell]]]) -> range:
    """Return the columns from the first to the last one that has a value."""
    first, last = 0, -1
    for _, cells in rows:
        first = min(first or cells[0].column, cells[0].column)
        last = max(last, cells[-1].column)
    return range(first, last + 1)


class _Writer:
    """The rows of one sheet, on their way into a CSV."""

    def __init__(
        self, file: File, nulls: frozenset[str], target: TextIO, rejected: Rejected | None
    ) -> None:
        self.place = f"{file.path}, sheet {file.sheet}"
        self.columns = range(0)
        self.kinds: dict[int, Kind] = defaultdict(lambda: Kind.NONE)
        self._nulls, self._target, self._rejected = nulls, target, rejected

    def write_header(self, row: int, cells: Sequence[Cell]) -> None:
        """Write the names of the columns."""
        names = {column: self._text(row, column, value) for column, value in cells}
        self._write_fields(row, [names.get(c, "") for c in self.columns], cells)

    def _write_fields(self, row: int, fields: list[str | None], cells: Sequence[Cell]) -> None:
        if self._rejected is not None:
            fields += [str(row), _text_of(cells)]
        self._target.write(",".join(map(standard_field, fields)) + "\n")

    def write_or_reject(self, row: int, cells: Sequence[Cell]) -> None:
        """Write a row, or set it aside where one of its cells has no value of the lake."""
        try:
            self.write(row, cells)
        except ReadError as error:
            if self._rejected is None:
                raise
            fault = error.message.removeprefix(f"{self.place}, ")
            self._rejected.add(Record(row, _text_of(cells), fault=fault))

    def write(self, row: int, cells: Sequence[Cell]) -> None:
        """Write a row."""
        for cell in (cells[0], cells[-1]):
            if cell.column not in self.columns:
                raise self._outside(row, cell)
        values = {
            column: None if self._is_null(value) else self._text(row, column, value)
            for column, value in cells
        }
        for column, value in cells:
            if values[column] is not None and value.kind is not self.kinds[column]:
                self.kinds[column] |= value.kind
        self._write_fields(row, [values.get(c) for c in self.columns], cells)

    def _is_null(self, value: Value) -> bool:
        return value.text in self._nulls and bool(value.kind)

    def _text(self, row: int, column: int, value: Value) -> str:
        if value.fault:
            way_out = f'. Correct the cell, or name it: null: ["", "{value.text}"]'
            raise ReadError(
                f"{self.place}, {address(row, column)}: {value.fault}"
                f"{way_out if value.text else ''}."
            )
        return value.text

    def _outside(self, row: int, cell: Cell) -> ReadError:
        first, last = self.columns[0], self.columns[-1]
        return ReadError(
            f"{self.place}, {address(row, cell.column)}: has a value, and the header has only the "
            f"columns {address(0, first)[:-1]} to {address(0, last)[:-1]}. Name the column, clear "
            "the cell, or set skip: to the number of rows above the header."
        )


def _text_of(cells: Sequence[Cell]) -> str:
    """Return the cells of a row as a person reads them: those with a value, with commas between."""
    return ",".join(cell.value.text for cell in cells)


def with_cell_types(schema: FileSchema, kinds_of: Mapping[str, Kinds]) -> FileSchema:
    """Return the schema of CSV copies of sheets, with the types that their cells have.

    A column of numbers keeps the type that was found in their texts, or is DOUBLE if they fit no
    decimal. A column with a text, or with several kinds of value, is VARCHAR.
    """
    kinds: dict[str, Kind] = defaultdict(lambda: Kind.NONE)
    for layout in schema.layouts:
        for (name, _), kind in zip(layout.columns, kinds_of[layout.file.path], strict=True):
            kinds[name] |= kind
    types = {name: _type(kinds[name], inferred) for name, inferred in schema.types.items()}
    return replace(schema, types=types)


def _type(kinds: Kind, inferred: str) -> str:
    if kinds == Kind.NUMBER:
        return "DOUBLE" if inferred == "VARCHAR" else inferred
    if kinds == Kind.NUMBER | Kind.WIDE:
        return inferred
    return _TYPES.get(kinds, "VARCHAR")
