"""Names and values that are SQL, paths or patterns: in files, in Stripe's records, in Snowflake."""

from __future__ import annotations

import csv
import io
import json
import time
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from support.lake_reading import lake_rows
from support.stripe_server import KEY, fake_stripe

from cdpsync import sync
from cdpsync.errors import ConnectError
from cdpsync_connectors.files.connector import FilesConnector
from cdpsync_connectors.files.options import FilesOptions

if TYPE_CHECKING:
    from pathlib import Path

    from support.snowflake_server import Account

NAMES = [
    '"; drop table victim; --',
    "'; drop table victim; #",
    "it's {} {0} {x} %s %(a)s $1 ? :a ${HOME} $$ \\ \\' E'\\x41'",
    "two\nlines\t\x1b[31mred",
    "a*b?[c]",
    "ü 表 \u202e\u200b select",
    "..",
]
VALUES = [*NAMES, "😀", " ", "\\N", "NULL", "'" * 5_000, "\\" * 5_000]


# What the local Snowflake takes for names: one with an apostrophe it makes twice.
SNOWFLAKE = [name.replace("'", "`") for name in NAMES]


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def load(folder: Path, source: dict[str, Any]) -> Path:
    """Run a project of this source twice; return its file."""
    file = folder / "project/cdpsync.yml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"sources": {"src": source}}, ensure_ascii=False))
    for _ in range(2):
        result = sync.run(file)
        assert [(table.stream, table.error) for table in result.tables if table.error] == []
    return file


def as_csv(rows: list[dict[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, NAMES, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_jsonl(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_parquet(rows: list[dict[str, str]], folder: Path) -> bytes:
    columns = ", ".join(f"? as {quote(name)}" for name in NAMES)
    selects = " union all ".join(f"select {columns}" for _ in rows)
    values = [row[name] for row in rows for name in NAMES]
    with duckdb.connect() as con:
        con.execute(f"create table t as {selects}", values)
        con.execute(f"copy t to '{folder}/plain.parquet'")
    return (folder / "plain.parquet").read_bytes()


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_names_and_values_of_files_are_only_text(tmp_path: Path, kind: str) -> None:
    """Files, folders and columns of every name, and every value, as a run and a query take them."""
    rows = [dict.fromkeys(NAMES, value) for value in VALUES]
    makers = {"csv": as_csv, "jsonl": as_jsonl, "parquet": lambda all_: as_parquet(all_, tmp_path)}
    content = makers[kind](rows)
    folder = tmp_path / "it's \"; drop ${HOME} {}%s"
    folder.mkdir()
    plain = [name for name in NAMES if name != ".." and not ("\\" in name and "?" in name)]
    for name in plain:
        (folder / f"{name}.{kind}").write_bytes(content)
    file = load(tmp_path, {"type": "files", "path": str(folder).replace("$", "$$")})
    tables = lake_rows(
        "select table_name from information_schema.tables where table_schema = 'src'", file
    )
    assert len(tables) == len(plain)
    expected = sorted(tuple(row[name] for name in NAMES) for row in rows)
    names = ", ".join(map(quote, NAMES))
    for (table,) in tables:
        assert sorted(lake_rows(f"select {names} from src.{quote(table)}", file)) == expected


def test_file_that_can_only_be_named_by_a_pattern_is_refused(tmp_path: Path) -> None:
    """Rather an error than the rows of another file."""
    (tmp_path / "lake?\\a.csv").write_text("id\n1\n")
    (tmp_path / "lake1").mkdir()
    (tmp_path / "lake1/a.csv").write_text("id\n2\n")
    connector = FilesConnector(FilesOptions(path=str(tmp_path)))
    (stream,) = connector.discover()
    assert "is always a pattern" in stream.unreadable_reason
    with pytest.raises(ConnectError, match="is always a pattern"):
        connector.check()


def test_names_and_values_of_stripes_records_are_only_text(tmp_path: Path) -> None:
    """Metadata has keys of the customer's choosing; unknown fields become columns."""
    with fake_stripe() as stripe:
        stripe.now = int(time.time()) - 3600
        for number, value in enumerate(VALUES):
            fields = {f"f{name}": value for name in NAMES}
            metadata = dict.fromkeys(NAMES, value)
            stripe.add("customers", name=value, balance=number, metadata=metadata, **fields)
        tables = {"customers": {"mode": "incremental", "deletes": "hard"}}
        source = {"type": "stripe", "api_key": KEY, "api_base": stripe.url, "max_rate": 10_000}
        file = load(tmp_path, {**source, "tables": tables})
    rows = lake_rows("select name, metadata from src.customers order by balance", file)
    assert [(name, json.loads(text)) for name, text in rows] == [
        (value, dict.fromkeys(NAMES, value)) for value in VALUES
    ]


def test_names_and_values_of_snowflake_are_only_text(tmp_path: Path, snow: Account) -> None:
    """Tables, columns, keys and values of every name, in each mode; one row a value."""
    columns = [f"c{name}" for name in SNOWFLAKE]
    for name in SNOWFLAKE:
        defined = ", ".join(f"{quote(column)} varchar" for column in columns)
        snow.execute(f"create table {quote(name)} ({quote('k' + name)} number(9,0), {defined})")
        with snow.connected() as con, con.cursor() as cursor:
            marks = ", ".join(["%s"] * (len(columns) + 1))
            for number, value in enumerate(VALUES):
                cursor.execute(
                    f"insert into {quote(name).replace('%', '%%')} values ({marks})",
                    (number, *[value] * len(columns)),
                )
    for mode in ("incremental", "append_only", "full_table"):
        folder = tmp_path / mode
        folder.mkdir()
        _check_snowflake(folder, snow, mode)


def _check_snowflake(folder: Path, snow: Account, mode: str) -> None:
    expected = [(number, *[value] * len(SNOWFLAKE)) for number, value in enumerate(VALUES)]
    tables = {}
    for name in SNOWFLAKE:
        part = quote(name) if "." in name or '"' in name else name
        glob = f"PUBLIC.{part}".replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")
        key = ("k" + name).replace("$", "$$")
        options = {} if mode == "full_table" else {"cursor_field": key, "primary_key": [key]}
        tables[glob] = {"mode": mode, **options}
    file = load(folder, {**snow.options, "tables": tables})
    in_lake = lake_rows(
        "select table_name from information_schema.tables where table_schema = 'src'", file
    )
    assert len(in_lake) == len(SNOWFLAKE), mode
    for (table,) in in_lake:
        assert sorted(lake_rows(f"select * from src.{quote(table)}", file)) == expected, mode
