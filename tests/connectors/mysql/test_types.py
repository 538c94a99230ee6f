"""Every row of the type mapping, and every value that a decoder may get wrong."""

from __future__ import annotations

import struct
import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from support.mysql_reading import ReadBack, connected, read_back

from cdpsync.errors import ReadError

if TYPE_CHECKING:
    from support.mysql_server import MariaDatabase

TSTZ = "TIMESTAMP WITH TIME ZONE"


def at(text: str) -> datetime:
    """A moment without a time zone."""
    return datetime.fromisoformat(text)


def table(db: MariaDatabase, type_: str, *values: str) -> None:
    """A table t with a column c of this type and these SQL literals in it, and NULL."""
    rows = ", ".join(f"({n}, {value})" for n, value in enumerate([*values, "null"], 1))
    db.execute(
        f"create table t (id int primary key, c {type_}) charset utf8mb4;\n"
        f"set sql_mode = '';\ninsert into t values {rows}"
    )


def read(db: MariaDatabase, options: dict[str, Any] | None = None, **changes: Any) -> ReadBack:
    result = read_back(db, "t", options, **changes)
    order = result.column("id")
    return ReadBack(
        result.columns,
        result.types,
        [row for _, row in sorted(zip(order, result.rows, strict=True), key=lambda pair: pair[0])],
    )


MAPPING: list[tuple[str, str, list[tuple[str, Any]]]] = [
    ("tinyint", "TINYINT", [("-128", -128), ("127", 127)]),
    ("tinyint(1)", "TINYINT", [("0", 0), ("1", 1), ("2", 2), ("-1", -1)]),
    ("bool", "TINYINT", [("true", 1)]),
    ("smallint", "SMALLINT", [("-32768", -32768), ("32767", 32767)]),
    ("mediumint", "INTEGER", [("-8388608", -8388608), ("8388607", 8388607)]),
    ("int", "INTEGER", [("-2147483648", -(2**31)), ("2147483647", 2**31 - 1)]),
    ("bigint", "BIGINT", [("-9223372036854775808", -(2**63)), ("9223372036854775807", 2**63 - 1)]),
    ("tinyint unsigned", "UTINYINT", [("0", 0), ("255", 255)]),
    ("smallint unsigned", "USMALLINT", [("65535", 65535)]),
    ("mediumint unsigned", "UINTEGER", [("16777215", 16777215)]),
    ("int unsigned", "UINTEGER", [("4294967295", 2**32 - 1)]),
    ("int(6) unsigned zerofill", "UINTEGER", [("42", 42)]),
    ("bigint unsigned", "UBIGINT", [("18446744073709551615", 2**64 - 1), ("0", 0)]),
    ("double", "DOUBLE", [("0.1", 0.1), ("-1.7976931348623157e308", -1.7976931348623157e308)]),
    ("decimal(10,2)", "DECIMAL(10,2)", [("12345678.90", Decimal("12345678.90"))]),
    ("decimal(38,10)", "DECIMAL(38,10)", [("-1234567890123456789012345678.0123456789",) * 2]),
    ("decimal(20)", "DECIMAL(20,0)", [("99999999999999999999",) * 2]),
    ("bit(1)", "BOOLEAN", [("b'0'", False), ("b'1'", True)]),
    ("bit(8)", "UBIGINT", [("b'10100101'", 165)]),
    ("bit(64)", "UBIGINT", [("b'" + "1" * 64 + "'", 2**64 - 1)]),
    ("year", "SMALLINT", [("1901", 1901), ("2155", 2155), ("0", 0)]),
    ("date", "DATE", [("'0001-01-01'", date(1, 1, 1)), ("'2024-02-29'", date(2024, 2, 29))]),
    ("date", "DATE", [("'9999-12-31'", date(9999, 12, 31)), ("'1969-12-31'", date(1969, 12, 31))]),
    (
        "datetime(6)",
        "TIMESTAMP",
        [
            ("'1000-01-01 00:00:00.000001'", at("1000-01-01 00:00:00.000001")),
            ("'9999-12-31 23:59:59.999999'", at("9999-12-31 23:59:59.999999")),
            ("'2024-06-01'", at("2024-06-01 00:00:00")),
        ],
    ),
    (
        "timestamp(6)",
        TSTZ,
        [("'2024-06-01 12:30:00.123456'", datetime(2024, 6, 1, 12, 30, 0, 123456, tzinfo=UTC))],
    ),
    (
        "time(6)",
        "TIME",
        [("'00:00:00'", time(0)), ("'23:59:59.999999'", time(23, 59, 59, 999999))],
    ),
    ("char(5)", "VARCHAR", [("'ab'", "ab"), ("''", "")]),
    ("varchar(50)", "VARCHAR", [("'a b '", "a b "), ("'🦆 ü'", "🦆 ü"), ("'a\\0b'", "a\0b")]),
    ("tinytext", "VARCHAR", [("'x'", "x"), ("repeat('y', 255)", "y" * 255)]),
    ("text", "VARCHAR", [("repeat('z', 65535)", "z" * 65535)]),
    ("mediumtext", "VARCHAR", [("repeat('é', 70000)", "é" * 70000)]),
    ("longtext", "VARCHAR", [("'twelve bytes'", "twelve bytes"), ("'13 characters'",) * 2]),
    ("enum('a','b c')", "VARCHAR", [("'b c'", "b c"), ("'wrong'", "")]),
    ("set('x','y')", "VARCHAR", [("'y,x'", "x,y"), ("''", "")]),
    ("json", "JSON", [('\'{"a": [1, null, "ü"]}\'', '{"a": [1, null, "ü"]}')]),
    ("binary(4)", "BLOB", [("x'00ff'", b"\x00\xff\x00\x00")]),
    ("varbinary(20)", "BLOB", [("x'00ff80'", b"\x00\xff\x80"), ("''", b"")]),
    ("tinyblob", "BLOB", [("x'fe'", b"\xfe")]),
    ("blob", "BLOB", [("repeat(x'00', 300)", b"\0" * 300)]),
    ("mediumblob", "BLOB", [("repeat(x'ab', 70000)", b"\xab" * 70000)]),
    ("longblob", "BLOB", [("x'0a0d'", b"\n\r")]),
    (
        "point",
        "BLOB",
        [("point(1, 2)", struct.pack("<IBIdd", 0, 1, 1, 1.0, 2.0))],
    ),
    (
        "uuid",
        "UUID",
        [("'123e4567-e89b-12d3-a456-426655440000'", "123e4567-e89b-12d3-a456-426655440000")],
    ),
    ("inet6", "VARCHAR", [("'2001:db8::ff00:42:8329'", "2001:db8::ff00:42:8329")]),
    ("inet4", "VARCHAR", [("'192.0.2.1'", "192.0.2.1")]),
]


@pytest.mark.parametrize(("type_", "lake", "values"), MAPPING, ids=[row[0] for row in MAPPING])
def test_type_arrives_exactly(
    maria: MariaDatabase, type_: str, lake: str, values: list[tuple[str, Any]]
) -> None:
    """Each type of the table, at its ends and with NULL, comes back from Parquet as it was."""
    table(maria, type_, *(literal for literal, _ in values))
    result = read(maria)
    assert result.type() == lake
    expected = [value for _, value in values]
    if lake == "UUID":
        expected = [uuid.UUID(value) for value in expected]
    if lake.startswith("DECIMAL"):
        expected = [Decimal(value) for value in expected]
    if expected[-1:] == ["'13 characters'"]:
        expected[-1] = "13 characters"
    assert result.column() == [*expected, None]


def test_discovered_type_is_the_one_that_arrives(maria: MariaDatabase) -> None:
    """The lake gets the type that `discover` reports."""
    columns = ", ".join(f"c{n} {type_}" for n, (type_, _, _) in enumerate(MAPPING))
    maria.execute(f"create table t (id int primary key, {columns})")
    with connected(maria.url) as connector:
        (stream,) = connector.discover()
    result = read_back(maria, "t")
    assert [column.type for column in stream.columns] == result.types
    assert result.rows == []


def test_float_is_exact(maria: MariaDatabase) -> None:
    """A FLOAT keeps all its bits, where MySQL's text would print six digits."""
    table(maria, "float", "16777216", "16777215", "0.1", "1.17549e-38", "-3.40282e38")
    result = read(maria)
    assert result.type() == "FLOAT"
    at_source = maria.rows("select cast(c as double) from t where c is not null order by id")
    assert result.column()[:-1] == [value for (value,) in at_source]
    assert result.column()[1] == 16777215.0


@pytest.mark.parametrize("zone", ["SYSTEM", "-08:00", "+05:30"])
def test_timestamps_do_not_depend_on_the_servers_zone(maria: MariaDatabase, zone: str) -> None:
    """A TIMESTAMP is a moment; a DATETIME is a time without a zone."""
    maria.execute(
        "create table t (id int primary key, c timestamp null, d datetime);\n"
        "set time_zone = '+02:00';\n"
        "insert into t values (1, '2024-03-31 03:00:00', '2024-03-31 02:30:00')"
    )
    before = maria.rows("select @@global.time_zone")[0][0]
    maria.execute(f"set global time_zone = '{zone}'")
    try:
        result = read(maria)
    finally:
        maria.execute(f"set global time_zone = '{before}'")
    assert result.column("c") == [datetime(2024, 3, 31, 1, tzinfo=UTC)]
    assert result.column("d") == [at("2024-03-31 02:30:00")]


ZERO = [
    ("date", "'0000-00-00'", "0000-00-00"),
    ("datetime(6)", "'0000-00-00 00:00:00'", "0000-00-00"),
    ("timestamp", "'0000-00-00 00:00:00'", "0000-00-00"),
]


@pytest.mark.parametrize(("type_", "literal", "shown"), ZERO)
def test_zero_date_is_an_error_by_name(
    maria: MariaDatabase, type_: str, literal: str, shown: str
) -> None:
    """By default no value becomes NULL: the error names the column and both settings."""
    table(maria, f"{type_} null", literal)
    with pytest.raises(ReadError) as caught:
        read(maria)
    message = caught.value.message
    assert message == (
        f'table "{maria.name}.t", column "c": the value {shown} is a zero date. '
        'Set "zero_dates: null" on the source to read it as NULL, or set columns: '
        "{types: {c: varchar}} to keep it as text."
    )


@pytest.mark.parametrize(("type_", "literal", "shown"), ZERO)
def test_zero_date_is_null_where_that_is_asked_for(
    maria: MariaDatabase, type_: str, literal: str, shown: str
) -> None:
    """`zero_dates: null` reads them as NULL, next to dates that are none."""
    table(maria, f"{type_} null", "'2024-01-02'", literal, "'2024-01-03'")
    values = read(maria, {"zero_dates": None}).column()
    assert [value is None for value in values] == [False, True, False, True]


@pytest.mark.parametrize(
    "literal", ["'2024-00-15'", "'2024-02-00'", "'2024-02-31'", "'0000-01-01'"]
)
def test_impossible_date_is_never_null(maria: MariaDatabase, literal: str) -> None:
    """A date that is neither zero nor a day is an error, however zero dates are read."""
    maria.execute(
        "create table t (id int primary key, c date);\n"
        f"set sql_mode = 'ALLOW_INVALID_DATES';\ninsert into t values (1, {literal})"
    )
    if literal == "'0000-01-01'":  # a year of the calendar: the lake has it
        assert read(maria, {"zero_dates": "null"}, types={"c": "VARCHAR"}).column() == [
            "0000-01-01"
        ]
        return
    with pytest.raises(ReadError, match=r'column "c": the value 2024-\d\d-\d\d is not a day'):
        read(maria, {"zero_dates": "null"})
    assert read(maria, types={"c": "VARCHAR"}).column() == [literal.strip("'")]


@pytest.mark.parametrize(
    ("literal", "shown"),
    [("'-00:00:01'", "-00:00:01"), ("'24:00:01'", "24:00:01"), ("'838:59:59'", "838:59:59")],
)
def test_time_that_is_no_time_of_day_is_an_error(
    maria: MariaDatabase, literal: str, shown: str
) -> None:
    """A TIME below zero or past a day is named, and arrives as text when that is asked for."""
    table(maria, "time", literal)
    with pytest.raises(ReadError, match=f'column "c": the value {shown} is not a time of day'):
        read(maria)
    assert read(maria, types={"c": "VARCHAR"}).column() == [shown, None]


def test_decimal_of_65_digits_finds_its_scale(maria: MariaDatabase) -> None:
    """More than 38 digits are declared, fewer are used: the first load finds a DECIMAL for them."""
    table(maria, "decimal(65,30)", "1234567.125", "-0.5", "3")
    result = read(maria)
    assert result.type() == "DECIMAL(38,3)"
    assert result.column() == [Decimal("1234567.125"), Decimal("-0.500"), Decimal("3.000"), None]


def test_decimal_of_65_digits_becomes_text_where_no_decimal_holds_it(maria: MariaDatabase) -> None:
    """Nothing is rounded: as text every digit is there."""
    largest = "12345678901234567890123456789012345.123456789012345678901234567891"
    table(maria, "decimal(65,30)", largest)
    result = read(maria)
    assert result.type() == "VARCHAR"
    assert result.column() == [largest, None]


def test_decimal_of_65_digits_keeps_the_lakes_type(maria: MariaDatabase) -> None:
    """Once landed the type stands, and a value that no longer fits is an error by name."""
    table(maria, "decimal(65,30)", "1.5")
    assert read(maria, lake_types={"c": "DECIMAL(38,2)"}).type() == "DECIMAL(38,2)"
    maria.execute("insert into t values (9, 1.255)")
    with pytest.raises(ReadError, match=r'column "c": the value 1\.255\d* does not fit DECIMAL'):
        read(maria, lake_types={"c": "DECIMAL(38,2)"})


ASKED = [
    ("int", "7", "bigint", "BIGINT", 7),
    ("int", "7", "decimal(10,2)", "DECIMAL(10,2)", Decimal("7.00")),
    ("int", "7", "tinyint", "TINYINT", 7),
    ("tinyint(1)", "1", "boolean", "BOOLEAN", True),
    ("bigint unsigned", "18446744073709551615", "varchar", "VARCHAR", "18446744073709551615"),
    ("bit(8)", "b'101'", "integer", "INTEGER", 5),
    ("bit(8)", "b'101'", "varchar", "VARCHAR", "5"),
    ("decimal(10,2)", "7.00", "integer", "INTEGER", 7),
    ("decimal(10,2)", "7.25", "decimal(20,4)", "DECIMAL(20,4)", Decimal("7.2500")),
    ("decimal(10,2)", "7.25", "varchar", "VARCHAR", "7.25"),
    ("float", "0.5", "double", "DOUBLE", 0.5),
    ("float", "16777215", "varchar", "VARCHAR", "16777215.0"),
    ("date", "'2024-01-02'", "timestamp", "TIMESTAMP", at("2024-01-02 00:00:00")),
    ("date", "'0000-00-00'", "varchar", "VARCHAR", "0000-00-00"),
    (
        "datetime",
        "'2024-01-02 03:04:05'",
        "timestamptz",
        TSTZ,
        datetime(2024, 1, 2, 3, 4, 5, 0, UTC),
    ),
    ("timestamp", "'2024-01-02 03:04:05'", "timestamp", "TIMESTAMP", at("2024-01-02 03:04:05")),
    ("varchar(20)", "'12'", "integer", "INTEGER", 12),
    ("varchar(20)", "'[1]'", "json", "JSON", "[1]"),
    ("json", "'[1]'", "varchar", "VARCHAR", "[1]"),
    ("year", "1999", "integer", "INTEGER", 1999),
]


@pytest.mark.parametrize(("type_", "literal", "requested", "lake", "value"), ASKED)
def test_another_type_can_be_asked_for(
    maria: MariaDatabase, type_: str, literal: str, requested: str, lake: str, value: Any
) -> None:
    """`columns: types` reads a column as another type that holds the value."""
    table(maria, f"{type_} null", literal)
    result = read(maria, types={"c": requested})
    assert result.type() == lake
    assert result.column() == [value, None]


@pytest.mark.parametrize(
    ("type_", "literal", "requested"),
    [
        ("int", "300", "tinyint"),
        ("tinyint(1)", "2", "boolean"),
        ("decimal(10,2)", "7.25", "integer"),
        ("decimal(10,2)", "7.25", "decimal(10,1)"),
        ("varchar(20)", "'1e3'", "integer"),
        ("varchar(20)", "'{'", "json"),
        ("bigint", "9007199254740993", "double"),
    ],
)
def test_value_that_does_not_fit_the_asked_type_is_an_error(
    maria: MariaDatabase, type_: str, literal: str, requested: str
) -> None:
    """Nothing is rounded, cut or turned: table, column and value are named."""
    table(maria, type_, literal)
    with pytest.raises(ReadError) as caught:
        read(maria, types={"c": requested})
    assert f'table "{maria.name}.t", column "c": the value ' in caught.value.message
    assert "does not fit" in caught.value.message


@pytest.mark.parametrize(
    ("type_", "requested"), [("blob", "varchar"), ("datetime", "date"), ("double", "float")]
)
def test_type_that_would_lose_something_is_refused(
    maria: MariaDatabase, type_: str, requested: str
) -> None:
    """A type that cannot hold the values is refused before any is read."""
    table(maria, type_)
    with pytest.raises(ReadError, match=r"without loss\. Possible types: "):
        read(maria, types={"c": requested})


def test_text_of_any_character_set_arrives_as_unicode(maria: MariaDatabase) -> None:
    """The server turns each column's own character set into UTF-8."""
    maria.execute(
        "create table t (id int primary key, a varchar(20) character set latin1, b varchar(20) "
        "character set utf16, c varchar(20) character set cp1251, d varchar(20) character set "
        "utf8mb3, e char(9) character set ascii);\n"
        "insert into t values (1, 'Größe €', '🦆', 'утка', '鴨', 'duck')"
    )
    assert read(maria).rows == [(1, "Größe €", "🦆", "утка", "鴨", "duck")]


def test_very_long_values_arrive(maria: MariaDatabase) -> None:
    """A value over 16 MB comes in several packets, between rows that come in one."""
    maria.execute(
        "create table t (id int primary key, a varchar(9), c longtext, b longblob);\n"
        "insert into t values (1, 'x', 'short', x'00'), (3, 'y', repeat('ab', 3000000), null);\n"
        "insert into t values (2, 'before', repeat('ü', 9000000), repeat(x'01', 17000000));\n"
        "insert into t values (4, 'exactly', repeat('e', 16777192), null), (5, '', '', '')"
    )
    result = read(maria)
    assert result.column("a") == ["x", "before", "y", "exactly", ""]
    assert [len(v) for v in result.column("c")] == [5, 9_000_000, 6_000_000, 16_777_192, 0]
    assert result.column("c")[1] == "ü" * 9_000_000
    assert result.column("b") == [b"\0", b"\1" * 17_000_000, None, None, b""]


def test_generated_and_invisible_columns_arrive(maria: MariaDatabase) -> None:
    """`select *` would leave the invisible one out; its name is in the list."""
    maria.execute(
        "create table t (id int primary key, price decimal(6,2), gross decimal(8,2) as (price * 2)"
        " stored, net decimal(8,2) as (price / 2) virtual, hidden int invisible default 5);\n"
        "insert into t (id, price) values (1, 3.50)"
    )
    result = read(maria)
    assert result.columns == ["id", "price", "gross", "net", "hidden"]
    assert result.rows == [(1, Decimal("3.50"), Decimal("7.00"), Decimal("1.75"), 5)]


def test_view_arrives(maria: MariaDatabase) -> None:
    """A view is read as its columns say."""
    maria.execute(
        "create table t0 (id int primary key, a decimal(5,1));\n"
        "insert into t0 values (1, 2.5), (2, null);\n"
        "create view t as select id, a * 2 as a2, concat('n', id) as n from t0"
    )
    assert read(maria).rows == [(1, Decimal("5.0"), "n1"), (2, None, "n2")]


def test_nulls_of_many_columns_stay_in_their_places(maria: MariaDatabase) -> None:
    """NULLs take no room on the wire: what comes after them must not shift."""
    columns = [f"c{n} {t}" for n, t in enumerate(("int", "varchar(20)", "datetime", "double") * 5)]
    maria.execute(f"create table t (id int primary key, {', '.join(columns)})")
    rows = []
    for number in range(700):
        values: list[Any] = [number]
        for place in range(20):
            kind, none = place % 4, (number >> (place % 7)) & 1
            value = (
                number,
                f"text {number}" * (place % 3),
                at(f"2024-01-{place + 1:02}"),
                number / 7,
            )
            values.append(None if none else value[kind])
        rows.append(tuple(values))
    maria.execute(f"insert into t values ({', '.join(['%s'] * 21)})", *rows)
    assert read(maria).rows == rows


def test_odd_names_are_read(maria: MariaDatabase) -> None:
    """Quotes, dots, backticks and percent signs in names are names."""
    maria.execute(
        'create table `we.ird "t` (`id` int primary key, `a``b` int, `c"d` int, `50%` int, '
        '`select` int, `ünï` int);\ninsert into `we.ird "t` values (1, 2, 3, 4, 5, 6)'
    )
    result = read_back(maria, '"we.ird ""t"')
    assert result.columns == ["id", "a`b", 'c"d', "50%", "select", "ünï"]
    assert result.rows == [(1, 2, 3, 4, 5, 6)]
