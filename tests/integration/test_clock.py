"""A clock that is set back between two runs: no row is lost, and no table waits for days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from support.mysql_shop import MysqlShop
from support.shop import Shop
from typer.testing import CliRunner

from cdpsync import project
from cdpsync.cli.main import app
from cdpsync.system import clock as clocks

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[timedelta]:
    """The offsets of the clock; the last one holds."""
    offsets = [timedelta()]

    monkeypatch.setattr(clocks, "now", lambda: datetime.now(UTC) + offsets[-1])
    return offsets


def test_clock_set_back_loses_no_row_and_delays_no_run(shop: Shop, clock: list[timedelta]) -> None:
    """Rows and cursors advance, the history keeps its order, and `--due` runs when it should."""
    shop.pg.execute("create table orders (id int primary key, rev int)")
    options = {
        "mode": "incremental",
        "cursor_field": "rev",
        "deletes": "hard",
        "deletes_every": "1d",
    }
    shop.configure({"public.orders": {**options, "every": "1h"}})
    ids = []
    for number, days in enumerate((10, 0, 5, -3)):
        clock.append(timedelta(days=days))
        shop.pg.execute(f"insert into orders values ({number}, {number})")
        result = shop.run(due=True)
        assert [table.rows_inserted for table in result.tables] == [1]
        shop.same()
        ids.append(result.run_id)
    config = project.load(shop.file)
    assert [record.run_id for record in project.history(config)] == ids[::-1]
    (state,) = project.status(config)
    assert state.last_run_at is not None
    assert state.last_run_at < datetime.now(UTC)
    assert shop.state()["public.orders"]["run_id"] == ids[-1]
    shop.pg.execute("delete from orders where id = 0")
    clock.append(timedelta(days=-9))
    assert shop.one(due=True).rows_deleted == 1
    clock.append(timedelta(days=-9, minutes=10))
    (skipped,) = shop.run(due=True).tables
    assert skipped.status == "skipped"


@pytest.fixture(params=["postgres", "mysql"])
def naive_shop(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Shop, str]:
    """A project whose table `orders` has the cursor `at`, without a zone; and its stream."""
    is_mysql = request.param == "mysql"
    db = request.getfixturevalue("maria" if is_mysql else "pg")
    shop = MysqlShop(tmp_path, db) if is_mysql else Shop(tmp_path, db)
    type_ = "datetime" if is_mysql else "timestamp"
    db.execute(f"create table orders (id int primary key, at {type_})")
    return shop, shop.orders if isinstance(shop, MysqlShop) else "public.orders"


@pytest.mark.parametrize("in_lake", [None, "timestamptz"])
def test_hour_that_the_clock_has_twice(naive_shop: tuple[Shop, str], in_lake: str | None) -> None:
    """Daylight saving ends, and a row of the second 2 o'clock has a time below the cursor.

    A zone that the project file gives the column changes nothing of that.
    """
    shop, stream = naive_shop
    shop.pg.execute("insert into orders values (1, '2024-10-27 02:59:00')")
    options = {"columns": {"types": {"at": in_lake}}} if in_lake else {}
    shop.configure({stream: {"mode": "append_only", "cursor_field": "at", **options}})
    assert shop.one().rows_inserted == 1
    shop.pg.execute("insert into orders values (2, '2024-10-27 02:04:00')")
    assert shop.one().rows_inserted == 1
    shop.pg.execute("insert into orders values (3, '2024-10-27 05:00:00')")
    assert shop.one().rows_inserted == 1
    assert shop.one().rows_read == 1


def test_discover_says_once_which_cursors_have_no_zone(naive_shop: tuple[Shop, str]) -> None:
    """For the cursors that are used, else for those that the source offers."""
    shop, stream = naive_shop
    zoned = "timestamp" if isinstance(shop, MysqlShop) else "timestamptz"
    shop.pg.execute(f"create table events (id int primary key, at {zoned})")
    in_use = {"mode": "incremental", "cursor_field": "at"}
    for tables, warns in [
        (None, True),
        ({stream: in_use}, True),
        ({stream: {**in_use, "lookback": "10m"}}, True),
        ({stream: {**in_use, "lookback": "1h"}}, False),
        ({stream: {**in_use, "cursor_field": "id"}}, False),
        ({stream: {"mode": "full_table"}}, False),
    ]:
        shop.configure(tables)
        result = CliRunner().invoke(app, ["-c", str(shop.file), "discover", "shop"])
        assert result.exit_code == 0
        about = [line for line in result.stderr.splitlines() if "goes back" in line]
        assert len(about) == warns, (tables, result.stderr)
        assert all(f"at of {stream}" in line and "lookback: 1h" in line for line in about)
