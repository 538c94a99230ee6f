"""The files connector: every value is exactly that of the file, or an error names it."""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import json
import os
import re
import tempfile
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.file_fuzzing import plain
from support.file_sources import connector, find_stream, refusal, rows, types, write

from cdpsync.connector import ReadRequest
from cdpsync.connector.exact_sql import text_class
from cdpsync.errors import CdpsyncError, ConnectError, ReadError
from cdpsync.model import Cursor, CursorType, Window
from cdpsync_connectors.files.connector import FilesConnector
from cdpsync_connectors.files.options import FilesOptions


def column(path: Path, values: list[str]) -> Path:
    return write(path, "n,x\n" + "".join(f"{n},{value}\n" for n, value in enumerate(values)))


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (["1", "-2", "0", "9223372036854775807", "-9223372036854775808"], "BIGINT"),
        (["01234", "5"], "VARCHAR"),
        (["+1"], "VARCHAR"),
        (["-0"], "VARCHAR"),
        (["-0.00", "1.5"], "VARCHAR"),
        ([" 1"], "VARCHAR"),
        (["1_000"], "VARCHAR"),
        ([".5"], "VARCHAR"),
        (["1."], "VARCHAR"),
        (["9223372036854775808", "1"], "DECIMAL(38,0)"),
        (["9" * 38], "DECIMAL(38,0)"),
        (["9" * 39], "VARCHAR"),
        (["1.10", "2", "-3.125"], "DECIMAL(38,3)"),
        (["0." + "1" * 38], "DECIMAL(38,38)"),
        (["1." + "1" * 38], "VARCHAR"),
        (["9" * 30, "0.123456789"], "VARCHAR"),
        (["1e5", "2.5", "7"], "DOUBLE"),
        (["NaN", "1.5"], "DOUBLE"),
        (["Infinity", "-Infinity", "1"], "DOUBLE"),
        (["1e400"], "VARCHAR"),
        (["1e-400"], "VARCHAR"),
        (["1e5", "0.1234567890123456789"], "VARCHAR"),
        (["1e5", "9007199254740993"], "VARCHAR"),
        (["true", "false", ""], "BOOLEAN"),
        (["true", "1"], "VARCHAR"),
        (["2024-02-29", "0001-01-01"], "DATE"),
        (["2024-02-30"], "VARCHAR"),
        (["0000-01-01"], "VARCHAR"),
        (["2024-01-01T10:11:12", "2024-01-01 10:11", "2024-01-01 10:11:12.123456"], "TIMESTAMP"),
        (["2024-01-01T10:11:12.1234567"], "VARCHAR"),
        (["2024-01-01T24:00:00"], "VARCHAR"),
        (["2024-01-01", "2024-01-01T10:11:12"], "VARCHAR"),
        (["2024-01-01T10:11:12Z", "2024-01-01 10:11:12+0530"], "TIMESTAMP WITH TIME ZONE"),
        (["2024-01-01T10:11:12Z", "2024-01-01T10:11:12"], "VARCHAR"),
        (["2024-01-01T10:11:12+25:00"], "VARCHAR"),
        (["", ""], "VARCHAR"),
        (["nanny"], "VARCHAR"),
    ],
)
def test_csv_type_holds_every_value(tmp_path, con, values, type_):
    """A column has the narrowest type that holds each value exactly, or else VARCHAR."""
    source = connector(column(tmp_path / "t.csv", values))
    assert types(source)["x"] == type_
    read = [row[1] for row in rows(source, con)]
    if type_ == "VARCHAR":
        assert read == [value or None for value in values]
    if type_.startswith("DECIMAL") or type_ == "BIGINT":
        assert [Decimal(value) for value in read] == [Decimal(value) for value in values]


@pytest.mark.parametrize("format_", ["csv", "jsonl"])
def test_wide_file_has_the_types_of_narrow_ones(tmp_path, con, format_):
    """200 columns become what each becomes alone, and no join; so they take milliseconds."""
    values = ["1", "-1.50", "true", "2024-01-31", "2024-01-31 10:00:00", "", "1e5", "NaN"]
    values = [*values, "01", "0.1234567890123456789", "2024-01-31T10:00:00+01", "9" * 20] * 17
    names = [f"c{number}" for number in range(len(values))]
    records = [dict(zip(names, values, strict=True)), dict.fromkeys(names, "")]

    def save(name: str, columns: list[str]) -> FilesConnector:
        if format_ == "csv":
            lines = [",".join(columns), *(",".join(map(r.get, columns)) for r in records)]
        else:
            lines = [json.dumps({c: as_json(r[c]) for c in columns}) for r in records]
        return connector(write(tmp_path / f"{name}.{format_}", "\n".join(lines) + "\n"))

    def as_json(value: str) -> object:
        return json.loads(value) if value in ("1", "true", "1e5", "NaN") else value or None

    wide = save("wide", names)
    expected = {name: types(save("narrow", list({name, "c1"})))[name] for name in names[:12]}
    assert len(set(expected.values())) > 4
    assert types(wide) == {name: expected[f"c{n % 12}"] for n, name in enumerate(names)}
    assert len(rows(wide, con)) == 2
    header = write(tmp_path / "header.csv", ",".join(names) + "\n")
    assert set(types(connector(header)).values()) == {"VARCHAR"}


def test_text_class_is_planned_without_joins(con):
    """DuckDB makes a join of a long IN; two for each column of a file took minutes."""
    con.execute("create table t as select '1' as x")
    plan = con.execute(f"explain select {text_class('x')} from t").fetchall()[0][1]
    assert "PROJECTION" in plan
    assert "JOIN" not in plan


def test_times_are_the_instants_written(tmp_path, con):
    """A time with an offset is converted to UTC; a time without one is unchanged."""
    source = connector(
        write(tmp_path / "t.csv", "a,b\n2024-01-01T10:11:12.5+05:30,2024-01-01 10:11:12.123456\n")
    )
    assert rows(source, con, where="a = timestamptz '2024-01-01 04:41:12.5+00'") != []
    assert str(rows(source, con)[0][1]) == "2024-01-01 10:11:12.123456"


def test_empty_text_is_not_null(tmp_path, con):
    """An unquoted empty field is NULL, a quoted one is an empty text."""
    source = connector(write(tmp_path / "t.csv", 'a,b\n"",x\n,y\n'))
    assert rows(source, con) == [("", "x"), (None, "y")]


def test_null_text_can_be_set(tmp_path, con):
    """With `null: NA` an unquoted NA is NULL, and an empty field an empty text."""
    source = connector(write(tmp_path / "t.csv", 'a,b\nNA,1\n"NA",NA\n,3\n'), null="NA")
    assert rows(source, con) == [(None, 1), ("NA", None), ("", 3)]


def test_dialects(tmp_path, con):
    """Files are read with the configured delimiter, header and encoding, and any line ends."""
    write(tmp_path / "a.csv", "x;y\r\n1;é\r\n".encode("latin-1"))
    assert rows(connector(tmp_path / "a.csv", delimiter=";", encoding="latin1"), con) == [(1, "é")]
    write(tmp_path / "b.csv", "1,a\n2,b\n")
    source = connector(tmp_path / "b.csv", header=False)
    assert types(source) == {"column_1": "BIGINT", "column_2": "VARCHAR"}
    assert rows(source, con) == [(1, "a"), (2, "b")]
    write(tmp_path / "c.tsv", "x\ty\n1\ta,b\n")
    assert rows(connector(tmp_path / "c.tsv"), con) == [(1, "a,b")]
    write(tmp_path / "d.csv", "x,y\n1,é\n".encode("utf-16"))
    assert rows(connector(tmp_path / "d.csv", encoding="utf-16"), con) == [(1, "é")]
    write(tmp_path / "e.csv", b'\xef\xbb\xbf"x,1",z\n1,2\n')
    source = connector(tmp_path / "e.csv")
    assert types(source) == {"x,1": "BIGINT", "z": "BIGINT"}
    assert rows(source, con) == [(1, 2)]
    write(tmp_path / "f.csv", '"x,1\n""y",z\n1,2\n')
    source = connector(tmp_path / "f.csv")
    assert types(source) == {'x,1\n"y': "BIGINT", "z": "BIGINT"}
    assert rows(source, con) == [(1, 2)]


def test_compressed_files(tmp_path, con):
    """Text files may be compressed with gzip or zstd."""
    write(tmp_path / "a.csv.gz", gzip.compress(b"x\n1\n"))
    (tmp_path / "sub").mkdir()
    target = f"{tmp_path}/sub/a.csv.zst"
    con.execute(f"copy (select 2 as x) to '{target}' (format csv, compression zstd)")
    write(tmp_path / "b.jsonl.gz", gzip.compress(b'{"x": 1.10}\n'))
    source = connector(tmp_path / "**" / "*")
    assert sorted(rows(source, con, "a")) == [(1,), (2,)]
    assert rows(source, con, "b") == [(Decimal("1.10"),)]


# The text "id,v\n1,2\n3,4\n" as the zstd tool compresses it: one frame, with a checksum.
ZSTD_WITH_CHECKSUM = bytes.fromhex("28b52ffd045869000069642c760a312c320a332c340ad4628b9f")


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("inner", ["\n", "\r\n", "\r", "\n\r", "\r\r\n"])
def test_quoted_line_ends_of_any_kind_land(tmp_path, con, end, inner, mark):
    """A quoted cell keeps its line ends, whatever those of the records are: as Python reads it.

    So does a name in the header, and a cell of the first record where there is no header.
    """
    cell = f'"a{inner}""b"'
    name = f'a{inner}"b'
    headers = {"id,t": ["id", "t"], f"id,{cell}": ["id", name], f'{cell},"t"': [name, "t"]}
    path = tmp_path / "a.csv"
    for header, columns in [*headers.items(), (None, ["column_1", "column_2"])]:
        for lines in [["1," + cell, "2,y"], ["2,y", "1," + cell], [f"1,{cell}", f"2,{cell}"]]:
            for last in ("", end):
                text = end.join([header, *lines] if header else lines) + last
                records = list(csv.reader(io.StringIO(text, newline=""), strict=True))
                source = connector(write(path, mark + text.encode()), header=bool(header))
                assert list(types(source)) == columns
                read = [[str(number), t] for number, t in rows(source, con)]
                assert read == records[bool(header) :]
        if header:
            write(path, mark + header.encode())
            assert (list(types(connector(path))), rows(connector(path), con)) == (columns, [])
            write(path, mark + f'{header}{end}1,x{end}3,"x"y{end}'.encode())
            line = 3 + len(re.findall("\r\n|\r|\n", header))
            assert f"line {line}: text follows a closing quote" in refusal(connector(path))


def test_line_ends_of_names_land_in_each_dialect(tmp_path, con):
    """Also where the records are written anew, the delimiter is found, or lines are skipped."""
    text = 'x\n"a\r\nb";"c"\n1;2\n3;"4"y\n'
    path = write(tmp_path / "a.csv", text.replace("y", ""))
    for options in ({}, {"comment": "#"}, {"on_error": "reject"}, {"encoding": "latin-1"}):
        source = connector(path, skip=1, **options)
        assert list(types(source)) == ["a\r\nb", "c"]
        assert rows(source, con) == [(1, 2), (3, 4)]
        source = connector(path, skip=1, header=False, **options)
        assert rows(source, con) == [("a\r\nb", "c"), ("1", "2"), ("3", "4")]
    write(path, text)
    for header in (True, False):
        source = connector(path, skip=1, header=header, delimiter=";")
        assert "line 5: text follows a closing quote" in refusal(source)


@pytest.mark.parametrize("delimiter", [*"0123456789abcdeflnor", "-", "_"])
def test_line_ends_of_the_first_record_land_under_any_delimiter(tmp_path, con, delimiter):
    """A letter or a digit may be one; what stands for the line end in a copy has none of them."""
    path = write(tmp_path / "a.csv", f'X{delimiter}"Y\rZ"')
    source = connector(path, delimiter=delimiter, header=False)
    assert rows(source, con) == [("X", "Y\rZ")]
    write(path, f'X{delimiter}"Y\r\nZ"\nU{delimiter}V\n')
    source = connector(path, delimiter=delimiter)
    assert (list(types(source)), rows(source, con)) == (["X", "Y\r\nZ"], [("U", "V")])


def test_first_name_behind_a_byte_order_mark_loses_no_row(tmp_path, con):
    """A quoted first name may have a separator in it, also in a file of one column."""
    for packed in (bytes, gzip.compress):
        path = tmp_path / ("a.csv.gz" if packed is gzip.compress else "b.csv")
        write(path, packed(b'\xef\xbb\xbf",x"\r\n3597\r\n\r\n8'))
        source = connector(path)
        assert (types(source), rows(source, con)) == ({",x": "BIGINT"}, [(3597,), (None,), (8,)])


def test_utf16_of_either_order_lands(tmp_path, con):
    """Big endian and letters beyond U+FFFF land; half a letter at the end is refused."""
    path = tmp_path / "a.csv"
    for encoding, mark in [("utf-16-be", codecs.BOM_UTF16_BE), ("utf-16-le", codecs.BOM_UTF16_LE)]:
        content = mark + "a,b\n1,\U0001f986\n".encode(encoding)
        for options in ({}, {"encoding": "utf-16"}):
            assert rows(connector(write(path, content), **options), con) == [(1, "\U0001f986")]
            broken = connector(write(path, content + b"3"), **options)
            assert "line 3: not in the encoding that was set" in refusal(broken)
    write(path, "a,b\n1,é\n".encode("utf-16-le"))  # without a mark
    assert rows(connector(path, encoding="utf-16"), con) == [(1, "é")]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.zst", "a.jsonl.gz", "a.jsonl.zst"])
def test_cut_compressed_file_is_refused(tmp_path, con, name):
    """A compressed file that ends anywhere before its end is refused; whole, all its rows land."""
    records = [{"id": n, "v": hashlib.sha256(b"%d" % n).hexdigest()} for n in range(10_000)]
    lines = [json.dumps(record) for record in records]
    if ".csv" in name:
        lines = ["id,v", *(f"{record['id']},{record['v']}" for record in records)]
    text = "".join(f"{line}\n" for line in lines).encode()
    with pa.CompressedOutputStream(
        tmp_path / name, "gzip" if name.endswith("gz") else "zstd"
    ) as output:
        output.write(text)
    whole = (tmp_path / name).read_bytes()
    for length in [0, 3, 7, 12, *range(100, len(whole), len(whole) // 12), -9, -4, -1]:
        write(tmp_path / name, whole[:length])
        message = refusal(connector(tmp_path))
        assert message.startswith(f"{tmp_path / name}: is cut off: "), (length, message)
    write(tmp_path / name, whole)
    assert [row[0] for row in rows(connector(tmp_path), con)] == list(range(10_000))


def test_damaged_compressed_file_is_refused(tmp_path, con):
    """A flipped bit of a compressed file with a checksum is refused, or changes no row."""
    for name, whole in [
        ("a.csv.gz", gzip.compress(b"id,v\n1,2\n3,4\n")),
        ("a.csv.zst", ZSTD_WITH_CHECKSUM),
    ]:
        path = write(tmp_path / name, whole)
        expected = [(1, 2), (3, 4)]
        assert rows(connector(path), con) == expected
        refused = 0
        for byte in range(len(whole)):
            content = bytearray(whole)
            content[byte] ^= 1 << byte % 8
            write(path, bytes(content))
            source = connector(path)
            reason = find_stream(source, None).unreadable_reason
            if reason is None:
                assert rows(source, con) == expected, byte
            else:
                assert str(path) in reason, reason
                refused += 1
        assert refused > 0.6 * len(whole)  # the others are in the header: time, system
        write(path, whole + b"more")
        assert f"{path}: its compressed data is damaged (" in refusal(connector(path))
        path.unlink()


def test_damaged_compressed_file_without_checksum_names_itself(tmp_path):
    """A zstd file with a broken block is refused by its name, in each encoding and format."""
    with pa.CompressedOutputStream(tmp_path / "whole", "zstd") as output:
        output.write(b"".join(b"%d,%d\n" % (n, n * n) for n in range(5000)))
    damaged = bytearray((tmp_path / "whole").read_bytes())
    damaged[20:60] = b"\xff" * 40
    for name, options in [
        ("a.csv.zst", {}),
        ("a.csv.zst", {"encoding": "utf-16"}),
        ("a.jsonl.zst", {}),
    ]:
        path = write(tmp_path / "in" / name, bytes(damaged))
        assert refusal(connector(path, **options)).startswith(f"{path}: its compressed data is dam")


def test_compressed_files_of_several_parts(tmp_path, con):
    """Parts that were written one behind another are read as one file; a cut part is refused."""
    header, more = b"id,v\n", b"5,6\n"
    parts = gzip.compress(header) + gzip.compress(more)
    path = write(tmp_path / "a.csv.gz", parts)
    assert rows(connector(path), con) == [(5, 6)]
    write(path, parts[:-3])
    assert "is cut off" in refusal(connector(path))
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    path = write(tmp_path / "b.csv.zst", ZSTD_WITH_CHECKSUM + skippable)
    assert rows(connector(path), con) == [(1, 2), (3, 4)]
    write(path, ZSTD_WITH_CHECKSUM + skippable[:-1])
    assert "is cut off" in refusal(connector(path))


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_damaged_parquet_page_is_refused(tmp_path, con, version):
    """A page whose bytes are not those of its checksum is refused, in each column."""
    table = pa.table(
        {
            "id": range(5000),
            "name": [f"name {n % 40}" for n in range(5000)],
            "tags": [["a", None, str(n)] for n in range(5000)],
        }
    )
    path = tmp_path / "a.parquet"
    pq.write_table(
        table,
        path,
        write_page_checksum=True,
        data_page_version=version,
        data_page_size=2000,
        compression="none",
        use_dictionary=["name"],
        row_group_size=3000,
    )
    assert len(rows(connector(path), con)) == 5000
    whole = path.read_bytes()
    metadata = pq.read_metadata(path)
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(number)
            content = bytearray(whole)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            content[start + 200] ^= 4  # behind the page's header
            write(path, bytes(content))
            name = chunk.path_in_schema.split(".")[0]
            assert f'{path}: column "{name}" is damaged' in refusal(connector(path))
    pq.write_table(table, path, data_page_version=version)
    assert len(rows(connector(path), con)) == 5000


def test_damaged_page_without_checksum_names_its_file(tmp_path, con):
    """A page that cannot be decoded is found while rows are read, and its file is named."""
    for name in "ab":
        table = pa.table({"x": [f"{name} {n}" for n in range(3000)]})
        pq.write_table(
            table, tmp_path / f"{name}.parquet", compression="gzip", use_dictionary=False
        )
    path = tmp_path / "b.parquet"
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(content)
    source = connector(tmp_path)
    assert len(rows(source, con, "a")) == 3000
    with pytest.raises(ReadError) as raised:
        rows(source, con, "b")
    assert raised.value.message.startswith(f"{path}: cannot be read: ")


@pytest.mark.parametrize("dictionary", [True, False])
def test_parquet_without_rows_lands(tmp_path, con, dictionary):
    """A file of no row has no data page, and its columns land."""
    table = pa.table({"a": pa.array([], pa.string()), "b": pa.array([], pa.list_(pa.int32()))})
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=dictionary)
    source = connector(tmp_path)
    assert (types(source), rows(source, con)) == ({"a": "VARCHAR", "b": "INTEGER[]"}, [])


def test_streams_are_stems_over_folders(tmp_path, con):
    """Files with one stem are one stream; columns are matched by name, a missing one is NULL."""
    write(tmp_path / "2023/orders.csv", "id,total\n1,1.5\n")
    write(tmp_path / "2024/orders.csv", "note,id\nx,2\n")
    write(tmp_path / "2024/my plans.csv", "id\n01\n")
    write(tmp_path / "2024/.hidden.csv", "broken\n1,2,3\n")
    source = connector(tmp_path / "**/*.csv")
    streams = {stream.name: stream for stream in source.discover()}
    assert {name: stream.table for name, stream in streams.items()} == {
        "my plans": "my_plans",
        "orders": "orders",
    }
    assert types(source, "orders") == {"id": "BIGINT", "total": "DECIMAL(38,1)", "note": "VARCHAR"}
    assert rows(source, con, "orders") == [(1, Decimal("1.5"), None), (2, None, "x")]


def test_links_to_folders_bring_no_row_twice(tmp_path, con):
    """A file that is reached through links too, even in a loop, is read once."""
    write(tmp_path / "data" / "a.csv", "x\n1\n")
    write(tmp_path / "data" / "2024" / "b.csv", "x\n2\n")
    (tmp_path / "data" / "loop").symlink_to(".")
    (tmp_path / "data" / "latest").symlink_to("2024")
    source = connector(f"{tmp_path}/data/**/*.csv")
    assert rows(source, con, "a") == [(1,)]
    assert rows(source, con, "b") == [(2,)]


def test_links_to_files_bring_no_row_twice(tmp_path, con):
    """A stream has a file or a link to it, not both; as streams of their own both are read."""
    day = write(tmp_path / "data" / "day_1.csv", "x\n1\n")
    write(tmp_path / "data" / "day_2.csv", "x\n2\n")
    (tmp_path / "data" / "a_latest.csv").symlink_to("day_2.csv")
    (tmp_path / "data" / "old").mkdir()
    (tmp_path / "data" / "old" / "day_1.csv").symlink_to(day)
    (tmp_path / "data" / "other.csv").symlink_to(write(tmp_path / "elsewhere.csv", "x\n3\n"))
    path = f"{tmp_path}/data/**/*.csv"
    assert sorted(rows(connector(path, stream="all"), con, "all")) == [(1,), (2,), (3,)]
    source = connector(path)
    assert rows(source, con, "a_latest") == rows(source, con, "day_2") == [(2,)]
    assert rows(source, con, "day_1") == [(1,)]


@pytest.mark.parametrize(
    ("log", "format_"),
    [
        ("_delta_log/00000000000000000000.json", "Delta"),
        ("metadata/v1.metadata.json", "Iceberg"),
        (".hoodie/hoodie.properties", "Hudi"),
    ],
)
def test_table_formats_are_never_read_as_plain_parquet(tmp_path, con, log, format_):
    """Files of a table format are refused, because only its log says which of them are valid."""
    write(tmp_path / "t" / log, "{}")
    path = tmp_path / "t" / "data" / "year=2024" / "part.parquet"
    path.parent.mkdir(parents=True)
    con.execute(f"copy (select 1 as x) to '{path}'")
    con.execute(f"copy (select 1 as x) to '{tmp_path}/plain.parquet'")
    source = connector(f"{tmp_path}/**/*.parquet")
    reason = find_stream(source, "part").unreadable_reason
    assert reason.startswith(f"{path}: is a part of a {format_} table")
    assert rows(source, con, "plain") == [(1,)]


def test_one_stream_by_name(tmp_path, con):
    """With `stream:` all files are one stream, whose types fit the values of all files."""
    write(tmp_path / "a.csv", "id\n1\n")
    write(tmp_path / "b.csv", "id\n01\n")
    source = connector(tmp_path, stream="all")
    assert [stream.name for stream in source.discover()] == ["all"]
    assert rows(source, con) == [("1",), ("01",)]


def test_folder_takes_known_formats_only(tmp_path):
    """Of a folder, its own visible files of known formats are read."""
    write(tmp_path / "a.csv", "id\n1\n")
    write(tmp_path / "b.ndjson", '{"id": 1}\n')
    write(tmp_path / "README.md", "x")
    write(tmp_path / ".x.csv", "id\n1\n")
    write(tmp_path / "sub/c.csv", "id\n1\n")
    assert [stream.name for stream in connector(tmp_path).discover()] == ["a", "b"]
    assert [stream.name for stream in connector(tmp_path, format="ndjson").discover()] == ["b"]


def test_many_files_make_few_chunks(tmp_path, con):
    """A thousand small files are read in at most 64 chunks, each row once."""
    for number in range(150):
        write(tmp_path / f"{number:03d}.csv", f"id\n{number}\n")
    source = connector(tmp_path, stream="all")
    (stream,) = source.discover()
    with source.read(ReadRequest(stream, stream.columns)) as chunks:
        assert len(list(chunks)) <= 64
    assert sorted(rows(source, con)) == [(number,) for number in range(150)]


@pytest.mark.parametrize(
    "name",
    ["a*", "a[1]", "a?", "it's", 'q"q', "b\\s", "p=1", "a{b,c}", "$x", "é ö", "[", "a]", "~"],
)
@pytest.mark.parametrize("format_", ["csv", "jsonl", "parquet"])
def test_file_names_are_literal(tmp_path, con, name, format_):
    """Signs of globs and of SQL have no meaning in the name of an existing file."""
    con.execute(
        f"copy (select 1 as x) to '{tmp_path}/made' (format {format_[:7].replace('jsonl', 'json')})"
    )
    content = (tmp_path / "made").read_bytes()
    write(tmp_path / f"key=7/{name}.{format_}", content)
    for similar_name in ("a1", "ab", "axx"):
        write(tmp_path / f"key=7/{similar_name}.{format_}", content)
    source = connector(tmp_path / "key=7")
    assert rows(source, con, name) == [(1,)]
    assert types(source, name) == {"x": "INTEGER" if format_ == "parquet" else "BIGINT"}


def test_header_only_file_has_columns_and_a_chunk(tmp_path, con):
    """A table without rows has its columns."""
    source = connector(write(tmp_path / "a.csv", "x,y\n"))
    assert types(source) == {"x": "VARCHAR", "y": "VARCHAR"}
    assert rows(source, con) == []


def test_file_of_no_bytes_adds_nothing(tmp_path, con):
    """A file of no bytes has no columns, and adds no rows to other files."""
    write(tmp_path / "1/a.csv", "")
    write(tmp_path / "2/a.csv", "x\n1\n")
    assert rows(connector(tmp_path / "*/a.csv"), con) == [(1,)]
    write(tmp_path / "b.jsonl", "")
    assert types(connector(tmp_path / "b.jsonl")) == {}


def test_empty_column_keeps_the_lakes_type(tmp_path, con):
    """A column without values keeps the type that it has in the lake."""
    source = connector(write(tmp_path / "a.csv", "x,y\n1,\n"))
    (stream,) = source.discover()
    lake_types = {"x": "INTEGER", "y": "DECIMAL(10,2)"}
    with source.read(ReadRequest(stream, stream.columns, lake_types=lake_types)) as chunks:
        (chunk,) = chunks
        assert list(map(str, chunk.relation(con).types)) == ["BIGINT", "DECIMAL(10,2)"]


def test_blank_names_are_numbered(tmp_path):
    """A header without a name, as of an index column, is named by its position."""
    assert list(types(connector(write(tmp_path / "a.csv", ",x\n0,1\n")))) == ["column_1", "x"]


def test_where_and_columns(tmp_path, con):
    """`where` may name every column, also columns that are not read."""
    source = connector(write(tmp_path / "a.csv", "x,y\n1,a\n2,b\n"))
    assert rows(source, con, where="x > 1 -- late", only=["y"]) == [("b",)]


JSONL = r"""
{"id": 1, "price": 1.10, "big": 123456789012345678901234567890, "at": "2024-01-01", "ok": true}
{"id": 2, "price": 0.1234567890123456789, "big": 5, "ok": null, "deep": {"a": [1.10, 1e5]}}

{"id": 3, "f": -1.5e3, "deep": {"a": "5.0", "z": -0.0, "n": 12345678901234567890123}, "mix": "x"}
{"id": 4, "f": 2.5, "mix": 1.50, "late": "a \"1.5\" \\ \u0000 7", "a/b~c": "2.5, 3"}
{"id": 5, "f": 7, "mix": [], "neg": -0.0}
{"id": 6, "neg": NaN, "mix": "-Infinity 1.5"}
{"id": 7, "neg": -Infinity, "late": "5.5", "": 0}
""".lstrip().replace(', "": 0', "")


def test_json_values_are_exact(tmp_path, con):
    """No number passes through a float that does not keep it, also inside nested values."""
    source = connector(write(tmp_path / "a.jsonl", JSONL))
    assert types(source) == {
        "id": "BIGINT",
        "price": "DECIMAL(38,19)",
        "big": "DECIMAL(38,0)",
        "at": "VARCHAR",
        "ok": "BOOLEAN",
        "deep": "JSON",
        "f": "DOUBLE",
        "mix": "JSON",
        "late": "VARCHAR",
        "a/b~c": "VARCHAR",
        "neg": "DOUBLE",
    }
    read = rows(source, con)
    assert [row[0] for row in read] == [1, 2, 3, 4, 5, 6, 7]
    assert read[0][1:5] == (
        Decimal("1.10"),
        Decimal(123456789012345678901234567890),
        "2024-01-01",
        True,
    )
    assert read[1][1] == Decimal("0.1234567890123456789")
    assert read[1][5] == '{"a":[1.10,1e5]}'
    assert read[2][5] == '{"a":"5.0","z":-0.0,"n":12345678901234567890123}'
    assert [row[6] for row in read] == [None, None, -1500.0, 2.5, 7.0, None, None]
    assert [row[7] for row in read] == [None, None, '"x"', "1.50", "[]", '"-Infinity 1.5"', None]
    assert [row[8] for row in read] == [None, None, None, 'a "1.5" \\ \0 7', None, None, "5.5"]
    assert read[3][9] == "2.5, 3"
    assert [str(row[10]) for row in read[4:]] == ["-0.0", "nan", "-inf"]


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (["1", "9223372036854775807"], "BIGINT"),
        (["1", "9223372036854775808"], "DECIMAL(38,0)"),
        (["1" * 39], "JSON"),
        (["1.5", "1e400"], "JSON"),
        (["1e5", "0.1234567890123456789"], "JSON"),
        (["true", "1"], "JSON"),
        (['"x"', "null"], "VARCHAR"),
        (["null"], "VARCHAR"),
        (['"x"', "{}"], "JSON"),
        (['"1.5"', "1.5"], "JSON"),
    ],
)
def test_json_types(tmp_path, con, values, type_):
    """A column of several kinds is JSON, and each value stays as it was written."""
    lines = "".join(f'{{"x": {value}}}\n' for value in values)
    source = connector(write(tmp_path / "a.jsonl", lines))
    assert types(source) == {"x": type_}
    read = [value for (value,) in rows(source, con)]
    if type_ == "JSON":
        assert read == [None if value == "null" else value for value in values]


def test_parquet_keeps_its_types(tmp_path, con):
    """Files of different types get the type that holds the values of both."""
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    con.execute(f"copy (select 1::int as a, [1.5::decimal(4,1)] as b) to '{tmp_path}/1/t.parquet'")
    con.execute(f"copy (select 5::bigint as a, 'x' as c) to '{tmp_path}/2/t.parquet'")
    source = connector(tmp_path / "*/t.parquet")
    (stream,) = source.discover()
    assert stream.estimated_rows == 2
    assert types(source) == {"a": "BIGINT", "b": "DECIMAL(4,1)[]", "c": "VARCHAR"}
    assert rows(source, con) == [(1, [Decimal("1.5")], None), (5, None, "x")]


def test_parquet_types_that_would_be_narrowed_are_refused(tmp_path, con):
    """A value that DuckDB does not read exactly is refused by column; the other columns land."""
    wide, ns = pa.decimal256(60, 10), pa.timestamp("ns", "UTC")
    moment = 1_700_000_000_123_456_789
    narrowed = {
        "decimal": pa.array([Decimal("1.5")], wide),
        "moment": pa.array([moment], ns),
        "clock": pa.array([45_296_123_456_789], pa.time64("ns")),
        "list": pa.array([[Decimal("1.5")]], pa.list_(wide)),
        "struct": pa.array([{"a": 1, "b": [moment]}], pa.struct({"a": "int8", "b": pa.list_(ns)})),
        "map": pa.array([[("k", moment)]], pa.map_(pa.string(), ns)),
    }
    exact = {
        "id": pa.array([1]),
        "fits": pa.array([Decimal("1.5")], pa.decimal128(38, 1)),
        "local": pa.array([moment], pa.timestamp("ns")),
        "utc": pa.array([moment // 1000], pa.timestamp("us", "UTC")),
        "pair": pa.array([{"a": 1, "b": [2]}], pa.struct({"a": "int8", "b": pa.list_(pa.int8())})),
    }
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(narrowed | exact), path)
    source = connector(path)
    for name in narrowed:
        with pytest.raises(
            ReadError, match=f'a.parquet: column "{name}" is an? .*(digits|seconds)'
        ):
            rows(source, con, only=[name, "id"])
    read = rows(source, con, only=list(exact))
    assert read[0][:2] == (1, Decimal("1.5"))
    int96 = pa.table({"id": [1], "t": pa.array([moment], pa.timestamp("ns"))})
    pq.write_table(int96, path, use_deprecated_int96_timestamps=True)
    with pytest.raises(ReadError, match=r'column "t" is an INT96 timestamp.*exclude: \[t\]'):
        rows(connector(path), con)
    of_spark = pa.table({"t": pa.array([moment // 1000], pa.timestamp("us"))})
    of_spark = of_spark.replace_schema_metadata({"org.apache.spark.version": "3.5.0"})
    pq.write_table(of_spark, path, use_deprecated_int96_timestamps=True)
    assert rows(connector(path), con)[0][0].microsecond == 123_456


def test_parquet_types_that_do_not_join(tmp_path, con):
    """Two types of which neither holds the other's values are refused, not rounded."""
    (tmp_path / "2").mkdir()
    con.execute(f"copy (select 1::bigint as a) to '{tmp_path}/t.parquet'")
    con.execute(f"copy (select 1.5::double as a) to '{tmp_path}/2/t.parquet'")
    with pytest.raises(ReadError, match='column "a" is BIGINT, and DOUBLE in another file'):
        rows(connector(tmp_path / "**/t.parquet"), con)


@pytest.mark.parametrize(
    ("value", "type_", "expected"),
    [
        ("1.50", "DECIMAL(10,2)", Decimal("1.50")),
        ("-0.00", "DECIMAL(10,2)", Decimal(0)),
        ("1.500", "DECIMAL(10,1)", Decimal("1.5")),
        ("1.234", "DECIMAL(10,2)", None),
        ("1e2", "DECIMAL(10,2)", None),
        ("123456789.5", "DECIMAL(10,2)", None),
        ("01234", "INTEGER", 1234),
        ("2.0", "INTEGER", 2),
        ("2.5", "INTEGER", None),
        ("300", "TINYINT", None),
        ("-1", "UBIGINT", None),
        ("0.1", "DOUBLE", 0.1),
        ("0.1234567890123456789", "DOUBLE", None),
        ("9007199254740993", "DOUBLE", None),
        ("0.10000000000000001", "DOUBLE", 0.1),
        ("1e-320", "DOUBLE", None),
        ("0.5", "FLOAT", 0.5),
        ("0.123456789", "FLOAT", None),
        ("x", "DOUBLE", None),
        ("007", "VARCHAR", "007"),
        ("2024-01-01", "TIMESTAMP", "2024-01-01 00:00:00"),
        ("2024-01-01 10:00:00", "DATE", None),
        ("2024-01-01 10:00:00.1234567", "TIMESTAMP", None),
        ("2024-01-01 10:00:00Z", "TIMESTAMP", None),
        ("2024-01-01 10:00:00", "TIMESTAMP WITH TIME ZONE", "2024-01-01 10:00:00+00:00"),
        ("10:11:12.5", "TIME", "10:11:12.500000"),
        ("yes", "BOOLEAN", True),
        ("maybe", "BOOLEAN", None),
        ("[1.10", "JSON", None),
        ("[1.10]", "JSON", "[1.10]"),
        ("a\\x41", "BLOB", b"a\\x41"),
    ],
)
def test_requested_types_are_exact_or_refused(tmp_path, con, value, type_, expected):
    """A requested type takes exact values; the error of any other names column and value."""
    source = connector(write(tmp_path / "a.csv", f'x,y\n"{value}",1\n'))
    if expected is None:
        with pytest.raises(ReadError) as raised:
            rows(source, con, types={"x": type_})
        assert raised.value.message == (
            f'a.csv: column "x": value "{value}" is not exactly a {type_}. '
            "Set another type under columns: {types: …}."
        )
    else:
        ((read, _),) = rows(source, con, types={"x": type_})
        assert (str(read) if isinstance(expected, str) else read) == expected


def test_requested_types_of_json_and_parquet(tmp_path, con):
    """Requested types are checked in every format."""
    json_ = connector(write(tmp_path / "a.jsonl", '{"x": 1.25, "s": "7"}\n{"x": {"a": 1.0}}\n'))
    requested = {"x": "VARCHAR", "s": "INTEGER"}
    assert rows(json_, con, types=requested) == [("1.25", 7), ('{"a":1.0}', None)]
    with pytest.raises(ReadError, match=r'value "\{"a":1.0\}" is not exactly a DECIMAL'):
        rows(json_, con, types={"x": "DECIMAL(10,2)"})
    con.execute(f"copy (select 1.5::double as x, '01' as s) to '{tmp_path}/b.parquet'")
    parquet = connector(tmp_path / "b.parquet")
    requested = {"x": "DECIMAL(10,1)", "s": "INTEGER"}
    assert rows(parquet, con, types=requested) == [(Decimal("1.5"), 1)]
    with pytest.raises(ReadError, match=r'value "1\.5" is not exactly a INTEGER'):
        rows(parquet, con, types={"x": "INTEGER"})
    with pytest.raises(ReadError, match="a text cannot be read as"):
        rows(json_, con, types={"x": "INTEGER[]"})


DEEP = "[" * 100_000 + "]" * 100_000  # too deep for Python's own parser

BROKEN = {
    "short.csv": ("a,b\n1,2\n3\n", "line 3: 1 fields where there should be 2."),
    "long.csv": ("a,b\n1,2\n3,4,5\n", "line 3: 3 fields where there should be 2."),
    "quote.csv": ('a,b\n1,"x"y\n', "line 2: text follows a closing quote"),
    "open.csv": ('a,b\n1,"x\n2,3\n', "line 2: a quote is not closed"),
    "wide.csv": ("a,b\n1,2\n3,4,\n", "line 3: 3 fields where there should be 2; the last ones are"),
    "wider.csv": ('a,b\n"1\n0",\n3,,,,\n', "line 4: 5 fields where there should be 2; the last"),
    "shifted.csv": ("a,b,c\n2,x, y,\n", "line 2: 4 fields where there should be 3"),
    "head_short.csv": ("a,b\r\n1,2,\r\n", "line 2: 3 fields where there should be 2"),
    "end.csv": ("a\n1\n2,", "line 3: 2 fields where there should be 1"),
    "bytes.csv": (b"a,b\n1,\xff\n", "line 2: not in the encoding that was set"),
    "ends.csv": ("a,b\r\n1,2\n3,4\r\n", "line 2: ends with LF, and line 1 with CR LF. Use"),
    "space.csv": ('a,b\n1,2\n3, "x"\n', "line 3: a space stands between a quote and the del"),
    "space_behind.csv": ('a,b\n1,2\n"x" ,4\n', "line 3: a space stands between a quote and the"),
    "space_alone.csv": ("a\r\n1\r x\r\n", "line 2: ends with CR, and line 1 with CR LF. Use"),
    "nul.csv": ("a,b\0\n1,2\n", "line 1: the name of column 2 has a NUL character in it"),
    "head.csv": ('a,"b\n1,2\n', "line 1: a quote is not closed. Fix the header."),
    "blank.csv": ("\na,b\n1,2\n", "line 1: is empty."),
    "bad.jsonl": ('{"a":1}\n\n{"a":}\n', "line 3: unexpected character."),
    "cut.jsonl": ('{"a":1}\n{"a":', "line 2: unexpected end of data."),
    "two.jsonl": ('{"a":1}{"a":2}\n', "line 1: unexpected content after document."),
    "bytes.jsonl": (b'{"a":1}\n{"a":"\xff"}\n', "line 2: invalid UTF-8"),
    "list.jsonl": ('{"a":1}\n\n[1]\n', "line 3: is not one JSON object"),
    "key.jsonl": (
        '{"a":1}\n{"a":1,"a":2}\n',
        "line 2: is not one JSON object with distinct, non-empty keys",
    ),
    "empty.jsonl": (
        '{"a":1}\n{"":1}\n',
        "line 2: is not one JSON object with distinct, non-empty keys",
    ),
    "deep.jsonl": (f'{{"a":{DEEP}}}\n{{"a":}}\n', "line 2: unexpected character."),
    "deeper.jsonl": (f'{{"a":{DEEP}}}\n{{"a":1,"a":{DEEP}}}\n', "line 2: is not one JSON object"),
    "deepest.jsonl": (f'{{"a":1}}\n{DEEP}\n', "line 2: is not one JSON object"),
    "comma.jsonl": ('{"a":1}\n{"a":[1,]}\n', "line 2: is not one JSON object"),
    "nan.jsonl": ('{"a":1}\n{"a":nan}\n', "line 2: is not one JSON object"),
    "nul.jsonl": ('{"a\\u0000":1}\n', "line 1: is not one JSON object"),
    "bad.parquet": ("not one at all, you see", ".parquet: cannot be read: "),
    "short.parquet": ("", "too small to be a Parquet file"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("beside", [False, True])
def test_broken_files_are_named(tmp_path, name, beside):
    """The error of a broken line names file and line, also beside a valid file."""
    content, reason = BROKEN[name]
    broken = write(tmp_path / "b" / name, content)
    if beside and not name.endswith("parquet"):
        write(tmp_path / "a" / name, "a,b\n1,2\n" if name.endswith("csv") else '{"a":1}\n')
    message = refusal(connector(tmp_path / "*" / name))
    assert str(broken) in message
    assert reason in message
    assert "\n" not in message


def test_broken_line_far_down_is_named(tmp_path):
    """The number of a broken line is right, also at the end of a large file."""
    path = write(tmp_path / "a.csv", "a,b\n" + "1,2\n" * 300_000 + "3\n")
    assert "a.csv, line 300002: 1 fields" in refusal(connector(path))
    path = write(tmp_path / "a.jsonl", '{"a":1.5}\n' * 300_000 + "{\n")
    assert "a.jsonl, line 300001: " in refusal(connector(path))


def test_line_of_json_may_be_long(tmp_path, con):
    """A line longer than DuckDB's default of 16 MB is read, plain and compressed."""
    line = json.dumps({"n": 1, "text": "x" * 17_000_000}) + "\n"
    write(tmp_path / "plain.jsonl", '{"n":0}\n' + line)
    write(tmp_path / "packed.jsonl.gz", gzip.compress(line.encode(), 1))
    source = connector(tmp_path)
    assert [len(text or "") for _, text in rows(source, con, "plain")] == [0, 17_000_000]
    assert [len(text) for _, text in rows(source, con, "packed")] == [17_000_000]


def test_discovery_keeps_to_its_memory(tmp_path):
    """Rows for which it is too little are one line that names the setting."""
    source = connector(write(tmp_path / "a.csv", "n,t\n" + ("1," + "x" * 9_000_000 + "\n") * 10))
    assert types(source) == {"n": "BIGINT", "t": "VARCHAR"}
    source = connector(tmp_path)
    source.memory_limit = 64_000_000
    message = refusal(source)
    assert message.startswith("stream a: memory ran out")
    assert "Set a higher warehouse.memory" in message


def test_path_without_files(tmp_path):
    """The error of a path that matches no file has the next step."""
    missing = tmp_path / "no.csv"
    with pytest.raises(ConnectError) as raised:
        connector(missing).check()
    assert raised.value.message == (
        f"{missing}: does not exist. Check the path; a relative one starts at the config file's "
        "folder."
    )
    with pytest.raises(ConnectError, match="no file matches"):
        connector(tmp_path / "*.csv").discover()
    with pytest.raises(ConnectError, match="no file in this folder is of a known format"):
        connector(tmp_path).check()
    write(tmp_path / "a.dat", "x\n1\n")
    with pytest.raises(ConnectError, match='Set "format: csv"'):
        connector(tmp_path / "a.dat").check()
    assert types(connector(tmp_path / "a.dat", format="csv"), "a") == {"x": "BIGINT"}
    connector(tmp_path / "a.dat", format="csv").check()


def test_formats_do_not_mix(tmp_path):
    """A stream has one format."""
    write(tmp_path / "a.csv", "x\n1\n")
    write(tmp_path / "a.jsonl", '{"x":1}\n')
    assert "of the same stream a is csv" in refusal(connector(tmp_path))


def test_file_name_that_is_not_utf8_is_refused_alone(tmp_path):
    """The name of such a file is escaped in the message, and other files are read."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.csv")).write_text("x\n1\n")
    write(tmp_path / "b.csv", "x\n1\n")
    a, b = connector(tmp_path).discover()
    assert "the file's name is not UTF-8. Rename it." in a.unreadable_reason
    assert (a.name.encode(), a.columns, b.unreadable_reason) == (b"a\\udcff", (), None)
    with pytest.raises(ConnectError, match="not UTF-8"):
        connector(tmp_path).check()


def test_changed_while_read(tmp_path):
    """A read fails if a file changes meanwhile; the next read takes the new file."""
    path = write(tmp_path / "a.csv", "x\n1\n")
    source = connector(path)
    (stream,) = source.discover()
    with (
        pytest.raises(ReadError, match=r"a\.csv: changed while it was read; run again"),
        source.read(ReadRequest(stream, stream.columns)),
    ):
        write(path, "x\n1\n2\n")
    with (
        pytest.raises(ReadError, match="changed while it was read"),
        source.read(ReadRequest(stream, stream.columns)),
    ):
        path.unlink()


def test_changed_between_discover_and_read(tmp_path, con):
    """The types are those of the files when the read begins."""
    path = write(tmp_path / "a.csv", "x\n1\n")
    source = connector(path)
    (stream,) = source.discover()
    write(path, "x\n01\n")
    with source.read(ReadRequest(stream, stream.columns)) as (chunk,):
        assert chunk.relation(con).fetchall() == [("01",)]
    write(path, "y\n01\n")
    with (
        pytest.raises(ReadError, match='column "x" is no longer in any file'),
        source.read(ReadRequest(stream, stream.columns)),
    ):
        pass


def test_file_that_vanishes_is_named(tmp_path, con):
    """The error of a file that was deleted before its chunk is read has its name."""
    path = write(tmp_path / "a.csv", "x\n1\n")
    source = connector(path)
    (stream,) = source.discover()

    def read_late() -> None:
        with source.read(ReadRequest(stream, stream.columns)) as (chunk,):
            path.unlink()
            chunk.relation(con).fetchall()

    with pytest.raises(duckdb.Error) as raised:
        read_late()
    read_error = source.translate(raised.value)
    assert read_error is not None
    assert read_error.message == f"{path}: no longer exists, or is no longer readable. Run again."
    assert source.translate(ValueError("other")) is None


@pytest.mark.parametrize("where", ["x >", "nope = 1", "x > 1) or (", "nope(x)"])
def test_wrong_where_is_named(tmp_path, con, where):
    """The error of a where that is not SQL over the columns quotes it."""
    source = connector(write(tmp_path / "a.csv", "x\n1\n"))
    with pytest.raises(ReadError) as raised:
        rows(source, con, where=where)
    assert f"where: {where}: " in raised.value.message
    assert "\n" not in raised.value.message


def test_windows_are_refused(tmp_path):
    """Files have no cursor."""
    source = connector(write(tmp_path / "a.csv", "x\n1\n"))
    (stream,) = source.discover()
    window = Window("x", Cursor(CursorType.INTEGER, 1))
    with (
        pytest.raises(ReadError, match="mode: full_table"),
        source.read(ReadRequest(stream, stream.columns, window=window)),
    ):
        pass


def test_relative_paths_start_at_the_config_file(tmp_path, monkeypatch):
    """A relative path begins at the config file's folder, even if its name looks like a glob."""
    folder = tmp_path / "conf[1]"
    write(folder / "data/a.csv", "x\n1\n")
    for path in ("data", "data/*.csv", "./data/a.csv"):
        options = FilesOptions.model_validate({"path": path}, context={"folder": folder})
        assert [stream.name for stream in FilesConnector(options).discover()] == ["a"]
    monkeypatch.setenv("HOME", str(folder))
    assert FilesOptions(path="~/data").path == str(folder / "data")
    monkeypatch.chdir(folder)
    assert FilesOptions(path="data").path == str(folder / "data")


@pytest.mark.parametrize(
    "wrong",
    [
        {"delimiter": '"'},
        {"delimiter": "\0"},
        {"null": '""'},
        {"null": "a,b"},
        {"null": "a;b", "delimiter": ";"},
        {"delimiter": ",,"},
        {"format": "xml"},
        {"encoding": "x"},
        {"a": 1},
    ],
)
def test_wrong_options_are_refused(wrong):
    """An impossible option is an error before any file is read."""
    with pytest.raises(ValidationError):
        FilesOptions.model_validate({"path": "x", **wrong})


def test_unreadable_file():
    """The error of a file without read permission names it (root drops its rights for this)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        write(folder / "a.csv", "x\n1\n").chmod(0)
        write(folder / "b.csv", "x\n1\n")
        is_root = os.geteuid() == 0
        try:
            if is_root:
                os.seteuid(65534)
            with pytest.raises(ConnectError, match="cannot be read"):
                connector(folder).check()
            a, b = connector(folder).discover()
            assert (a.name, b.name, b.unreadable_reason) == ("a", "b", None)
            assert f"{folder / 'a.csv'}: cannot be read" in a.unreadable_reason
        finally:
            if is_root:
                os.seteuid(0)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=20)
cells = st.one_of(
    st.integers().map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.floats().map(repr),
    st.dates().map(str),
    st.datetimes().map(str),
    st.booleans().map(str),
    texts,
)


@plain
@given(st.lists(st.tuples(cells, texts), max_size=12))
@example([("1.5", "a"), ("-0.0", "b")])
def test_any_text_of_a_csv_is_unchanged(tmp_path, con, table):
    """Every text that a CSV writer writes is read back without a change."""
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("x", "y"), *table])
    source = connector(write(tmp_path / "t.csv", written.getvalue()))
    assert rows(source, con, types={"x": "VARCHAR", "y": "VARCHAR"}) == table
    type_ = types(source)["x"]
    for (value, _), (text, _) in zip(rows(source, con), table, strict=True):
        if type_ == "VARCHAR":
            assert value == text
        elif type_ == "BIGINT" or type_.startswith("DECIMAL"):
            assert Decimal(value) == Decimal(text)
        elif type_ == "DOUBLE":
            assert repr(value) == repr(float(text))


@plain
@given(
    st.lists(
        st.one_of(
            st.integers(-(10**37), 10**37),
            st.decimals(-(10**12), 10**12, allow_nan=False, places=9),
        ),
        min_size=1,
    )
)
def test_any_number_of_a_csv_is_unchanged(tmp_path, con, numbers):
    """Numbers have the same value, whatever other numbers are in the column."""
    source = connector(
        column(tmp_path / "t.csv", [f"{number:f}" for number in map(Decimal, numbers)])
    )
    read = [row[1] for row in rows(source, con)]
    assert [Decimal(value) for value in read] == [Decimal(f"{Decimal(n):f}") for n in numbers]


fields = st.lists(st.sampled_from(["", '""', "x", '","', '"\n"', '" "']), max_size=4)


@plain
@given(
    st.lists(fields.filter(lambda record: record not in ([], [""])), max_size=5),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([",", ";", "a"]),
    st.sampled_from(["utf-8", "utf-16"]),
)
@example([["x", ""]], "\n", ",", "utf-8")
def test_each_record_has_the_width_of_the_header(tmp_path, con, records, end, delimiter, encoding):
    """What Python's csv reads as two fields a record lands; any other width is refused by line."""
    text = end.join(delimiter.join(record) for record in [["k", "v"], *records])
    _, *expected = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    path = write(tmp_path / "a.csv", text.encode(encoding))
    source = connector(path, delimiter=delimiter, encoding=encoding)
    if any(len(record) != 2 for record in expected):
        assert f"{path}, line " in refusal(source)
        return
    landed = rows(source, con, types={"k": "VARCHAR", "v": "VARCHAR"})
    assert [[k or "", v or ""] for k, v in landed] == expected


json_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts
)
json_values = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
records = st.dictionaries(st.sampled_from(["a", "b/c", "d~e", "f g"]), json_values, max_size=4)


@plain
@given(st.lists(records, min_size=1, max_size=8))
@example([{"a": 1.1}, {"a": '"1.5'}])
@example([{"a": [1.1, '\\"1.5', {"b/c": -7}]}])
def test_any_json_is_unchanged(tmp_path, con, table):
    """Each column of each record, read as JSON, has the value that was written."""
    lines = "".join(json.dumps(record) + "\n" for record in table)
    source = connector(write(tmp_path / "t.jsonl", lines))
    names = list(types(source))
    if not names:
        return
    for record, row in zip(
        table, rows(source, con, types=dict.fromkeys(names, "JSON")), strict=True
    ):
        for name, value in zip(names, row, strict=True):
            parsed = None if value is None else json.loads(value)
            assert repr(parsed) == repr(record.get(name))


def test_wrong_options_type_is_an_error_and_close_may_be_repeated(tmp_path):
    """Options of another connector are refused; a second `close` does nothing."""
    with pytest.raises(CdpsyncError):
        FilesConnector(object())  # type: ignore[arg-type]
    source = connector(write(tmp_path / "a.csv", "x\n1\n"))
    source.close()
    source.close()
