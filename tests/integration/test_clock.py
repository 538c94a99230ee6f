"""A clock that is set back between two runs: no row is lost, and no table waits for days."""

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
