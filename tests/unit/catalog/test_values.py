"""The Python values of a query: exact, alone and inside nested types."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdpsync import engine
from cdpsync.catalog.query import QueryResult
from cdpsync.serialize.values import json_of

CON = engine.connect(threads=1)

SCALARS = [
    ("1.1::float", 1.1),
    ("-1.5e-30::float", -1.5e-30),
    ("'-inf'::float", -math.inf),
    ("0.1::double", 0.1),
    ("date '2024-02-29'", date(2024, 2, 29)),
    ("date 'infinity'", "infinity"),
    ("date '0044-03-15 (BC)'", "0044-03-15 (BC)"),
    ("date '10000-01-01'", "10000-01-01"),
    ("timestamp '2024-01-31 10:00:00.5'", datetime(2024, 1, 31, 10, 0, 0, 500_000)),  # noqa: DTZ001
    ("timestamp 'infinity'", "infinity"),
    ("timestamp '12024-01-31'", "12024-01-31 00:00:00"),
    ("timestamptz '2024-01-31 10:00:00+02'", datetime(2024, 1, 31, 8, tzinfo=UTC)),
    ("timestamptz '-infinity'", "-infinity"),
    ("timestamp_s '2024-01-31 10:00:00'", datetime(2024, 1, 31, 10)),  # noqa: DTZ001
    ("timestamp_s 'infinity'", "infinity"),
    ("timestamp_ms '2024-01-31 10:00:00.12'", datetime(2024, 1, 31, 10, 0, 0, 120_000)),  # noqa: DTZ001
    ("timestamp_ms '-infinity'", "-infinity"),
    ("timestamp_ns '2024-01-31 10:00:00.123456789'", "2024-01-31T10:00:00.123456789"),
    ("timestamp_ns '2024-01-31 10:00:00'", "2024-01-31T10:00:00"),
    ("timestamp_ns 'infinity'", "infinity"),
    ("time_ns '10:00:00.123456789'", "10:00:00.123456789"),
    ("time '10:00:00.5'", time(10, 0, 0, 500_000)),
    ("time '24:00:00'", "24:00:00"),
    ("interval '1 month'", "P1M"),
    ("interval '1 day' + interval '2 hours 30.5 seconds'", "P1DT2H30.5S"),
    ("interval '1 year 2 months -3 days 4 hours'", "P1Y2M-3DT4H"),
    ("to_months(-14)", "P-1Y-2M"),
    ("to_microseconds(-1)", "PT-0.000001S"),
    ("to_minutes(-61)", "PT-1H-1M"),
    ("to_hours(1000) + to_milliseconds(10)", "PT1000H0.01S"),
    ("interval '0 days'", "PT0S"),
    ("'a'::enum('a', 'b''c)', 'DATE')", "a"),
    ("1.10::decimal(4,2)", Decimal("1.10")),
    ("'[1.10]'::json", "[1.10]"),
    ("blob 'a'", b"a"),
    ("170141183460469231731687303715884105727::hugeint", 2**127 - 1),
]

NESTINGS = [
    ("{}", lambda v: v),
    ("[{}, null]", lambda v: [v, None]),
    ("[[{}], null, []]", lambda v: [[v], None, []]),
    ("array_value({}, null)", lambda v: (v, None)),
    ("[array_value({})]", lambda v: [(v,)]),
    ("{{'a': {}, 'we\"ird, (': 1.1::float}}", lambda v: {"a": v, 'we"ird, (': 1.1}),
    ("{{'e': 'DATE'::enum('DATE', 'x''('), 'v': {}}}", lambda v: {"e": "DATE", "v": v}),
    ("[{{'a': {{'b': {}, 'c': null::date}}}}]", lambda v: [{"a": {"b": v, "c": None}}]),
    ("row({}, 1, null::float)", lambda v: (v, 1, None)),
    ("{{'r': [row(1, row({}))], 'd': null}}", lambda v: {"r": [(1, (v,))], "d": None}),
    ("map {{{}: 1}}", lambda v: {v: 1}),
    ("map {{'key': {}, 'value': null}}", lambda v: {"key": v, "value": None}),
    ("map {{1: [{}]}}", lambda v: {1: [v]}),
    ("map {{[{}]: date 'infinity'}}", lambda v: {"key": [[v]], "value": ["infinity"]}),
    ("map {{{{'k': 1}}: {}}}", lambda v: {"key": [{"k": 1}], "value": [v]}),
]  # fmt: skip


def fetched(sql: str) -> list[tuple[object, ...]]:
    return list(QueryResult(CON, sql).rows())


@pytest.mark.parametrize(
    ("nesting", "expected"), NESTINGS, ids=[nesting for nesting, _ in NESTINGS]
)
def test_every_value_is_exact_alone_and_nested(nesting: str, expected) -> None:
    """Alone, in lists, arrays, structs and maps, and in those inside each other."""
    ((*values,),) = fetched(f"select {', '.join(nesting.format(sql) for sql, _ in SCALARS)}")
    for actual, (sql, value) in zip(values, SCALARS, strict=True):
        assert (repr(actual), sql) == (repr(expected(value)), sql)


@pytest.mark.parametrize("nesting", [sql for sql, _ in NESTINGS if sql != "map {{{}: 1}}"])
@pytest.mark.parametrize("type_", ["float", "date", "timestamp_ns", "interval", "int"])
def test_null_stays_null(nesting: str, type_: str) -> None:
    """Inside a nested value, and instead of one; a key is never NULL."""
    value = nesting.format(f"null::{type_}")
    sql = f"select x from (values ({value}), (null)) as t(x)"
    (nested,), (null,) = fetched(sql)
    plain = nesting.format("null::varchar")
    assert null is None
    assert repr(nested) == repr(fetched(f"select {plain}")[0][0])


def test_empty_lists_and_maps_stay_empty() -> None:
    """Lists and maps without values, of types that need a cast."""
    assert fetched("select []::date[], []::interval[][], map {}::map(float, timestamp)") == [
        ([], [], {})
    ]


def test_columns_that_need_no_reader_are_not_cast() -> None:
    """The SQL stays as it is if Python can have each value exactly."""
    sql = "select 1 as a, [1.5] as b, {'a': 'x'} as c, row(1, 2) as d, map {1: [true]} as e"
    assert QueryResult(CON, sql)._exact_sql() == sql
    assert fetched(sql) == [(1, [Decimal("1.5")], {"a": "x"}, (1, 2), {1: [True]})]


def test_nan_is_nan() -> None:
    """Also as a FLOAT in a list."""
    ((value, (item,)),) = fetched("select 'nan'::float, ['nan'::float]")
    assert math.isnan(value)
    assert math.isnan(item)


def test_unions_are_as_duckdb_fetches_them() -> None:
    """Beside columns that are cast, and if their type has no SQL."""
    rows = fetched(
        "select union_value(a := 1), {'u': union_value(a := 1), 'd': date 'infinity'}, "
        "{'u': union_value(a := row(1, 2)), 'n': 1}"
    )
    assert rows == [(1, {"u": 1, "d": "infinity"}, {"u": (1, 2), "n": 1})]


def test_columns_are_named_as_described() -> None:
    """With equal names, without names, of any type: the same as in DESCRIBE."""
    sql = "select 1 as a, 2 as a, 3 as A, [1.1::float], 'x'::enum('x') as \"e e\", '1'::json as j"
    described = CON.execute(f"describe select * from ({sql})").fetchall()
    assert [(column.name, column.type) for column in QueryResult(CON, sql).columns] == [
        (name, type_) for name, type_, *_ in described
    ]


def test_nested_values_in_json() -> None:
    """The same values as JSON for scripts."""
    ((value,),) = fetched(
        "select {'at': [timestamp 'infinity'], 'f': [1.1::float, 'nan'], "
        "'m': map {date '2024-01-31': interval '1 month'}}"
    )
    assert json_of(value) == ('{"at": ["infinity"], "f": [1.1, "NaN"], "m": {"2024-01-31": "P1M"}}')


def parsed(text: str) -> tuple[int, int, int]:
    """Return the months, days and microseconds of an ISO 8601 duration."""
    match = re.fullmatch(
        r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?"
        r"(?:T(?=.)(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?)(\d+)(?:\.(\d{1,6}))?S)?)?",
        text,
    )
    assert match, text
    years, months, days, hours, minutes = (int(match[index] or 0) for index in range(1, 6))
    second = int(match[7] or 0) * 10**6 + int((match[8] or "").ljust(6, "0"))
    micros = (hours * 60 + minutes) * 60 * 10**6 + (-second if match[6] else second)
    return years * 12 + months, days, micros


INT32 = st.integers(-(2**31) + 1, 2**31 - 1)
SMALL = st.integers(-100, 100)


@given(INT32 | SMALL, INT32 | SMALL, st.integers(-(2**63) + 1, 2**63 - 1) | SMALL)
@settings(deadline=None)
def test_any_interval_survives_as_a_duration(months: int, days: int, micros: int) -> None:
    """Each part keeps its own sign, and none becomes another."""
    sql = f"to_months({months}) + to_days({days}) + to_microseconds({micros}::bigint)"
    ((value, (item,)),) = fetched(f"select {sql}, [{sql}]")
    assert parsed(value) == parsed(item) == (months, days, micros)


@given(st.floats(width=32))
@settings(deadline=None)
def test_any_float_survives(value: float) -> None:
    """The fetched float is the FLOAT again, with no more digits than it needs."""
    CON.execute("create or replace temp table t (x float, l float[])")
    CON.execute("insert into t values (?, [?])", [value, value])
    ((fetched_value, (item,)),) = fetched("select x, l from t")
    assert repr(fetched_value) == repr(item)
    back = duckdb.execute("select ?::float", [fetched_value]).fetchone()[0]
    assert back == value or (math.isnan(back) and math.isnan(value))
    assert len(repr(fetched_value)) <= len(repr(value))
