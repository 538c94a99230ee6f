"""The contract that scripts depend on: keys, exit codes and what the commands do, run for real."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import commands

from cdpsync.system import clock

if TYPE_CHECKING:
    from support.shop import Shop

GOLDEN = Path(__file__).resolve().parent.parent / "golden/contract.json"
INCREMENTAL = {"mode": "incremental", "cursor_field": "updated_at"}


def cdpsync(shop: Shop, *arguments: str, code: int = 0, stdin: str = "") -> str:
    """Run the real command; return what it says on stdout."""
    done = commands.run(*arguments, cwd=shop.folder, stdin=stdin)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def keys(value: Any) -> Any:
    """Return the shape of a JSON value: its keys in their order, one element of each list."""
    if isinstance(value, dict):
        return {key: keys(inner) for key, inner in value.items()}
    return [keys(value[0])] if isinstance(value, list) and value else "…"


@pytest.fixture
def orders(shop: Shop) -> Shop:
    """A project with a table that has been run once, and one that fails."""
    shop.pg.execute("create table orders (id int primary key, updated_at timestamptz)")
    shop.pg.execute("insert into orders select i, '2024-01-01Z'::timestamptz + i * interval '1 h' "
                    "from generate_series(1, 10) i")  # fmt: skip
    shop.configure({"public.orders": INCREMENTAL | {"every": "1h"}, "public.gone": {}})
    return shop


def test_json_has_exactly_the_keys_of_the_contract(orders: Shop) -> None:
    """`run`, `status`, `status --history` and the state file, key by key, in their order."""
    shape = {
        "run": keys(json.loads(cdpsync(orders, "run", "-o", "json", code=3))),
        "status": keys(json.loads(cdpsync(orders, "status", "-o", "json"))),
        "history": keys(json.loads(cdpsync(orders, "status", "--history", "-o", "json"))),
        "state": keys(json.loads(orders.state_file.read_text())),
    }
    assert json.dumps(shape) == json.dumps(json.loads(GOLDEN.read_text()))


def test_figures_in_json_are_those_of_the_run(orders: Shop) -> None:
    """Failed and successful tables stand side by side, each with its own numbers."""
    run = json.loads(cdpsync(orders, "run", "-o", "json", code=3))
    assert run["status"] == "partial"
    failed, done = sorted(run["tables"], key=lambda table: table["stream"])
    assert (failed["status"], failed["error"]["type"]) == ("failed", "ReadError")
    assert (done["status"], done["error"], done["rows_inserted"]) == ("ok", None, 10)
    assert done["cursor_after"] == "2024-01-01T10:00:00+00:00"
    states = {
        overview["table"]: overview
        for overview in json.loads(cdpsync(orders, "status", "-o", "json"))
    }
    assert states["shop.orders"]["rows"] == 10
    assert states["shop.orders"]["every"] == "1h"
    assert states["shop.gone"]["status"] == "failed"


def test_due_runs_what_its_every_says(orders: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before its time; then again; a failed table each time."""
    orders.run()
    first = {result.table: result.status for result in orders.run(due=True).tables}
    assert first == {"shop.orders": "skipped", "shop.gone": "failed"}

    later = clock.now() + timedelta(minutes=61)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert {result.table: result.status for result in orders.run(due=True).tables}[
        "shop.orders"
    ] == "ok"


def test_dry_run_changes_nothing(orders: Shop) -> None:
    """It says what would be done, and leaves no lake behind."""
    assert "shop.orders" in cdpsync(orders, "run", "--dry-run", "shop.orders")
    assert not (orders.folder / "warehouse").exists()
    assert not (orders.folder / ".cdpsync/catalog.ducklake").exists()


def test_full_refresh_replaces_what_is_there(orders: Shop) -> None:
    """Rows that an incremental run would keep are gone after a load from the start."""
    orders.run("shop.orders")
    orders.pg.execute("delete from orders where id <= 3")
    assert orders.one("shop.orders").rows_in_table == 10
    assert orders.one("shop.orders", full_refresh=True).rows_in_table == 7
    orders.same()


def test_selections_choose_tables(orders: Shop) -> None:
    """-s adds, -e takes away; threads may be one."""
    orders.pg.execute("create table a (id int); create table b (id int)")
    orders.configure(None)
    run = orders.run(include=["shop.a", "shop.b"], exclude=["*.b"], threads=1)
    assert [result.table for result in run.tables] == ["shop.a"]


def test_state_can_be_read_and_set(orders: Shop) -> None:
    """`state set` rewinds, `state get` tells, and the next run reads from there."""
    orders.run("shop.orders")
    assert cdpsync(orders, "state", "get", "shop.orders").strip() == "2024-01-01T10:00:00+00:00"
    cdpsync(orders, "state", "set", "shop.orders", "2024-01-01T05:00:00+00:00")
    shown = json.loads(cdpsync(orders, "state", "show", "-o", "json"))
    assert shown == json.loads(orders.state_file.read_text())
    assert orders.one("shop.orders").rows_read == 6
    cdpsync(orders, "state", "set", "shop.orders", "yesterday", code=2)
    cdpsync(orders, "state", "get", "shop.nothing", code=2)


def test_reset_loads_from_the_start_and_delete_forgets(orders: Shop) -> None:
    """Both ask first; without a terminal they want -y."""
    orders.run("shop.orders")
    cdpsync(orders, "reset", "shop.orders", code=2)
    cdpsync(orders, "reset", "shop.orders", "-y")
    assert orders.ask("select count(*) from shop.orders") == [(10,)]
    result = orders.one("shop.orders")
    assert (result.cursor_before, result.rows_read) == (None, 10)
    cdpsync(orders, "state", "reset", "shop.orders", "-y")
    assert orders.one("shop.orders").cursor_before is None
    cdpsync(orders, "delete", "shop.orders", "-y")
    assert json.loads(orders.state_file.read_text())["tables"] == {}
    cdpsync(orders, "query", "from shop.orders", code=2)
    assert orders.one("shop.orders").rows_inserted == 10


@pytest.mark.parametrize(
    "sql",
    ["insert into shop.orders values (1, null)", "drop table shop.orders", "attach 'x.db' as x",
     "copy shop.orders to 'x.csv'", "update shop.orders set id = 1", "call lake.snapshots()"],
)  # fmt: skip
def test_query_refuses_to_change_anything(orders: Shop, sql: str) -> None:
    """INSERT, DROP, ATTACH and their like are refused by name, and the lake stays as it is."""
    orders.run("shop.orders")
    done = commands.run("query", sql, cwd=orders.folder)
    assert done.returncode == 2
    assert f"{sql.split()[0].upper()} is refused" in done.stderr
    assert orders.ask("select count(*) from shop.orders") == [(10,)]


def test_query_takes_sql_from_everywhere_at_any_time(orders: Shop) -> None:
    """From the argument, a file and stdin; of now, of a snapshot, of a moment."""
    orders.run("shop.orders")
    before = datetime.now(UTC).isoformat()
    orders.pg.execute("insert into orders values (11, now())")
    orders.run("shop.orders")
    count = "select count(*) as n from shop.orders"
    (orders.folder / "q.sql").write_text(count + ";\n")
    assert json.loads(cdpsync(orders, "query", "-o", "json", count)) == [{"n": 11}]
    assert json.loads(cdpsync(orders, "query", "-o", "json", "-f", "q.sql")) == [{"n": 11}]
    assert json.loads(cdpsync(orders, "query", "-o", "json", stdin=count)) == [{"n": 11}]
    at = cdpsync(orders, "query", "-o", "json", "--at", before, count)
    assert json.loads(at) == [{"n": 10}]
    cdpsync(orders, "query", "--at", "yesterday", count, code=2)
    cdpsync(orders, "query", "--at", "999", count, code=2)


def test_mode_may_change_between_runs(orders: Shop) -> None:
    """Whatever the YAML said before, the table is what the new mode says, without ghosts."""
    orders.configure({"public.orders": {"mode": "append_only", "cursor_field": "updated_at"}})
    orders.run()
    orders.pg.execute("update orders set updated_at = now() where id = 1")
    orders.run()
    assert orders.ask("select count(*) from shop.orders") == [(11,)]
    orders.configure({"public.orders": INCREMENTAL})
    orders.run()
    orders.same()
    orders.configure({"public.orders": {}})
    orders.run()
    orders.same()
