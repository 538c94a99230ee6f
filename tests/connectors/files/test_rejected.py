"""`on_error: reject`: a record that is no row is set aside, with line, reason and text."""

from __future__ import annotations

import csv
import io
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.file_fuzzing import plain
from support.file_sources import connector, refusal, rows, types, write

from cdpsync_connectors.files.json_documents import read_documents

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb


def both(
    path: Path, con: duckdb.DuckDBPyConnection, types: dict[str, str] | None = None, **options: Any
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Return the rows, and line, reason and text of the rejected records in the order of lines."""
    kept = path.with_name("kept.parquet")
    counts = []

    def keep(file: Path, count: int) -> None:
        shutil.move(file, kept)
        counts.append(count)

    source = connector(path, on_error="reject", **options)
    landed = rows(source, con, on_rejected=keep, types=types or {})
    rejected = con.execute(f"select * from '{kept}' order by line").fetchall()
    assert counts == [len(rejected)]
    assert {file for file, *_ in rejected} <= {str(path)}
    return landed, [record[1:] for record in rejected]


def test_broken_records_are_set_aside(tmp_path, con):
    """Wrong width, a wrong quote and a byte of another encoding; every other record lands."""
    path = write(
        tmp_path / "a.csv",
        b'id,t\n1,a\n2\n3,b,c\n"4"x,d\n\n5,\xff\n6,"e\ne"\n7,"f\n8,g\n',
    )
    landed, rejected = both(path, con)
    assert landed == [(1, "a"), (6, "e\ne"), (8, "g")]
    assert rejected == [
        (3, "1 fields where there should be 2", "2"),
        (4, "3 fields where there should be 2", "3,b,c"),
        (5, "text follows a closing quote", '"4"x,d'),
        (7, "not in the encoding of the file", "5,\\xff"),
        (10, "a quote is not closed", '7,"f'),
    ]
    assert f"{path}, line " in refusal(connector(path))


def test_records_of_another_type_are_set_aside(tmp_path, con):
    """A value that is not exactly of the type that the user gave rejects its record."""
    path = write(tmp_path / "a.csv", "x\nid,v\n1,1.5\n2,n/a\n3,\n4,2.25\nx,1\n")
    landed, rejected = both(path, con, {"id": "INTEGER", "v": "DECIMAL(5,1)"}, skip=1)
    assert [(id_, str(v)) for id_, v in landed] == [(1, "1.5"), (3, "None")]
    assert rejected == [
        (4, 'column "v": value "n/a" is not exactly a DECIMAL(5,1)', "2,n/a"),
        (6, 'column "v": value "2.25" is not exactly a DECIMAL(5,1)', "4,2.25"),
        (7, 'column "id": value "x" is not exactly a INTEGER', "x,1"),
    ]


def test_lines_that_are_no_json_are_set_aside(tmp_path, con):
    """A line that is no object, is no JSON, or has half of a surrogate pair."""
    lines = ['{"a":1}', '{"a":', "[1]", "", '{"a":"\\ud83d"}', '{"a":1,"a":2}', '{"a":2}']
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    landed, rejected = both(path, con)
    assert landed == [(1,), (2,)]
    assert [(line, text) for line, _, text in rejected] == [
        (number, lines[number - 1]) for number in (2, 3, 5, 6)
    ]


BETWEEN = [("[", ",", "]"), ("\n[\n", "\r\n,\n", "\n]\n"), ("\n", "\n", "\n")]


@pytest.mark.parametrize(("begin", "between", "end"), BETWEEN)
def test_records_over_several_lines_are_set_aside(tmp_path, con, begin, between, end):
    """Of an array, and one behind another; also what is no object, or not in the encoding."""
    records = [b'{\n"a": 1}', b"[2]", b'{"a": 3, "a": 3}', b'{"a": "\xff"}', b'{"a":\n"x]"}', b"{}"]
    content = begin.encode() + between.encode().join(records) + end.encode()
    path = write(tmp_path / "b.json", content)
    landed, rejected = both(path, con, {"a": "INTEGER"})
    assert landed == [(1,), (None,)]
    assert [reason[:14] for _, reason, _ in rejected] == [
        "is not one JSO",
        "is not one JSO",
        "not in the enc",
        'column "a": va',
    ]
    lines = [content[: content.index(record)].count(b"\n") + 1 for record in records[1:5]]
    assert [line for line, _, _ in rejected] == lines


@pytest.mark.parametrize(("begin", "between", "end"), BETWEEN)
@pytest.mark.parametrize("size", [1, 2, 7, 99])
def test_text_may_come_in_blocks_of_any_size(begin, between, end, size):
    """A value goes on in the next block, also a number that could end with this one."""
    values = ['{"a": [1, "]}\\""]}', "123", '"x\\\\"', "[[], {}]", "-1.5e+10", "null", "{}"]
    text = begin + (between + "\n").join(values) + end
    blocks = [text[start : start + size] for start in range(0, len(text), size)]
    documents = list(read_documents(blocks))
    assert [value for _, value in documents] == values
    assert all(value in text.split("\n")[line - 1] for line, value in documents)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1},\n{"a": }]', "line 2: is no JSON"),
        ('[{"a": 1},\n{"a": 2}', "line 2: the array does not end"),
        ('[{"a": 1},\n]', "line 2: is no JSON"),
        ('[{"a": 1}\n{"a": 2}]', "line 2: neither a comma nor the end"),
        ('[{"a": 1}\n]\n{"a": 2}]', "line 3: something follows"),
        ('{"a":\n1}\n{"a"', "line 3: is no JSON"),
    ],
)
def test_json_that_cannot_be_divided_stops(tmp_path, text, message):
    """Behind a fault nobody knows where the next record of an array begins."""
    path = write(tmp_path / "a.json", text)
    assert f"{path}, {message}" in refusal(connector(path, on_error="reject"))


def test_json_values_of_another_type_are_set_aside(tmp_path, con):
    """Each with its line and its text, beside lines that are no JSON; numbers as they are written.

    A string of a number is that number, and a value that is missing is NULL.
    """
    lines = [
        ' {"id": 1, "v": 1.50, "d": "2024-01-31", "n": {"a": [1.10]}}',
        "",
        '{"id": "x", "v": 0.1234567890123456789}',
        '{"id": 3, "v": "7.25"}',
        "{}",
        '{"id": 4, "v": [1]',
        '{"v": "1.255", "id": 5}',
        '{"id": 6, "d": "31.1.2024", "é": "1"}',
        '{"id": 7, "d": true}',
        '{"id": 8, "v": 2.5, "n": 0.10}',
    ]
    path = write(tmp_path / "a.jsonl", "\r\n".join(lines))
    types = {"id": "INTEGER", "v": "DECIMAL(9,2)", "d": "DATE", "n": "JSON"}
    landed, rejected = both(path, con, types)
    assert [(id_, v and str(v), d and str(d), n) for id_, v, d, n, *_ in landed] == [
        (1, "1.50", "2024-01-31", '{"a":[1.10]}'),
        (3, "7.25", None, None),
        (None, None, None, None),
        (8, "2.50", None, "0.10"),
    ]
    assert rejected == [
        (3, 'column "id": value "x" is not exactly a INTEGER', lines[2]),
        (6, "is not one JSON object, each key named once", lines[5]),
        (7, 'column "v": value "1.255" is not exactly a DECIMAL(9,2)', lines[6]),
        (8, 'column "d": value "31.1.2024" is not exactly a DATE', lines[7]),
        (9, 'column "d": value "true" is not exactly a DATE', lines[8]),
    ]
    for number, line in enumerate(lines):
        write(tmp_path / f"b/{number}.jsonl", line)
    counts = []
    source = connector(tmp_path / "b", on_error="reject", stream="all")
    assert len(rows(source, con, types=types, on_rejected=lambda _, n: counts.append(n))) == 4
    assert counts == [5]


def test_rows_of_workbooks_are_set_aside(tmp_path, con):
    """A cell that is not of the user's type, an error, and a value beside the header."""
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        for number, cells in enumerate(
            [["id", "v"], [1, 1.5], [2, "n/a"], [], ["x", 3], [4, None], [5, 6, "more"], [7, 2.25]]
        ):
            sheet.write_row(number + 1, 1, cells)
        sheet.write_formula("C10", "=na()", None, "#N/A")
        sheet.write("B10", 8)
    types = {"id": "INTEGER", "v": "DECIMAL(5,1)"}
    landed, rejected = both(path, con, types)
    assert [(id_, v and str(v)) for id_, v in landed] == [(1, "1.5"), (4, None)]
    lines, reasons, texts = zip(*rejected, strict=True)
    assert lines == (4, 6, 8, 9, 10)
    assert texts == ("2,n/a", "x,3", "5,6,more", "7,2.25", "8,#N/A")
    assert reasons[0] == 'column "v": value "n/a" is not exactly a DECIMAL(5,1)'
    assert reasons[1] == 'column "id": value "x" is not exactly a INTEGER'
    assert reasons[2].startswith("D8: has a value, and the header has only the columns B to C.")
    assert reasons[4].startswith("C10: ")


def test_parquet_has_no_records_to_set_aside():
    """The configuration says so, before any run; beside other formats such files stop alone."""
    with pytest.raises(ValidationError, match="on_error: reject sets aside records of CSV, JSON"):
        connector("a.parquet", format="parquet", on_error="reject")
    connector("a.parquet", on_error="reject")


def test_header_that_is_broken_stops(tmp_path):
    """Without a header there are no columns, so nothing is set aside."""
    path = write(tmp_path / "a.csv", b"id,\xff\n1,2\n")
    assert "line 1: not in the encoding" in refusal(connector(path, on_error="reject"))


signs = st.text(st.sampled_from('a,"\n'), max_size=40)


@plain
@given(signs)
def test_rows_and_rejected_records_are_the_whole_file(tmp_path, con, text):
    """Rows equal Python's wherever its strict reader accepts all; no line is lost or doubled."""
    path = write(tmp_path / "t.csv", "k,v\n" + text)
    landed, rejected = both(path, con, {"k": "VARCHAR", "v": "VARCHAR"})
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        assert rejected
    else:
        right = [record for record in records if len(record) == 2]
        assert [[k or "", v or ""] for k, v in landed] == right
        assert len(rejected) == sum(len(record) not in (0, 2) for record in records)
    assert all(json.dumps(text) for _, _, text in rejected)


values = st.sampled_from(
    ["1", '"2"', "1.5", "true", "null", "[3]", '"\u00fc"', '{"b": "]"}', "nan"]
)
objects = st.builds(
    lambda pairs: "{" + ", ".join(f'"{key}":\t{value}' for key, value in pairs) + "}",
    st.lists(st.tuples(st.sampled_from("ab"), values), max_size=3),
)


@plain
@given(st.lists(st.one_of(objects, values), max_size=6), st.sampled_from(["lines", *BETWEEN]))
def test_rows_and_rejected_json_are_the_whole_file(tmp_path, con, records, layout):
    """A row is an object of distinct keys, by Python, of which `a` is of the user's type."""
    begin, between, end = ("", "\n", "") if layout == "lines" else layout
    first = "{}" if layout == "lines" else "{\n}"  # which tells that records are over lines
    path = write(tmp_path / "t.json", begin + between.join([first, *records]) + end)
    if layout != "lines" and "nan" in "".join(records):
        assert f"{path}, line " in refusal(connector(path, on_error="reject"))
        return
    if not any('"a"' in record and is_row(record) for record in records):
        return  # no column of that name
    landed, rejected = both(path, con, {"a": "INTEGER"})
    good = [json.loads(record) for record in records if is_row(record)]
    kept = [record.get("a") for record in good if is_integer(record.get("a"))]
    column = find_names(path).index("a")
    assert [row[column] for row in landed] == [None, *(v if v is None else int(v) for v in kept)]
    assert len(landed) + len(rejected) == len(records) + 1


def is_row(text: str) -> bool:
    try:
        pairs = json.loads(text, object_pairs_hook=tuple)
    except ValueError:
        return False
    is_object = text.startswith("{")
    return is_object and len({key for key, _ in pairs}) == len(pairs)


def is_integer(value: object) -> bool:
    return value is None or (value in (1, "2") and not isinstance(value, bool))


def find_names(path: Path) -> list[str]:
    return list(types(connector(path, on_error="reject")))
