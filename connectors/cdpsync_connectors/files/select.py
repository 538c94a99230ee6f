"""The SELECT of each chunk of a stream: requested columns of some files, with exact types."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.connector import exact_sql as sql
from cdpsync.connector.exact_types import UNKNOWN
from cdpsync.connector.sql_chunk import SqlChunk
from cdpsync.errors import ReadError
from cdpsync.redact import label
from cdpsync.sql import quote_name, quote_text
from cdpsync_connectors.files import csv, jsonl, parquet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from duckdb import DuckDBPyConnection

    from cdpsync.connector import ReadRequest
    from cdpsync_connectors.files.schema import FileSchema, Layout

_MAX_CHUNKS = 64

_CHUNK = """
    select {columns} from (
        {rows}
    ) where (
        {where}
    )
"""


def chunks_of(schema: FileSchema, format_: str, request: ReadRequest) -> tuple[SqlChunk, ...]:
    """Return the chunks of a read: one per file, or several files each, so that there are 64.

    Raises ReadError if no file has a requested column, its type is impossible, or the file's own
    type cannot be read exactly.
    """
    for column in request.columns:
        if column.name not in schema.types:
            raise ReadError(
                f'stream {label(request.stream.name)}: column "{column.name}" is no longer in '
                "any file. Run again."
            )
        if column.name in schema.conflicts and column.name not in request.types:
            raise ReadError(
                f"{schema.conflicts[column.name]}. Decide its type under columns: {{types: "
                f"{{{column.name}: varchar}}}}, narrow path, or leave the column out under "
                f"columns: {{exclude: [{column.name}]}}."
            )
        if column.name in schema.inexact:
            raise ReadError(
                f"{schema.inexact[column.name]}. Write the column with another type, or leave it "
                f"out under columns: {{exclude: [{column.name}]}}."
            )
    columns = FileColumns(schema, format_, request.types, request.lake_types)
    layouts = schema.layouts
    if format_ in {"csv", "tsv"}:
        layouts = tuple(
            layout for layout in layouts if layout.columns
        )  # because a file of 0 bytes has none
    size = -(-len(layouts) // _MAX_CHUNKS)
    return tuple(
        _chunk(columns, layouts[start : start + size], request)
        for start in range(0, len(layouts), size)
    )


def _chunk(file_columns: FileColumns, layouts: Sequence[Layout], request: ReadRequest) -> SqlChunk:
    first, last = Path(layouts[0].file.path).name, Path(layouts[-1].file.path).name
    label = f"file {first}" if len(layouts) == 1 else f"files {first} to {last}"
    statement = _CHUNK.format(
        columns=", ".join(quote_name(column.name) for column in request.columns),
        rows=" union all ".join(map(file_columns.select, _readable_together(layouts))),
        where=request.where or "true",
    )
    return SqlChunk(label, statement)


def _readable_together(layouts: Sequence[Layout]) -> Iterator[list[Layout]]:
    """Return neighbouring files with the same columns and keys as groups: a reader reads each."""
    for _, group in groupby(layouts, lambda layout: layout.file.keys):
        yield from csv.group_by_columns(list(group))


def require_keys(con: DuckDBPyConnection, schema: FileSchema, format_: str) -> None:
    """Raise ReadError for a file in which a column has another value than the key of its path.

    NULL in the file is no other value: the key's is used.
    """
    columns = FileColumns(schema, format_, {}, {})
    for layout in schema.layouts:
        for name, value in layout.file.keys:
            row = columns.first_other_value(con, layout, name)
            if row is not None:
                raise ReadError(
                    f'{layout.file.path}: column "{name}" has the value {row[0]!r}, and the path '
                    f"says {value!r}. Correct one of them, or set hive: false, which leaves keys "
                    "of the path out."
                )


@dataclass(frozen=True, slots=True)
class FileColumns:
    """The columns of a stream's files in the types of one read."""

    schema: FileSchema
    format: str
    requested_types: Mapping[str, str]
    lake_types: Mapping[str, str]

    def select(self, layouts: Sequence[Layout]) -> str:
        """Return the SELECT of all the stream's columns over files with the same columns."""
        columns = ", ".join(
            f"{self._value(position, name, layouts)} as {quote_name(name)}"
            for position, name in enumerate(self.schema.types, start=1)
        )
        kept = " and ".join(exact for exact, _ in self._tests(layouts[0])) or "true"
        return f"select {columns} from ({self._rows(layouts)}) where {kept}"

    def reason_of_rejection(self, layout: Layout) -> str | None:
        """Return SQL of why a record of a file is not of the requested types; NULL where it is.

        None if no record of the file can be rejected so.
        """
        reasons = " ".join(
            f"when not {exact} then {reason}" for exact, reason in self._tests(layout)
        )
        return f"case {reasons} end" if reasons else None

    def rejectable(self, layout: Layout) -> str:
        """Return the SELECT of all records of a file, each with its line and its text."""
        return self._rows([layout])

    def _tests(self, layout: Layout) -> Iterator[tuple[str, str]]:
        """Yield for each requested type whether a record is of it, and the reason if it is not.

        Only records with their line and text are rejected; in other files the read stops.
        """
        if not layout.has_origin:
            return
        own_names = dict(layout.columns)
        for position, name in enumerate(self.schema.types, start=1):
            type_ = self.requested_types.get(name)
            is_here = self.format == "jsonl" or name in own_names
            if type_ is None or not is_here or name in dict(layout.file.keys):
                continue
            if self.schema.types[name] == UNKNOWN or (self.format == "jsonl" and type_ == "JSON"):
                continue
            text = self._text(position, name)
            before = quote_text(f'column "{name}": value "')
            after = quote_text(f'" is not exactly a {type_}')
            yield sql.is_exact(text, type_, name), f"{before} || left({text}, 80) || {after}"

    def _text(self, position: int, name: str) -> str:
        return jsonl.value_as_text(position) if self.format == "jsonl" else quote_name(name)

    def type(self, name: str) -> str:
        """Return the type of a column: requested, inferred, or the lake's if it has no value."""
        inferred_type = self.schema.types[name]
        lake_type = self.lake_types.get(name)
        return self.requested_types.get(name) or inferred_type or lake_type or "VARCHAR"

    @property
    def not_text(self) -> list[str]:
        """The columns that become something else than the texts that they are."""
        return [name for name in self.schema.types if self.type(name) != "VARCHAR"]

    def _rows(self, layouts: Sequence[Layout]) -> str:
        if self.format == "parquet":
            return parquet.select_rows(layouts)
        if self.format == "jsonl":
            return jsonl.select_rows(layouts, self.schema.json_keys, self.schema.longest_line)
        return csv.select_rows(layouts, self.not_text)

    def _value(self, position: int, name: str, layouts: Sequence[Layout]) -> str:
        keys = dict(layouts[0].file.keys)
        if name in keys:
            return self._key(name, keys[name], layouts[0])
        return self._own_value(position, name, layouts)

    def _key(self, name: str, value: str | None, layout: Layout) -> str:
        """Return the value of a key in the path of a file."""
        type_ = self.type(name)
        if value is None or type_ == UNKNOWN:
            return f"cast(null as {type_})"
        return sql.exact_cast(quote_text(value), type_, name, layout.file.path)

    def first_other_value(
        self, con: DuckDBPyConnection, layout: Layout, name: str
    ) -> tuple[str] | None:
        """Return the first value of a file's own column that its path's key does not have."""
        if self.format != "jsonl" and name not in dict(layout.columns):
            return None
        position = list(self.schema.types).index(name) + 1
        value = self._own_value(position, name, [layout])
        key = self._key(name, dict(layout.file.keys)[name], layout)
        row = con.execute(
            f"select cast(v as varchar) from (select {value} as v from ({self._rows([layout])})) "
            f"where v is not null and v is distinct from {key} limit 1"
        ).fetchone()
        return None if row is None else (str(row[0]),)

    def _own_value(self, position: int, name: str, layouts: Sequence[Layout]) -> str:
        """Return the value of a column of the files; NULL where they do not have it."""
        type_ = self.type(name)
        file_types = dict(layouts[0].columns)
        is_unknown = self.schema.types[name] == UNKNOWN
        is_missing = self.format != "jsonl" and file_types.get(name, UNKNOWN) == UNKNOWN
        if is_unknown or is_missing:
            return f"cast(null as {type_})"
        where = ", ".join(Path(layout.file.path).name for layout in layouts[:3])
        if self.format == "parquet":
            return self._recast(name, file_types[name], where)
        if self.format == "jsonl" and type_ == "JSON":
            return f"cast({jsonl.value_as_json(position)} as json)"
        text = self._text(position, name)
        if name in self.requested_types:
            return sql.exact_cast(text, type_, name, where)
        return sql.plain_cast(text, type_)

    def _recast(self, name: str, file_type: str, where: str) -> str:
        value = quote_name(name)
        requested_type = self.requested_types.get(name, file_type)
        if requested_type != file_type:
            return sql.exact_recast(value, file_type, requested_type, name, where)
        return f"cast({value} as {self.type(name)})"
