"""`query`: the statements that it accepts, and its results."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from cdpsync import engine, query
from cdpsync.catalog import run_query
from cdpsync.errors import LandingError, LockHeldError, QueryError
from cdpsync.system import locks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb
    from support.shop import Shop


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A lake with tables of two sources, and a system table."""
    con = engine.connect(threads=1, extensions=("ducklake",))
    con.execute(f"attach 'ducklake:{tmp_path}/lake.ducklake' as lake (data_path '{tmp_path}/data')")
    con.execute("create schema lake.shop; create schema lake.cdpsync; create schema lake.crm")
    con.execute("create table lake.shop.orders as select 1 as id, 'open' as status")
    con.execute("create table lake.crm.people (id int)")
    con.execute("create table lake.cdpsync.runs (id int)")
    yield con
    con.close()


def rows(con: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[object, ...]]:
    return list(run_query(con, sql).rows())


@pytest.mark.parametrize(
    "sql",
    [
        "select 1 -- all",
        "select 1;\n-- end",
        "select 1; /* x; */ ;; -- é ; y",
        "/* é */ select 1;;",
        "set threads = 1; select 1 -- é",
    ],
)
def test_comments_may_stand_at_the_end(
    lake: duckdb.DuckDBPyConnection, tmp_path: Path, sql: str
) -> None:
    """And semicolons, and both, in results and in files."""
    assert rows(lake, sql) == [(1,)]
    assert run_query(lake, sql).write_parquet(tmp_path / "answer.parquet") == 1


def test_comment_signs_in_a_text_are_text(lake: duckdb.DuckDBPyConnection) -> None:
    """In quotes and between dollar signs."""
    assert rows(lake, "select 'é; -- x' as a, $$;--$$ as b; -- c") == [("é; -- x", ";--")]


@pytest.mark.parametrize("options", ["", "analyze", "(analyze)", "/* ( */ (analyze, format json)"])
def test_only_queries_are_explained(
    lake: duckdb.DuckDBPyConnection, tmp_path: Path, options: str
) -> None:
    """EXPLAIN ANALYZE runs what it explains: a COPY would write its file."""
    file = tmp_path / "written"
    with pytest.raises(QueryError, match="COPY is refused"):
        run_query(lake, f"explain {options} copy (select 1) to '{file}'; -- é")
    with pytest.raises(QueryError, match="DELETE is refused"):
        run_query(lake, f"-- é\nexplain {options} delete from shop.orders")
    assert not file.exists()
    assert rows(lake, "select count(*) from shop.orders") == [(1,)]
    for statement in (
        "select 1",
        "(select 1)",
        "from shop.orders",
        "with a as (from range(2)) from a",
    ):
        assert rows(lake, f"explain {options} {statement}; -- end")


def test_a_pivot_names_its_values(lake: duckdb.DuckDBPyConnection) -> None:
    """Without them DuckDB creates a type first, and the refusal says PIVOT, not CREATE."""
    assert rows(lake, "pivot shop.orders on status in ('open') using count(*)") == [(1, 1)]
    for sql in (
        "pivot shop.orders on status using count(*)",
        "from (pivot shop.orders on status using count(*))",
        "explain pivot shop.orders on status using count(*)",
    ):
        with pytest.raises(QueryError, match=r"^PIVOT is refused .* status in"):
            run_query(lake, sql)


@pytest.mark.parametrize("sql", ["show tables", "SHOW /* é */ TABLES; -- all"])
def test_show_tables_names_those_of_every_schema(lake: duckdb.DuckDBPyConnection, sql: str) -> None:
    """But not the system tables."""
    answer = run_query(lake, sql)
    assert [column.name for column in answer.columns] == ["schema", "name"]
    assert list(answer.rows()) == [("crm", "people"), ("shop", "orders")]


def test_float_has_the_shortest_text(lake: duckdb.DuckDBPyConnection) -> None:
    """The shortest text that means the FLOAT, not that of the equal double."""
    results = rows(
        lake,
        "select 0.1::float, -1.5e-30::float, 'inf'::float, null::float, date '2020-01-01'",
    )
    assert [repr(value) for value in results[0]] == [
        "0.1",
        "-1.5e-30",
        "inf",
        "None",
        "datetime.date(2020, 1, 1)",
    ]
    ((nan,),) = rows(lake, "select 'nan'::float")
    assert math.isnan(nan)


def test_tables_with_long_names_are_locked_synced_and_queried(shop: Shop) -> None:
    """Percent-encoded, the two names would be longer than a file's name may be."""
    schema, name = "é" * 31, "表" * 20
    shop.pg.execute(f'create schema {schema}; create table {schema}."{name}1" as select 1 as id')
    shop.pg.execute(f'create table {schema}."{name}2" as select 2 as id')
    shop.configure({f"{schema}.*": {"mode": "full_table"}})
    assert [table.error for table in shop.run().tables] == [None, None]
    assert shop.ask(f'select id from shop."{schema}_{name}2"') == [(2,)]


def test_long_names_have_locks_of_their_own(tmp_path: Path) -> None:
    """Also names with the same beginning; the message still names the holder."""
    first, second = "表" * 60 + "1", "表" * 60 + "2"
    with (
        locks.hold(tmp_path, [first], "run-1", "now"),
        locks.hold(tmp_path, [second], "run-2", "now"),
    ):
        assert str(locks.holder(tmp_path, first)).endswith("(run run-1, since now)")
        assert locks.live_runs(tmp_path) == {"run-1", "run-2"}
        with (
            pytest.raises(LockHeldError, match="run run-1"),
            locks.hold(tmp_path, [first], "x", "now"),
        ):
            pass
    assert locks.live_runs(tmp_path) == set()
    assert {len(file.name) for file in tmp_path.iterdir()} == {155}


def test_warehouse_that_was_moved_away_is_named(shop: Shop) -> None:
    """A missing warehouse is not an error of the SQL; another missing file is."""
    shop.pg.execute("create table orders as select 1 as id")
    shop.configure(None)
    shop.run()
    (shop.folder / "warehouse").rename(shop.folder / "moved")
    with pytest.raises(LandingError, match=r"/warehouse: the warehouse's folder does not exist"):
        query("from shop.orders", shop.file)
    with pytest.raises(QueryError):
        query("from 'no-such.csv'", shop.file)
    (shop.folder / "moved").rename(shop.folder / "warehouse")
    assert shop.ask("from shop.orders") == [(1,)]
