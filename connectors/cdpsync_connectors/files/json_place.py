"""The place of JSON records in a file, and of the first that is none."""

from __future__ import annotations

import codecs
import contextlib
import json
import re

from cdpsync.errors import ReadError
from cdpsync_connectors.files.content import open_bytes

_START = 1 << 20  # bytes that are looked at
_SPACE = re.compile(r"[ \t\r\n]*")

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


def require_end_of_array(path: str) -> None:
    """Raise ReadError for an array without its end, as in a file that is cut off.

    DuckDB 1.5.5 takes one that ends with the comma behind a record for whole.
    """
    end, end_line, line = b"", 1, 1
    with open_bytes(path) as content:
        while block := content.read(_START):
            text = block.rstrip()
            if text:
                end, end_line = text[-1:], line + text.count(b"\n")
            line += block.count(b"\n")
    if end != b"]":
        raise array_without_end(path, end_line)


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
    decoder = json.JSONDecoder(object_pairs_hook=_Pairs)
    separator = "," if format_ == "array" else ""
    position = _after_space(text, 0) + (format_ == "array")
    while (position := _after_space(text, position)) < len(text):
        if format_ == "array" and text[position] == "]":
            end = _after_space(text, position + 1)
            return None if end == len(text) else _line_at(text, end)
        try:
            record, end = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            return error.lineno
        except RecursionError:
            return None
        if not _has_good_keys(record):
            return _line_at(text, position)
        position = _after_space(text, end)
        if text.startswith(separator, position):
            position += len(separator)
        elif not text.startswith("]", position):
            return _line_at(text, position)
    return _line_at(text, position) if format_ == "array" else None


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _line_at(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _has_good_keys(record: object) -> bool:
    return _are_good_keys(_keys(record))


def _keys(record: object) -> list[str]:
    return [key for key, _ in record] if isinstance(record, _Pairs) else [""]


def _are_good_keys(keys: list[str]) -> bool:
    return "" not in keys and "\0" not in "".join(keys) and len(keys) == len(set(keys))


def is_record(line: bytes) -> bool:
    """Whether a line is one JSON object with distinct, non-empty keys."""
    try:
        record = json.loads(line.strip().decode("utf-8"), object_pairs_hook=_Pairs)
        if b"\\u" in line:
            json.dumps(record, ensure_ascii=False).encode()  # half of a surrogate pair is no text
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
