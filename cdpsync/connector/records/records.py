"""Collects the JSON records of one read in files, then gives them as chunks of typed columns.

| in the records | in the lake |
| --- | --- |
| integers | BIGINT; DECIMAL(38,0) beyond 64 bits |
| decimals, and integers among them | DECIMAL with the longest fraction of all values |
| numbers with an exponent | DOUBLE, if it keeps each of them |
| strings; booleans | VARCHAR; BOOLEAN |
| a field declared as seconds since 1970 | TIMESTAMP WITH TIME ZONE |
| texts declared as times | TIMESTAMP, with or without time zone, DATE |
| objects, arrays, a mixture | JSON, the numbers as they were written |
| only null | the declared type, or the lake's; else no column yet |

The lake's type stays from one run to the next, and is widened when the values need it. Where it
cannot be widened the column becomes JSON, with a notice.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec

from cdpsync.connector import exact_sql as sql
from cdpsync.connector.records.columns import TIME, RecordColumns
from cdpsync.connector.records.fields import Field
from cdpsync.connector.records.times import TEXT_TIMES
from cdpsync.connector.sql_chunk import SqlChunk
from cdpsync.errors import ReadError
from cdpsync.sql import quote_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from io import BufferedWriter
    from pathlib import Path

    import msgspec

    from cdpsync.connector import ReadRequest

__all__ = ["TIME", "Records", "SqlChunk"]

_FILE_BYTES = 8 << 20  # of one file, which is one chunk: DuckDB takes 5 bytes of memory for each
_MAX_LINE = 1 << 20  # DuckDB reserves memory for a few lines of the greatest length

_QUOTE = ord('"')


_ROWS = """
    select {columns} from (
        select {values} from read_json({file}, format = 'newline_delimited',
            columns = {{{keys}}}, maximum_object_size = {max_line})
    ) where (
        {where}
    )
"""


class Records:
    """The records of one read: several threads add them, then `chunks` returns them.

    `declared` has the types that the API's documentation gives to fields; `TIME` and `EPOCH` mean
    seconds since 1970, `EPOCH_MS` milliseconds. With `text_times`, types of times mean texts as in
    ISO 8601; where a text is none, the column is VARCHAR, or JSON if the lake has it as times
    already. `condition` is SQL over requested columns: other records are left out, as those are
    that miss the request's `where`. Memory holds what each thread adds at once; everything else is
    in `folder`.
    """

    def __init__(
        self,
        folder: Path,
        request: ReadRequest,
        declared: Mapping[str, str],
        *,
        condition: str | None = None,
        text_times: bool = False,
    ) -> None:
        self._folder = folder
        self._request = request
        self._declared = declared
        conditions = [f"({text})" for text in (request.where, condition) if text is not None]
        self._condition = " and ".join(conditions) or "true"
        self._text_times = text_times
        self._time_types = self._existing_types(declared) if text_times else {}
        self._requested = {column.name for column in request.columns}
        self._fields: dict[str, Field] = {}
        self._files: list[Path] = []
        self._writer: BufferedWriter | None = None
        self._max_line = _MAX_LINE
        self._guard = threading.Lock()
        self.rows = 0

    def add(self, records: Iterable[Mapping[str, msgspec.Raw | bytes]]) -> None:
        """Add these records, all of them or none, and report the progress."""
        with self._guard:
            lines = [self._encode(record) for record in records]
            if lines:
                self._write(b"\n".join(lines) + b"\n")
                self._max_line = max(self._max_line, 2 * max(map(len, lines)))
                self.rows += len(lines)
            rows = self.rows
        self._request.on_progress(rows)

    def _encode(self, record: Mapping[str, msgspec.Raw | bytes]) -> bytes:
        members, fields = [], self._fields
        for name, raw in record.items():
            value = bytes(raw)
            if value == b"null":
                continue
            field = fields[name] if name in fields else self._new_field(name)
            if field is None:
                continue
            if value[0] == _QUOTE and field.fits is None and b"\\" not in value:  # most values
                field.classes |= sql.TEXT
                members.append(field.text_begin + value[1:])
            else:
                members.append(field.encode(value))
        line = b"{" + b",".join(members) + b"}"
        if not line.isascii():
            line.decode()  # because nobody has checked the texts yet
        return line

    def _new_field(self, name: str) -> Field | None:
        """Add and return a field; None for one that no column or condition may need."""
        if self._request.where is None and not self._is_output(name):
            return None
        times = self._time_types.get(name, "")
        field = self._fields[name] = Field(name, f"f{len(self._fields)}", times)
        return field

    def _existing_types(self, declared: Mapping[str, str]) -> dict[str, str]:
        """Return the types of times that texts must have: the lake's, else the declared ones."""
        lake_types = {} if self._request.replaces else self._request.lake_types
        types = {**declared, **lake_types}
        return {name: type_ for name, type_ in types.items() if type_ in TEXT_TIMES}

    def _is_output(self, name: str) -> bool:
        """Whether a field may be a column: requested, or new and not excluded."""
        request = self._request
        if name in self._requested:
            return True
        return name not in request.exclude and (request.include is None or name in request.include)

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
        """Return the chunks over all records; at least one, so that the columns are known.

        Raises ReadError if there is neither a record nor a requested column.
        """
        self.close()
        columns = RecordColumns(
            self._request, self._declared, self._fields, keeps_unknown=not self._text_times
        )
        values = columns.columns()
        if not values:
            name = self._request.stream.name
            raise ReadError(f"stream {name}: it has no record, and no column is known of it.")
        if not self._files:
            return [self._empty_chunk(values)]
        return [
            SqlChunk(f"records of file {number}", self._select(file, values))
            for number, file in enumerate(self._files, start=1)
        ]

    def _select(self, file: Path, values: Mapping[str, str]) -> str:
        # A column that is not an output is there for `where` only.
        outputs = [name for name in values if self._is_output(name)]
        keys = [field.key for field in self._fields.values()] or ["none"]
        return _ROWS.format(
            columns=", ".join(quote_name(name) for name in outputs),
            values=_named(values),
            file=sql.quote_files([str(file)]),
            keys=", ".join(f"{key}: 'VARCHAR'" for key in keys),
            max_line=self._max_line,
            where=self._condition,
        )

    def _empty_chunk(self, values: Mapping[str, str]) -> SqlChunk:
        nulls = ", ".join(f"null::varchar as {field.key}" for field in self._fields.values())
        source = f"(select {nulls or 'null'})"
        return SqlChunk("no records", f"select {_named(values)} from {source} where false")


def _named(values: Mapping[str, str]) -> str:
    return ", ".join(f"{value} as {quote_name(name)}" for name, value in values.items())
