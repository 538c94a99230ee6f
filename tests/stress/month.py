"""A run every minute, for days that a clock of our own says: `make month DAYS=3`.

What must not grow with the runs is told beside them: catalog, files, a run without news, a query.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import psycopg
from support.servers import postgres

from cdpsync import engine, maintain, project, query, sync
from cdpsync.system import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from cdpsync.model import Config

DAY = 1440  # runs
TABLES = {
    "orders": {"mode": "incremental", "cursor_field": "rev"},
    "events": {"mode": "append_only", "cursor_field": "rev"},
}

# DuckLake takes its times from the real clock: a month in an hour is no month to it.
_SHIFT = """
    update meta.ducklake_snapshot set snapshot_time = snapshot_time + to_microseconds({by})
        where snapshot_id > {last};
    update meta.ducklake_files_scheduled_for_deletion
        set schedule_start = schedule_start + to_microseconds({by}) where schedule_start < now();
"""


@dataclass(frozen=True)
class Size:
    """What there is beside the rows."""

    catalog: int
    files: int
    small: int  # files of locks, of the journal, of the state, of scratch
    snapshots: int
    history: int


@dataclass
class Month:
    """A project that is run each minute, of which one in `every` brings rows."""

    folder: Path
    url: str
    every: int = 10
    keep: str = "7d"
    runs: int = 0
    minutes: int = 0
    told: int = 0  # the last snapshot that has a time of our clock
    config: Config = field(init=False)
    _con: duckdb.DuckDBPyConnection = field(init=False, default_factory=engine.connect)

    def __post_init__(self) -> None:
        tables = {f"public.{name}": how for name, how in TABLES.items()}
        source = {"type": "postgres", "url": self.url, "tables": tables}
        said = {
            "warehouse": {"path": "./warehouse", "keep": self.keep},
            "sources": {"shop": source},
        }
        file = self.folder / "cdpsync.yml"
        file.write_text(json.dumps(said))
        self.config = project.load(file)
        with psycopg.connect(self.url, autocommit=True) as con:
            for name in TABLES:
                con.execute(f"create table {name} (id int primary key, rev int, v text)".encode())
                con.execute(
                    f"insert into {name} select i, 0, md5(i::text) "
                    "from generate_series(1, 100) i".encode()
                )

    def now(self) -> datetime:
        """Return the time of this life: a minute later with each run."""
        return datetime.now(UTC) + timedelta(minutes=self.minutes)

    @contextmanager
    def lived(self) -> Iterator[None]:
        """Let all that asks for the time be told ours."""
        with patch.object(clock, "now", self.now), self._con:
            yield

    def minute(self) -> float:
        """Run once; return the seconds of work that it took."""
        self.runs += 1
        self.minutes += 1
        if self.runs % self.every == 0:
            self.change()
        start = time.process_time()
        result = sync.run(self.config)
        assert result.status == "ok", result
        took = time.process_time() - start
        self._date()
        return took

    def change(self) -> None:
        """Add a row to what grows, and change some of the others."""
        with psycopg.connect(self.url, autocommit=True) as con:
            for name in ("orders", "events"):
                row = f"select max(id) + 1, {self.runs}, 'new' from {name}"
                con.execute(f"insert into {name} {row}".encode())
            con.execute(f"update orders set rev = {self.runs} where id % 50 = 7".encode())

    def _date(self) -> None:
        """Give what DuckLake noted in this run our time; else the next takes it for old."""
        con = self._con
        con.execute(f"attach '{self.config.warehouse.catalog}' as meta")
        by = self.minutes * 60_000_000
        con.execute(_SHIFT.format(by=by, last=self.told))
        (self.told,) = con.execute("select max(snapshot_id) from meta.ducklake_snapshot").fetchone()
        con.execute("detach meta")

    def maintain(self) -> None:
        """Do the user's nightly upkeep."""
        maintain.maintain(self.config)
        self._date()

    def size(self) -> Size:
        """Measure what must not grow."""
        catalog = self.config.warehouse.catalog
        with project.catalog_of(self.config).reader() as con:
            snapshots = con.execute("select count(*) from lake.snapshots()").fetchone()[0]
            history = con.execute("select count(*) from lake.cdpsync.runs").fetchone()[0]
        small = [path for path in catalog.parent.rglob("*") if path.is_file() and path != catalog]
        files = sum(path.is_file() for path in Path(self.config.warehouse.path).rglob("*"))
        return Size(catalog.stat().st_size, files, len(small), snapshots, history)

    def asked(self) -> float:
        """Ask for all rows, which must be the source's; return the seconds of work it took."""
        start = time.process_time()
        here = query("select count(*), sum(rev) from shop.orders", self.config)
        took = time.process_time() - start
        with psycopg.connect(self.url) as con:
            there = con.execute("select count(*), sum(rev) from orders").fetchall()
        assert [tuple(map(int, row)) for row in here] == [tuple(map(int, row)) for row in there]
        return took


def main() -> None:
    """Print a line for each part of a day."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=3)
    parser.add_argument("--a-day", type=int, default=DAY, help="runs in each")
    parser.add_argument("--nightly", action="store_true", help="with maintain, each night")
    said = parser.parse_args()
    with postgres() as server, server.database("month") as pg, tempfile.TemporaryDirectory() as at:
        month = Month(Path(at), pg.url)
        print("   day   runs  run, ms  query, ms  catalog, kB  files  snapshots  history  RSS, MB")
        with month.lived():
            took: list[float] = []
            every = max(1, said.a_day // 2)
            for number in range(1, int(said.days * said.a_day) + 1):
                month.minutes += DAY // said.a_day - 1
                took.append(month.minute())
                if number % said.a_day == 0 and said.nightly:
                    month.maintain()
                if number % every == 0:
                    size, asked = month.size(), month.asked()
                    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                    median = sorted(took)[len(took) // 2]
                    print(
                        f"{number / said.a_day:6.1f} {number:6} {median * 1000:8.0f} "
                        f"{asked * 1000:10.0f} {size.catalog / 1000:12.0f} {size.files:6} "
                        f"{size.snapshots:10} {size.history:8} {rss:8.0f}",
                        flush=True,
                    )
                    took = []


if __name__ == "__main__":
    main()
