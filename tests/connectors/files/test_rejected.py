"""`on_error: reject`: a record that is no row is set aside, with line, reason and text."""

from __future__ import annotations

import csv
import io
import json
import shutil
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from support.file_fuzzing import plain
from support.file_sources import connector, refusal, rows, write

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
    path = write(tmp_path / "b.json", '[{"a": 1}, {"a": 2}]')
    assert both(path, con) == ([(1,), (2,)], [])
    write(path, '[{"a": 1}, {"a": }]')
    assert "line 1: " in refusal(connector(path, on_error="reject"))


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
