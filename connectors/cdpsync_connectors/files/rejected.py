"""The records that a user asked to set aside: broken ones, and those of another type."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.connector.exact_sql import quote_files
from cdpsync.model import REJECTED_COLUMNS
from cdpsync.sql import quote_name, quote_text
from cdpsync_connectors.files.content import LONE_SURROGATE
from cdpsync_connectors.files.schema import LINE, TEXT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from duckdb import DuckDBPyConnection

    from cdpsync_connectors.files.discover import File
    from cdpsync_connectors.files.records import Record
    from cdpsync_connectors.files.select import FileColumns

_SMALLEST_BUFFER = 1 << 20  # bytes; DuckDB reserves two such in each thread

_WRITE = "copy ({records}) to {target} (format parquet, compression zstd)"
_BROKEN = """
    select {names} from read_json({files}, format = 'newline_delimited', columns = {{{columns}}},
        hive_partitioning = false, maximum_object_size = {longest})
"""
_OF_ANOTHER_TYPE = """
    select {path} as file, cast({line} as bigint) as line, reason, {text} as text
    from (select *, {reason} as reason from ({rows})) where reason is not null
"""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The output for the broken records of one file, whose first `skipped` lines are no records."""

    output: TextIO
    path: str
    skipped: int

    def add(self, record: Record) -> None:
        """Write a record with its line, its fault and its text."""
        line = {
            "file": self.path,
            "line": record.line + self.skipped,
            "reason": record.fault,
            "text": _printable(record.text.rstrip("\r\n")),
        }
        self.output.write(json.dumps(line, ensure_ascii=False) + "\n")


def _printable(text: str) -> str:
    r"""Return a text with each byte that is not in its encoding as `\\xff`."""
    return LONE_SURROGATE.sub(lambda match: f"\\x{ord(match[0]) & 0xFF:02x}", text)


def rejected_path(copy: str) -> Path:
    """Return the file of the broken records that a copy lacks."""
    return Path(f"{copy}.rejected")


def write_rejected(
    con: DuckDBPyConnection,
    files: Sequence[File],
    copies: Sequence[File],
    columns: FileColumns,
    target: Path,
) -> int:
    """Write all rejected records of a stream to a Parquet file; return how many they are."""
    names = ", ".join(quote_name(column.name) for column in REJECTED_COLUMNS)
    paths = [
        str(path)
        for file, copy in zip(files, copies, strict=True)
        if copy.path != file.path and (path := rejected_path(copy.path)).exists()
    ]
    selects = [f"select {_nulls()} where false"]
    if paths:
        types = ", ".join(f"{quote_text(c.name)}: {quote_text(c.type)}" for c in REJECTED_COLUMNS)
        longest = max(_SMALLEST_BUFFER, *(Path(path).stat().st_size for path in paths))
        selects.append(
            _BROKEN.format(names=names, files=quote_files(paths), columns=types, longest=longest)
        )
    for file, layout in zip(files, columns.schema.layouts, strict=True):
        reason = columns.reason_of_rejection(layout)
        if reason:
            rows = columns.rejectable(layout)
            selects.append(
                _OF_ANOTHER_TYPE.format(
                    path=quote_text(file.path),
                    line=LINE,
                    text=TEXT,
                    reason=reason,
                    rows=rows,
                )
            )
    statement = _WRITE.format(records=" union all ".join(selects), target=quote_text(str(target)))
    (count,) = con.execute(statement).fetchall()[0]
    return int(count)


def _nulls() -> str:
    return ", ".join(
        f"cast(null as {column.type}) as {quote_name(column.name)}" for column in REJECTED_COLUMNS
    )
