"""Changes that a person makes to the state: cursors set, tables reset and deleted."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support import commands
from support.servers import free_port

from cdpsync import project
from cdpsync.catalog import Lake
from cdpsync.errors import ConfigError
from cdpsync.model import RunKind, TableName, TableStatus
from cdpsync.project import edit
from cdpsync.system import clock, locks

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from support.shop import Shop

ORDERS = TableName("shop", "orders")
HOURLY = {"mode": "incremental", "cursor_field": "id", "every": "1h"}


def cdpsync(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real command in the project's folder."""
    return commands.run(*arguments, cwd=shop.folder)


@pytest.fixture
def orders(shop: Shop) -> Shop:
    """A project with ten loaded orders, and a table that was never loaded."""
    shop.pg.execute("create table orders (id int primary key, v int)")
    shop.pg.execute("insert into orders select i, i from generate_series(1, 10) i")
    shop.configure({"public.orders": HOURLY, "public.later": {"enabled": True}})
    shop.one("shop.orders")
    return shop


def delete(shop: Shop, *select: str) -> tuple[TableName, ...]:
    return edit.delete(project.load(shop.file), select)


def status(shop: Shop) -> dict[str, Any]:
    return {table.table: table for table in project.status(project.load(shop.file))}


def test_deleted_table_was_never_loaded(orders: Shop) -> None:
    """Status, rows and the next run show a deleted table as one that was never loaded."""
    assert delete(orders, "shop.orders") == (ORDERS,)
    table = status(orders)["shop.orders"]
    assert (table.status, table.rows, table.next_due_at, table.last_run_at) == (
        "never",
        *[None] * 3,
    )
    assert "public.orders" not in orders.state_file.read_text()
    result = orders.one("shop.orders", due=True)
    assert (result.status, result.rows_inserted) == ("ok", 10)
    orders.same()
    assert orders.one("shop.orders", due=True).status == "skipped"
    assert status(orders)["shop.orders"].rows == 10


def test_history_has_a_record_of_a_deletion(orders: Shop) -> None:
    """It keeps the runs before, and the record has the dropped rows and the last cursor."""
    delete(orders, "shop.orders")
    deletion, run = project.history(project.load(orders.file), ["shop.orders"])
    assert (deletion.kind, run.kind) == (RunKind.DELETE, RunKind.RUN)
    result = deletion.result
    assert (result.status, result.rows_deleted, result.rows_in_table) == (TableStatus.OK, 10, 0)
    assert (result.cursor_before.value, result.cursor_after) == (10, None)
    assert result.notices == ("dropped by cdpsync delete",)
    shown = cdpsync(orders, "status", "--history").stdout.splitlines()
    assert shown[2].split()[3:] == ["delete", "shop.orders", "ok", "0", "0", "0", "10", "0.00", "s"]
    assert shown[-1].endswith("shop.orders: dropped by cdpsync delete")


def test_deletion_of_a_missing_table_is_reported(orders: Shop) -> None:
    """A table deleted before, or never loaded, is not dropped and gives no record."""
    first = cdpsync(orders, "delete", "shop.*", "-y")
    assert (first.returncode, first.stderr) == (0, "1 table dropped\n")
    second = cdpsync(orders, "delete", "shop.*", "-y", "-o", "json")
    assert (second.returncode, second.stdout, second.stderr) == (0, "[]\n", "nothing to drop\n")
    assert cdpsync(orders, "delete", "shop.later").stderr == "nothing to drop\n"
    assert len(project.history(project.load(orders.file))) == 2


def test_deleted_table_that_the_file_does_not_name_is_unknown(orders: Shop) -> None:
    """It does not fail with its source; its history can still be shown."""
    orders.configure(None)
    delete(orders, "shop.orders")
    assert status(orders) == {}
    with pytest.raises(ConfigError):
        delete(orders, "shop.orders")
    url = orders.pg.url.replace(f":{orders.pg.port}", f":{free_port()}")
    orders.configure(None, url=url)
    assert [table.table for table in orders.run().tables] == ["shop.*"]
    config = project.load(orders.file)
    kinds = [record.kind for record in project.history(config, ["shop.orders"])]
    assert kinds == [RunKind.DELETE, RunKind.RUN]


def test_record_of_a_deletion_outlives_the_older_ones(orders: Shop, monkeypatch) -> None:
    """When old history is pruned, a deleted table does not appear again."""
    from cdpsync.catalog import system_tables

    monkeypatch.setattr(system_tables, "_MIN_SUPERSEDED", 1)
    orders.one("shop.orders", full_refresh=True)
    delete(orders, "shop.orders")
    later = clock.now() + timedelta(days=100)
    with project.catalog_of(project.load(orders.file)).writer() as con:
        assert Lake(con).system_tables.prune(later, timedelta(days=7), dry_run=False) > 0
        assert Lake(con).system_tables.latest_runs() == ()
        assert Lake(con).system_tables.history()[0].kind is RunKind.DELETE


def test_reset_reports_the_tables_that_were_reset(orders: Shop) -> None:
    """A table that was never loaded is not among them."""
    both = cdpsync(orders, "reset", "shop.*", "-y")
    assert both.stderr.startswith("1 table reset: ")
    done = cdpsync(orders, "reset", "shop.later", "-y")
    assert (done.returncode, done.stderr) == (0, "nothing to reset: never loaded\n")


def run_before_next_edit(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run end just before the next edit takes its locks."""
    hold, pending_runs = locks.hold, [1]

    def run_then_hold(folder: Path, names: Any, run_id: str, *args: Any, **options: Any) -> Any:
        if run_id == "by hand" and pending_runs:
            pending_runs.pop()
            shop.pg.execute("insert into orders values (11, 11)")
            shop.one("shop.orders")
        return hold(folder, names, run_id, *args, **options)

    monkeypatch.setattr(locks, "hold", run_then_hold)


@pytest.mark.parametrize(
    ("change", "reads"),
    [
        (lambda config: edit.set_cursor(config, "shop.orders", "4"), 8),
        (lambda config: edit.reset(config, ["shop.orders"]), 11),
    ],
    ids=["set", "reset"],
)
def test_run_that_ends_before_an_edit_does_not_undo_it(
    orders: Shop, monkeypatch, change: Callable[[Any], object], reads: int
) -> None:
    """The edit is of the last run's state, so the next run follows it."""
    run_before_next_edit(orders, monkeypatch)
    change(project.load(orders.file))
    result = orders.one("shop.orders")
    assert result.rows_read == reads
    orders.same()


def test_run_that_ends_before_a_delete_is_deleted_too(orders: Shop, monkeypatch) -> None:
    """The record of the deletion counts the rows of that run, too."""
    run_before_next_edit(orders, monkeypatch)
    assert delete(orders, "shop.orders") == (ORDERS,)
    deletion, *_ = project.history(project.load(orders.file))
    assert (deletion.result.rows_deleted, deletion.result.cursor_before.value) == (11, 11)
    assert status(orders)["shop.orders"].status == "never"
