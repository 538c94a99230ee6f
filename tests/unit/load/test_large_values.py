"""Merges of large values: compared by digests, the same rows are loaded as otherwise."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from cdpsync.load import merge as merge_module
from cdpsync.load.merge import merge
from cdpsync.model import Column, LakeTable, Stream, SyncMode, TableName, TablePlan

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = (
    Column("id", "INTEGER"),
    Column("rev", "INTEGER"),
    Column("text", "VARCHAR"),
    Column("bytes", "BLOB"),
)
TABLE = TableName("shop", "docs")
_EXISTING = """
    (1, 1, 'as it was', 'a'::blob), (2, 1, 'old', 'b'::blob), (3, 1, null, null),
    (4, 1, 'twice', 'd'::blob), (5, 9, 'newer', 'e'::blob)
"""
_INCOMING = [
    "(1, 1, 'as it was', 'a'::blob), (2, 1, 'new', 'b'::blob), (3, 1, null, 'c'::blob)",
    "(4, 1, 'twice', 'd'::blob), (4, 1, 'twice', 'd'::blob), (5, 1, 'older', 'e'::blob)",
    "(6, 1, 'x', null), (6, 1, 'x', null), (6, 2, null, null), (null, 1, 'x', 'y'::blob)",
    "(7, 1, 'all new', null), (8, 1, 'all new', null)",
]


def _plan(mode: SyncMode, *, added: frozenset[str] = frozenset()) -> TablePlan:
    keyed = mode is SyncMode.INCREMENTAL
    return TablePlan(
        source="shop",
        stream=Stream("docs", "docs", COLUMNS, ("id",) if keyed else (), ("rev",)),
        table=TABLE,
        mode=mode,
        columns=COLUMNS,
        primary_key=("id",) if keyed else (),
        cursor_field="rev",
        replace=False,
        lake_table=LakeTable(TABLE, COLUMNS, added_columns=added),
    )


@pytest.mark.parametrize(
    "plan",
    [
        _plan(SyncMode.INCREMENTAL),
        _plan(SyncMode.APPEND_ONLY),
        _plan(SyncMode.APPEND_ONLY, added=frozenset({"bytes"})),
    ],
    ids=["incremental", "append_only", "append_only with an added column"],
)
def test_digests_load_the_same_rows(
    plan: TablePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Updates, NULLs, repeated rows and repeated keys come out the same, each as often."""
    con = duckdb.connect()
    con.execute("attach ':memory:' as lake; create schema lake.shop")
    con.execute("create table lake.shop.docs (id integer, rev integer, text text, bytes blob)")
    con.execute(f"insert into lake.shop.docs values {_EXISTING}")
    files = []
    for number, rows in enumerate(_INCOMING):
        files.append(tmp_path / f"{number}.parquet")
        con.sql(f"from (values {rows}) as t(id, rev, text, bytes)").write_parquet(str(files[-1]))
    loaded = []
    for columns in (set(), {"text"}, {"text", "bytes"}):
        monkeypatch.setattr(merge_module, "large_columns", lambda *_, large=columns: large)
        folder = tmp_path / "-".join(["merged", *sorted(columns)])
        folder.mkdir()
        merged = merge(con, plan, files, COLUMNS, folder)
        loaded.append((merged.rows, merged.duplicates, _rows(con, merged.files)))
        assert bool(merged.upsert_files) == (plan.mode is SyncMode.INCREMENTAL)
    assert loaded[0] == loaded[1] == loaded[2]
    assert loaded[0][0] > 3
    assert len(merged.files) > 1
    assert files[3] in merged.files  # all of its rows are loaded, so it is not written again


def _rows(con: duckdb.DuckDBPyConnection, files: tuple[Path, ...]) -> list[tuple[Any, ...]]:
    per_file = (con.execute("from read_parquet(?)", [str(file)]).fetchall() for file in files)
    return sorted(itertools.chain(*per_file), key=repr)


def test_merge_that_runs_out_of_memory_compares_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values that are large in the lake alone are not measured, and pass all the same."""
    con = duckdb.connect(config={"threads": 1, "temp_directory": ""})
    con.execute("attach ':memory:' as lake; create schema lake.shop")
    for number in range(10):
        con.sql(
            "select i::integer as id, 1 as rev, repeat(i::varchar || ' ', 120_000) as text, "
            f"null::blob as bytes from range({number * 10}, {number * 10 + 10}) r(i)"
        ).write_parquet(f"{tmp_path}/lake-{number}.parquet")
    con.execute(f"create view lake.shop.docs as from read_parquet('{tmp_path}/lake-*.parquet')")
    file = tmp_path / "incoming.parquet"
    con.sql(
        "select i::integer as id, 1 as rev, '' as text, null::blob as bytes from range(100) r(i)"
    ).write_parquet(str(file))
    attempts = []
    original = merge_module._merge

    def counted(*args: Any) -> Any:
        attempts.append(args[-1])
        return original(*args)

    monkeypatch.setattr(merge_module, "_merge", counted)
    con.execute("set memory_limit = '30MB'")
    merged = merge(con, _plan(SyncMode.INCREMENTAL), [file], COLUMNS, tmp_path)
    assert merged.rows == 100
    assert attempts == [set(), {"text", "bytes"}]
