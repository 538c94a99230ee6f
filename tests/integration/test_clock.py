"""The clock is set back between two runs: nothing is lost, and nothing waits for it to catch up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from cdpsync import project
from cdpsync.system import clock as clocks

if TYPE_CHECKING:
    from support.shop import Shop


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[timedelta]:
    """How far the clock is off: the last of the list."""
    off = [timedelta()]

    monkeypatch.setattr(clocks, "now", lambda: datetime.now(UTC) + off[-1])
    return off


def test_clock_set_back_loses_nothing_and_holds_nothing_up(
    shop: Shop, clock: list[timedelta]
) -> None:
    """Rows and cursors go on, the history keeps its order, and `--due` is not stuck for days."""
    shop.pg.execute("create table orders (id int primary key, rev int)")
    said = {"mode": "incremental", "cursor_field": "rev", "deletes": "hard", "deletes_every": "1d"}
    shop.configure({"public.orders": {**said, "every": "1h"}})
    ids = []
    for number, days in enumerate((10, 0, 5, -3)):
        clock.append(timedelta(days=days))
        shop.pg.execute(f"insert into orders values ({number}, {number})")
        result = shop.run(due=True)
        assert [one.rows_inserted for one in result.tables] == [1]
        shop.same()
        ids.append(result.run_id)
    config = project.load(shop.file)
    assert [one.run_id for one in project.history(config)] == ids[::-1]
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
