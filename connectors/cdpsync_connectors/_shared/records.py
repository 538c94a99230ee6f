"""JSON records of an API to typed columns: kept on disk as they come, typed when all are there.

| in the records | in the lake |
| --- | --- |
| integers | BIGINT; DECIMAL(38,0) beyond 64 bits |
| decimals, and integers among them | DECIMAL, as many digits behind the point as any has |
| numbers with an exponent | DOUBLE, when it keeps each |
| strings; booleans | VARCHAR; BOOLEAN |
| a field declared as seconds since 1970 | TIMESTAMP WITH TIME ZONE |
| objects, arrays, a mixture | JSON, the numbers as they were written |
| nothing but null | the declared type, or the one in the lake; else no column yet |

The lake's type is kept from one run to the next, and grows where its values do; a type that
cannot becomes JSON, with a notice.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, TypeVar

import msgspec

from cdpsync.errors import ReadError
from cdpsync_connectors._shared import exact_sql as sql
from cdpsync_connectors._shared.record_fields import Field, refuse_twice
from cdpsync_connectors._shared.record_types import TIME, RecordColumns
from cdpsync_connectors._shared.sql_chunk import SqlChunk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from io import BufferedWriter
    from pathlib import Path

    from cdpsync.connector import ReadRequest

__all__ = ["TIME", "Records", "SqlChunk", "parse_list", "parse_record"]

Fields = dict[str, msgspec.Raw]
"""A record's fields by name, each value as the bytes that came."""

_T = TypeVar("_T")

_FILE_BYTES = 8 << 20  # of one file, one chunk: DuckDB takes 5 bytes of memory for each
_LONGEST_LINE = 1 << 20  # DuckDB keeps room for a few lines of the greatest length

_fields = msgspec.json.Decoder(Fields)
_line = msgspec.json.Encoder()

_ROWS = """
    select {columns} from (
        select {values} from read_json({file}, format = 'newline_delimited',
            columns = {{{keys}}}, maximum_object_size = {longest})
    ) where (
        {where}
    )
"""


class _List(msgspec.Struct):
    data: list[msgspec.Raw]
    has_more: bool = False


_lists = msgspec.json.Decoder(_List)
_raws = msgspec.json.Decoder(msgspec.Raw)


def parse_list(body: bytes, where: str) -> tuple[list[Fields], bool]:
    """Return the records under `data`, and whether there are more; else raise ReadError."""
    with _depth_told(where):
        found = _decoded(_lists, body, where, "a list of objects")
        return [_record(raw, where) for raw in found.data], found.has_more


def parse_record(body: bytes, where: str) -> Fields:
    """Return the one record of an answer; else raise ReadError."""
    with _depth_told(where):
        return _record(_decoded(_raws, body, where, "an object"), where)


@contextlib.contextmanager
def _depth_told(where: str) -> Iterator[None]:
    """Raise ReadError where a parser reaches the end of Python's stack."""
    try:
        yield
    except RecursionError as error:
        raise ReadError(
            f"{where}: the values of the answer are nested too deep to be read. Nothing was kept."
        ) from error


def _decoded(decoder: msgspec.json.Decoder[_T], body: bytes, where: str, wanted: str) -> _T:
    try:
        body.decode()  # what is not looked at closely now shall be text, too
        return decoder.decode(msgspec.json.format(body, indent=-1))
    except (UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise ReadError(
            f"{where}: the answer is not JSON with {wanted}: {error}. It begins with {body[:60]!r}."
        ) from error


def _record(raw: msgspec.Raw, where: str) -> Fields:
    try:
        fields = _fields.decode(raw)
    except msgspec.MsgspecError as error:
        raise ReadError(
            f"{where}: a record is not a JSON object: {bytes(raw)[:60]!r}. Nothing was kept."
        ) from error
    refuse_twice(raw, fields, where)
    return fields


class Records:
    """The records of one read: added from many threads, then handed over as chunks.

    `declared` are the types that the source's documentation gives its fields; `TIME` is one for
    seconds since 1970. Memory holds one page per thread that adds; the rest is in `folder`.
    """

    def __init__(self, folder: Path, request: ReadRequest, declared: Mapping[str, str]) -> None:
        self._folder = folder
        self._request = request
        self._declared = declared
        self._fields: dict[str, Field] = {}
        self._files: list[Path] = []
        self._writer: BufferedWriter | None = None
        self._longest = _LONGEST_LINE
        self._guard = threading.Lock()
        self.rows = 0

    def add(self, records: Iterable[Mapping[str, msgspec.Raw | bytes]]) -> None:
        """Keep these records, all or none of them, and tell how many there are."""
        with self._guard:
            lines = [self._kept(record) for record in records]
            if lines:
                self._write(b"\n".join(lines) + b"\n")
                self._longest = max(self._longest, 2 * max(map(len, lines)))
                self.rows += len(lines)
            rows = self.rows
        self._request.on_progress(rows)

    def _kept(self, record: Mapping[str, msgspec.Raw | bytes]) -> bytes:
        line = {}
        for name, raw in record.items():
            value = bytes(raw)
            if value == b"null":
                continue
            field = self._fields.get(name) or self._new_field(name)
            if field is not None:
                line[field.key] = field.keep(value)
        return _line.encode(line)

    def _new_field(self, name: str) -> Field | None:
        """Return a field that was never seen before, or None for one that is kept out."""
        if self._is_dropped(name):
            return None
        field = self._fields[name] = Field(name, f"f{len(self._fields)}")
        return field

    def _is_dropped(self, name: str) -> bool:
        request = self._request
        if name in {column.name for column in request.columns} or request.where is not None:
            return False
        return name in request.exclude or (
            request.include is not None and name not in request.include
        )

    def _write(self, block: bytes) -> None:
        if self._writer is None or self._writer.tell() > _FILE_BYTES:
            self._close()
            self._files.append(self._folder / f"records-{len(self._files):05d}.ndjson")
            self._writer = self._files[-1].open("wb")
        self._writer.write(block)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def close(self) -> None:
        """Close the file that is being written."""
        with self._guard:
            self._close()

    def chunks(self) -> list[SqlChunk]:
        """Return the chunks over all records; at least one, so that there are columns."""
        self.close()
        columns = RecordColumns(self._request, self._declared, self._fields).columns()
        if not columns:
            name = self._request.stream.name
            raise ReadError(f"stream {name}: no record came, and no column is known of it.")
        select = {
            "columns": ", ".join(sql.quote_name(name) for name in self._wanted(columns)),
            "where": self._request.where or "true",
        }
        if not self._files:
            nothing = ", ".join(f"{value} as {sql.quote_name(n)}" for n, value in columns.items())
            nulls = ", ".join(f"null::varchar as {f.key}" for f in self._fields.values())
            source = f"(select {nulls or 'null'})"
            return [SqlChunk("no records", f"select {nothing} from {source} where false")]
        select["values"] = ", ".join(f"{v} as {sql.quote_name(n)}" for n, v in columns.items())
        keys = [field.key for field in self._fields.values()] or ["none"]
        select["keys"] = ", ".join(f"{key}: 'VARCHAR'" for key in keys)
        return [
            SqlChunk(
                f"records of file {number}",
                _ROWS.format(file=sql.quote_files([str(file)]), longest=self._longest, **select),
            )
            for number, file in enumerate(self._files, start=1)
        ]

    def _wanted(self, columns: Mapping[str, str]) -> list[str]:
        """Return the columns to hand over: of those that only `where` may name, none."""
        kept = {column.name for column in self._request.columns}
        request = self._request
        return [
            name
            for name in columns
            if name in kept
            or (
                name not in request.exclude and (request.include is None or name in request.include)
            )
        ]
