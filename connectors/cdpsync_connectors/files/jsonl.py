"""JSON Lines: numbers stay as they are written; the columns are the keys of all records.

DuckDB's JSON functions pass every number with a point through a double (measured with 1.5.5:
`1.10` becomes `1.1`, `0.1234567890123456789` loses two digits, also inside nested values). So a
number that a double or a 64-bit integer may not keep becomes a string with a mark, before any
such function reads it, and a number again behind it.
"""

from __future__ import annotations

import codecs
import json
import secrets
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync.sql import quote_text
from cdpsync_connectors._shared import exact_sql as sql
from cdpsync_connectors.files.compressed import open_content
from cdpsync_connectors.files.schema import FileSchema, Layout, TextFormat, infer_types

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duckdb import DuckDBPyConnection

    from cdpsync_connectors.files.discover import File

# It is random, so that no string of the data begins with it.
_MARK = f"number-{secrets.token_hex(16)}:"

_INEXACT = r"[0-9]\.[0-9]|[0-9][eE][0-9+-]|[0-9]{19}|-0"

# All text before a number (complete strings, and signs that do not begin a number), then the
# number. A 0 is appended to the record, because the search must find a number behind the last real
# one: otherwise it would go on inside a string.
_UP_TO_NUMBER = r'((?:"(?:[^"\\]|\\.)*"|[^"\-0-9]|-[^0-9])*)(-?[0-9][0-9.eE+\-]*)'
_MARKED = f'\\1"{_MARK}\\2"'
_END = f'"{_MARK}0"'

_RECORDS = """
    select json from read_ndjson_objects({files}, hive_partitioning = false,
        maximum_object_size = {longest_line})
"""
_LONGEST_LINE = 1 << 24  # bytes; DuckDB reserves memory for two such lines in each thread
_LONGEST_UNKNOWN_LINE = 1 << 30

_DEEP_KEYS = """
    select case when json_type(line) = 'OBJECT' then json_keys(line) else [''] end
    from (select cast(? as json) as line)
"""

# DuckDB reads these, but they are no JSON; they may stand in a string, so Python has the last word.
# (It takes NaN and Infinity, as they are written here, for numbers.)
_NO_JSON = r",\s*[}\]]|[:\[,]\s*-?(?i:nan|inf|infinity)\s*[,\]}]"

_CANDIDATES = """
    select cast(json as varchar) from ({records}) where regexp_matches(json, {pattern})
"""

_KEYS = """
    with record as (
        select json_type(json) as kind, row_number() over () as number,
            regexp_matches(json, {pattern}) as maybe_no_json,
            case when json_type(json) = 'OBJECT' then json_keys(json) else [] end as keys
        from ({records})
    ), key as (
        select number, unnest(keys) as name, generate_subscripts(keys, 1) as position from record
    )
    select null as name, bool_or(kind <> 'OBJECT') as not_objects,
        bool_or(len(keys) <> len(list_distinct(keys))) as repeated_keys,
        bool_or(maybe_no_json) as maybe_no_json, 0 as first, 0 as position
    from record
    union all
    select name, null, null, null, min(number), arg_min(position, number) from key group by name
    order by first, position
"""


def read_schema(con: DuckDBPyConnection, files: Sequence[File]) -> FileSchema:
    """Return the keys of all records, each with the type that fits every value."""
    import duckdb

    try:
        return _read_schema(con, files, _LONGEST_LINE)
    except duckdb.InvalidInputException as error:
        if "maximum_object_size" not in str(error):
            raise
    return _read_schema(con, files, max(_longest_line(file.path) for file in files))


def _read_schema(con: DuckDBPyConnection, files: Sequence[File], longest_line: int) -> FileSchema:
    layouts = tuple(Layout(file) for file in files)
    records = _records([file.path for file in files], longest_line)
    pattern = quote_text(_NO_JSON)
    (_, not_objects, repeated_keys, maybe_no_json, *_), *key_rows = con.execute(
        _KEYS.format(records=records, pattern=pattern)
    ).fetchall()
    names = [str(name) for name, *_ in key_rows]
    if not_objects or repeated_keys or "" in names or "\0" in "".join(names):
        raise _bad_record(files)
    if maybe_no_json:
        con.execute(_CANDIDATES.format(records=records, pattern=pattern))
        while batch := con.fetchmany(1000):
            if not all(_is_record(line.encode()) for (line,) in batch):
                raise _bad_record(files)
    values = [f"v[{n}]" for n in range(1, len(names) + 1)]
    rows = select_rows(layouts, names, longest_line)
    types = infer_types(con, values, TextFormat(_class, _number, "JSON"), rows)
    return FileSchema(dict(zip(names, types, strict=True)), layouts, longest_line=longest_line)


def _records(paths: list[str], longest_line: int) -> str:
    return _RECORDS.format(files=sql.quote_files(paths), longest_line=longest_line)


def _longest_line(path: str) -> int:
    """Return how many bytes the longest line of a file has, with its end."""
    with open_content(path) as lines:
        if lines is None:
            return _LONGEST_UNKNOWN_LINE
        return max(map(len, lines), default=0) + 1


def select_rows(layouts: Sequence[Layout], names: Sequence[str], longest_line: int) -> str:
    """Return the SELECT of `v`: for each record the JSON texts of these keys."""
    pointers = ", ".join(
        quote_text("/" + name.replace("~", "~0").replace("/", "~1")) for name in names
    )
    with_marks = (
        f"regexp_replace(json || '0', {quote_text(_UP_TO_NUMBER)}, {quote_text(_MARKED)}, 'gs')"
    )
    paths = [layout.file.path for layout in layouts]
    without_end = f"left({with_marks}, -{len(_END)})"
    return (
        f"select cast(json_extract(json, [{pointers}]) as varchar[]) as v from ("
        f"select case when regexp_matches(json, {quote_text(_INEXACT)}) then {without_end} "
        f"else json end as json from (select cast(json as varchar) as json "
        f"from ({_records(paths, longest_line)})))"
    )


def _number(value: str) -> str:
    inner = f"substr({value}, {len(_MARK) + 2}, length({value}) - {len(_MARK) + 2})"
    return (
        f"case when starts_with({value}, '\"{_MARK}') then {inner} else nullif({value}, 'null') end"
    )


def _class(value: str) -> str:
    digits = sql.number_class(_number(value), str(sql.FLOAT))
    return f"""case
        when {value} is null or {value} = 'null' then 0
        when starts_with({value}, '"{_MARK}') or regexp_matches({value}, '^-?[0-9]') then {digits}
        when starts_with({value}, '"') then {sql.TEXT}
        when {value} in ('true', 'false') then {sql.BOOLEAN}
        when {value} in ('NaN', 'Infinity', '-Infinity') then {sql.FLOAT}
        else {sql.NESTED} end"""


def value_as_json(position: int) -> str:
    """Return this value of `v` as JSON text, with the numbers as they were written."""
    value = f"nullif(v[{position}], 'null')"
    return f"regexp_replace({value}, '\"{_MARK}([^\"]*)\"', '\\1', 'g')"


def value_as_text(position: int) -> str:
    """Return this value of `v` as text; a string without its quotes."""
    value = f"v[{position}]"
    return f"""case
        when starts_with({value}, '"{_MARK}') then {_number(value)}
        when starts_with({value}, '"') then cast({value} as json)->>'$'
        else {value_as_json(position)} end"""


def _bad_record(files: Sequence[File]) -> ReadError:
    for file in files:
        line = first_bad_line(file.path)
        if line:
            return ReadError(
                f"{file.path}, line {line}: is not one JSON object with distinct, non-empty "
                "keys, without NUL characters. Every line must be one record."
            )
    return ReadError(
        f"{files[0].path}: a record of the stream is not one JSON object with distinct, non-empty "
        "keys."
    )


def first_bad_line(path: str) -> int | None:
    """Return the first line that is not one JSON object with distinct, non-empty keys.

    None if there is no such line, or the file's compression cannot be undone here. An error of
    DuckDB has another number, because DuckDB skips empty lines and begins at 2.
    """
    with open_content(path) as lines:
        if lines is None:
            return None
        for number, line in enumerate(lines, start=1):
            record = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if record.strip() and not _is_record(record):
                return number
    return None


def _is_record(line: bytes) -> bool:
    try:
        record = json.loads(line.strip().decode("utf-8"), object_pairs_hook=_Pairs)
    except ValueError:
        return False
    except RecursionError:
        keys = _keys_of_deep_record(line)
    else:
        keys = [key for key, _ in record] if isinstance(record, _Pairs) else [""]
    return "" not in keys and "\0" not in "".join(keys) and len(keys) == len(set(keys))


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
