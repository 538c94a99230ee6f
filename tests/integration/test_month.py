"""Days of runs, with a simulated clock: the upkeep of runs alone keeps a lake small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from stress.month import DAY, Month

from cdpsync import project
from cdpsync.catalog import system_tables
from cdpsync.maintain.maintenance import expire
from cdpsync.sync import runner

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from stress.month import Size
    from support.servers import Database

    from cdpsync.catalog import CatalogFile

_A_DAY = 3  # runs


@pytest.mark.parametrize("nightly", [False, True])
def test_lake_does_not_grow_with_its_runs(
    tmp_path: Path, pg: Database, monkeypatch: pytest.MonkeyPatch, nightly: bool
) -> None:
    """Snapshots, history, files and the catalog stay as large as after three days; no row is lost.

    At most one run a day does the upkeep.
    """
    monkeypatch.setattr(system_tables, "_MIN_SUPERSEDED", 10)
    upkeep: list[float] = []

    def counted(catalog: CatalogFile, keep: timedelta) -> None:
        upkeep.append(keep.days)
        expire(catalog, keep)

    monkeypatch.setattr(runner, "expire", counted)
    month = Month(tmp_path, pg.url, every=2, keep="1d")
    sizes: list[Size] = []
    with month.lived():
        for _ in range(5):
            for _ in range(_A_DAY):
                month.minutes += DAY // _A_DAY - 1
                month.minute()
            if nightly:
                month.maintain()
            sizes.append(month.size())
            month.asked()
    assert len(upkeep) <= (0 if nightly else 3)  # from the second day on
    assert upkeep or nightly
    early, late = sizes[2:4], sizes[-1]
    assert late.snapshots <= max(size.snapshots for size in early) + _A_DAY
    assert late.files <= max(size.files for size in early) + _A_DAY
    assert late.small == early[0].small
    assert late.catalog <= 1.5 * max(size.catalog for size in early)
    history = project.history(month.config)
    with_rows = [record for record in history if record.result.rows_inserted]
    assert len(with_rows) == 2 + 2 * (month.runs // month.every)  # no record with rows is removed
    assert late.history < 2 * month.runs
