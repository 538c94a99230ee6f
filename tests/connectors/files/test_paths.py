"""The path of a file: keys in it, names that it gives, copies beside it, parts of one table."""

from __future__ import annotations

import gzip
import itertools
from datetime import date
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.file_fuzzing import plain
from support.file_sources import connector, write

from cdpsync.connector import ReadRequest
from cdpsync.errors import ConnectError, ReadError
from cdpsync_connectors.files.connector import FilesConnector
from cdpsync_connectors.files.discover import table_name
from cdpsync_connectors.files.options import FilesOptions

if TYPE_CHECKING:
    from pathlib import Path

    from cdpsync.model import Stream


def write_rows(path: Path, con: duckdb.DuckDBPyConnection, select: str) -> None:
    """Write the rows of a SELECT in the format that the path's extension names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    con.execute(f"copy ({select}) to '{path}' ({FORMATS[path.suffix]})")


FORMATS = {".csv": "format csv, header", ".jsonl": "format json", ".parquet": "format parquet"}


def types(stream: Stream) -> dict[str, str]:
    assert stream.unreadable_reason is None
    return {column.name: column.type for column in stream.columns}


def rows(
    source: FilesConnector, con: duckdb.DuckDBPyConnection, only: str = "", **request: Any
) -> list[tuple[Any, ...]]:
    """Read the only stream, or some of its columns."""
    (stream,) = source.discover()
    columns = tuple(c for c in stream.columns if not only or c.name in only.split())
    try:
        with source.read(ReadRequest(stream, columns, **request)) as chunks:
            return sorted(row for chunk in chunks for row in chunk.relation(con).fetchall())
    except duckdb.Error as error:
        raise source.translate(error) or error from error


@pytest.mark.parametrize("extension", FORMATS)
def test_keys_of_the_path_are_columns(tmp_path, con, extension):
    """Their types hold the values of all files; a file's own columns come first."""
    for year, region in itertools.product((2023, 2024), ("EU", "__HIVE_DEFAULT_PARTITION__")):
        folder = tmp_path / f"year={year}/region={region}/day={year}-01-31"
        write_rows(folder / f"part-0{extension}", con, f"select {year % 100} as id")
    source = connector(f"{tmp_path}/**/*{extension}")
    (stream,) = source.discover()
    expected = {"year": "BIGINT", "region": "VARCHAR", "day": "DATE"}
    assert list(types(stream).items())[1:] == list(expected.items())
    assert stream.notices == ()
    assert rows(source, con, "id year day", where="region = 'EU'") == [
        (23, 2023, date(2023, 1, 31)),
        (24, 2024, date(2024, 1, 31)),
    ]
    assert rows(source, con, "id", where="year = 2023 and region is null") == [(23,)]
    assert rows(source, con, "year", types={"year": "VARCHAR"})[0] == ("2023",)
    plain = connector(f"{tmp_path}/**/*{extension}", hive=False)
    assert list(types(plain.discover()[0])) == ["id"]
    assert len(rows(plain, con)) == 4


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (["1", "-7", "0"], "BIGINT"),
        (["9223372036854775807", "-9223372036854775808"], "BIGINT"),
        (["9223372036854775808"], "VARCHAR"),
        (["01", "12"], "VARCHAR"),
        (["1", "EU"], "VARCHAR"),
        (["1.5"], "VARCHAR"),
        (["2024-02-29"], "DATE"),
        (["2023-02-29"], "VARCHAR"),
        (["2024-01-01", "7"], "VARCHAR"),
        (["1", None], "BIGINT"),
        ([None], "VARCHAR"),
        ([""], "VARCHAR"),
        (["a=b", "ü"], "VARCHAR"),
    ],
)
def test_type_of_a_key_holds_each_value(tmp_path, con, values, type_):
    """A value that the type would write in another way stays text."""
    for value in values:
        write(tmp_path / f"k={'__HIVE_DEFAULT_PARTITION__' if value is None else value}" / "a.csv")
    source = connector(tmp_path / "*" / "a.csv")
    assert types(source.discover()[0])["k"] == type_
    read = [None if value is None else str(value) for (value,) in unsorted(source, con)]
    assert sorted(map(str, read)) == sorted(map(str, values))


def unsorted(source: FilesConnector, con: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    (stream,) = source.discover()
    columns = tuple(column for column in stream.columns if column.name == "k")
    with source.read(ReadRequest(stream, columns)) as chunks:
        return [row for chunk in chunks for row in chunk.relation(con).fetchall()]


def test_keys_are_decoded_as_their_writers_encode_them(tmp_path, con):
    """Spark and Hive encode ASCII signs, PyArrow and DuckDB all of UTF-8; else it is as written."""
    for number, name in enumerate(
        ["a%2Fb", "x%3Dy%25", "%C3%BC", "ü", "100%", "%zz", "%FF", "%00", "a b", "%7B'%22"]
    ):
        write(tmp_path / f"k={name}" / "a.csv", f"id\n{number}\n")
    write(tmp_path / "k=ok" / "a%20b=1.csv")
    assert [value for _, value in rows(connector(tmp_path / "*" / "a.csv"), con)] == [
        "a/b", "x=y%", "ü", "ü", "100%", "%zz", "%FF", "%00", "a b", "{'\"",
    ]  # fmt: skip
    table = pa.table({"id": [1, 2, 3], "k": ["a/b c", "é%2F", None]})
    pq.write_to_dataset(table, tmp_path / "arrow", partition_cols=["k"])
    source = connector(f"{tmp_path}/arrow/**/*.parquet", stream="t")
    assert rows(source, con) == [(1, "a/b c"), (2, "é%2F"), (3, None)]
    select = "select 1 as id, 'a/b=c%' as k"
    con.execute(f"copy ({select}) to '{tmp_path}/duck' (format parquet, partition_by k)")
    assert rows(connector(f"{tmp_path}/duck/**/*.parquet"), con) == [(1, "a/b=c%")]


def test_a_key_that_the_source_names_itself_is_no_column(tmp_path, con):
    """It would be one value; the folders below the first pattern count, and no others."""
    write(tmp_path / "env=prod" / "year=2023" / "region=EU" / "a.csv")
    base = tmp_path / "env=prod"
    for path, keys in {
        base / "year=2023" / "region=EU": [],
        base / "year=2023" / "region=EU" / "*.csv": [],
        base / "year=2023" / "*" / "a.csv": ["region"],
        base / "year=*" / "region=EU" / "a.csv": ["year", "region"],
        tmp_path / "**" / "*.csv": ["env", "year", "region"],
        base / "[y]ear=2023" / "region=EU" / "*.csv": ["year", "region"],
    }.items():
        assert list(types(connector(path).discover()[0])) == ["id", *keys], path
    folder = tmp_path / "k=[1]"
    write(folder / "x=1" / "a.csv")
    options = FilesOptions.model_validate({"path": "*/a.csv"}, context={"folder": folder})
    assert list(types(FilesConnector(options).discover()[0])) == ["id", "x"]


@pytest.mark.parametrize("extension", FORMATS)
def test_a_key_that_is_a_column_too_must_agree(tmp_path, con, extension):
    """The same value is one column; NULL in the file takes the key's; another one is refused."""
    for year in (2023, 2024):
        path = tmp_path / f"year={year}" / f"a{extension}"
        write_rows(path, con, f"select * from (values (1, {year}), (2, null)) t(id, year)")
    source = connector(tmp_path / "*" / f"a{extension}")
    assert rows(source, con, "id year") == [(1, 2023), (1, 2024), (2, 2023), (2, 2024)]
    write_rows(tmp_path / "year=2025" / f"a{extension}", con, "select 3 as id")
    assert rows(source, con, "id year")[-1] == (3, 2025)
    path = tmp_path / "year=2026" / f"a{extension}"
    write_rows(path, con, "select 4 as id, 2020 as year")
    (stream,) = source.discover()
    assert stream.unreadable_reason == (
        f"{path}: column \"year\" has the value '2020', and the path says '2026'. Correct one of "
        "them, or set hive: false, which leaves keys of the path out."
    )
    assert rows(connector(tmp_path / "*" / f"a{extension}", hive=False), con, "id year")[-1] == (
        4,
        2020,
    )


def test_a_key_takes_the_type_of_the_files_column(tmp_path, con):
    """`month=01` is the 1 of a file's integers; a key that is no such value is refused by name."""
    write(tmp_path / "month=01" / "a.csv", "id,month\n1,1\n")
    write(tmp_path / "month=02" / "a.csv", "id,month\n2,2\n")
    source = connector(tmp_path / "*" / "a.csv")
    assert rows(source, con) == [(1, 1), (2, 2)]
    write(tmp_path / "month=x" / "a.csv", "id\n3\n")
    with pytest.raises(ReadError, match=r'month=x/a.csv: column "month": value "x" is not exactly'):
        rows(source, con)
    assert rows(source, con, types={"month": "VARCHAR"}) == [(1, "01"), (2, "02"), (3, "x")]


def test_files_without_a_key_have_null_and_a_notice(tmp_path, con):
    """The notice names a file; a file that has the key as its own column needs none."""
    write(tmp_path / "year=2023" / "a.csv")
    write(tmp_path / "year=2024" / "region=EU" / "a.csv", "id\n2\n")
    write(tmp_path / "own" / "a.csv", "id,year\n3,1999\n")
    source = connector(tmp_path / "**" / "a.csv")
    (stream,) = source.discover()
    assert sorted(rows(source, con, "id year region"), key=str) == [
        (1, 2023, None), (2, 2024, "EU"), (3, 1999, None),
    ]  # fmt: skip
    (notice,) = stream.notices
    assert notice == (
        'the key "region" is not in the path of every file: it is NULL in the rows of '
        f"{tmp_path}/own/a.csv and 1 more"
    )


def test_a_key_twice_in_a_path_is_refused(tmp_path):
    """It would be one column with two values."""
    path = write(tmp_path / "year=1" / "Year=2" / "a.csv")
    source = connector(tmp_path / "**" / "a.csv")
    reason = source.discover()[0].unreadable_reason
    assert reason == (
        f'{path}: the key "Year" is in this path twice. Rename a folder, or set hive: false.'
    )
    assert list(types(connector(tmp_path / "**" / "a.csv", hive=False).discover()[0])) == ["id"]


words = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/%"), min_size=1)


@plain
@given(st.lists(words.filter(lambda word: len(word.encode()) < 100), min_size=1, max_size=4))
def test_any_value_of_a_key_is_unchanged(tmp_path_factory, con, values):
    """A text that is written in a path arrives as it is."""
    folder = tmp_path_factory.mktemp("keys")
    for value in values:
        write(folder / f"k={value}" / "a.csv")
    source = connector(folder / "*" / "a.csv", format="csv")
    read = {str(value) for (value,) in unsorted(source, con)}
    assert read == {"None" if value == "__HIVE_DEFAULT_PARTITION__" else value for value in values}


@pytest.mark.parametrize(
    ("stream", "table"),
    [
        ("orders", "orders"),
        ("my plans", "my_plans"),
        ("a.b-c_1", "a_b-c_1"),
        ("日本", "日本"),
        ("ü", "ü"),
        ("u\u0308", "ü"),
        ("Straße №5", "Straße__5"),
        ("हिन्दी", "हिन्दी"),
        ("٣", "٣"),
        ("a\u2028b", "a_b"),
        ("🎉", "_"),
    ],
)
def test_table_names_keep_letters_and_digits_of_any_script(stream, table):
    """Other signs become `_`; a name of ASCII is what it was."""
    assert table_name(stream) == table


@pytest.mark.parametrize("copy", ["a.csv.gz", "a.csv.zst", "a.CSV.GZ"])
@pytest.mark.parametrize("stream", [None, "all"])
def test_a_file_and_its_compressed_copy_are_refused(tmp_path, con, copy, stream):
    """Each row would arrive twice; files of one name in two folders are two files."""
    plain = write(tmp_path / copy[:5])
    compression = "zstd" if copy.endswith("zst") else "gzip"
    con.execute(f"copy (select 1 as id) to '{tmp_path}/x' (compression {compression}, format csv)")
    (tmp_path / "x").rename(tmp_path / copy)
    source = connector(tmp_path, stream=stream)
    reason = source.discover()[0].unreadable_reason
    assert f"{plain}: {copy} is beside it, and if one is a copy of the other" in reason
    with pytest.raises(ConnectError, match="is beside it"):
        source.check()
    write(tmp_path / "b.csv")
    names = [s.name for s in connector(tmp_path).discover() if s.unreadable_reason is None]
    assert names == ["b"]
    (tmp_path / "sub").mkdir()
    (tmp_path / copy).rename(tmp_path / "sub" / copy)
    assert len(connector(tmp_path / "**" / "*", stream=stream).discover()) == (1 if stream else 2)


def test_marks_of_hadoop_and_spark_are_no_rows(tmp_path, con):
    """Nor are rows that were not committed. A file of a user's that begins with _ is one."""
    for name in ("part-0.csv", "_SUCCESS", "_committed_1", "_metadata", "_extra.csv"):
        write(tmp_path / "orders" / name)
    write(tmp_path / "orders" / "_temporary" / "0" / "task" / "part-0.csv", "id\n7\n")
    write(tmp_path / "_mine.csv")
    write(tmp_path / "_metadata_2024.csv")
    source = connector(tmp_path / "orders" / "*", format="csv")
    assert [stream.name for stream in source.discover()] == ["part-0"]
    source = connector(tmp_path / "**" / "*.csv")
    assert [stream.name for stream in source.discover()] == [
        "_metadata_2024",
        "_mine",
        "part-0",
    ]
    named = connector(tmp_path / "orders" / "_extra.csv")
    assert [stream.name for stream in named.discover()] == ["_extra"]
    inside = connector(tmp_path / "orders" / "_temporary" / "0" / "task")
    assert rows(inside, con) == [(7,)]
    assert rows(connector(tmp_path / "**" / "part-0.csv"), con) == [(1,)]


def suggested(folder: Path, path: str) -> list[str]:
    options = FilesOptions.model_validate({"path": path}, context={"folder": folder})
    source = FilesConnector(options)
    return list(source.suggest(source.discover()))


@pytest.mark.parametrize(
    ("names", "path", "table"),
    [
        (["orders_2024-01-01", "orders_2024-01-02"], "in/orders_*.csv", "orders"),
        (["orders-20240101", "orders-20240102"], "in/orders-*.csv", "orders"),
        (["orders_2024_01", "orders_2024_02"], "in/orders_*.csv", "orders"),
        (["o_2024-01-01T10-00-00", "o_2024-01-01T11-00-00"], "in/o_*.csv", "o"),
        (["2024-01-01 my orders", "2024-01-02 my orders"], "'in/* my orders.csv'", "'my orders'"),
        (["o_2023", "o_2024"], "in/o_*.csv", "o"),
        (["o_2024Q1", "o_2024Q2"], "in/o_*.csv", "o"),
        (["o_1", "o_2", "o_items"], "'in/o_[0-9]*.csv'", "o"),
        (["sub/part-00000-1f.c000", "sub/part-00001-2e.c000"], "in/sub/*.csv", "sub"),
        (["sub.csv/part-r-00000", "sub.csv/part-r-00001"], "in/sub.csv/*.csv", "sub"),
        (["sub/y=1/data_0", "sub/y=2/data_1"], "in/sub/**/*.csv", "sub"),
    ],
)
def test_parts_of_one_table_are_suggested(tmp_path, names, path, table):
    """The sentence has what to write: a source of their own, or a name for all files."""
    write(tmp_path / "in" / "alone.csv", "x\n1\n")
    for name in names:
        write(tmp_path / "in" / f"{name}.csv")
    (sentence,) = suggested(tmp_path, "in/**/*.csv")
    assert " look like one table. To load them as one, make them a source" in sentence
    quoted = path if path.startswith("'") or "*" not in path else f"'{path}'"
    assert f"{{type: files, path: {quoted}, stream: {table}}}, and leave them out" in sentence
    (tmp_path / "in" / "alone.csv").unlink()
    if "o_items" in names:
        (tmp_path / "in" / "o_items.csv").unlink()
    (sentence,) = suggested(tmp_path, "in/**/*.csv")
    assert sentence.endswith(f"To load them as one, add to the source: stream: {table}")


def test_parts_of_several_tables_with_the_same_names_are_suggested(tmp_path):
    """`orders/part-0` and `clicks/part-0` are one stream, but two tables."""
    for folder, number in itertools.product(("orders", "clicks"), range(2)):
        write(tmp_path / folder / f"part-{number}.csv")
    clicks, orders = sorted(suggested(tmp_path, "**/*.csv"))
    assert "path: 'clicks/*.csv', stream: clicks}" in clicks + orders
    assert "path: 'orders/*.csv', stream: orders}" in clicks + orders


def test_what_does_not_look_like_one_table_is_not_suggested(tmp_path):
    """Other columns, one file, or names that have nothing in common."""
    write(tmp_path / "a_2024.csv", "x\n1\n")
    write(tmp_path / "a_2025.csv", "y\n1\n")
    write(tmp_path / "b_2024-01-01.csv")
    write(tmp_path / "c.csv")
    write(tmp_path / "d.csv")
    write(tmp_path / "id12.csv")
    write(tmp_path / "id13.csv")
    assert suggested(tmp_path, "*.csv") == []


@pytest.mark.parametrize("path", ["s3://b/in/*.csv", "gs://b", "https://x/y.csv", "R2://b/x"])
def test_other_places_are_refused_by_name(path):
    """They were taken for folders."""
    with pytest.raises(ValidationError) as raised:
        FilesOptions(path=path)
    scheme = path.split("/", 1)[0]
    assert f"{scheme}// is not supported yet: files are read from this" in str(raised.value)


def test_a_folder_of_folders_names_the_glob(tmp_path):
    """A folder means its own files."""
    write(tmp_path / "sub" / "a.csv")
    with pytest.raises(ConnectError, match=r"that begins with \*\*/ searches subfolders too"):
        connector(tmp_path).discover()


ENDS = ["\n", "\r\n", "\r"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("cell", ["x", '"p\nq"', '"p\r\nq""\r"'])
def test_records_with_several_line_ends_are_refused_with_the_line(tmp_path, packed, cell):
    """The first record that ends in another way than the first one is named."""
    for ends in itertools.product(ENDS, repeat=3):
        if len(set(ends)) == 1:
            continue
        text = "".join(map(str.__add__, ["a,b", f"1,{cell}", "2,y"], ends))
        content = text.encode()
        path = tmp_path / ("a.csv.gz" if packed else "a.csv")
        path.write_bytes(gzip.compress(content) if packed else content)
        reason = connector(path).discover()[0].unreadable_reason
        first_odd = next(number for number in (1, 2) if ends[number] != ends[0])
        inner = {"x": 0, '"p\nq"': 1, '"p\r\nq""\r"': 2}[cell]
        line = 1 + first_odd + inner
        if reason is None:
            assert (ends[:2], ends[2]) == (("\r\n", "\r\n"), "\r")  # the same rows
            continue
        assert f"{path}, line {line}: ends with " in reason, (ends, reason)
        assert "Use one kind of line end for all records" in reason
