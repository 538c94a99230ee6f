"""A strict scan of one CSV, in Python: slow, but it knows the line of the first fault.

It names the line of a file that was refused, and judges a file with spaces that DuckDB may drop.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync_connectors.files.content import LONE_SURROGATE, read_text
from cdpsync_connectors.files.records import RecordRules, read_records

if TYPE_CHECKING:
    from cdpsync_connectors.files.records import Record

NOT_ENCODED = "not in the encoding that was set (without encoding: it is UTF-8)"

_END_NAMES = {"\n": "LF", "\r\n": "CR LF", "\r": "CR"}
_LINE_END = re.compile(r"\r\n|\r|\n")
_FIX_LINE = "Nothing of the stream was kept; fix the line."


def first_fault(path: str, delimiter: str, quote: str) -> ReadError | None:
    """Return the error about the first record of a UTF-8 file that is broken; None without one.

    A record is broken if its quotes are, if it has another number of fields or another line end
    than the first one, or text that is not in the encoding. Line ends inside quotes are text.
    """
    rules = RecordRules(delimiter, quote, nulls=(), spaces_at_quotes=delimiter == " ")
    first: Record | None = None
    for record in read_records(read_text(path, "utf-8-sig", keeps_bytes=True), rules):
        first = first or record
        fault = _fault_of(record, first)
        if fault:
            line, reason = fault
            return ReadError(f"{path}, line {line}: {reason}")
    return None


def _fault_of(record: Record, first: Record) -> tuple[int, str] | None:
    """Return the line of a record that is broken, and the reason with the next step."""
    if undecoded := LONE_SURROGATE.search(record.text):
        return _line_at(record, undecoded.start()), f"{NOT_ENCODED}. {_FIX_LINE}"
    if record.fault:
        return record.line, f"{record.fault}. {_FIX_LINE}"
    if record.end and record.end != first.end:
        return _line_at(record, len(record.without_end)), (
            f"ends with {_END_NAMES[record.end]}, and line 1 with {_END_NAMES[first.end]}. Use one "
            "kind of line end for all records; inside quotes, any is a part of the value."
        )
    fields, width = len(record.fields), len(first.fields)
    if fields == width or record.is_blank:
        return None
    is_empty = fields > width and not any(record.fields[width:])
    more = "; the last ones are empty" if is_empty else ""
    return record.line, f"{fields} fields where there should be {width}{more}. {_FIX_LINE}"


def _line_at(record: Record, position: int) -> int:
    return record.line + len(_LINE_END.findall(record.text[:position]))
