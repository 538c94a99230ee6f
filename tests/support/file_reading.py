"""A file of the files connector as a run reads it: the rows that land, or the refusal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from cdpsync.connector import ReadRequest
from cdpsync.errors import CdpsyncError
from cdpsync_connectors.files.connector import FilesConnector
from cdpsync_connectors.files.options import FilesOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb

_UNKNOWN_ERROR = re.compile(r"\(\w*(Error|Exception)\b|Traceback|this is a bug")
_LINE = re.compile(r", line (\d+)\b")
_OF_WHOLE_FILE = (
    "is cut off: its compressed data",
    "its compressed data is damaged (",
    "begins with the byte order mark of",
    "is empty, as is each file",
)


@dataclass(frozen=True, slots=True)
class Landed:
    """The rows that a run writes, with the names and types of their columns."""

    types: dict[str, str]
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Refused:
    """The message of the error that ends the read; nothing lands."""

    message: str


def land(con: duckdb.DuckDBPyConnection, path: str, options: Mapping[str, Any]) -> Landed | Refused:
    """Discover and read the only stream of a path; any error that is not ours is raised."""
    source = FilesConnector(FilesOptions.model_validate({"path": path, **options}))
    (stream,) = source.discover()
    if stream.unreadable_reason is not None:
        return Refused(stream.unreadable_reason)
    types = {column.name: column.type for column in stream.columns}
    if not types or len({name.encode().lower() for name in types}) < len(types):
        return Landed(types, [])  # a run refuses a stream with no columns, or that differ in case
    rows: list[tuple[Any, ...]] = []
    try:
        with source.read(ReadRequest(stream, stream.columns)) as chunks:
            for chunk in chunks:
                relation = chunk.relation(con)
                assert list(relation.columns) == list(types), (relation.columns, list(types))
                rows += relation.fetchall()
    except Exception as error:
        known = error if isinstance(error, CdpsyncError) else source.translate(error)
        if known is None:
            raise
        return Refused(known.message)
    return Landed(types, rows)


def require_named(refused: Refused, paths: list[str], lines: int | None) -> None:
    """Fail unless a refusal is one line, names one of the files, and the line where it has lines.

    `lines` is how many lines the longest file has; None for a format without lines.
    """
    message = refused.message
    assert any(message.startswith(path) for path in paths), message
    assert "\n" not in message, message
    if any(part in message for part in _OF_WHOLE_FILE):
        return
    assert not _UNKNOWN_ERROR.search(message), message
    if lines is None:
        return
    line = _LINE.search(message)
    assert line, message
    assert 1 <= int(line[1]) <= lines, (message, lines)


def is_value(value: object, type_: str, text: str | None) -> bool:
    """Whether a landed value is the one that a text of a file stands for, by its column's type.

    Numbers are equal as decimals; a DOUBLE is the nearest one to the text; times are equal as
    instants; a VARCHAR has every character. `text` is None for NULL.
    """
    if text is None or value is None:
        return text is value
    if type_ == "VARCHAR":
        return value == text
    if type_ == "BIGINT" or type_.startswith("DECIMAL"):
        return isinstance(value, int | Decimal) and Decimal(value) == Decimal(text)
    if type_ == "DOUBLE":
        return repr(value) == repr(float(text))
    if type_ == "BOOLEAN":
        return value is {"true": True, "false": False}.get(text.lower())
    if type_ == "DATE":
        return type(value) is date and value == date.fromisoformat(text)
    if type_ in ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"):
        return isinstance(value, datetime) and value == datetime.fromisoformat(text)
    raise AssertionError(f"no text of a CSV should be {type_}: {text!r}")
