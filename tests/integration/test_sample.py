"""`run --limit N`: a few rows of each table beside it, and nothing else changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.cli_fakes import invoke

from cdpsync import query, sync
from cdpsync.system import locks

if TYPE_CHECKING:
    from pathlib import Path

    from support.mysql_server import MariaDatabase
    from support.shop import Shop

TABLES = """
    create table orders as select i as id, now() as at from generate_series(1, 3000) i;
    alter table orders add primary key (id);
    create view late as select i, 1 / (case when i > 50 then 0 else 1 end) as one
        from generate_series(1, 100000) i;
    create table empty (id int);
"""
CONFIGURED: dict[str, Any] = {
    "public.orders": {"mode": "incremental", "cursor_field": "at"},
    "public.late": {},
    "public.empty": {},
}


def sample(shop: Shop, *argv: str) -> dict[str, Any]:
    """Sample the tables with the command; return the result of each, which must be ok."""
    result = invoke("-C", str(shop.folder), "run", "-o", "json", *argv)
    assert result.exit_code == 0, result.stderr
    return {table["table"]: table for table in json.loads(result.stdout)["tables"]}


def test_sample_lands_beside_the_table_and_changes_nothing_else(shop: Shop) -> None:
    """Neither table, cursor, state file, history nor status; `delete` removes the sample."""
    shop.pg.execute(TABLES)
    shop.configure(CONFIGURED)
    shop.one("shop.orders")
    shop.pg.execute("insert into orders select i, now() from generate_series(3001, 4000) i")
    state, overviews = shop.state_file.read_bytes(), shop.status()
    runs = shop.ask("select count(*) from cdpsync.runs")
    results = sample(shop, "--limit", "10")
    assert {name: table["rows_in_table"] for name, table in results.items()} == {
        "shop.empty__sample": 0,
        "shop.late__sample": 10,  # reading the 51st row would fail
        "shop.orders__sample": 10,
    }
    orders = results["shop.orders__sample"]
    assert (orders["cursor_before"], orders["cursor_after"], orders["rows_read"]) == (
        None,
        None,
        10,
    )
    assert "shop.orders and its cursor are as before" in orders["notices"][0]
    assert shop.ask("select count(*), count(distinct id) from shop.orders__sample") == [(10, 10)]
    with locks.hold(shop.folder / ".cdpsync/locks", ["shop.orders"], "a run", "now"):
        results = sample(shop, "--limit", "3500", "orders")
    assert results["shop.orders__sample"]["rows_read"] == 3500
    with locks.hold(shop.folder / ".cdpsync/locks", ["shop.orders__sample"], "other run", "now"):
        result = invoke("-C", str(shop.folder), "run", "--limit", "5", "orders")
    assert result.exit_code == 4
    assert "(run other run, since now)" in result.stderr
    assert shop.ask("select count(distinct id) from shop.orders__sample") == [(3500,)]
    assert shop.state_file.read_bytes() == state
    assert shop.status() == overviews
    assert shop.ask("select count(*) from cdpsync.runs") == runs
    assert shop.ask("select count(*) from shop.orders") == [(3000,)]
    assert list((shop.folder / ".cdpsync/runs").iterdir()) == []
    assert invoke("-C", str(shop.folder), "maintain").exit_code == 0
    assert shop.one("shop.orders").rows_inserted == 1000  # the cursor has not moved
    assert invoke("-C", str(shop.folder), "verify", "orders").exit_code == 0
    result = invoke("-C", str(shop.folder), "delete", "-y", "orders__sample", "shop.late__*")
    assert result.exit_code == 0, result.stderr
    tables = {f"{schema}.{name}" for schema, name in shop.ask("show tables")}
    assert tables == {"shop.empty__sample", "shop.orders"}
    assert invoke("-C", str(shop.folder), "delete", "-y", "shop").exit_code == 0
    assert shop.ask("show tables") == []


def test_first_sample_needs_no_earlier_run(tmp_path: Path, maria: MariaDatabase) -> None:
    """On an empty lake, of any source; the limit reaches the server."""
    maria.execute(
        "create view late as select seq, if(seq > 50, (select 1 union select 2), 1) as one "
        "from seq_1_to_1000"
    )
    (tmp_path / "t.csv").write_text("a\n" + "1\n" * 100)
    sources = {
        "db": {"type": "mysql", "url": maria.url},
        "files": {"type": "files", "path": "./*.csv"},
    }
    file = tmp_path / "cdpsync.yml"
    file.write_text(json.dumps({"sources": sources}))
    results = sync.run(file, limit=7).tables
    assert [(str(t.table), t.rows_in_table, t.error) for t in results] == [
        ("db.late__sample", 7, None),
        ("files.t__sample", 7, None),
    ]
    assert query("select count(*) from files.t__sample", file) == [(7,)]
    assert not (tmp_path / ".cdpsync/state.json").exists()


def test_table_of_the_project_is_no_sample(shop: Shop) -> None:
    """A table that happens to have a sample's name is not replaced, nor taken for one.

    The lake takes names for the same that differ only in case.
    """
    shop.pg.execute(
        "create table t as select 1 as id; create table t__sample as select 2 as id;"
        'create table "U" as select 1 as id; create table "U__SAMPLE" as select 2 as id'
    )
    shop.configure(None)
    shop.run()
    results = {t.table: t.error for t in shop.run("shop.t", "shop.U", limit=1).tables}
    for name in ("shop.t", "shop.U"):
        assert 'Give that one another "name:"' in results[name].message
    assert shop.ask('select t.id, u.id from shop.t__sample as t, shop."U__SAMPLE" as u') == [(2, 2)]


@pytest.mark.parametrize("option", ["--due", "--full-refresh", "--dry-run"])
def test_limit_stands_alone(tmp_path: Path, option: str) -> None:
    """Options that are about the tables themselves mean nothing for a sample."""
    (tmp_path / "cdpsync.yml").write_text("sources: {}")
    result = invoke("-C", str(tmp_path), "run", "--limit", "5", option)
    assert result.exit_code == 2
    assert f"--limit and {option}" in result.stderr
