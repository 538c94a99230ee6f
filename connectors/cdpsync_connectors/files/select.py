"""A stream's files as chunks: the SELECT that gives the requested columns, exactly typed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync_connectors._shared import exact_sql as sql
from cdpsync_connectors._shared.exact_types import UNKNOWN
from cdpsync_connectors._shared.sql_chunk import SqlChunk
from cdpsync_connectors.files import csv, jsonl, parquet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cdpsync.connector import ReadRequest
    from cdpsync_connectors.files.csv import Dialect
    from cdpsync_connectors.files.schema import FileSchema, Layout

_MOST_CHUNKS = 64

_CHUNK = """
    select {columns} from (
        {rows}
    ) where (
        {where}
    )
"""


def chunks(
    shape: FileSchema, format_: str, dialect: Dialect, request: ReadRequest
) -> tuple[SqlChunk, ...]:
    """Return the chunks of a read: a file each, or as many files as make 64 chunks.

    Raises ReadError when a requested column is not there, or cannot have the type asked for.
    """
    for column in request.columns:
        if column.name not in shape.types:
            raise ReadError(
                f'stream {request.stream.name}: column "{column.name}" is in no file any more. '
                "Run again."
            )
    typing = FileColumns(shape, format_, dialect, request.types, request.lake_types)
    layouts = shape.layouts
    if format_ in {"csv", "tsv"}:
        layouts = tuple(layout for layout in layouts if layout.columns)  # not those of 0 bytes
    size = -(-len(layouts) // _MOST_CHUNKS)
    return tuple(
        _chunk(typing, layouts[start : start + size], request)
        for start in range(0, len(layouts), size)
    )


def _chunk(typing: FileColumns, layouts: Sequence[Layout], request: ReadRequest) -> SqlChunk:
    first, last = Path(layouts[0].file.path).name, Path(layouts[-1].file.path).name
    label = f"file {first}" if len(layouts) == 1 else f"files {first} to {last}"
    statement = _CHUNK.format(
        columns=", ".join(sql.quote_name(column.name) for column in request.columns),
        rows=" union all ".join(typing.select(part) for part in csv.alike(layouts)),
        where=request.where or "true",
    )
    return SqlChunk(label, statement)


@dataclass(frozen=True, slots=True)
class FileColumns:
    """How the values of a stream become the types of this read."""

    shape: FileSchema
    format: str
    dialect: Dialect
    wanted: Mapping[str, str]
    landed: Mapping[str, str]

    def select(self, layouts: Sequence[Layout]) -> str:
        """Return the SELECT of all the stream's columns over files that are alike."""
        columns = ", ".join(
            f"{self._value(place, name, layouts)} as {sql.quote_name(name)}"
            for place, name in enumerate(self.shape.types, start=1)
        )
        return f"select {columns} from ({self._rows(layouts)})"

    def type(self, name: str) -> str:
        """Return the type of a column: asked for, seen, or where nothing was seen, the lake's."""
        return self.wanted.get(name) or self.shape.types[name] or self.landed.get(name) or "VARCHAR"

    def _rows(self, layouts: Sequence[Layout]) -> str:
        if self.format == "parquet":
            return parquet.rows_of(layouts)
        if self.format == "jsonl":
            return jsonl.rows_of(layouts, list(self.shape.types))
        return csv.rows_of(layouts, self.dialect)

    def _value(self, place: int, name: str, layouts: Sequence[Layout]) -> str:
        type_ = self.type(name)
        own = dict(layouts[0].columns)
        seen = self.shape.types[name]
        if seen == UNKNOWN or (self.format != "jsonl" and name not in own):
            return f"cast(null as {type_})"
        where = ", ".join(Path(layout.file.path).name for layout in layouts[:3])
        if self.format == "parquet":
            return self._recast(name, own[name], where)
        if self.format == "jsonl" and type_ == "JSON":
            return f"cast({jsonl.value_as_json(place)} as json)"
        text = jsonl.value_as_text(place) if self.format == "jsonl" else sql.quote_name(name)
        if name in self.wanted:
            return sql.exact_cast(text, type_, name, where)
        return sql.plain_cast(text, type_)

    def _recast(self, name: str, own: str, where: str) -> str:
        value = sql.quote_name(name)
        wanted = self.wanted.get(name, own)
        if wanted != own:
            return sql.exact_recast(value, own, wanted, name, where)
        return f"cast({value} as {self.type(name)})"
