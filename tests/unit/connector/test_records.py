"""JSON records of an API as typed columns: exact values, in the lake's types."""

from __future__ import annotations

import json
import threading
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdpsync import engine
from cdpsync.connector import ReadRequest
from cdpsync.connector.records import records as records_module
from cdpsync.connector.records.parse import decode_json, parse_record, parse_records
from cdpsync.connector.records.records import TIME, Records
from cdpsync.errors import ReadError
from cdpsync.model import Column, Stream
from cdpsync.model.types import widens
from cdpsync.sql import quote_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from duckdb import DuckDBPyConnection

    from cdpsync.connector.records.parse import Fields

ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
NONE: dict[str, str] = {}


@pytest.fixture(scope="module")
def con() -> Iterable[DuckDBPyConnection]:
    """A connection with the engine's settings."""
    with engine.connect(threads=1) as connection:
        yield connection


def parse_array(body: bytes, where: str) -> list[Fields]:
    """The records of an API that answers with a JSON array, without an envelope."""
    return parse_records(decode_json(ARRAY, body, where, "an array of objects"), where)


class Read:
    """A read of records: the rows as text, their types, and the notices."""

    def __init__(self, con: Any, folder: Path, lines: Iterable[str], **options: Any) -> None:
        self.notices: list[str] = []
        declared = options.pop("declared", NONE)
        columns = options.pop("columns", ())
        request = ReadRequest(
            Stream("things", "things", columns, open_schema=True),
            columns,
            on_notice=self.notices.append,
            **options,
        )
        records = Records(folder, request, declared)
        for line in lines:
            records.add(parse_array(f"[{line}]".encode(), "things"))
        self.types: dict[str, str] = {}
        self.rows: list[tuple[str | None, ...]] = []
        for chunk in records.chunks():
            relation = chunk.relation(con)
            self.types = dict(zip(relation.columns, map(str, relation.types), strict=True))
            names = ", ".join(f"{quote_name(name)}::varchar" for name in self.types)
            self.rows += con.execute(f"select {names} from ({chunk.sql})").fetchall()

    def column(self, name: str = "a") -> list[str | None]:
        position = list(self.types).index(name)
        return [row[position] for row in self.rows]


@pytest.fixture
def read(con: DuckDBPyConnection, tmp_path: Path):
    """Read these records, each written as JSON."""
    return lambda *lines, **options: Read(con, tmp_path, lines, **options)


@pytest.mark.parametrize(
    ("values", "type_", "texts"),
    [
        (["1", "-2", "9223372036854775807"], "BIGINT", ["1", "-2", "9223372036854775807"]),
        (["1", "9223372036854775808"], "DECIMAL(38,0)", ["1", "9223372036854775808"]),
        (["9" * 38], "DECIMAL(38,0)", ["9" * 38]),
        (["9" * 39], "JSON", ["9" * 39]),
        (["1.10", "2"], "DECIMAL(21,2)", ["1.10", "2.00"]),
        (["0.1234567890123456789"], "DECIMAL(38,19)", ["0.1234567890123456789"]),
        (["0.12345678901234567890123"], "DECIMAL(23,23)", [".12345678901234567890123"]),
        (["-0.5", "0.0"], "DECIMAL(20,1)", ["-0.5", "0.0"]),
        (["1e2", "1.5"], "DOUBLE", ["100.0", "1.5"]),
        (["-0"], "DOUBLE", ["-0.0"]),
        (["1e400"], "JSON", ["1e400"]),
        (["1e2", "0.1234567890123456"], "DOUBLE", ["100.0", "0.1234567890123456"]),
        (["1e2", "0.123456789012345678"], "JSON", ["1e2", "0.123456789012345678"]),
        (["true", "null", "false"], "BOOLEAN", ["true", None, "false"]),
        (['"x"', '""', "null"], "VARCHAR", ["x", "", None]),
        (['"s\\u0000\\"\\\\\\n\\ud83d\\ude00"'], "VARCHAR", ['s\0"\\\n😀']),
        (['{"n": 1.10, "k": [1, -0]}', "[]"], "JSON", ['{"n":1.10,"k":[1,-0]}', "[]"]),
        (['"1"', "1.50"], "JSON", ['"1"', "1.50"]),
        (['"a\\"b"', "{}", "true"], "JSON", ['"a\\"b"', "{}", "true"]),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_values_become_the_type_that_holds_each(read, values, type_, texts):
    """Every value stays as it was written; where no type holds them all, the column is JSON."""
    result = read(*(f'{{"a": {value}}}' for value in values))
    assert result.types == {"a": type_}
    assert result.column() == texts


def test_mixture_becomes_json_and_says_so(read):
    """A field of two kinds loses no value, and the run's record has a notice."""
    result = read('{"a": 1}', '{"a": "one"}')
    assert result.notices == ['column "a" holds numbers and texts: it becomes JSON.']
    assert read('{"a": {}}').notices == []


def test_field_without_a_value_is_no_column_yet(read):
    """A field that is always null has no type yet, because a guess may be wrong tomorrow."""
    assert read('{"a": null, "b": 1}').types == {"b": "BIGINT"}


def test_field_without_a_value_keeps_the_lakes_type(read):
    """A requested column is NULL with the lake's type, or else with the declared one."""
    columns = (Column("a", "VARCHAR"), Column("b", "VARCHAR"), Column("c", "BIGINT"))
    result = read('{"a": null}', columns=columns, lake_types={"a": "BIGINT"}, declared={"b": TIME})
    assert result.types == {"a": "BIGINT", "b": TIME, "c": "BIGINT"}
    assert result.rows == [(None, None, None)]


def test_read_without_records_has_columns(read):
    """An empty table still has its columns."""
    result = read(columns=(Column("id", "VARCHAR"),))
    assert result.types == {"id": "VARCHAR"}
    assert result.rows == []


def test_read_without_records_and_columns_is_an_error(read):
    """A table without columns is impossible."""
    with pytest.raises(ReadError, match="no column is known"):
        read()


@pytest.mark.parametrize(
    ("existing", "value", "type_"),
    [
        ("BIGINT", "5", "BIGINT"),
        ("INTEGER", "5", "BIGINT"),
        ("BIGINT", "5.25", "DECIMAL(21,2)"),
        ("BIGINT", "9223372036854775808", "DECIMAL(38,0)"),
        ("DECIMAL(21,2)", "5", "DECIMAL(21,2)"),
        ("DECIMAL(21,2)", "5.125", "DECIMAL(22,3)"),
        ("DECIMAL(38,0)", "0.5", "JSON"),
        ("DECIMAL(38,20)", "7", "DECIMAL(38,20)"),
        ("DOUBLE", "7", "DOUBLE"),
        ("DOUBLE", "1e3", "DOUBLE"),
        ("DOUBLE", "12345678901234567890", "JSON"),
        ("VARCHAR", '"x"', "VARCHAR"),
        ("VARCHAR", "5", "JSON"),
        ("BOOLEAN", "true", "BOOLEAN"),
        ("BOOLEAN", "5", "JSON"),
        ("BIGINT", "{}", "JSON"),
        ("JSON", "5", "JSON"),
    ],
)
def test_lakes_type_decides(read, existing, value, type_):
    """A column keeps its type, is widened to its values, or becomes JSON with a notice."""
    result = read(f'{{"a": {value}}}', lake_types={"a": existing})
    assert result.types == {"a": type_}
    assert bool(result.notices) == (type_ == "JSON" and existing != "JSON")


def test_declared_seconds_become_a_time(read):
    """Seconds since 1970 are a time if the source's documentation says so."""
    result = read('{"a": 1700000000}', '{"a": -1}', '{"a": null}', declared={"a": TIME})
    assert result.types == {"a": TIME}
    assert result.column() == ["2023-11-14 22:13:20+00", "1969-12-31 23:59:59+00", None]


@pytest.mark.parametrize("value", ["1700000000.5", '"now"', "999999999999999"])
def test_declared_seconds_that_are_not_a_time_become_json(read, value):
    """A value that is not a time stays as it is, and a notice reports it."""
    result = read(f'{{"a": {value}}}', '{"a": 1}', declared={"a": TIME})
    assert result.column() == [value, "1"]
    assert len(result.notices) == 1


def test_requested_types_are_exact_or_refused(read):
    """A type that the user requests is used if each value is exactly of it."""
    result = read('{"a": "1.50"}', '{"a": 2}', types={"a": "DECIMAL(10,2)"})
    assert result.column() == ["1.50", "2.00"]
    import duckdb

    with pytest.raises(duckdb.Error, match=r'column "a": value "1\.505" is not exactly'):
        read('{"a": 1.505}', types={"a": "DECIMAL(10,2)"})


def test_field_is_null_in_records_without_it(read):
    """A new field adds a column; a missing field is NULL, never a default."""
    result = read('{"a": 1}', '{"a": 2, "b": "x"}', '{"b": "y"}')
    assert result.rows == [("1", None), ("2", "x"), (None, "y")]


def test_include_and_exclude_drop_fields(read):
    """A field that the project file excludes is dropped, also if it is new."""
    line = '{"a": 1, "b": 2, "c": 3}'
    assert list(read(line, exclude=frozenset({"b"})).types) == ["a", "c"]
    assert list(read(line, include=frozenset({"b"})).types) == ["b"]


def test_where_may_name_an_excluded_column(read):
    """The condition is applied to the whole record."""
    result = read('{"a": 1, "b": 1}', '{"a": 2, "b": 2}', where="b > 1", exclude=frozenset({"b"}))
    assert result.rows == [("2",)]
    assert list(result.types) == ["a"]


NAMES = ["x y", 'a"b', "'); drop table t; --", "ä", "select", "f0", "a/b~c", "$.a", "[0]", "a.b"]


def test_hostile_names_are_only_names(read):
    """A name is data: the column has the same name, whatever signs are in it."""
    record = {name: number for number, name in enumerate(NAMES)}
    result = read(json.dumps(record))
    assert list(result.types) == NAMES
    assert result.rows == [tuple(str(number) for number in range(len(NAMES)))]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"": 1}', "a field named '' cannot be a column"),
        ('{"a\\u0000": 1}', r"a field named 'a\\x00' cannot be a column"),
        ('{"Id": 1, "id": 2}', 'the fields "Id" and "id" differ only in case'),
        ('{"a": 1, "b": 2, "a": 3}', "names its field 'a' twice"),
        ('{"a": 1, "\\u0061": 2}', "names its field 'a' twice"),
        ("5", "a record is not a JSON object: b'5'"),
        ('{"a": NaN}', "the answer is not JSON"),
        ('{"a": "\\ud800"}', "the answer is not JSON"),
        ('{"a": 1', "the answer is not JSON"),
        ('{"a": 01}', "the answer is not JSON"),
    ],
)
def test_record_that_would_lose_a_value_is_refused(read, line, message):
    """No value is lost or guessed without an error."""
    with pytest.raises(ReadError, match=message):
        read(line)


def test_name_with_an_escape_is_not_a_duplicate(read):
    """Only a name that occurs twice is refused."""
    assert read('{"\\u0061": 1, "b\\"": 2}').types == {"a": "BIGINT", 'b"': "BIGINT"}


def test_column_of_the_lake_in_another_case_is_refused(read):
    """Two columns that differ only in case cannot both be in the lake."""
    with pytest.raises(ReadError, match='"ID" and "id" differ only in case'):
        read('{"id": 1}', lake_types={"ID": "BIGINT"})


@pytest.mark.parametrize(
    "value", [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000]
)
def test_answer_nested_too_deep_is_refused(value):
    """Whichever parser reaches the end of its stack, the error is ours and names the path."""
    message = "/v1/things: the values of the answer are nested too deep to be read"
    with pytest.raises(ReadError, match=message):
        parse_array(b'[{"id": ' + value + b"}]", "/v1/things")
    with pytest.raises(ReadError, match=message):
        parse_record(b'{"id": ' + value + b"}", "/v1/things")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"\xff", b'{"data": 1}', b"{}", b'[{"a": "\xff"}]']
)
def test_answer_that_is_not_as_expected_names_its_path(body):
    """The error of a proxy's HTML page or half an answer has its first bytes."""
    with pytest.raises(ReadError, match="/v1/things: the answer is not JSON with an array of"):
        parse_array(body, "/v1/things")


def test_single_record_is_parsed_in_the_same_way():
    """The fields of an answer that is one object have the bytes that were written."""
    assert bytes(parse_record(b'{ "a": [1.10 ] }', "x")["a"]) == b"[1.10]"


def test_large_records_go_to_several_files(con, tmp_path, monkeypatch):
    """Each file is a chunk, and every record is in exactly one."""
    monkeypatch.setattr(records_module, "_FILE_BYTES", 100)
    result = Read(con, tmp_path, (f'{{"a": {n}}}' for n in range(100)))
    assert sorted(map(int, filter(None, result.column()))) == list(range(100))
    assert len(list(tmp_path.iterdir())) > 5


def test_record_longer_than_duckdbs_default_line(read):
    """A single value of 20 MB is complete."""
    result = read('{"a": "' + "x" * 20_000_000 + '"}')
    assert result.column() == ["x" * 20_000_000]


def test_many_threads_add_at_once(con, tmp_path):
    """Several threads add records, and no record is lost or mixed with another."""
    request = ReadRequest(Stream("t", "t", (), open_schema=True), ())
    records = Records(tmp_path, request, {})

    def add(start: int) -> None:
        for number in range(start, start + 50):
            records.add(parse_array(f'[{{"a":{number},"b":"x"}}]'.encode(), "t"))

    threads = [threading.Thread(target=add, args=(thread * 50,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (chunk,) = records.chunks()
    rows = con.execute(f"select a, b from ({chunk.sql}) order by a").fetchall()
    assert rows == [(number, "x") for number in range(400)]


numbers = (
    st.integers(-(10**20), 10**20).map(str)
    | st.decimals(allow_nan=False, allow_infinity=False, places=4, max_value=10**12).map(
        lambda value: f"{value:f}"
    )
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
)
texts = st.text(st.characters(exclude_categories=["Cs"])).map(json.dumps)
scalars = st.sampled_from(["null", "true", "false"]) | numbers | texts
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda v: f"[{','.join(v)}]")
        | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3).map(
            lambda d: "{" + ",".join(f'"{k}":{v}' for k, v in d.items()) + "}"
        )
    ),
    max_leaves=5,
)
records = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)
same_kind = st.sampled_from([numbers, texts, st.sampled_from(["true", "false"])]).flatmap(
    lambda kind: st.lists(st.dictionaries(st.sampled_from("ab"), kind, max_size=2), max_size=6)
)


@settings(max_examples=150)
@example([{"a": "9007199254740993"}, {"a": "1e+16"}])  # a double has no such integer
@given(st.lists(records, max_size=6) | same_kind)
def test_any_record_has_the_same_values_in_the_lake(con, tmp_path_factory, given_records):
    """Each value of each field is the same in the lake, whatever the records are."""
    given_records = [{"id": str(n), **record} for n, record in enumerate(given_records)]
    lines = ["{" + ",".join(f'"{k}":{v}' for k, v in r.items()) + "}" for r in given_records]
    folder = tmp_path_factory.mktemp("spool")
    result = Read(con, folder, lines, columns=(Column("id", "BIGINT"),))
    assert len(result.rows) == len(given_records)
    for record, row in zip(given_records, result.rows, strict=True):
        for (name, type_), value in zip(result.types.items(), row, strict=True):
            assert same(record.get(name, "null"), type_, value), (name, type_, value)
        assert all(value == "null" for name, value in record.items() if name not in result.types)


kinds = st.sampled_from([numbers, texts, st.sampled_from(["true", "null"]), values])
column = kinds.flatmap(lambda kind: st.lists(kind, min_size=1, max_size=4))


@settings(max_examples=150)
@given(column, column)
def test_column_only_grows_from_run_to_run(con, tmp_path_factory, before, after):
    """The lake's column can be widened in place to the next values, or it becomes JSON."""
    columns = (Column("id", "BIGINT"),)
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    lines = [f'{{"a": {value}}}' for value in before]
    existing = Read(con, first, lines, columns=columns).types.get("a")
    lake_types = {"a": existing} if existing else {}
    lines = [f'{{"a": {value}}}' for value in after]
    result = Read(con, second, lines, columns=columns, lake_types=lake_types)
    type_ = result.types.get("a")
    assert existing is None or type_ in {None, existing, "JSON"} or widens(existing, type_)
    if type_ is not None:
        assert all(same(raw, type_, v) for raw, v in zip(after, result.column(), strict=True))


def same(raw: str, type_: str, value: str | None) -> bool:
    if raw == "null" or value is None:
        return raw == "null" and value is None
    if type_ == "VARCHAR":
        return json.loads(raw) == value
    if type_ == "BIGINT" or type_.startswith("DECIMAL"):
        return Decimal(raw) == Decimal(value)
    if type_ == "DOUBLE":
        return repr(float(raw)) == repr(float(value)) and Decimal(repr(float(raw))) == Decimal(raw)
    if raw.startswith('"'):  # to_json may write another escape for the same text
        return json.loads(raw) == json.loads(value)
    return raw == value
