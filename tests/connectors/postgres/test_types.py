"""Every row of the type mapping, compared with psql; and every value that is refused."""

from __future__ import annotations

import json
import math
import re
import struct
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.postgres_reading import read_back

from cdpsync.errors import ReadError
from cdpsync_connectors.postgres import table_read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Database, Server

SETUP = """
    create type mood as enum ('sad', 'it''s "ok"', 'très');
    create type pair as (a int, b text);
    create domain short as varchar(5);
    create domain shorter as short;
    create domain price as numeric(12,3);
    create domain loose as numeric;
    create domain code as char(4);
    create domain numbers as int[];
    create domain whenever as timestamp;
    create type float_range as range (subtype = float8);
"""

TEXT = [
    "''",
    "'a'",
    "'é 😀 e\u0301'",
    "'a\tb\nc\\\"'",
    "'  two  '",
    "'NULL'",
    r"'\N'",
    "'%s {} {c} $1'",
]

# type, its values as SQL, its type in the lake
ROWS: list[tuple[str, list[str], str]] = [
    ("smallint", ["0", "-32768", "32767"], "SMALLINT"),
    ("integer", ["0", "-2147483648", "2147483647"], "INTEGER"),
    ("bigint", ["0", "-9223372036854775808", "9223372036854775807"], "BIGINT"),
    ("oid", ["0", "4294967295"], "BIGINT"),
    (
        "real",
        ["'NaN'", "'-0'", "'Infinity'", "'-Infinity'", "1e-45", "3.4028235e38", "0.1"],
        "FLOAT",
    ),
    (
        "double precision",
        ["'NaN'", "'-0'", "'Infinity'", "'-Infinity'", "5e-324", "1.7976931348623157e308", "0.1"],
        "DOUBLE",
    ),
    ("numeric(10,2)", ["0", "1.10", "-99999999.99", "99999999.99"], "DECIMAL(10,2)"),
    ("numeric(4)", ["9999", "-9999"], "DECIMAL(4,0)"),
    ("numeric(38,0)", ["9" * 38, "-" + "9" * 38], "DECIMAL(38,0)"),
    ("numeric(38,38)", ["0." + "9" * 38, "-0." + "0" * 37 + "1"], "DECIMAL(38,38)"),
    ("numeric(18,18)", ["0.999999999999999999"], "DECIMAL(18,18)"),
    ("numeric(38,19)", ["9" * 19 + "." + "9" * 19], "DECIMAL(38,19)"),
    ("numeric(3,-2)", ["12300", "-99900", "0"], "DECIMAL(5,0)"),
    ("numeric(2,5)", ["0.00012", "-0.00099"], "DECIMAL(5,5)"),
    ("numeric", ["1.5", "-12345678901234567890.25", "1000", "2.500"], "DECIMAL(38,2)"),
    ("numeric", ["1" + "0" * 37, "7"], "DECIMAL(38,0)"),
    ("numeric", ["0." + "1" * 38], "DECIMAL(38,38)"),
    ("numeric", ["1e38", "1"], "VARCHAR"),
    ("numeric", ["1e20", "1e-20"], "VARCHAR"),
    ("numeric", ["'NaN'", "1e-50", "'Infinity'"], "VARCHAR"),
    ("numeric(50,10)", ["1.25", "12345678901234567890"], "DECIMAL(38,2)"),
    ("numeric(50,10)", ["9" * 40 + ".0000000001"], "VARCHAR"),
    ("boolean", ["true", "false"], "BOOLEAN"),
    ("uuid", ["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", f"'{'f' * 32}'", f"'{'0' * 32}'"], "UUID"),
    (
        "date",
        [
            "'2024-02-29'",
            "'infinity'",
            "'-infinity'",
            "'4713-01-01 BC'",
            "'0001-12-31 BC'",
            "'5874897-12-31'",
            "'0044-03-15'",
        ],
        "DATE",
    ),
    ("time", ["'00:00'", "'24:00:00'", "'23:59:59.999999'", "'00:00:00.000001'"], "TIME"),
    ("time(3)", ["'12:34:56.789'"], "TIME"),
    (
        "timestamp",
        [
            "'2024-02-29 12:34:56.789012'",
            "'infinity'",
            "'-infinity'",
            "'4713-01-01 00:00:00 BC'",
            "'0044-03-15 00:00:00.000001 BC'",
            "'294247-01-10 04:00:54.775806'",
            "'1969-12-31'",
        ],
        "TIMESTAMP",
    ),
    (
        "timestamptz",
        [
            "'2024-02-29 12:34:56.789012+05:30'",
            "'infinity'",
            "'-infinity'",
            "'4713-01-01 00:00:00+00 BC'",
            "'200000-01-10 04:00:54.775806+00'",
        ],
        "TIMESTAMP WITH TIME ZONE",
    ),
    ("text", TEXT, "VARCHAR"),
    ("varchar", TEXT, "VARCHAR"),
    ("varchar(5)", ["'abcde'", "'é'", "''"], "VARCHAR"),
    ("char(5)", ["'abc'", "''", "'é'", "'😀e\u0301'", "'a\t'", "'\u00a0'", "'12345'"], "VARCHAR"),
    ("char", ["' '", "'x'"], "VARCHAR"),
    ("bpchar", ["'abc  '", "''", "'x'"], "VARCHAR"),
    ('"char"', ["'x'", "''", r"'\351'"], "VARCHAR"),
    ("name", ["'abc'", "'é\"'"], "VARCHAR"),
    (
        "json",
        [
            """'{"b": 1,  "a": [1e999, 0.10, null]}'""",
            "'null'",
            "'\"\"'",
            r"""'"\u00e9\n\ud83d\ude00"'""",
        ],
        "JSON",
    ),
    ("jsonb", ["""'{"b": 1,  "a": [1.10, 12345678901234567890.5]}'""", "'[]'", "'\"x\"'"], "JSON"),
    ("bytea", [r"'\x'", r"'\x00ff5c275c78'", r"'\xdeadbeef'"], "BLOB"),
    (
        "interval",
        ["'1 mon -2 days 00:00:00.000001'", "'-178000000 years'", "'infinity'", "'0'", "'-1 s'"],
        "VARCHAR",
    ),
    ("timetz", ["'12:00:00.000001+05:30'", "'24:00:00-15:59'"], "VARCHAR"),
    ("money", ["12345.67", "-0.01"], "VARCHAR"),
    ("inet", ["'192.168.1.1'", "'10.0.0.0/8'", "'::1'", "'2001:db8::/32'"], "VARCHAR"),
    ("cidr", ["'10.0.0.0/8'", "'192.168.1.1/32'"], "VARCHAR"),
    ("macaddr", ["'08:00:2b:01:02:03'"], "VARCHAR"),
    ("macaddr8", ["'08:00:2b:01:02:03:04:05'"], "VARCHAR"),
    ("bit(5)", ["B'10101'", "B'00000'"], "VARCHAR"),
    ("varbit", ["B''", "B'1'"], "VARCHAR"),
    ("tsvector", ["'a fat cat'", "'x:1A,2'"], "VARCHAR"),
    ("tsquery", ["'a & b'"], "VARCHAR"),
    ("point", ["'(1.5,-0)'"], "VARCHAR"),
    ("box", ["'((1,1),(0,0))'"], "VARCHAR"),
    ("polygon", ["'((0,0),(1,1),(1,0))'"], "VARCHAR"),
    ("circle", ["'<(0,0),1>'"], "VARCHAR"),
    ("int4range", ["'[1,5]'", "'empty'", "'(,)'"], "VARCHAR"),
    ("tstzrange", ["'[2020-01-01 00:00+02,infinity]'"], "VARCHAR"),
    ("int4multirange", ["'{[1,2],[5,9]}'", "'{}'"], "VARCHAR"),
    ("float_range", ["'[0.1,1e300]'"], "VARCHAR"),
    ("pair", ["row(1, 'a \"b\",')", "row(null, '')"], "VARCHAR"),
    ("mood", ["'sad'", "'it''s \"ok\"'", "'très'"], "VARCHAR"),
    ("regclass", ["'pg_class'", "0"], "VARCHAR"),
    ("regtype", ["'double precision'"], "VARCHAR"),
    ("xid8", ["'18446744073709551615'"], "VARCHAR"),
    ("pg_lsn", ["'16/B374D848'"], "VARCHAR"),
    ("int2vector", ["'1 2 3'"], "VARCHAR"),
    ("jsonpath", ["'$.a[*]'"], "VARCHAR"),
    ("short", ["'abc'", "''"], "VARCHAR"),
    ("shorter", ["'abcde'"], "VARCHAR"),
    ("price", ["1.500", "-999999999.999"], "DECIMAL(12,3)"),
    ("loose", ["1.25"], "DECIMAL(38,2)"),
    ("code", ["'ab'"], "VARCHAR"),
    ("whenever", ["'2020-01-01'", "'infinity'"], "TIMESTAMP"),
    ("numbers", ["'{1,NULL,3}'", "'{}'"], "INTEGER[]"),
    ("smallint[]", ["'{1,-32768,NULL}'", "'{}'"], "SMALLINT[]"),
    ("integer[]", ["'{1,NULL,3}'"], "INTEGER[]"),
    ("bigint[]", ["'{9223372036854775807}'"], "BIGINT[]"),
    ("oid[]", ["'{4294967295,NULL}'"], "BIGINT[]"),
    ("real[]", ["'{NaN,Infinity,-0,0.1}'"], "FLOAT[]"),
    ("float8[]", ["'{NaN,-Infinity,5e-324,NULL}'"], "DOUBLE[]"),
    ("numeric(10,2)[]", ["'{1.10,NULL,-99999999.99}'"], "DECIMAL(10,2)[]"),
    ("numeric(3,-2)[]", ["'{12300}'"], "DECIMAL(5,0)[]"),
    ("numeric[]", ["'{1.10,NaN,1e-50,Infinity}'"], "VARCHAR[]"),
    ("price[]", ["'{1.500,NULL}'"], "DECIMAL(12,3)[]"),
    ("boolean[]", ["'{t,f,NULL}'"], "BOOLEAN[]"),
    ("uuid[]", [f"'{{{'a' * 32},NULL}}'"], "UUID[]"),
    ("date[]", ["'{2020-01-01,infinity,0044-03-15 BC}'"], "DATE[]"),
    ("time[]", ["'{12:00:00.000001,24:00:00}'"], "TIME[]"),
    ("timestamp[]", ["'{2020-01-01,infinity,0044-03-15 00:00:00 BC,NULL}'"], "TIMESTAMP[]"),
    ("timestamptz[]", ["'{2020-01-01 00:00+02,-infinity}'"], "TIMESTAMP WITH TIME ZONE[]"),
    (
        "text[]",
        ["""'{a,NULL,"NULL","b,\\"c\\\\",""," x "}'""", "array['[1]', E'\\n', '{']"],
        "VARCHAR[]",
    ),
    ("varchar(5)[]", ["'{abc}'"], "VARCHAR[]"),
    ("char(3)[]", ["'{a,NULL}'"], "VARCHAR[]"),
    ("name[]", ["'{a,NULL}'"], "VARCHAR[]"),
    ("json[]", ["""array['{"a":  [1]}', null, 'null']::json[]"""], "JSON[]"),
    ("jsonb[]", ["""array['{"a": [1]}']::jsonb[]"""], "JSON[]"),
    ("bytea[]", [r"array['\x00ff', null, '\xdeadbeef']::bytea[]"], "BLOB[]"),
    ("interval[]", ["'{1 day,-1 s,infinity}'"], "VARCHAR[]"),
    ("inet[]", ["'{192.168.1.1,10.0.0.0/8,NULL}'"], "VARCHAR[]"),
    ("mood[]", ["array['sad', 'it''s \"ok\"']::mood[]"], "VARCHAR[]"),
    ("pair[]", ["array[row(1,'a b')]::pair[]"], "VARCHAR[]"),
    ("int4range[]", ["array['[1,5)']::int4range[]"], "VARCHAR[]"),
    ("integer[][]", ["'{{1,2},{3,NULL}}'", "'{}'"], "INTEGER[][]"),
    ("integer[][][]", ["'{{{1},{2}},{{3},{4}}}'"], "INTEGER[][][]"),
    ("text[][]", ["""array[['a"b,\\c]', E'x\\ny'], [null, '2020-01-01 BC']]"""], "VARCHAR[][]"),
    ("numeric(10,2)[][]", ["'{{1.10},{NULL}}'"], "DECIMAL(10,2)[][]"),
    ("float8[][]", ["'{{NaN,-Infinity},{0.1,-0}}'"], "DOUBLE[][]"),
    ("boolean[][]", ["'{{t},{f}}'"], "BOOLEAN[][]"),
    ("bytea[][]", [r"array[['\x00ff'::bytea], [null]]"], "BLOB[][]"),
    ("date[][]", ["'{{2020-01-01},{0044-03-15 BC}}'"], "DATE[][]"),
    ("timestamp[][]", ["'{{infinity,0044-03-15 00:00:00.000001 BC}}'"], "TIMESTAMP[][]"),
    (
        "timestamptz[][]",
        ["'{{2020-01-01 00:00+02,0044-03-15 00:00:00+00 BC}}'"],
        "TIMESTAMP WITH TIME ZONE[][]",
    ),
    ("jsonb[][]", ["""array[['{"a": 1}'::jsonb], ['"x"']]"""], "JSON[][]"),
    ("inet[][]", ["'{{192.168.1.1},{::1}}'"], "VARCHAR[][]"),
    ("uuid[][]", [f"'{{{{{'a' * 32}}}}}'"], "UUID[][]"),
    ("box[]", ["'{(1,1),(0,0);(2,2),(1,1)}'"], "VARCHAR[]"),
]


@pytest.fixture(scope="module", params=["as they are", "padded"], autouse=True)
def padding(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every type is read with and without padding, which normally depends on the row size."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "padded":
            patch.setattr(table_read, "padding_of", lambda *_: "4")
        yield


@pytest.fixture(scope="module")
def typed(postgres_server: Server) -> Any:
    with postgres_server.database("types") as database:
        database.execute(SETUP)
        yield database


@pytest.mark.parametrize(
    ("type_", "values", "lake"), ROWS, ids=[f"{n}-{row[0]}" for n, row in enumerate(ROWS)]
)
def test_every_type_arrives_as_psql_prints_it(
    typed: Database, type_: str, values: list[str], lake: str
) -> None:
    """A row of the mapping: the type in the lake is the documented one, every value exact."""
    rows = ", ".join(
        f"({n}, cast({value} as {type_}))" for n, value in enumerate([*values, "null"])
    )
    typed.execute(
        f"drop table if exists t; create table t (n int, c {type_}); insert into t values {rows}"
    )
    result = read_back(typed.url, "public.t")
    assert result.type() == lake
    by_number = dict(zip(result.column("n"), result.column("c"), strict=True))
    assert by_number.pop(str(len(values))) is None
    for number, value in by_number.items():
        printed = typed.psql(f"select c from t where n = {number}")
        assert canonical(value, lake) == as_psql(printed, lake), values[int(number)]


def as_psql(text: str, lake: str) -> Any:
    """The output of psql, as comparable values."""
    if lake.endswith("[]"):
        return _deep(parse_array(text), lake.replace("[]", ""))
    return canonical(text, lake)


def _deep(value: Any, lake: str) -> Any:
    if isinstance(value, list):
        return [_deep(part, lake) for part in value]
    return None if value is None else canonical(value, lake)


def canonical(value: Any, lake: str) -> Any:
    """One form for values that psql and DuckDB print differently."""
    if value is None:
        return None
    if isinstance(value, list):
        return [canonical(part, lake.replace("[]", "")) for part in value]
    if lake.startswith("DECIMAL"):
        return Decimal(value)
    if lake == "FLOAT":
        return struct.pack("f", float(value))
    if lake == "DOUBLE":
        return struct.pack("d", float(value))
    if lake == "BOOLEAN":
        return {"t": "true", "f": "false"}.get(value, value)
    if lake == "DATE" or lake.startswith("TIMESTAMP"):
        return re.sub(r" \(BC\)(.*)$", r"\1 BC", value)
    return value


def parse_array(text: str) -> Any:
    """A Postgres array literal as nested lists; a semicolon separates elements of box."""
    delimiter = ";" if re.match(r"\{\(.*\);", text) else ","
    tokens = re.findall(rf'"(?:[^"\\]|\\.)*"|[{{}}]|[^{delimiter}{{}}"]+', text, re.DOTALL)
    position = 0

    def read() -> Any:
        nonlocal position
        token = tokens[position]
        position += 1
        if token == "{":
            parts = []
            while tokens[position] != "}":
                parts.append(read())
            position += 1
            return parts
        if token.startswith('"'):
            return re.sub(r"\\(.)", r"\1", token[1:-1], flags=re.DOTALL)
        return None if token == "NULL" else token

    return read()


REFUSED: list[tuple[str, str, str]] = [
    ("timestamp", "'294247-01-10 04:00:54.775807'", "later than the last timestamp"),
    ("timestamp", "'294247-01-10 04:00:54.775808'", "later than the last timestamp"),
    ("timestamp", "'294276-12-31 23:59:59.999999'", "later than the last timestamp"),
    ("timestamptz", "'294247-01-10 04:00:54.775809+00'", "later than the last timestamp"),
    ("timestamp[]", "'{infinity,294276-12-31 23:59:59.999999}'", "later than the lake's last one"),
    ("timestamptz[]", "'{294276-12-31 23:59:59.999999+00}'", "later than the lake's last one"),
    ("json", r"""'["\ud800"]'""", "DuckDB does not accept"),
    ("integer[]", "'{{1,2}}'", "does not have 1 dimension"),
    ("integer[]", "'[0:1]={1,2}'", "counted from 1"),
    ("integer[][]", "'{1,2}'", "does not have 2 dimensions"),
    ("text[]", "'{{a}}'", "does not have 1 dimension"),
    ("timestamp[]", "'{{2020-01-01}}'", "does not have 1 dimension"),
]


@pytest.mark.parametrize(("type_", "value", "says"), REFUSED)
def test_value_that_the_lake_cannot_hold_is_named(
    pg: Database, type_: str, value: str, says: str
) -> None:
    """The message names table, column and value, and offers text, which works."""
    pg.execute(
        f'create table t (ok int, "o\'dd {{c}} ""x" {type_}); insert into t values (1, {value})'
    )
    with pytest.raises(ReadError) as caught:
        read_back(pg.url, "public.t")
    message = caught.value.message
    assert says in message
    assert 'table "public.t", column "o\'dd {c} "x"' in message
    assert "varchar" in message
    assert "\n" not in message
    as_text = read_back(pg.url, "public.t", types={"o'dd {c} \"x": "varchar"})
    assert as_text.rows[0][1] == pg.psql('select "o\'dd {c} ""x" from t')


def test_nan_and_infinity_become_null_by_default(pg: Database) -> None:
    """`on_nan: null`, which YAML may also write as a real null."""
    pg.execute("""
        create table t (n int, a numeric(10,2), b numeric, l numeric(10,2)[]);
        insert into t values (1, 'NaN', 'NaN', '{NaN,1}'), (2, 1, 'Infinity', null),
            (3, 2, '-Infinity', '{2}'), (4, 3, 1.5, '{}');
    """)
    for on_nan in ("null", None):
        result = read_back(pg.url, "public.t", {"on_nan": on_nan})
        assert result.type("b") == "DECIMAL(38,1)"
        assert result.column("a") == [None, "1.00", "2.00", "3.00"]
        assert result.column("b") == [None, None, None, "1.5"]
        assert result.column("l") == [[None, "1.00"], None, ["2.00"], []]


@pytest.mark.parametrize("column", ["a numeric(10,2)", "a numeric", "a numeric(10,2)[]"])
def test_nan_is_an_error_with_on_nan_error(pg: Database, column: str) -> None:
    """`on_nan: error` names the column."""
    value = "'{NaN}'" if "[]" in column else "'NaN'"
    pg.execute(f"create table t ({column}); insert into t values ({value})")
    with pytest.raises(ReadError, match='column "a"'):
        read_back(pg.url, "public.t", {"on_nan": "error"})


def test_numeric_without_values_gets_nine_digits_behind_the_point(pg: Database) -> None:
    """An empty table, or one with NULLs only, shows no digits."""
    pg.execute("create table t (n int, c numeric)")
    assert read_back(pg.url, "public.t").type() == "DECIMAL(38,9)"
    pg.execute("insert into t values (1, null), (2, 'NaN')")
    assert read_back(pg.url, "public.t").type() == "DECIMAL(38,9)"


def test_lake_type_binds_and_no_value_is_rounded(pg: Database) -> None:
    """The lake's type is the authority after the first load; what does not fit is an error."""
    pg.execute("create table t (n int, price numeric); insert into t values (1, 1.5)")
    fits = read_back(pg.url, "public.t", lake_types={"price": "DECIMAL(38,4)"})
    assert (fits.type("price"), fits.column("price")) == ("DECIMAL(38,4)", ["1.5000"])
    assert read_back(pg.url, "public.t", lake_types={"price": "VARCHAR"}).column("price") == ["1.5"]
    for value in ("1.00001", "1e34", "-1e34"):
        pg.execute(f"insert into t values (2, {value})")
        with pytest.raises(ReadError, match="does not fit DECIMAL") as caught:
            read_back(pg.url, "public.t", lake_types={"price": "DECIMAL(38,4)"})
        assert 'column "price"' in caught.value.message
        assert "--full-refresh" in caught.value.message
        pg.execute("delete from t where n = 2")


OVERRIDES: list[tuple[str, str, str, str, Any]] = [
    ("numeric", "1.50", "decimal(20,4)", "DECIMAL(20,4)", "1.5000"),
    ("numeric(10,2)", "1.50", "decimal(20, 4)", "DECIMAL(20,4)", "1.5000"),
    ("numeric(10,2)", "1.50", "decimal(3,1)", "DECIMAL(3,1)", "1.5"),
    ("numeric", "12.00", "bigint", "BIGINT", "12"),
    ("numeric", "1.50", "varchar", "VARCHAR", "1.50"),
    ("bigint", "12", "integer", "INTEGER", "12"),
    ("integer", "12", "bigint", "BIGINT", "12"),
    ("integer", "12", "tinyint", "TINYINT", "12"),
    ("integer", "12", "decimal(10,2)", "DECIMAL(10,2)", "12.00"),
    ("integer", "12", "double", "DOUBLE", "12.0"),
    ("real", "0.5", "double", "DOUBLE", "0.5"),
    ("text", "'12.5'", "decimal(10,2)", "DECIMAL(10,2)", "12.50"),
    ("text", "'-12'", "bigint", "BIGINT", "-12"),
    ("text", "'{\"a\": 1}'", "json", "JSON", '{"a": 1}'),
    (
        "text",
        f"'{'a' * 8}-aaaa-aaaa-aaaa-{'a' * 12}'",
        "uuid",
        "UUID",
        f"{'a' * 8}-aaaa-aaaa-aaaa-{'a' * 12}",
    ),
    ("varchar(20)", "'2020-01-31'", "date", "DATE", "2020-01-31"),
    ("text", "'2020-01-31T01:02:03.4'", "timestamp", "TIMESTAMP", "2020-01-31 01:02:03.4"),
    (
        "text",
        "'2020-01-31 01:02:03+02'",
        "timestamptz",
        "TIMESTAMP WITH TIME ZONE",
        "2020-01-30 23:02:03+00",
    ),
    ("date", "'2020-01-31'", "timestamp", "TIMESTAMP", "2020-01-31 00:00:00"),
    (
        "timestamp",
        "'2020-01-31'",
        "timestamptz",
        "TIMESTAMP WITH TIME ZONE",
        "2020-01-31 00:00:00+00",
    ),
    ("integer[]", "'{{1,2}}'", "integer[][]", "INTEGER[][]", [["1", "2"]]),
    ("integer[]", "'{1,2}'", "bigint[]", "BIGINT[]", ["1", "2"]),
    ("integer[]", "'{{1,2}}'", "varchar", "VARCHAR", "{{1,2}}"),
    ("inet[]", "'{{::1}}'", "text[][]", "VARCHAR[][]", [["::1"]]),
    ("numeric[]", "'{1.5,2}'", "decimal(10,2)[]", "DECIMAL(10,2)[]", ["1.50", "2.00"]),
    ("jsonb", "'{\"a\":1}'", "varchar", "VARCHAR", '{"a": 1}'),
    ("boolean", "true", "varchar", "VARCHAR", "t"),
    ("timestamptz", "'2020-01-01 00:00+00'", "varchar", "VARCHAR", "2020-01-01 00:00:00+00"),
]


@pytest.mark.parametrize(("type_", "value", "requested", "lake", "arrives"), OVERRIDES)
def test_exact_overrides_are_followed(
    pg: Database, type_: str, value: str, requested: str, lake: str, arrives: Any
) -> None:
    """`types:` may widen, or narrow under guard."""
    pg.execute(f"create table t (c {type_}); insert into t values ({value}), (null)")
    result = read_back(pg.url, "public.t", types={"c": requested})
    assert (result.type(), result.column()) == (lake, [arrives, None])


@pytest.mark.parametrize(
    ("type_", "value", "requested"),
    [
        ("numeric", "1.005", "decimal(10,2)"),
        ("numeric(10,2)", "100", "decimal(3,1)"),
        ("numeric", "1.5", "bigint"),
        ("numeric", "9223372036854775808", "bigint"),
        ("bigint", "2147483648", "integer"),
        ("integer", "128", "tinyint"),
        ("integer", "1000", "decimal(3,0)"),
        ("numeric[]", "'{1.005}'", "decimal(10,2)[]"),
        ("text", "'1.005'", "decimal(10,2)"),
        ("text", "'007'", "bigint"),
        ("text", "'1e3'", "decimal(10,2)"),
        ("text", "'today'", "date"),
        ("text", "'2020-01-01'", "timestamptz"),
        ("text", "'{'", "json"),
        ("text", "'x'", "uuid"),
    ],
)
def test_a_value_that_an_override_would_change_is_an_error(
    pg: Database, type_: str, value: str, requested: str
) -> None:
    """No value is rounded, and the message names the column."""
    pg.execute(f"create table t (c {type_}); insert into t values ({value})")
    with pytest.raises(ReadError, match='column "c"'):
        read_back(pg.url, "public.t", types={"c": requested})


@pytest.mark.parametrize(
    ("type_", "requested"),
    [
        ("double precision", "real"),
        ("double precision", "decimal(10,2)"),
        ("bigint", "double"),
        ("numeric", "double"),
        ("timestamptz", "timestamp"),
        ("timestamp", "date"),
        ("boolean", "integer"),
        ("integer", "integer[]"),
        ("integer[]", "integer"),
        ("text", "hugeint"),
        ("bytea", "json"),
    ],
)
def test_an_override_that_could_lose_something_is_refused(
    pg: Database, type_: str, requested: str
) -> None:
    """The message lists the possible types."""
    pg.execute(f"create table t (c {type_})")
    with pytest.raises(ReadError, match=r"without loss\. Possible types: .*varchar"):
        read_back(pg.url, "public.t", types={"c": requested})


ANY_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
NUMBERS = st.integers(-(10**37), 10**37)
MOMENTS = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31))  # noqa: DTZ001
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
ROW = st.tuples(
    NUMBERS.map(lambda number: Decimal(f"{number}e-12")),
    NUMBERS.map(lambda number: Decimal(f"{number}e-4")),
    MOMENTS,
    ANY_TEXT,
    st.lists(st.none() | ANY_TEXT, max_size=4),
    JSON_VALUES.map(json.dumps),
    st.binary(max_size=20),
    st.floats().map(lambda value: math.nan if math.isnan(value) else value),  # one NaN, unsigned
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(ROW, min_size=1, max_size=8))
def test_any_value_arrives_exactly(typed: Database, rows: list[tuple[Any, ...]]) -> None:
    """DuckDB reads every value back from Parquet as Postgres has it."""
    with psycopg.connect(typed.url, autocommit=True) as con:
        con.execute(
            "drop table if exists h; create table h (n int, num numeric, dec numeric(40,4),"
            " ts timestamp, txt text, list text[], doc json, bin bytea, f float8)"
        )
        insert = "insert into h values (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
        con.cursor().executemany(insert, [(n, *row) for n, row in enumerate(rows)])
    result = read_back(typed.url, "public.h")
    for n, (num, dec, ts, txt, list_, doc, bin_, f) in enumerate(rows):
        row = dict(zip(result.columns, result.rows[n], strict=True))
        assert Decimal(row["num"]) == num
        assert Decimal(row["dec"]) == dec
        assert datetime.fromisoformat(row["ts"]) == ts
        assert (row["txt"], row["list"], row["doc"]) == (txt, list_, doc)
        assert row["bin"] == "\\x" + bin_.hex()
        assert canonical(row["f"], "DOUBLE") == canonical(str(f), "DOUBLE")
