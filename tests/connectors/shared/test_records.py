"""JSON records of an API to typed columns: exact, in the lake's types, never made up."""

from __future__ import annotations

import json
import threading
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdpsync import engine
from cdpsync.connector import ReadRequest
from cdpsync.errors import ReadError
from cdpsync.model import Column, Stream
from cdpsync.model.types import widens
from cdpsync.sql import quote_name
from cdpsync_connectors._shared import records as records_module
from cdpsync_connectors._shared.records import TIME, Records, parse_list, parse_record

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from duckdb import DuckDBPyConnection

NONE: dict[str, str] = {}


@pytest.fixture(scope="module")
def con() -> Iterable[DuckDBPyConnection]:
    """A connection as the engine's own are."""
    with engine.connect(threads=1) as one:
        yield one


class Read:
    """A read of records: what arrived, as text, and what was said about it."""

    def __init__(self, con: Any, folder: Path, lines: Iterable[str], **wanted: Any) -> None:
        self.notices: list[str] = []
        declared = wanted.pop("declared", NONE)
        columns = wanted.pop("columns", ())
        request = ReadRequest(
            Stream("things", "things", columns, open_schema=True),
            columns,
            on_notice=self.notices.append,
            **wanted,
        )
        records = Records(folder, request, declared)
        for line in lines:
            found, _ = parse_list(f'{{"data": [{line}]}}'.encode(), "things")
            records.add(found)
        self.types: dict[str, str] = {}
        self.rows: list[tuple[str | None, ...]] = []
        for chunk in records.chunks():
            relation = chunk.relation(con)
            self.types = dict(zip(relation.columns, map(str, relation.types), strict=True))
            names = ", ".join(f"{quote_name(name)}::varchar" for name in self.types)
            self.rows += con.execute(f"select {names} from ({chunk.sql})").fetchall()

    def column(self, name: str = "a") -> list[str | None]:
        place = list(self.types).index(name)
        return [row[place] for row in self.rows]


@pytest.fixture
def read(con: DuckDBPyConnection, tmp_path: Path):
    """Read these records, each written as JSON."""
    return lambda *lines, **wanted: Read(con, tmp_path, lines, **wanted)


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
    """Every value is as it was written; where no type holds them all, JSON does."""
    got = read(*(f'{{"a": {value}}}' for value in values))
    assert got.types == {"a": type_}
    assert got.column() == texts


def test_mixture_becomes_json_and_says_so(read):
    """A field of two kinds is kept whole, and the run's record tells of it."""
    got = read('{"a": 1}', '{"a": "one"}')
    assert got.notices == ['column "a" holds numbers and texts: it becomes JSON.']
    assert read('{"a": {}}').notices == []


def test_field_without_a_value_is_no_column_yet(read):
    """Of nothing but null nothing is known: a type made up now could be wrong tomorrow."""
    assert read('{"a": null, "b": 1}').types == {"b": "BIGINT"}


def test_field_without_a_value_keeps_the_lakes_type(read):
    """A requested column is there, as NULL, typed as in the lake, or else as declared."""
    columns = (Column("a", "VARCHAR"), Column("b", "VARCHAR"), Column("c", "BIGINT"))
    got = read('{"a": null}', columns=columns, lake_types={"a": "BIGINT"}, declared={"b": TIME})
    assert got.types == {"a": "BIGINT", "b": TIME, "c": "BIGINT"}
    assert got.rows == [(None, None, None)]


def test_no_records_have_columns_too(read):
    """An empty table still has its columns."""
    got = read(columns=(Column("id", "VARCHAR"),))
    assert got.types == {"id": "VARCHAR"}
    assert got.rows == []


def test_nothing_known_at_all_is_an_error(read):
    """A table of no columns can't be."""
    with pytest.raises(ReadError, match="no column is known"):
        read()


@pytest.mark.parametrize(
    ("held", "value", "type_"),
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
def test_lakes_type_is_the_authority(read, held, value, type_):
    """A column keeps its type, grows with its values, or becomes JSON with a notice."""
    got = read(f'{{"a": {value}}}', lake_types={"a": held})
    assert got.types == {"a": type_}
    assert bool(got.notices) == (type_ == "JSON" and held != "JSON")


def test_declared_seconds_become_a_time(read):
    """Seconds since 1970 are a time when the source's documentation says so."""
    got = read('{"a": 1700000000}', '{"a": -1}', '{"a": null}', declared={"a": TIME})
    assert got.types == {"a": TIME}
    assert got.column() == ["2023-11-14 22:13:20+00", "1969-12-31 23:59:59+00", None]


@pytest.mark.parametrize("value", ["1700000000.5", '"now"', "999999999999999"])
def test_declared_seconds_that_are_none_become_json(read, value):
    """A value that is no time is kept as it is, and told."""
    got = read(f'{{"a": {value}}}', '{"a": 1}', declared={"a": TIME})
    assert got.column() == [value, "1"]
    assert len(got.notices) == 1


def test_types_asked_for_by_name_are_exact_or_refused(read):
    """What the user wants is taken when each value is exactly of it."""
    got = read('{"a": "1.50"}', '{"a": 2}', types={"a": "DECIMAL(10,2)"})
    assert got.column() == ["1.50", "2.00"]
    import duckdb

    with pytest.raises(duckdb.Error, match=r'column "a": value "1\.505" is not exactly'):
        read('{"a": 1.505}', types={"a": "DECIMAL(10,2)"})


def test_fields_that_come_late_and_go_are_null_elsewhere(read):
    """A new field adds a column; one that is missing is NULL, never a default."""
    got = read('{"a": 1}', '{"a": 2, "b": "x"}', '{"b": "y"}')
    assert got.rows == [("1", None), ("2", "x"), (None, "y")]


def test_include_and_exclude_drop_fields(read):
    """What the file keeps out doesn't arrive; new fields are kept out too."""
    line = '{"a": 1, "b": 2, "c": 3}'
    assert list(read(line, exclude=frozenset({"b"})).types) == ["a", "c"]
    assert list(read(line, include=frozenset({"b"})).types) == ["b"]


def test_where_may_name_a_column_that_is_kept_out(read):
    """The condition sees the whole record."""
    got = read('{"a": 1, "b": 1}', '{"a": 2, "b": 2}', where="b > 1", exclude=frozenset({"b"}))
    assert got.rows == [("2",)]
    assert list(got.types) == ["a"]


NAMES = ["x y", 'a"b', "'); drop table t; --", "ä", "select", "f0", "a/b~c", "$.a", "[0]", "a.b"]


def test_hostile_names_are_only_names(read):
    """A name is data: whatever stands in it, the column has it."""
    record = {name: number for number, name in enumerate(NAMES)}
    got = read(json.dumps(record))
    assert list(got.types) == NAMES
    assert got.rows == [tuple(str(number) for number in range(len(NAMES)))]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"": 1}', "a field named '' is no column"),
        ('{"a\\u0000": 1}', r"a field named 'a\\x00' is no column"),
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
def test_what_cannot_be_kept_is_refused_by_name(read, line, said):
    """Nothing that would be lost or guessed passes in silence."""
    with pytest.raises(ReadError, match=said):
        read(line)


def test_name_with_an_escape_is_no_duplicate(read):
    """Only what truly stands twice is refused."""
    assert read('{"\\u0061": 1, "b\\"": 2}').types == {"a": "BIGINT", 'b"': "BIGINT"}


def test_column_of_the_lake_in_another_case_is_refused(read):
    """Two columns that differ only in case cannot both be in the lake."""
    with pytest.raises(ReadError, match='"ID" and "id" differ only in case'):
        read('{"id": 1}', lake_types={"ID": "BIGINT"})


@pytest.mark.parametrize(
    "value", [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000]
)
def test_answer_nested_too_deep_is_refused(value):
    """Whichever parser reaches the end of its stack, the place is named in our words."""
    told = "/v1/things: the values of the answer are nested too deep to be read"
    with pytest.raises(ReadError, match=told):
        parse_list(b'{"data": [{"id": ' + value + b"}]}", "/v1/things")
    with pytest.raises(ReadError, match=told):
        parse_record(b'{"id": ' + value + b"}", "/v1/things")


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b'{"data": 1}', b"[]", b'{"a": "\xff"}'])
def test_answer_that_is_no_page_names_its_place(body):
    """A proxy's HTML page or half an answer is told, with how it begins."""
    with pytest.raises(ReadError, match="/v1/things: the answer is not JSON"):
        parse_list(body, "/v1/things")


def test_single_record_is_read_alike():
    """An answer that is one object gives its fields as they were written."""
    assert bytes(parse_record(b'{ "a": [1.10 ] }', "x")["a"]) == b"[1.10]"


def test_large_records_go_to_several_files(con, tmp_path, monkeypatch):
    """Each file is a chunk, and every record is in exactly one."""
    monkeypatch.setattr(records_module, "_FILE_BYTES", 100)
    got = Read(con, tmp_path, (f'{{"a": {n}}}' for n in range(100)))
    assert sorted(map(int, filter(None, got.column()))) == list(range(100))
    assert len(list(tmp_path.iterdir())) > 5


def test_record_longer_than_duckdbs_usual_line(read):
    """A single value of 20 MB arrives whole."""
    got = read('{"a": "' + "x" * 20_000_000 + '"}')
    assert got.column() == ["x" * 20_000_000]


def test_many_threads_add_at_once(con, tmp_path):
    """Nothing is lost or mixed when several writers add."""
    request = ReadRequest(Stream("t", "t", (), open_schema=True), ())
    records = Records(tmp_path, request, {})

    def add(start: int) -> None:
        for number in range(start, start + 50):
            records.add(parse_list(f'{{"data":[{{"a":{number},"b":"x"}}]}}'.encode(), "t")[0])

    threads = [threading.Thread(target=add, args=(place * 50,)) for place in range(8)]
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
@given(st.lists(records, max_size=6) | same_kind)
def test_any_records_come_back_as_they_were(con, tmp_path_factory, given_records):
    """Whatever the records are, each value of each field says the same in the lake."""
    given_records = [{"id": str(n), **record} for n, record in enumerate(given_records)]
    lines = ["{" + ",".join(f'"{k}":{v}' for k, v in r.items()) + "}" for r in given_records]
    folder = tmp_path_factory.mktemp("spool")
    got = Read(con, folder, lines, columns=(Column("id", "BIGINT"),))
    assert len(got.rows) == len(given_records)
    for record, row in zip(given_records, got.rows, strict=True):
        for (name, type_), value in zip(got.types.items(), row, strict=True):
            assert same(record.get(name, "null"), type_, value), (name, type_, value)
        assert all(value == "null" for name, value in record.items() if name not in got.types)


kinds = st.sampled_from([numbers, texts, st.sampled_from(["true", "null"]), values])
column = kinds.flatmap(lambda kind: st.lists(kind, min_size=1, max_size=4))


@settings(max_examples=150)
@given(column, column)
def test_column_only_grows_from_run_to_run(con, tmp_path_factory, before, after):
    """Whatever comes next, the lake's column can become it in place; or it becomes JSON."""
    columns = (Column("id", "BIGINT"),)
    first, then = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("then")
    held = Read(con, first, [f'{{"a": {v}}}' for v in before], columns=columns).types.get("a")
    landed = {"a": held} if held else {}
    got = Read(con, then, [f'{{"a": {v}}}' for v in after], columns=columns, lake_types=landed)
    type_ = got.types.get("a")
    assert held is None or type_ in {None, held, "JSON"} or widens(held, type_)
    if type_ is not None:
        assert all(same(raw, type_, v) for raw, v in zip(after, got.column(), strict=True))


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
