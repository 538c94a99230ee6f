"""docs/types.md is written by this test: what is put into a source, and what a query gives."""

from __future__ import annotations

import json
import math
import os
import re
import struct
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from connectors.mysql.test_types import MAPPING as MYSQL_ROWS
from connectors.postgres.test_types import REFUSED, SETUP, as_psql, canonical
from connectors.postgres.test_types import ROWS as POSTGRES_ROWS
from connectors.snowflake.test_types import MAPPING as SNOWFLAKE_ROWS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.postgres_reading import _print

from cdpsync import query, sync

if TYPE_CHECKING:
    import pytest
    from support.mysql_server import MariaDatabase
    from support.servers import Database

DOC = Path(__file__).parents[2] / "docs/types.md"

EXTREMES: list[tuple[str, list[str], str]] = [
    ("date", ["'0001-01-01'", "'9999-12-31'"], "DATE"),
    ("timestamp", ["'0001-01-01'", "'9999-12-31 23:59:59.999999'"], "TIMESTAMP"),
    (
        "timestamptz",
        [
            "'0001-01-01 00:00:00+00'",
            "'9999-12-31 23:59:59.999999+00'",
            "'2024-10-27 02:30:00+02'",
            "'2024-10-27 02:30:00+01'",
            "'2024-03-31 02:30:00 Europe/Berlin'",
        ],
        "TIMESTAMP WITH TIME ZONE",
    ),
    ("text", ["repeat('😀', 4194304)"], "VARCHAR"),
    ("bytea", [r"decode(repeat('00ff', 8388608), 'hex')"], "BLOB"),
]
ROWS = [*POSTGRES_ROWS, *EXTREMES]
WIDEST = 1600  # columns of a table, Postgres' own limit

HEAD = """\
# Types: what arrives

This page is written by `tests/connectors/test_types_doc.py`, which puts these values into real
servers, syncs them, and compares what `cdpsync query` gives with what the source says: each one is
exact, NULL too, or refused by name. `UPDATE_GOLDEN=1` before its `pytest` writes the page anew.
Random rows of scalars and arrays go the same way, in `test_any_rows_are_what_a_query_gives`.
"""


TESTED = """
These come from Snowflake's own bytes, in `tests/connectors/snowflake/test_types.py`.
"""
REST = """
## Stripe, and files

JSON and CSV have no types of their own: a column gets the narrowest that holds each of its values
exactly, else it stays text. A column of a workbook has the type of its cells.
`tests/connectors/files/test_files.py`, `tests/connectors/files/test_workbook.py`,
`tests/unit/connector/test_records.py`
"""


def configure(folder: Path, sources: dict[str, dict[str, Any]]) -> Path:
    file = folder / "cdpsync.yml"
    file.write_text(json.dumps({"sources": sources}))
    return file


def load(folder: Path, sources: dict[str, dict[str, Any]]) -> tuple[Path, dict[str, str]]:
    """Sync; return the project file, and the message of each stream that was refused."""
    file = configure(folder, sources)
    result = sync.run(file)
    return file, {one.stream: one.error.message for one in result.tables if one.error}


def make(types: list[str], values: list[list[str]], cast: bool) -> str:
    """Return the SQL of a table `t` with a column for each type, its values below each other."""
    columns = ", ".join(f"c{n} {type_}" for n, type_ in enumerate(types))
    rows = []
    for number in range(max(map(len, values)) + 1):  # one more: NULL everywhere
        row = [column[number] if number < len(column) else "null" for column in values]
        if cast:
            row = [f"cast({v} as {t})" for v, t in zip(row, types, strict=True)]
        rows.append(f"insert into t values ({number}, {', '.join(row)})")
    return f"create table t (n int primary key, {columns});\n" + ";\n".join(rows)


def shown(text: str) -> str:
    """Return a value as a cell of the page."""
    text = re.sub(r"\s+", " ", text).replace("|", "\\|").replace("`", "'")
    text = "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text)
    return f"`{text if len(text) <= 48 else f'{text[:40]}…'}`"


def section(title: str, rows: list[tuple[str, str, list[str]]]) -> str:
    cells = [f"| {shown(t)} | {lake} | {', '.join(map(shown, v))} |" for t, lake, v in rows]
    return "\n".join(
        ["", f"## {title}", "", "| type | in the lake | values |", "| - | - | - |", *cells, ""]
    )


def of_postgres(folder: Path, pg: Database) -> str:
    """Sync every type, as a column of one table; return the page's section."""
    pg.execute(SETUP)
    types, values = [row[0] for row in ROWS], [row[1] for row in ROWS]
    pg.execute(make(types, values, cast=True))
    pg.execute(f"create table wide ({', '.join(f'c{n} int' for n in range(WIDEST))})")
    pg.execute("insert into wide (c0, c1599) values (1, 2)")
    for n, (type_, value, _) in enumerate(REFUSED):
        pg.execute(f"create table r{n} (c {type_}); insert into r{n} values ({value})")
    file, refused = load(folder, {"pg": {"type": "postgres", "url": pg.url}})
    assert sorted(refused) == sorted(f"public.r{n}" for n in range(len(REFUSED)))
    found = dict(query("select column_name, data_type from information_schema.columns where "
                       "table_schema = 'pg' and table_name = 't'", file))  # fmt: skip
    with psycopg.connect(pg.url, options="-c timezone=UTC") as con:  # format prints as psql does
        printing = ", ".join(f"format('%s', c{n})" for n in range(len(ROWS)))
        told_there = con.execute(f"select {printing} from t order by n").fetchall()
    printed_here = ", ".join(_print(f"c{n}", row[2]) for n, row in enumerate(ROWS))
    arrived = query(f"select {printed_here} from pg.t order by n", file)
    rows = []
    for n, (type_, literals, lake) in enumerate(ROWS):
        assert found[f"c{n}"] == lake, type_
        for number, value in enumerate(row[n] for row in arrived):
            if number >= len(literals):
                assert value is None
            else:
                printed = told_there[number][n]
                assert canonical(value, lake) == as_psql(printed, lake), (type_, literals[number])
        rows.append((type_, lake, [*literals, "NULL"]))
    assert query("select c0, c1599, c7 from pg.wide", file) == [(1, 2, None)]
    wide = f"\nA table of {WIDEST:,} columns, the most that Postgres takes, has all of them.\n"
    told = ["", "Refused by name:", "", "| type | value | what is said |", "| - | - | - |"]
    for n, (type_, value, _) in enumerate(REFUSED):
        said = re.sub(r"^.*?table \"[^\"]*\", column \"c\":? ?", "", refused[f"public.r{n}"])
        told.append(f"| {shown(type_)} | {shown(value)} | {said.replace('|', chr(92) + '|')} |")
    return section("Postgres", rows) + wide + "\n".join(told) + "\n"


def of_mysql(folder: Path, maria: MariaDatabase) -> str:
    types, values = [row[0] for row in MYSQL_ROWS], [[v[0] for v in row[2]] for row in MYSQL_ROWS]
    maria.execute("set sql_mode = '';\n" + make(types, values, cast=False))
    file, refused = load(folder, {"my": {"type": "mysql", "url": maria.url}})
    assert refused == {}
    found = dict(query("select column_name, data_type from information_schema.columns where "
                       "table_schema = 'my' and table_name = 't'", file))  # fmt: skip
    all_rows = query("select * exclude (n) from my.t order by n", file)
    rows = []
    for n, (type_, lake, cases) in enumerate(MYSQL_ROWS):
        assert found[f"c{n}"] == lake, type_
        arrived = [row[n] for row in all_rows]
        wanted = [_of_mysql(literal, value, lake) for literal, value in cases]
        assert arrived == wanted + [None] * (len(arrived) - len(wanted)), type_
        rows.append((type_, lake, [*(literal for literal, _ in cases), "NULL"]))
    return section("MySQL and MariaDB", rows)


def _of_mysql(literal: str, value: Any, lake: str) -> Any:
    """Return what a case of the mapping means, which writes some values as text."""
    if lake == "UUID":
        return uuid.UUID(value)
    if lake.startswith("DECIMAL"):
        return Decimal(value)
    return value.strip("'") if value == literal else value


def of_snowflake() -> str:
    rows = [
        (name, lake, ["NULL" if value is None else value for value in values])
        for name, (_, _, lake, values) in SNOWFLAKE_ROWS.items()
    ]
    return section("Snowflake", rows) + TESTED


def test_the_page_says_what_arrives(tmp_path: Path, pg: Database, maria: MariaDatabase) -> None:
    """Every type at its extremes arrives in the lake as the page has it, and the page is this."""
    (tmp_path / "pg").mkdir()
    (tmp_path / "my").mkdir()
    page = HEAD + of_postgres(tmp_path / "pg", pg) + of_mysql(tmp_path / "my", maria)
    page += of_snowflake() + REST
    if os.environ.get("UPDATE_GOLDEN"):
        DOC.write_text(page)
    assert DOC.read_text() == page


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
YEARS = {"min_value": datetime.min, "max_value": datetime.max}  # noqa: DTZ901
COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "numeric(38,10)": st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: Decimal(f"{n}E-10")),
    "real": st.floats(width=32),
    "double precision": st.floats(),
    "boolean": st.booleans(),
    "uuid": st.uuids(),
    "date": st.dates(),
    "time": st.times(),
    "timestamp": st.datetimes(**YEARS),
    "timestamptz": st.datetimes(**YEARS, timezones=st.just(UTC)),
    "text": TEXTS,
    "bytea": st.binary(max_size=20),
    "bigint[]": st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=4),
    "text[]": st.lists(st.none() | TEXTS, max_size=4),
    "timestamp[]": st.lists(st.none() | st.datetimes(**YEARS), max_size=3),
    "double precision[]": st.lists(st.none() | st.floats(), max_size=4),
}
ANY_ROW = st.tuples(*(st.none() | values for values in COLUMNS.values()))


def exactly(value: Any, type_: str) -> Any:
    """Return a value so that equal means the same: NaN is NaN, and -0.0 is not 0.0.

    A `real` is told by the shortest number that means it, which as a double is another one.
    """
    if isinstance(value, list):
        return [exactly(one, type_) for one in value]
    if isinstance(value, float):
        value = value or 0.0  # the sign of a zero: see docs/guarantees.md
        return "NaN" if math.isnan(value) else struct.pack("f" if type_ == "real" else "d", value)
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else value


def all_exactly(rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    return [[exactly(v, t) for v, t in zip(row, COLUMNS, strict=True)] for row in rows]


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(ANY_ROW, min_size=1, max_size=40))
def test_any_rows_are_what_a_query_gives(
    tmp_path_factory: pytest.TempPathFactory, pg: Database, rows: list[tuple[Any, ...]]
) -> None:
    """Random rows of every scalar type, and arrays: source -> Parquet -> query, bit for bit."""
    names = ", ".join(f"c{n} {type_}" for n, type_ in enumerate(COLUMNS))
    with psycopg.connect(pg.url, autocommit=True) as con:
        con.execute(f"drop table if exists t; create table t (n int, {names})")
        holes = ", ".join(f"%s::{type_}" for type_ in COLUMNS)
        numbered = [(n, *row) for n, row in enumerate(rows)]
        con.cursor().executemany(f"insert into t values (%s, {holes})", numbered)
    file, refused = load(
        tmp_path_factory.mktemp("any"), {"pg": {"type": "postgres", "url": pg.url}}
    )
    assert refused == {}
    arrived = query("select * exclude (n) from pg.t order by n", file)
    assert all_exactly(arrived) == all_exactly(rows)
