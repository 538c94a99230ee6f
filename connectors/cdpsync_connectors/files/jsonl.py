"""JSON Lines: numbers stay as they are written; the columns are the keys of all records.

DuckDB's JSON functions pass every number with a point through a double (measured with 1.5.5:
`1.10` becomes `1.1`, `0.1234567890123456789` loses two digits, also inside nested values). So a
number that a double or a 64-bit integer may not keep becomes a string with a mark, before any
such function reads it, and a number again behind it.
"""

from __future__ import annotations

import secrets
from itertools import groupby
from typing import TYPE_CHECKING

from cdpsync.connector import exact_sql as sql
from cdpsync.errors import ReadError
from cdpsync.sql import quote_text
from cdpsync_connectors.files import json_origin
from cdpsync_connectors.files.content import open_bytes
from cdpsync_connectors.files.csv_header import distinct_names
from cdpsync_connectors.files.json_place import (
    array_end,
    array_without_end,
    first_bad_line,
    is_one_sign,
    is_record,
    json_format_of,
    text_behind_array,
)
from cdpsync_connectors.files.schema import LINE, TEXT, FileSchema, Layout, TextFormat, infer_types

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

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
    select json from read_json_objects({files}, format = '{format}', hive_partitioning = false,
        maximum_object_size = {longest_line})
"""
_BRACKETS = """
    select filename, sum(strlen(json) - strlen(replace(json, ']', ''))) from (
        select filename, cast(json as varchar) as json from read_json_objects({files},
            format = 'array', filename = true, hive_partitioning = false,
            maximum_object_size = {longest_line})
    ) group by filename
"""
_LONGEST_LINE = 1 << 24  # bytes; DuckDB reserves memory for two such lines in each thread
_LONGEST_UNKNOWN_LINE = 1 << 30

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


def read_schema(
    con: DuckDBPyConnection, files: Sequence[File], with_origin: Collection[str] = ()
) -> FileSchema:
    """Return the keys of all records, each with the type that fits every value.

    The records of the files `with_origin`, by their paths, have their lines in them.
    """
    import duckdb

    try:
        return _read_schema(con, files, with_origin, _LONGEST_LINE)
    except duckdb.InvalidInputException as error:
        if "maximum_object_size" not in str(error):
            raise
    return _read_schema(con, files, with_origin, max(_longest_record(file) for file in files))


def _longest_record(file: File) -> int:
    """Return how many bytes the longest record of a file may have."""
    if json_format_of(file.path) == "newline_delimited":
        return _longest_line(file.path)
    return _LONGEST_UNKNOWN_LINE


def _read_schema(
    con: DuckDBPyConnection, files: Sequence[File], with_origin: Collection[str], longest_line: int
) -> FileSchema:
    layouts = tuple(
        Layout(
            file,
            json_format=json_format_of(file.path),
            json_has_origin=file.path in with_origin,
        )
        for file in files
    )
    if any(is_one_sign(layout.file.path) for layout in layouts):
        raise _bad_record(files)
    records = _records(layouts, longest_line)
    pattern = quote_text(_NO_JSON)
    (_, not_objects, repeated_keys, maybe_no_json, *_), *key_rows = con.execute(
        _KEYS.format(records=records, pattern=pattern)
    ).fetchall()
    _require_whole_arrays(
        con, [f.file.path for f in layouts if f.json_format == "array"], longest_line
    )
    keys = [str(name) for name, *_ in key_rows if name != json_origin.KEY]
    if not_objects or repeated_keys or "" in keys or "\0" in "".join(keys):
        raise _bad_record(files)
    if maybe_no_json:
        con.execute(_CANDIDATES.format(records=records, pattern=pattern))
        while batch := con.fetchmany(1000):
            if not all(is_record(line.encode()) for (line,) in batch):
                raise _bad_record(files)
    values = [f"v[{n}]" for n in range(1, len(keys) + 1)]
    rows = select_rows(layouts, keys, longest_line)
    types = infer_types(con, values, TextFormat(_class, _number, "JSON"), rows)
    names, notices = _column_names(keys)
    return FileSchema(
        dict(zip(names, types, strict=True)),
        layouts,
        longest_line=longest_line,
        json_keys=tuple(keys),
        notices=tuple(notices),
    )


def _require_whole_arrays(con: DuckDBPyConnection, paths: list[str], longest_line: int) -> None:
    """Raise ReadError for an array that does not end, or is not all of its file."""
    if not paths:
        return
    brackets_in_records: dict[str, int | None] = dict(
        con.execute(
            _BRACKETS.format(files=sql.quote_files(paths), longest_line=longest_line)
        ).fetchall()
    )
    for path in paths:
        end = array_end(path)
        if not end.is_bracket:
            raise array_without_end(path, end.line)
        if end.brackets > (brackets_in_records.get(path) or 0) + 1:
            raise text_behind_array(path)


def _column_names(keys: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the column of each key, and a notice for each key that differs from another in case.

    Which of them is numbered does not depend on the order of the records.
    """
    names = dict(zip(sorted(keys), distinct_names(sorted(keys)), strict=True))
    notices = [
        f'the key "{key}" differs from another one only in case, and is "{name}" in the lake'
        for key, name in names.items()
        if key != name
    ]
    return [names[key] for key in keys], notices


def _records(layouts: Sequence[Layout], longest_line: int) -> str:
    groups = groupby(layouts, lambda layout: layout.json_format)
    return " union all ".join(
        _RECORDS.format(
            files=sql.quote_files([layout.file.path for layout in group]),
            format=format_,
            longest_line=longest_line,
        )
        for format_, group in groups
    )


def _longest_line(path: str) -> int:
    """Return how many bytes the longest line of a file has, with its end."""
    try:
        with open_bytes(path) as lines:
            return max(map(len, lines), default=0) + 1
    except ReadError:
        return _LONGEST_UNKNOWN_LINE


def select_rows(layouts: Sequence[Layout], names: Sequence[str], longest_line: int) -> str:
    """Return the SELECT of `v`: for each record the JSON texts of these keys.

    Records with their line in them have it beside `v`, and their text.
    """
    pointers = ", ".join(
        quote_text("/" + name.replace("~", "~0").replace("/", "~1")) for name in names
    )
    with_marks = (
        f"regexp_replace(json || '0', {quote_text(_UP_TO_NUMBER)}, {quote_text(_MARKED)}, 'gs')"
    )
    without_end = f"left({with_marks}, -{len(_END)})"
    origin = ""
    if all(layout.json_has_origin for layout in layouts):
        line, text = json_origin.line_of("raw"), json_origin.text_of("raw")
        origin = f", {line} as {LINE}, {text} as {TEXT}"
    return (
        f"select cast(json_extract(json, [{pointers}]) as varchar[]) as v{origin} from ("
        f"select case when regexp_matches(json, {quote_text(_INEXACT)}) then {without_end} "
        f"else json end as json, json as raw from (select cast(json as varchar) as json "
        f"from ({_records(layouts, longest_line)})))"
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
                "keys, without NUL characters. Every line must be one record, or the file one "
                "array of records."
            )
    return ReadError(
        f"{files[0].path}: a record of the stream is not one JSON object with distinct, non-empty "
        "keys."
    )
