"""Every row of the type mapping, from the bytes that Snowflake sends to the value in Parquet."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.snowflake_fake import OPTIONS, FakeSnowflake, inline_batch, stream

from cdpsync.connector import ReadRequest
from cdpsync.errors import ConnectError, ReadError
from cdpsync.model import Cursor, CursorType, Window
from cdpsync_connectors.snowflake.connector import SnowflakeConnector
from cdpsync_connectors.snowflake.decode import decode
from cdpsync_connectors.snowflake.types import ColumnExpr

if TYPE_CHECKING:
    from pathlib import Path

TZ = "TIMESTAMP WITH TIME ZONE"
SECOND = 1_704_103_200  # 2024-01-01 10:00:00
YEAR_9999 = 253_402_214_400  # 9999-12-31
NINES = Decimal("9" * 38)


def moments(
    epochs: list[int | None], fractions: list[int | None] | None = None, **fields: Any
) -> Any:
    """Return timestamps as Snowflake's struct: seconds, nanoseconds, and the offset of a TZ."""
    names = ["epoch", *(["fraction"] if fractions else []), *fields]
    arrays = [pa.array(epochs, pa.int64())]
    arrays += [pa.array(fractions, pa.int32())] if fractions else []
    arrays += [pa.array(values, pa.int32()) for values in fields.values()]
    mask = pa.array([epoch is None for epoch in epochs])
    return pa.StructArray.from_arrays(arrays, names, mask=mask)


# column (type, precision, scale), what arrives (array, logical type, scale), the lake's type, the
# values as DuckDB prints them
MAPPING: dict[str, tuple[Any, ...]] = {
    "NUMBER(4,0)": (("NUMBER", 4, 0), (pa.array([-9999, None], pa.int16()), "FIXED", 0),
                    "SMALLINT", ["-9999", None]),
    "NUMBER(9,0)": (("NUMBER", 9, 0), (pa.array([999999999, 0], pa.int32()), "FIXED", 0),
                    "INTEGER", ["999999999", "0"]),
    "NUMBER(18,0)": (("NUMBER", 18, 0), (pa.array([10**18 - 1, 1], pa.int64()), "FIXED", 0),
                     "BIGINT", ["999999999999999999", "1"]),
    "NUMBER(38,0) of small numbers": (("NUMBER", 38, 0), (pa.array([1, -2], pa.int8()), "FIXED", 0),
                                      "DECIMAL(38,0)", ["1", "-2"]),
    "NUMBER(38,0)": (("NUMBER", 38, 0),
                     (pa.array([NINES, NINES.copy_negate()], pa.decimal128(38, 0)), "FIXED", 0),
                     "DECIMAL(38,0)", ["9" * 38, "-" + "9" * 38]),
    "NUMBER(10,2) as integers": (("NUMBER", 10, 2),
                                 (pa.array([1234, -5, None], pa.int16()), "FIXED", 2),
                                 "DECIMAL(10,2)", ["12.34", "-0.05", None]),
    "NUMBER(38,37) as integers": (("NUMBER", 38, 37),
                                  (pa.array([2**63 - 1], pa.int64()), "FIXED", 37),
                                  "DECIMAL(38,37)", [f"0.{2**63 - 1:037}"]),
    "NUMBER(20,5) as decimals": (("NUMBER", 20, 5),
                                 (pa.array([Decimal("123456789012345.00001")],
                                           pa.decimal128(38, 5)), "FIXED", 5),
                                 "DECIMAL(20,5)", ["123456789012345.00001"]),
    "FLOAT": (("FLOAT", None, None),
              (pa.array([0.1, float("nan"), float("-inf"), -0.0]), "REAL", 0),
              "DOUBLE", ["0.1", "nan", "-inf", "-0.0"]),
    "DECFLOAT": (("DECFLOAT", None, None), (pa.array(["1.5e-100"]), "TEXT", 0),
                 "VARCHAR", ["1.5e-100"]),
    "BOOLEAN": (("BOOLEAN", None, None), (pa.array([True, None]), "BOOLEAN", 0),
                "BOOLEAN", ["true", None]),
    "DATE": (("DATE", None, None), (pa.array([date(1, 1, 1), date(9999, 12, 31)]), "DATE", 0),
             "DATE", ["0001-01-01", "9999-12-31"]),
    "VARCHAR": (("TEXT", None, None), (pa.array(["", "é\x00x", None]), "TEXT", 0),
                "VARCHAR", ["", "é\x00x", None]),
    "BINARY": (("BINARY", None, None), (pa.array([b"\x00\xff"]), "BINARY", 0),
               "BLOB", ["\\x00\\xFF"]),
    "TIME(0)": (("TIME", None, None), (pa.array([86399], pa.int32()), "TIME", 0),
                "TIME", ["23:59:59"]),
    "TIME(9)": (("TIME", None, None), (pa.array([36_000_000_001_000, None]), "TIME", 9),
                "TIME", ["10:00:00.000001", None]),
    "TIMESTAMP_NTZ(0)": (("TIMESTAMP_NTZ", None, None),
                         (pa.array([SECOND, -1]), "TIMESTAMP_NTZ", 0),
                         "TIMESTAMP", ["2024-01-01 10:00:00", "1969-12-31 23:59:59"]),
    "TIMESTAMP_NTZ(3)": (("TIMESTAMP_NTZ", None, None),
                         (pa.array([SECOND * 1000 + 7]), "TIMESTAMP_NTZ", 3),
                         "TIMESTAMP", ["2024-01-01 10:00:00.007"]),
    "TIMESTAMP_NTZ(9) as a struct": (("TIMESTAMP_NTZ", None, None),
                                     (moments([SECOND, YEAR_9999, -1, None],
                                              [1000, 999_999_000, 500_000_000, None]),
                                      "TIMESTAMP_NTZ", 9),
                                     "TIMESTAMP", ["2024-01-01 10:00:00.000001",
                                                   "9999-12-31 00:00:00.999999",
                                                   "1969-12-31 23:59:59.5", None]),
    "TIMESTAMP_NTZ(9) as integers": (("TIMESTAMP_NTZ", None, None),
                                     (pa.array([SECOND * 10**9 + 1000]), "TIMESTAMP_NTZ", 9),
                                     "TIMESTAMP", ["2024-01-01 10:00:00.000001"]),
    "TIMESTAMP_LTZ(6)": (("TIMESTAMP_LTZ", None, None),
                         (pa.array([SECOND * 10**6 + 1]), "TIMESTAMP_LTZ", 6),
                         TZ, ["2024-01-01 10:00:00.000001+00"]),
    "TIMESTAMP_TZ(3)": (("TIMESTAMP_TZ", None, None),
                        (moments([SECOND * 1000 + 5, None], timezone=[1440 + 120, None]),
                         "TIMESTAMP_TZ", 3),
                        TZ, ["2024-01-01 10:00:00.005+00", None]),
    "TIMESTAMP_TZ(9)": (("TIMESTAMP_TZ", None, None),
                        (moments([SECOND], [1000], timezone=[1440 - 60]), "TIMESTAMP_TZ", 9),
                        TZ, ["2024-01-01 10:00:00.000001+00"]),
    "VARIANT": (("VARIANT", None, None), (pa.array(['{"a":[1,null]}', "null", None]), "TEXT", 0),
                "JSON", ['{"a":[1,null]}', "null", None]),
    "GEOGRAPHY": (("GEOGRAPHY", None, None),
                  (pa.array(['{"coordinates":[1,2],"type":"Point"}']), "TEXT", 0),
                  "JSON", ['{"coordinates":[1,2],"type":"Point"}']),
    "VECTOR(FLOAT, 2)": (("VECTOR", None, None),
                         (pa.array([[0.5, 2.0], None], pa.list_(pa.float32(), 2)), "VECTOR", 0),
                         "DOUBLE[]", ["[0.5, 2.0]", None]),
    "VECTOR(INT, 2)": (("VECTOR", None, None),
                       (pa.array([[2**31 - 1, 2]], pa.list_(pa.int32(), 2)), "VECTOR", 0),
                       "DOUBLE[]", ["[2147483647.0, 2.0]"]),
    "INTERVAL": (("INTERVAL DAY TO SECOND", None, None), (pa.array(["1 02:00:00"]), "TEXT", 0),
                 "VARCHAR", ["1 02:00:00"]),
}  # fmt: skip


def read_back(
    column: tuple[Any, ...],
    sent: tuple[Any, ...],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    **changes: Any,
) -> tuple[str, list[str | None], FakeSnowflake]:
    """Read a table of one column C; return its type, its values as text, and the fake."""
    data = stream(C=sent)
    batch = inline_batch(data, len(sent[0]))
    fake = FakeSnowflake([("C", *column)], [batch])
    monkeypatch.setattr("snowflake.connector.connect", fake.connect)
    connector = SnowflakeConnector(SnowflakeConnector.Options(**OPTIONS))
    (table,) = connector.discover()
    request = replace(ReadRequest(table, table.columns), **changes)
    con = duckdb.connect()
    con.execute("set timezone = 'UTC'")
    with connector.read(request) as chunks:
        (chunk,) = chunks
        chunk.relation(con).write_parquet(str(folder / "c.parquet"))
    rows = con.read_parquet(str(folder / "c.parquet"))
    if not changes.get("types"):
        assert [column.type for column in table.columns] == [str(rows.types[0])]
    return str(rows.types[0]), [row[0] for row in rows.project("C::varchar").fetchall()], fake


@pytest.mark.parametrize("name", MAPPING)
def test_value_survives_to_parquet(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The type is the discovered one, for any integer width of the batch."""
    column, sent, type_, values = MAPPING[name]
    assert read_back(column, sent, monkeypatch, tmp_path)[:2] == (type_, values)


# column type, the type a person asks for, what arrives, the values
CHOSEN: dict[str, tuple[Any, ...]] = {
    "integer": (("NUMBER", 38, 0), "BIGINT", (pa.array([7], pa.int8()), "FIXED", 0), ["7"]),
    "wider decimal": (("NUMBER", 10, 2), "DECIMAL(12,4)",
                      (pa.array([150], pa.int16()), "FIXED", 2), ["1.5000"]),
    "number as text": (("NUMBER", 10, 2), "VARCHAR", (pa.array([150], pa.int16()), "FIXED", 2),
                       ["1.50"]),
    "nanoseconds": (("TIMESTAMP_NTZ", None, None), "TIMESTAMP_NS",
                    (moments([SECOND, None], [123456789, None]), "TIMESTAMP_NTZ", 9),
                    ["2024-01-01 10:00:00.123456789", None]),
    "taken as UTC": (("TIMESTAMP_NTZ", None, None), TZ, (pa.array([SECOND]), "TIMESTAMP_NTZ", 0),
                     ["2024-01-01 10:00:00+00"]),
    "date as timestamp": (("DATE", None, None), "TIMESTAMP",
                          (pa.array([date(2024, 1, 1)]), "DATE", 0),
                          ["2024-01-01 00:00:00"]),
    "text as uuid": (("TEXT", None, None), "UUID",
                     (pa.array(["6ccd780c-baba-1026-9564-5b8c656024db"]), "TEXT", 0),
                     ["6ccd780c-baba-1026-9564-5b8c656024db"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CHOSEN)
def test_requested_type_is_used(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`columns.types` where it is exact."""
    column, type_, sent, values = CHOSEN[name]
    types = {"C": type_}
    assert read_back(column, sent, monkeypatch, tmp_path, types=types)[:2] == (type_, values)


@pytest.mark.parametrize(
    ("column", "type_"),
    [
        (("NUMBER", 10, 2), "INTEGER"),
        (("NUMBER", 10, 2), "DECIMAL(10,1)"),
        (("NUMBER", 38, 0), "DOUBLE"),
        (("FLOAT", None, None), "DECIMAL(10,2)"),
        (("TIMESTAMP_TZ", None, None), "TIMESTAMP"),
        (("TEXT", None, None), "DATE"),
        (("BINARY", None, None), "VARCHAR"),
    ],
)
def test_type_that_would_lose_something_is_refused(
    column: tuple[Any, ...], type_: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The error names the column, its type, and the possible types."""
    sent = (pa.array(["x"]), "TEXT", 0)
    with pytest.raises(ReadError, match=r'column "C" is .* It can be: '):
        read_back(column, sent, monkeypatch, tmp_path, types={"C": type_})


@pytest.mark.parametrize(
    ("kind", "array", "advice"),
    [
        ("TIMESTAMP_NTZ", moments([SECOND], [1]), "C: timestamp_ns"),
        ("TIMESTAMP_NTZ", pa.array([SECOND * 10**9 + 1]), "C: timestamp_ns"),
        # One value is beyond the years of nanoseconds: the driver would cut both, in silence.
        ("TIMESTAMP_TZ", moments([YEAR_9999, SECOND], [0, 1], timezone=[1440, 1440]), "C: varchar"),
        ("TIMESTAMP_LTZ", moments([SECOND], [999_999_999]), "C: varchar"),
        ("TIME", pa.array([1]), "C: varchar"),
    ],
)
def test_nanoseconds_are_never_cut(
    kind: str, array: pa.Array, advice: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A value with nanoseconds ends the read, and the error says how to keep it."""
    with pytest.raises(ReadError, match=rf'column "C".*nanoseconds.*\{{{advice}\}}'):
        read_back((kind, None, None), (array, kind, 9), monkeypatch, tmp_path)


def test_year_outside_of_timestamp_ns_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """TIMESTAMP_NS cannot express the year 9999."""
    sent = (moments([YEAR_9999], [0]), "TIMESTAMP_NTZ", 9)
    with pytest.raises(ReadError, match="outside the years"):
        read_back(
            ("TIMESTAMP_NTZ", None, None),
            sent,
            monkeypatch,
            tmp_path,
            types={"C": "TIMESTAMP_NS"},
        )


@given(st.lists(st.none() | st.datetimes(timezones=st.just(UTC)), min_size=1))
def test_any_moment_survives_its_encodings(values: list[datetime | None]) -> None:
    """As scaled integers and as structs, from year 1 to 9999: each moment, to the microsecond."""
    start = datetime(1970, 1, 1, tzinfo=UTC)
    spans = [None if value is None else value - start for value in values]
    seconds = [None if s is None else s.days * 86400 + s.seconds for s in spans]
    micros = [None if s is None else s.microseconds * 1000 for s in spans]
    counts = [
        None if second is None or part is None else second * 10**6 + part // 1000
        for second, part in zip(seconds, micros, strict=True)
    ]
    zones = [None if s is None else 1440 for s in seconds]
    data = stream(
        A=(moments(seconds, micros, timezone=zones), "TIMESTAMP_TZ", 9),
        B=(moments(counts, timezone=zones), "TIMESTAMP_TZ", 6),
        C=(pa.array(counts, pa.int64()), "TIMESTAMP_LTZ", 6),
    )
    table = decode(data, [ColumnExpr(name, TZ, name) for name in "ABC"])
    for column in table.columns:
        assert column.cast(pa.int64()).to_pylist() == counts


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1), st.integers(1, 37))
def test_any_scaled_number_is_exact(values: list[int | None], scale: int) -> None:
    """The digits are unchanged, and the scale places the point."""
    array = pa.array(values, pa.int64())
    table = decode(stream(C=(array, "FIXED", scale)), [ColumnExpr("C", "", "")])
    expected = [None if v is None else Decimal(v).scaleb(-scale) for v in values]
    assert table.column(0).to_pylist() == expected


# column, the SQL that reads it
SELECTED = {
    "VARIANT": 'to_json("C"::variant) as "C"',
    "OBJECT": 'to_json("C"::variant) as "C"',
    "ARRAY": 'to_json("C"::variant) as "C"',
    "MAP": 'to_json("C"::variant) as "C"',
    "GEOGRAPHY": 'to_json(st_asgeojson("C")::variant) as "C"',
    "GEOMETRY": 'to_json(st_asgeojson("C")::variant) as "C"',
    "VECTOR": '"C" as "C"',
    "DECFLOAT": '"C"::varchar as "C"',
    "INTERVAL YEAR TO MONTH": '"C"::varchar as "C"',
    "TEXT": '"C" as "C"',
    "TIMESTAMP_TZ": '"C" as "C"',
}


@pytest.mark.parametrize("kind", SELECTED)
def test_select_list_says_how_each_type_is_read(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Snowflake casts to text what Arrow cannot express exactly."""
    nothing = (pa.nulls(1, pa.int64() if kind.startswith("TIME") else pa.string()), "TEXT", 0)
    if kind == "VECTOR":
        nothing = (pa.nulls(1, pa.list_(pa.float32(), 2)), "VECTOR", 0)
    *_, fake = read_back((kind, None, None), nothing, monkeypatch, tmp_path)
    assert SELECTED[kind] in fake.statements[-1]


def test_times_as_text_keep_digits_and_offset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """VARCHAR keeps nanoseconds, because Snowflake writes all nine digits."""
    text = (pa.array(["2024-01-01 10:00:00.123456789 +02:00"]), "TEXT", 0)
    kind = ("TIMESTAMP_TZ", None, None)
    *_, fake = read_back(kind, text, monkeypatch, tmp_path, types={"C": "VARCHAR"})
    assert "to_varchar(\"C\", 'YYYY-MM-DD HH24:MI:SS.FF9 TZH:TZM')" in fake.statements[-1]


MOMENT = datetime(2024, 3, 31, 1, 0, 0, 7, tzinfo=UTC)
WINDOWS = [
    (("NUMBER", 18, 0), Cursor(CursorType.INTEGER, -5), "-5"),
    (("NUMBER", 38, 2), Cursor(CursorType.DECIMAL, Decimal("1E+3")), "1000"),
    (("DATE", None, None), Cursor(CursorType.DATE, date(2024, 1, 2)), "'2024-01-02'::date"),
    (
        ("TIMESTAMP_NTZ", None, None),
        Cursor(CursorType.TIMESTAMP, MOMENT.replace(tzinfo=None)),
        "'2024-03-31 01:00:00.000007'::timestamp_ntz",
    ),
    (
        ("TIMESTAMP_LTZ", None, None),
        Cursor(CursorType.TIMESTAMPTZ, MOMENT),
        "'2024-03-31 01:00:00.000007 +00:00'::timestamp_tz",
    ),
]


@pytest.mark.parametrize(("column", "low", "literal"), WINDOWS)
def test_window_includes_its_boundary_and_null_cursors(
    column: tuple[Any, ...],
    low: Cursor,
    literal: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Rows at the boundary and rows with a NULL cursor are read again; `where` stays separate."""
    nothing = (pa.array([], pa.int64()), "FIXED", 0)
    changes = {"window": Window("C", low), "where": "a or b -- c"}
    if column[0] == "DATE":
        nothing = (pa.array([], pa.date32()), "DATE", 0)
    *_, fake = read_back(column, nothing, monkeypatch, tmp_path, **changes)
    assert fake.statements[-1].endswith(
        f'\nwhere (a or b -- c\n) and ("C" >= {literal} or "C" is null)'
    )


def test_number_outside_of_the_requested_type_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """NUMBER(38,0) may be read as an integer type; a value outside of it is an error."""
    sent = (pa.array([2**40], pa.int64()), "FIXED", 0)
    with pytest.raises(duckdb.ConversionException, match="out of range"):
        read_back(("NUMBER", 38, 0), sent, monkeypatch, tmp_path, types={"C": "INTEGER"})


def test_other_count_of_columns_is_an_error() -> None:
    """A result with other columns than the statement's is refused."""
    data = stream(A=(pa.array([1]), "FIXED", 0), B=(pa.array([1]), "FIXED", 0))
    with pytest.raises((ReadError, ConnectError), match="2 columns instead of 1"):
        decode(data, [ColumnExpr("A", "BIGINT", "A")])
