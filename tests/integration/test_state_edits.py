"""What a person changes of what is remembered: cursors set, tables reset and deleted."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.servers import free_port

from cdpsync import project
from cdpsync.catalog import Lake
from cdpsync.errors import ConfigError
from cdpsync.model import RunKind, TableName, TableStatus
from cdpsync.project import edit
from cdpsync.system import clock, locks

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.shop import Shop

ORDERS = TableName("shop", "orders")
HOURLY = {"mode": "incremental", "cursor_field": "id", "every": "1h"}


def cdpsync(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real command in the project's folder."""
    command = [str(Path(sys.executable).with_name("cdpsync")), *arguments]
    return subprocess.run(command, cwd=shop.folder, capture_output=True, text=True, check=False)


@pytest.fixture
def orders(shop: Shop) -> Shop:
    """Ten orders, loaded, and a table that never was."""
    shop.pg.execute("create table orders (id int primary key, v int)")
    shop.pg.execute("insert into orders select i, i from generate_series(1, 10) i")
    shop.configure({"public.orders": HOURLY, "public.later": {"enabled": True}})
    shop.one("shop.orders")
    return shop


def delete(shop: Shop, *select: str) -> tuple[TableName, ...]:
    return edit.delete(project.load(shop.file), select)


def status(shop: Shop) -> dict[str, Any]:
    return {one.table: one for one in project.status(project.load(shop.file))}


def test_deleted_table_was_never_loaded(orders: Shop) -> None:
    """Status, the rows and the next run speak of a table that has to be loaded anew."""
    assert delete(orders, "shop.orders") == (ORDERS,)
    told = status(orders)["shop.orders"]
    assert (told.status, told.rows, told.next_due_at, told.last_run_at) == ("never", *[None] * 3)
    assert "public.orders" not in orders.state_file.read_text()
    result = orders.one("shop.orders", due=True)
    assert (result.status, result.rows_inserted) == ("ok", 10)
    orders.same()
    assert orders.one("shop.orders", due=True).status == "skipped"
    assert status(orders)["shop.orders"].rows == 10


def test_history_tells_of_a_deletion(orders: Shop) -> None:
    """It keeps what was before, and says what was dropped and where its cursor stood."""
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


def test_deletion_of_what_is_not_there_is_said(orders: Shop) -> None:
    """Deleted before, or never loaded: nothing is dropped, and nothing is written of it."""
    first = cdpsync(orders, "delete", "shop.*", "-y")
    assert (first.returncode, first.stderr) == (0, "1 table dropped\n")
    again = cdpsync(orders, "delete", "shop.*", "-y", "-o", "json")
    assert (again.returncode, again.stdout, again.stderr) == (0, "[]\n", "nothing to drop\n")
    assert cdpsync(orders, "delete", "shop.later").stderr == "nothing to drop\n"
    assert len(project.history(project.load(orders.file))) == 2


def test_deleted_table_that_the_file_does_not_name_is_known_no_more(orders: Shop) -> None:
    """So it does not fail with its source; the history can still be asked for it."""
    orders.configure(None)
    delete(orders, "shop.orders")
    assert status(orders) == {}
    with pytest.raises(ConfigError):
        delete(orders, "shop.orders")
    url = orders.pg.url.replace(f":{orders.pg.port}", f":{free_port()}")
    orders.configure(None, url=url)
    assert [one.table for one in orders.run().tables] == ["shop.*"]
    config = project.load(orders.file)
    kinds = [record.kind for record in project.history(config, ["shop.orders"])]
    assert kinds == [RunKind.DELETE, RunKind.RUN]


def test_deletion_outlives_what_it_deleted(orders: Shop, monkeypatch) -> None:
    """When old history goes, a deleted table does not come back."""
    from cdpsync.catalog import system_tables

    monkeypatch.setattr(system_tables, "_MIN_SUPERSEDED", 1)
    orders.one("shop.orders", full_refresh=True)
    delete(orders, "shop.orders")
    later = clock.now() + timedelta(days=100)
    with project.catalog_of(project.load(orders.file)).writer() as con:
        assert Lake(con).system_tables.prune(later, timedelta(days=7), dry_run=False) > 0
        assert Lake(con).system_tables.latest_runs() == ()
        assert Lake(con).system_tables.history()[0].kind is RunKind.DELETE


def test_reset_tells_what_was_reset(orders: Shop) -> None:
    """A table without a cursor starts from the start anyway."""
    both = cdpsync(orders, "reset", "shop.*", "-y")
    assert both.stderr.startswith("1 table reset: ")
    done = cdpsync(orders, "reset", "shop.later", "-y")
    assert (done.returncode, done.stderr) == (0, "nothing to reset: never loaded\n")


def between(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run end just before the next lock that is taken by hand."""
    hold, left = locks.hold, [1]

    def delayed(folder: Path, names: Any, run_id: str, *rest: Any, **more: Any) -> Any:
        if run_id == "by hand" and left:
            left.pop()
            shop.pg.execute("insert into orders values (11, 11)")
            shop.one("shop.orders")
        return hold(folder, names, run_id, *rest, **more)

    monkeypatch.setattr(locks, "hold", delayed)


@pytest.mark.parametrize(
    ("change", "reads"),
    [
        (lambda config: edit.set_cursor(config, "shop.orders", "4"), 8),
        (lambda config: edit.reset(config, ["shop.orders"]), 11),
    ],
    ids=["set", "reset"],
)
def test_run_that_ends_meanwhile_does_not_undo_a_change(
    orders: Shop, monkeypatch, change: Callable[[Any], object], reads: int
) -> None:
    """What is written is of the last run, so the next one follows it."""
    between(orders, monkeypatch)
    change(project.load(orders.file))
    result = orders.one("shop.orders")
    assert result.rows_read == reads
    orders.same()


def test_run_that_ends_meanwhile_is_deleted_too(orders: Shop, monkeypatch) -> None:
    """The history tells of as many rows as there were in the end."""
    between(orders, monkeypatch)
    assert delete(orders, "shop.orders") == (ORDERS,)
    deletion, *_ = project.history(project.load(orders.file))
    assert (deletion.result.rows_deleted, deletion.result.cursor_before.value) == (11, 11)
    assert status(orders)["shop.orders"].status == "never"
