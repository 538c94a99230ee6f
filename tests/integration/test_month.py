"""Days of runs, with a clock of our own: what a run does by itself keeps its lake small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from month import DAY, Month

from cdpsync import project, sync
from cdpsync.catalog import books
from cdpsync.maintain import age

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from month import Size
    from servers import Database

    from cdpsync.catalog import CatalogFile

_A_DAY = 8  # runs


@pytest.mark.parametrize("nightly", [False, True])
def test_what_runs_leave_does_not_grow(
    tmp_path: Path, pg: Database, monkeypatch: pytest.MonkeyPatch, nightly: bool
) -> None:
    """Snapshots, history, files and the catalog stay as after three days, rows never go.

    No more than one run a day does the upkeep.
    """
    monkeypatch.setattr(books, "_MANY_PAST", 10)
    upkeep: list[float] = []

    def counted(catalog: CatalogFile, keep: timedelta) -> None:
        upkeep.append(keep.days)
        age(catalog, keep)

    monkeypatch.setattr(sync, "age", counted)
    month = Month(tmp_path, pg.url, every=4, keep="1d")
    sizes: list[Size] = []
    with month.lived():
        for _ in range(6):
            for _ in range(_A_DAY):
                month.minutes += DAY // _A_DAY - 1
                month.minute()
            if nightly:
                month.maintain()
            sizes.append(month.size())
            month.asked()
    assert len(upkeep) <= (0 if nightly else 4)  # from the second day on
    assert upkeep or nightly
    early, late = sizes[2:4], sizes[-1]
    assert late.snapshots <= max(size.snapshots for size in early) + _A_DAY
    assert late.files <= max(size.files for size in early) + _A_DAY
    assert late.small == early[0].small
    assert late.catalog <= 1.5 * max(size.catalog for size in early)
    brought = [one for one in project.history(month.config) if one.result.rows_inserted]
    assert len(brought) == 2 + 2 * (month.runs // month.every)  # of what brought rows, none went
    assert late.history < 2 * month.runs
