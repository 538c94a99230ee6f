"""The place of JSON records in a file, and of the first that is none."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

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


def first_bad_line(path: str) -> int | None:
    """Return the first line that is not one JSON object with distinct, non-empty keys.

    None if there is no such line, or the file is compressed with zstd. An error of DuckDB has
    another number, because DuckDB skips empty lines and begins at 2.
    """
    if path.lower().endswith(".zst") or not Path(path).exists():
        return None
    format_ = json_format_of(path)
    is_compressed = path.lower().endswith(".gz")
    with gzip.open(path) if is_compressed else Path(path).open("rb") as lines:
        if format_ != "newline_delimited":
            return _first_bad_line_of(lines.read().decode("utf-8", "surrogateescape"), format_)
        for number, line in enumerate(lines, start=1):
            if line.strip() and not is_record(line):
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
    keys = [key for key, _ in record] if isinstance(record, _Pairs) else [""]
    return "" not in keys and len(keys) == len(set(keys))


def is_record(line: bytes) -> bool:
    """Whether a line is one JSON object with distinct, non-empty keys."""
    try:
        record = json.loads(line.decode("utf-8"), object_pairs_hook=_Pairs)
        if b"\\u" in line:
            json.dumps(record, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except ValueError:
        return False
    except RecursionError:
        keys = _keys_of_deep_record(line)
    else:
        keys = [key for key, _ in record] if isinstance(record, _Pairs) else [""]
    return "" not in keys and len(keys) == len(set(keys))


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
