"""The place of JSON records in a file, and of the first that is none."""

from __future__ import annotations

import codecs
import contextlib
import json
import re
from dataclasses import dataclass

from cdpsync.errors import ReadError
from cdpsync_connectors.files.content import open_bytes

_START = 1 << 20  # bytes that are looked at
_SPACE = re.compile(r"[ \t\r\n\x0b\x0c]*")  # what DuckDB takes for it between records

_DEEP_KEYS = """
    select case when json_type(line) = 'OBJECT' then json_keys(line) else [''] end
    from (select cast(? as json) as line)
"""


def json_format_of(path: str) -> str:
    """Return DuckDB's name for how the records stand in a file.

    `array`: as one list; `newline_delimited`: each on a line; `unstructured`: on several lines
    each, one behind another.
    """
    try:
        with open_bytes(path) as content:
            return json_format(bytes(content.read(_START)))
    except ReadError:
        return "newline_delimited"  # a .zst without pyarrow, or a damaged file


def json_format(start: bytes) -> str:
    """Return the same, by the start of a file."""
    start = start.lstrip()
    if start.startswith(b"["):
        return "array"
    first_line, _, others = start.partition(b"\n")
    if not others.strip():
        return "newline_delimited"
    try:
        json.loads(first_line)
    except json.JSONDecodeError as error:
        goes_on = error.pos >= len(first_line.decode(errors="replace").rstrip())
        return "unstructured" if goes_on else "newline_delimited"
    except (ValueError, RecursionError):
        pass
    return "newline_delimited"


@dataclass(frozen=True, slots=True)
class ArrayEnd:
    """How an array ends in its file, and how many closing brackets the file has, also in records.

    `line` is the line of the last sign that is no white space.
    """

    is_bracket: bool
    line: int
    brackets: int


def array_end(path: str) -> ArrayEnd:
    """Return how an array ends. DuckDB 1.5.5 tells neither of two faults.

    It takes an array that ends with the comma behind a record for whole, and a bracket between two
    records for a comma.
    """
    end, end_line, line, brackets = b"", 1, 1, 0
    with open_bytes(path) as content:
        while block := content.read(_START):
            text = block.rstrip()
            if text:
                end, end_line = text[-1:], line + text.count(b"\n")
            line += block.count(b"\n")
            brackets += block.count(b"]")
    return ArrayEnd(end == b"]", end_line, brackets)


def is_one_sign(path: str) -> bool:
    """Whether a file is one byte and no white space: DuckDB 1.5.5 takes it for an empty file."""
    with contextlib.suppress(ReadError, OSError), open_bytes(path) as content:
        start = content.read(2)
        return len(start) == 1 and bool(start.strip())
    return False


def text_behind_array(path: str) -> ReadError:
    """Return the error of a file in which an array is not the only value."""
    return ReadError(
        f"{path}, line {first_bad_line(path) or 1}: something follows the array. A file has one "
        "array of records, or records without an array around them."
    )


def array_without_end(path: str, line: int) -> ReadError:
    """Return the error of a file that ends, in this line, before its array does."""
    return ReadError(
        f"{path}, line {line}: the array does not end, so the file is cut off. Nothing of the "
        "stream was kept; copy the file again."
    )


def first_bad_line(path: str) -> int | None:
    """Return the first line that is not one JSON object with distinct, non-empty keys.

    None if there is no such line, or the file cannot be read here. An error of DuckDB has another
    number, because DuckDB skips empty lines and begins at 2.
    """
    with contextlib.suppress(ReadError, OSError):
        format_ = json_format_of(path)
        with open_bytes(path) as lines:
            if format_ != "newline_delimited":
                text = lines.read().removeprefix(codecs.BOM_UTF8)
                return _first_bad_line_of(text.decode("utf-8", "surrogateescape"), format_)
            for number, line in enumerate(lines, start=1):
                record = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if record.strip() and not is_record(record):
                    return number
    return None


def _first_bad_line_of(text: str, format_: str) -> int | None:
    """Return the line where the first record begins that is none, or where a text is no JSON."""
    is_array = format_ == "array"
    position = _after_space(text, 0) + is_array
    is_record_next = False  # because a comma stands before
    while (position := _after_space(text, position)) < len(text):
        if is_array and text[position] == "]" and not is_record_next:
            end = _after_space(text, position + 1)
            return None if end == len(text) else _line_at(text, end)
        try:
            record, end = _DECODER.raw_decode(text, position)
        except json.JSONDecodeError as error:
            return error.lineno
        except RecursionError:
            return None
        if not (_are_good_keys(_keys(record)) and _is_text(record)):
            return _line_at(text, position)
        position = _after_space(text, end)
        is_record_next = is_array and text.startswith(",", position)
        if is_record_next:
            position += 1
        elif is_array and not text.startswith("]", position):
            return _line_at(text, position)
    return _line_at(text, position) if is_array else None


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _line_at(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _is_text(record: object) -> bool:
    """Whether a value has no half of a surrogate pair in it, which is no text."""
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _keys(record: object) -> list[str]:
    return [key for key, _ in record] if isinstance(record, _Pairs) else [""]


def _are_good_keys(keys: list[str]) -> bool:
    return "" not in keys and "\0" not in "".join(keys) and len(keys) == len(set(keys))


def is_record(line: bytes) -> bool:
    """Whether a line is one JSON object with distinct, non-empty keys."""
    try:
        record = json.loads(line.strip().decode("utf-8"), object_pairs_hook=_Pairs)
        if b"\\u" in line and not _is_text(record):
            return False
    except ValueError:
        return False
    except RecursionError:
        keys = _keys_of_deep_record(line)
    else:
        keys = _keys(record)
    return _are_good_keys(keys)


def _keys_of_deep_record(line: bytes) -> list[str]:
    """Return the keys of an object that is nested too deep for Python's parser, but not DuckDB's.

    For a value that is not an object, one empty key is returned.
    """
    import duckdb

    with duckdb.connect() as con:
        try:
            row = con.execute(_DEEP_KEYS, [line.decode("utf-8")]).fetchone()
        except duckdb.Error:
            row = None
    return list(row[0]) if row else [""]


class _Pairs(list[tuple[str, object]]):
    """An object as pairs of key and value, in which repeated keys remain."""


_DECODER = json.JSONDecoder(object_pairs_hook=_Pairs)
