"""The dialect of text files: found in the header or set, told where it was decided."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import zipfile
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.file_fuzzing import plain
from support.file_sources import connector, refusal, rows, types, write

from cdpsync.errors import ReadError
from cdpsync_connectors.files.options import FilesOptions

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb


def told(path: Path, con: duckdb.DuckDBPyConnection, **options: Any) -> list[str]:
    """Return the notices of the one stream, without the file's path; it can be read."""
    files = connector(path, **options)
    rows(files, con)
    (stream,) = files.discover()
    return [notice.replace(f"{path}: ", "") for notice in stream.notices]


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("id;name\n1;Ana\n", 'by ";"'),
        ("id;name, first\n1;Ana\n2;Bo\n", 'by ";"'),
        ('"id";"name"\n"1";"A;n,a"\n', 'by ";"'),
        ("id\tname\r\n1\tAna\r\n", "by a tab (\\t)"),
        ("id|name\n1|Ana\n", 'by "|"'),
        ("id;name\n", 'by ";"'),
        ("id,name\n1,Ana\n", None),
        ("id,na;me\n1,Ana\n", None),
        ('id,"na;me"\n1,A;na\n', None),
        ("name\nAna; Bo\n", None),
        ('"a\nb";"c"\n"1";"x\ny"\n', 'by ";"'),
    ],
)
def test_delimiter_is_found_in_the_header(tmp_path, con, text, delimiter):
    """The delimiter is the one under which each record is as wide as the header, and it is told."""
    path = write(tmp_path / "a.csv", text)
    sign = {'by ";"': ";", "by a tab (\\t)": "\t", 'by "|"': "|", None: ","}[delimiter]
    header, *records = csv.reader(io.StringIO(text, newline=""), delimiter=sign)
    source = connector(path)
    assert list(types(source)) == header
    read = rows(source, con, types=dict.fromkeys(header, "VARCHAR"))
    assert read == [tuple(record) for record in records]
    assert told(path, con) == ([f"its fields are separated {delimiter}"] if delimiter else [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a;b\nfoo\nbar\n", 'separated by ";", and a record has another number of fields'),
        ("id;name\n1;Ana\n2;Bo;x\n", 'separated by ";", and a record has another'),
        ("id;name\n1;Ana\n2;Bo;\n", 'separated by ";", and a record has another'),
        ("id;name\n1;Ana\n2\n", 'separated by ";", and a record has another'),
        ("a;b|c\n", 'separated by ";" or "|", and so could each record'),
        ("a;b,c\n1;2,3\n", 'separated by "," or ";", and so could each record'),
    ],
)
def test_delimiter_that_cannot_be_told_is_asked_for(tmp_path, con, text, message):
    """A file whose header has a usual delimiter in it never becomes a table of one column."""
    path = write(tmp_path / "a.csv", text)
    assert message in refusal(connector(path))
    assert 'Set delimiter: of the source, such as delimiter: ";".' in refusal(connector(path))
    if ";" in text and text.count("\n") == 3 and "foo" in text:
        source = connector(path, delimiter=",")
        assert types(source) == {"a;b": "VARCHAR"}


def test_files_of_one_stream_may_have_several_delimiters(tmp_path, con):
    """Each file of a stream is read with its own delimiter."""
    write(tmp_path / "1.csv", "id;name\n1;Ana\n")
    write(tmp_path / "2.csv", "id,name\n2,Bo\n")
    source = connector(tmp_path, stream="all")
    assert sorted(rows(source, con)) == [(1, "Ana"), (2, "Bo")]


def test_repeated_names_are_numbered_and_told(tmp_path, con):
    """A name that the header has again gets a number, which no other column has."""
    path = write(tmp_path / "a.csv", "id,name,Name,name_2,name\n1,a,b,c,d\n")
    assert list(types(connector(path))) == ["id", "name", "Name_3", "name_2", "name_4"]
    assert rows(connector(path), con) == [(1, "a", "b", "c", "d")]
    assert told(path, con) == [
        'the header names "Name" again in column 3, which is "Name_3" in the lake',
        'the header names "name" again in column 5, which is "name_4" in the lake',
    ]


def test_header_in_the_middle_is_told(tmp_path, con):
    """A file that was written twice into one has its header among its rows."""
    path = write(tmp_path / "a.csv", "id,name\n1,a\nid,name\n2,b\n")
    assert told(path, con) == ["the header is in the file once more, and loaded as a row"]
    write(path, "id,name\n1,a\nid,nam\n2,b\n")
    assert told(path, con) == []


def test_dialects_of_signs(tmp_path, con):
    """Quote, escape, comment, skipped lines and several texts of NULL can be set."""
    path = write(tmp_path / "a.csv", "id,t\n1,'a,''b'\n2,\"x\n")
    assert rows(connector(path, quote="'"), con) == [(1, "a,'b"), (2, '"x')]
    write(path, 'id\tt\n1\t"a\n2\t"b"\n')
    assert rows(connector(path, quote="none", delimiter="\\t"), con) == [(1, '"a'), (2, '"b"')]
    write(path, 'id,t\n1,NA\n2,"NA"\nNULL,\n3,""\n')
    source = connector(path, null=["", "NA", "NULL"])
    assert rows(source, con) == [(1, None), (2, "NA"), (None, None), (3, "")]
    write(path, 'Report "of,\nMay\nid;t\n1;2\n')
    assert rows(connector(path, skip=2), con) == [(1, 2)]
    write(path, '# made by x, y\nid,t\n# none\n1,a#b\n2,"x\n# y"\n')
    assert rows(connector(path, comment="#"), con) == [(1, "a#b"), (2, "x\n# y")]
    write(path, 'id,t\n1,"a\\"b\\\\"\n2,a\\b\n3,"x, \\""\n')
    assert rows(connector(path, escape="\\"), con) == [(1, 'a"b\\'), (2, "a\\b"), (3, 'x, "')]
    write(path, "1\ta\\\tb\\\nc\n\\N\t\\\\N\n")
    source = connector(path, quote="none", escape="\\", null="\\N", delimiter="\t", header=False)
    assert rows(source, con) == [(1, "a\tb\nc"), (None, "\\N")]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ('id,t\n1,"a\\b"\n', {"escape": "\\"}, "line 2: \\b is no escape that is known."),
        ('id,t\n1,a\\"b\n', {"escape": "\\"}, 'line 2: \\" outside of quotes.'),
        ('id,t\n1,"a\n2,b\n', {"escape": "\\"}, "line 2: a quote is not closed."),
        ('#\nid,t\n1,"a"b\n', {"comment": "#"}, "line 3: text follows a closing quote."),
        ("x\n#\nid,t\n1\n", {"comment": "#", "skip": 1}, "line 4: 1 fields where there should be"),
        ("#\nid,t\n1,2,\n", {"comment": "#"}, "line 3: 3 fields where there should be 2."),
        ("x\nid,t\n1\n", {"skip": 1}, "line 3: 1 fields where there should be 2"),
        ("x\nid,t\n1,2,\n", {"skip": 1}, "line 3: 3 fields where there should be 2"),
        ("#\na;b|c\n", {"comment": "#"}, 'line 1: the header could be separated by ";" or "|".'),
    ],
)
def test_broken_records_of_set_dialects_are_named(tmp_path, text, options, message):
    """The line is that of the file, also where a copy of it is read."""
    path = write(tmp_path / "a.csv", text)
    assert f"{path}, {message}" in refusal(connector(path, **options))


def test_quoted_empty_numbers(tmp_path, con):
    """With `empty_as_null` a column of quoted numbers may have quoted empty fields."""
    path = write(tmp_path / "a.csv", '"id","v"\n"1","1.5"\n"2",""\n')
    assert types(connector(path)) == {"id": "BIGINT", "v": "VARCHAR"}
    source = connector(path, empty_as_null=True)
    assert rows(source, con) == [(1, Decimal("1.5")), (2, None)]
    assert rows(connector(path, empty_as_null=True, comment="#"), con) == rows(source, con)


TEXTS = {
    "windows-1252": "id,t\n1,€ naïve\n",
    "cp1252": "id,t\n1,€\n",
    "gbk": "id,t\n1,日本\n",
    "shift_jis": "id,t\n1,カタ\n",
    "latin-1": "id,t\n1,naïve\n",
    "ISO-8859-1": "id,t\n1,é\n",
    "ISO-8859-15": "id,t\n1,€\n",
    "utf-16": "id,t\n1,日本\n",
    "utf-16-be": "id,t\n1,日本\n",
    "utf-32": "id,t\n1,😀\n",
    "utf-8-sig": "id,t\n1,é\n",
    "UTF8": "id,t\n1,é\n",
    "koi8-r": "id,t\n1,Привет\n",
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_encodings_by_any_name(tmp_path, con, encoding):
    """A CSV and JSON Lines are read in the encoding that is set, compressed or not."""
    text = TEXTS[encoding]
    expected = [(1, text.splitlines()[1].removeprefix("1,"))]
    path = write(tmp_path / "a.csv", text.encode(encoding))
    assert rows(connector(path, encoding=encoding), con) == expected
    line = f'{{"id": 1, "t": "{expected[0][1]}"}}\n'
    path = write(tmp_path / "a.jsonl", line.encode(encoding))
    assert rows(connector(path, encoding=encoding), con) == expected


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_byte_order_mark_tells_the_encoding(tmp_path, con, name, encoding):
    """What PowerShell and Notepad write is read without any option."""
    text = "id,t\n1,é\n" if name == "a.csv" else '{"id": 1, "t": "é"}\n'
    path = write(tmp_path / name, text.encode(encoding))
    assert rows(connector(path), con) == [(1, "é")]
    assert "begins with the byte order mark of" in refusal(connector(path, encoding="cp1252"))


@pytest.mark.parametrize(
    ("encoding", "data", "message"),
    [
        ("windows-1252", b"id,t\n1,a\n2,\x81\n", "line 3: not in the encoding that was set"),
        ("gbk", b"id,t\n1,\xff\n", "line 2: not in the encoding that was set (encoding: gbk)"),
        ("utf-16", "id,t\n1,a\n".encode("utf-16")[:-1], "line 2: not in the encoding"),
        ("ascii", b"id,t\r\n1,a\r\n2,\xe9\r\n", "line 3: not in the encoding that was set"),
        ("latin-1", b"id,t\n1,a\n2,\x80\n", "line 3: byte 0x80 is a control character in latin-1"),
        (None, b"id,t\n1,\x80\n", "line 2: not in the encoding that was set (without"),
    ],
)
def test_bytes_of_another_encoding_are_named(tmp_path, encoding, data, message):
    """A byte that is no text in the encoding is refused with its line, never replaced."""
    path = write(tmp_path / "a.csv", data)
    assert f"{path}, {message}" in refusal(connector(path, encoding=encoding))


@pytest.mark.parametrize(
    "wrong",
    [
        {"encoding": "klingon"},
        {"encoding": "rot13"},
        {"encoding": "hex"},
        {"quote": ","},
        {"delimiter": '"'},
        {"delimiter": "\\t", "quote": "\t"},
        {"escape": ",", "delimiter": ","},
        {"quote": "\n"},
        {"null": '""'},
        {"null": ["", "a,b"], "delimiter": ","},
        {"skip": -1},
        {"comment": ["#"]},
    ],
)
def test_wrong_dialects_are_refused(wrong):
    """An impossible dialect is an error before any file is read."""
    with pytest.raises(ValidationError):
        FilesOptions.model_validate({"path": "x", **wrong})


fields = st.text(st.sampled_from("ab,;\"'\\\n\r #é"), max_size=5)


@plain
@example([("", "\ré")], "\r\n", ",", '"', False, "utf-8")
@given(
    st.lists(st.tuples(fields, fields), max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(",;\t|"),
    st.sampled_from("\"'"),
    st.booleans(),
    st.sampled_from(["utf-8", "utf-16", "windows-1252"]),
)
def test_any_dialect_of_a_writer_is_read(
    tmp_path, con, records, end, delimiter, quote, escaped, encoding
):
    """What Python's csv writes in a dialect lands as it was, whatever the signs are."""
    written = io.StringIO(newline="")
    writer = csv.writer(
        written,
        delimiter=delimiter,
        quotechar=quote,
        quoting=csv.QUOTE_ALL,
        lineterminator=end,
        doublequote=not escaped,
        escapechar="\\" if escaped else None,
    )
    writer.writerows([("x", "y"), *records])
    path = write(tmp_path / "t.csv", written.getvalue().encode(encoding))
    signs = {"quote": quote, "encoding": encoding} | ({"escape": "\\"} if escaped else {})
    read = rows(connector(path, **signs), con, types={"x": "VARCHAR", "y": "VARCHAR"})
    assert read == records


def test_empty_line_of_one_column_is_one_row(tmp_path, con):
    """A NULL, also if `null` has a text twice; else it is a text, and refused with its line."""
    path = write(tmp_path / "a.csv", "a\nx\n\n2\n")
    for null in ("", ["", ""], ["NA", "", "NA"]):
        assert rows(connector(path, null=null), con) == [("x",), (None,), ("2",)]
    assert f"{path}, line 3: is empty" in refusal(connector(path, null="NA"))
    assert rows(connector(path, null="NA", comment="#"), con) == [("x",), ("",), ("2",)]
    write(path, 'a,b\nx,""\n\n')
    assert rows(connector(path, null="NA"), con) == [("x", "")]


def test_compressed_file_without_quotes(tmp_path, con):
    """Quotes are text there too, beside spaces and without."""
    path = write(tmp_path / "a.csv.gz", gzip.compress(b'x,y\n "a" , b"\n'))
    assert rows(connector(path, quote="none"), con) == [(' "a" ', ' b"')]


@pytest.mark.parametrize(
    "options", [{"comment": "#"}, {"escape": "\\"}, {"on_error": "reject"}, {}]
)
def test_name_may_be_a_text_that_is_null(tmp_path, options):
    """In a header it is a name, as in the dialects that are read directly."""
    path = write(tmp_path / "a.csv", "id,NA,-\n1,NA,2\n")
    assert list(types(connector(path, null=["NA", "-"], **options))) == ["id", "NA", "-"]


ARRAYS = [
    '[{"id": 1, "v": 1.10}, {"id": 2, "v": 0.1234567890123456789}]',
    '\n[\n  {\n    "id": 1,\n    "v": 1.10\n  },\n  {"id": 2, "v": 0.1234567890123456789}\n]\n',
    '{\n  "id": 1,\n  "v": 1.10\n}\n{\n  "id": 2,\n  "v": 0.1234567890123456789\n}\n',
    '{"id": 1\n, "v": 1.10}{"id": 2, "v": 0.1234567890123456789}',
]


@pytest.mark.parametrize("text", ARRAYS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_arrays_and_pretty_json(tmp_path, con, text, encoding):
    """Records in one array, or over several lines each, are as exact as JSON Lines."""
    path = write(tmp_path / "a.json", text.encode(encoding))
    expected = [(1, Decimal("1.10")), (2, Decimal("0.1234567890123456789"))]
    assert rows(connector(path), con) == expected
    write(tmp_path / "b.json", '{"id": 3, "v": 1}\n{"id": 4, "v": 1}\n')
    assert len(rows(connector(tmp_path, stream="all"), con)) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[\n{"a":1}\n{"a":2}]', "line 3: "),
        ('[\n{"a":1},\n,{"a":2}]', "line 3: "),
        ('[\n{"a":1},\n{"a":2}', "line 3: "),
        ('[\n{"a":1},\n2]', "line 3: is not one JSON object"),
        ('[{"a":1},\n{"b":1,"b":2}]', "line 2: is not one JSON object"),
        ('[{"a":1}]\n[{"a":2}]', "line 2: "),
        ('[\n{"a":1},\n]', "line 3: a comma or a bracket is out of place"),
        ('[{"a":1}\n]\n{"a":2}\n]', "line 3: something follows the array"),
        ('[{"a":1}\n]]', "line 2: a comma or a bracket is out of place"),
        ("[\n]\n{", "line 3: something follows the array"),
        ('[\n{"a":"\\ud83d"}]', "line 2: no low surrogate"),
        ('{\n"a":1}\n{"a":"\\udc00"}', "line 3: invalid high"),
        ("{", "line 1: is not one JSON object"),
        ('{\n"a": 1\n}\n[2]\n', "line 4: is not one JSON object"),
        ('{\n"a": 1\n}\n{\n"a": x\n}\n', "line 5: "),
        ('{"a":\n{"a":1}\n', "line 3: "),
        ('{"a":"\\ud83d"}\n', "no low surrogate in string, so it is no text"),
    ],
)
def test_broken_json_documents_are_named(tmp_path, text, message):
    """The line is told where an array or a record over several lines is broken."""
    path = write(tmp_path / "a.json", text)
    assert f"{path}, " in refusal(connector(path))
    assert message in refusal(connector(path))


def test_json_array_that_is_cut_anywhere_is_refused(tmp_path):
    """Behind a comma too, where DuckDB takes the records before it for the whole array."""
    text = '[{"a": 1},\n {"a": [2]},\n {"a": "]"}]'
    for end in range(1, len(text)):
        path = write(tmp_path / "a.json", text[:end])
        assert f"{path}, line " in refusal(connector(path)), text[:end]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
@pytest.mark.parametrize("content", [b"\xef", b"\xef\xbb"])
def test_part_of_a_byte_order_mark_is_refused(tmp_path, name, content):
    """It is no text, and a file of it alone is not empty."""
    path = write(tmp_path / name, content)
    assert f"{path}, line 1: " in refusal(connector(path))


def test_keys_that_differ_in_case_are_numbered_and_told(tmp_path, con):
    """Such keys are two columns, of which the second in the order of the alphabet has a number."""
    lines = '{"UserUpn": 1, "x": 0}\n{"UserUPN": 2}\n'
    path = write(tmp_path / "a.jsonl", lines)
    assert list(types(connector(path))) == ["UserUpn_2", "x", "UserUPN"]
    assert rows(connector(path), con) == [(1, 0, None), (None, None, 2)]
    assert told(path, con) == [
        'the key "UserUpn" differs from another one only in case, and is "UserUpn_2" in the lake'
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"\xef\xbb\xbf"),
        ("a.tsv", b"\xff\xfe"),
        ("a.csv.gz", gzip.compress(b"", mtime=0)),
        ("a.jsonl", b""),
        ("a.jsonl", b"\n\n"),
        ("a.json", b"{}"),
    ],
)
def test_only_empty_files_are_one_line(tmp_path, name, content):
    """A file without a text is fine beside others; alone, it is said that there is nothing."""
    path = write(tmp_path / name, content)
    assert refusal(connector(path)).startswith(f"{path}: is empty, as is each file of stream a")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("options", [{}, {"comment": "#"}, {"on_error": "reject"}])
def test_sign_of_a_mark_that_begins_no_file_is_text(tmp_path, con, encoding, options):
    """Behind skipped lines it is a letter of the header, or of the first value."""
    text = "above\n\ufeffa,b\n\ufeffx,y\n"
    path = write(tmp_path / "a.csv", text.encode(encoding))
    source = connector(path, skip=1, encoding=encoding, **options)
    assert (list(types(source)), rows(source, con)) == (["\ufeffa", "b"], [("\ufeffx", "y")])
    source = connector(path, skip=1, header=False, encoding=encoding, **options)
    assert rows(source, con) == [("\ufeffa", "b"), ("\ufeffx", "y")]


@pytest.mark.parametrize("line", ["sep=;", "SEP=,", "sep=\t", "\ufeffsep=|"])
@pytest.mark.parametrize("header", [True, False])
def test_line_that_tells_excel_the_delimiter_is_no_header(tmp_path, con, line, header):
    """It is refused, because it would be a column's name or a row; `skip: 1` reads the rest."""
    delimiter = line[-1]
    path = write(tmp_path / "a.csv", f"{line}\r\nid{delimiter}v\r\n1{delimiter}x\r\n")
    message = refusal(connector(path, header=header))
    assert message.startswith(f"{path}, line 1: ")
    assert message.endswith("Set skip: 1 of the source.")
    assert rows(connector(path, skip=1), con) == [(1, "x")]


def test_parquet_columns_of_several_types(tmp_path, con):
    """NULL without a type gives way, structs are joined, and for others the user decides."""
    struct = pa.struct({"a": "int64", "b": "string"})
    tables = [
        {
            "n": pa.nulls(1),
            "s": pa.array([{"a": 1, "n": None}], pa.struct({"a": "int32", "n": pa.null()})),
            "mix": pa.array([1], "int64"),
            "t": pa.array([1], pa.timestamp("us")),
        },
        {
            "n": pa.array(["x"]),
            "s": pa.array([{"a": 2, "b": "y"}], struct),
            "mix": pa.array([1.5]),
            "t": pa.array([1001], pa.timestamp("ns")),
        },
    ]
    for number, columns in enumerate(tables):
        pq.write_table(pa.table(columns), tmp_path / f"{number}.parquet")
    source = connector(tmp_path, stream="all")
    assert types(source)["n"] == "VARCHAR"
    assert rows(source, con, only=["n", "s"]) == [
        (None, {"a": 1, "n": None, "b": None}),
        ("x", {"a": 2, "n": None, "b": "y"}),
    ]
    with pytest.raises(ReadError, match=r'"mix" is DOUBLE, and BIGINT .*types: \{mix: varchar\}'):
        rows(source, con, only=["mix"])
    requested = {"mix": "DOUBLE", "t": "TIMESTAMP_NS"}
    read = rows(source, con, only=["mix", "t"], types=requested)
    assert [mix for mix, _ in read] == [1.0, 1.5]
    read = rows(source, con, only=["mix", "s"], types={"mix": "VARCHAR", "s": "JSON"})
    assert [mix for mix, *_ in read] == ["1", "1.5"] or read


@pytest.mark.parametrize(
    ("values", "options", "type_", "expected"),
    [
        (["1.234,50", "-0,5", "7"], {"thousands": "."}, "DECIMAL(38,2)", ["1234.50", "-0.5", "7"]),
        (["1234,5", "12.345.678"], {"thousands": "."}, "DECIMAL(38,1)", ["1234.5", "12345678"]),
        (["1,5", "1.5"], {}, "VARCHAR", ["1,5", "1.5"]),
        (["1,5", "1.23"], {"thousands": "."}, "VARCHAR", ["1,5", "1.23"]),
        (["01,5"], {}, "VARCHAR", ["01,5"]),
        (["1,5e3"], {}, "DOUBLE", ["1500.0"]),
        (["1 234"], {"thousands": " "}, "BIGINT", ["1234"]),
        (["1,234.5"], {"decimal": ".", "thousands": ","}, "DECIMAL(38,1)", ["1234.5"]),
    ],
)
def test_numbers_in_another_notation(tmp_path, con, values, options, type_, expected):
    """A column is a number if each value is one in the notation; otherwise its text stays."""
    path = write(tmp_path / "a.csv", "id;x\n" + "".join(f"1;{value}\n" for value in values))
    source = connector(path, **{"decimal": ",", "delimiter": ";", **options})
    assert types(source)["x"] == type_
    read = [value for _, value in rows(source, con)]
    if type_.startswith("DECIMAL"):
        assert read == [Decimal(value) for value in expected]
    else:
        assert [str(value) for value in read] == expected


def test_requested_numbers_in_another_notation(tmp_path, con):
    """A requested type takes numbers of the notation, and refuses others by their text."""
    path = write(tmp_path / "a.csv", "id;x\n1;1.234,5\n2;1.5\n")
    options = {"decimal": ",", "thousands": "."}
    requested = {"x": "DECIMAL(9,1)"}
    with pytest.raises(ReadError, match=r'value "1\.5 \(decimal: ","\)" is not exactly'):
        rows(connector(path, **options), con, types=requested)
    source = connector(path, **options, on_error="reject")
    assert rows(source, con, types=requested) == [(1, Decimal("1234.5"))]
    assert rows(source, con, types={"x": "VARCHAR"}) == [(1, "1.234,5"), (2, "1.5")]


@pytest.mark.parametrize(
    ("values", "options", "type_", "expected"),
    [
        (["31/12/2024", "1/2/2024", "2024-05-06"], {"date_format": "%d/%m/%Y"}, "DATE",
         ["2024-12-31", "2024-02-01", "2024-05-06"]),
        (["31/02/2024"], {"date_format": "%d/%m/%Y"}, "VARCHAR", ["31/02/2024"]),
        (["31/12/24"], {"date_format": "%d/%m/%Y"}, "VARCHAR", ["31/12/24"]),
        ([" 31/12/2024"], {"date_format": "%d/%m/%Y"}, "VARCHAR", [" 31/12/2024"]),
        (["31.12.24"], {"date_format": "%d.%m.%y"}, "DATE", ["2024-12-31"]),
        (["5 mar 2024"], {"date_format": "%d %b %Y"}, "DATE", ["2024-03-05"]),
        (["2024-13-01", "2024-01-13"], {"date_format": "%Y-%d-%m"}, "VARCHAR",
         ["2024-13-01", "2024-01-13"]),
        (["31/12/2024 23:59:58"], {"timestamp_format": "%d/%m/%Y %H:%M:%S"}, "TIMESTAMP",
         ["2024-12-31 23:59:58"]),
        (["12/31/2024 1:05 pm"], {"timestamp_format": "%m/%d/%Y %I:%M %p"}, "TIMESTAMP",
         ["2024-12-31 13:05:00"]),
        (["31.12.2024 10:00:00.125"], {"timestamp_format": "%d.%m.%Y %H:%M:%S.%f"}, "TIMESTAMP",
         ["2024-12-31 10:00:00.125000"]),
        (["10/Oct/2024:13:55:36 -0700"], {"timestamp_format": "%d/%b/%Y:%H:%M:%S %z"},
         "TIMESTAMP WITH TIME ZONE", ["2024-10-10 20:55:36+00:00"]),
    ],
)  # fmt: skip
def test_days_and_moments_in_another_format(tmp_path, con, values, options, type_, expected):
    """A day or moment is read in the format that is set, exactly as it would be written."""
    path = write(tmp_path / "a.csv", "id,x\n" + "".join(f"1,{value}\n" for value in values))
    source = connector(path, **options)
    assert types(source)["x"] == type_
    assert [str(value) for _, value in rows(source, con)] == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"decimal": ",", "thousands": ","},
        {"decimal": "x"},
        {"date_format": "%d/%m"},
        {"date_format": "%d/%m/%Y %H"},
        {"timestamp_format": "%d/%m/%Y"},
        {"timestamp_format": "%d/%m/%Y %I:%M"},
        {"timestamp_format": "%z %d/%m/%Y %H:%M"},
        {"timestamp_format": "%d/%m/%Y %H:%M:%n"},
    ],
)
def test_wrong_formats_are_refused(wrong):
    """A format that does not tell a whole day or moment is an error before any file is read."""
    with pytest.raises(ValidationError):
        FilesOptions.model_validate({"path": "x", **wrong})


def packed(kind: str, name: str, data: bytes) -> bytes:
    if kind == "bz2":
        return bz2.compress(data)
    if kind == "xz":
        return lzma.compress(data)
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, data)
            archive.writestr("__MACOSX/._x", b"")
        return file.getvalue()


@pytest.mark.parametrize("kind", ["bz2", "xz", "zip"])
def test_archives(tmp_path, con, kind):
    """A compressed file is read whole or refused: cut anywhere, or with a bit flipped."""
    data = packed(kind, "a.csv", "id,t\n1,é\n2,b\n".encode("windows-1252"))
    path = write(tmp_path / f"a.csv.{kind}", data)
    source = connector(path, encoding="windows-1252")
    assert rows(source, con) == [(1, "é"), (2, "b")]
    write(tmp_path / f"b.jsonl.{kind}", packed(kind, "b.jsonl", b'{"id": 1.10}\n'))
    assert rows(connector(tmp_path, encoding="cp1252"), con, "b") == [(Decimal("1.10"),)]
    for length in (0, 3, len(data) // 2, len(data) - 1):
        write(path, data[:length])
        assert f"{path}: " in refusal(connector(path, encoding="windows-1252"))
    for byte in range(0, len(data), 3):
        write(path, data[:byte] + bytes([data[byte] ^ 16]) + data[byte + 1 :])
        source = connector(path, encoding="windows-1252")
        (stream,) = source.discover()
        if stream.unreadable_reason is None:
            assert rows(source, con) == [(1, "é"), (2, "b")], byte


def test_archive_of_one_file_is_named_by_it(tmp_path, con, caplog):
    """The format is that of the file inside; archives of several are told, as other formats are."""
    write(tmp_path / "a.zip", packed("zip", "in/x.csv", b"id\n1\n"))
    write(tmp_path / "book.xls", b"x")
    write(tmp_path / "notes.txt", b"x")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("x.csv", "id\n1\n")
        archive.writestr("y.csv", "id\n1\n")
    source = connector(tmp_path)
    with caplog.at_level("WARNING"):
        assert rows(source, con, "a") == [(1,)]
    assert "not read, because the format is not known: b.zip, book.xls" in caplog.text
    caplog.clear()
    with caplog.at_level("WARNING"):
        connector(f"{tmp_path}/[ab]*").discover()
    assert "not read, because the format is not known: b.zip, book.xls" in caplog.text
    (tmp_path / "b.zip").rename(tmp_path / "b.csv.zip")
    assert "has 2 files in it" in refusal(connector(tmp_path / "b.csv.zip"))
