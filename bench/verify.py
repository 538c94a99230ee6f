"""Verification compared with a full reload of the same table: `python bench/verify.py`."""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from measure import CDPSYNC, ROOT, WORK, Figure, measure, ratio

sys.path.insert(0, str(ROOT / "tests"))

from support.servers import postgres

if TYPE_CHECKING:
    from support.servers import Server

_TABLE = """
    create table big (id bigint primary key, name text, grp int, amt numeric(12,2),
        updated_at timestamptz not null, md5 text);
    insert into big select i, 'name ' || i, i % 1000, (i % 100000)::numeric / 100,
        timestamptz '2024-01-01' + i * interval '1 second', md5(i::text)
        from generate_series(1, {rows}) i;
    vacuum analyze big;
"""

_CHANGE = "update big set grp = grp + 1 where id between {low} and {low} + {rows} / 100 - 1"


@dataclass(frozen=True)
class Cost:
    """The figure of a command, and the processor seconds that the server spent on it."""

    ours: Figure
    theirs: float

    @property
    def cpu(self) -> float:
        """The processor seconds of both; other load on the machine does not change them."""
        return self.ours.cpu + self.theirs


def spent(postmaster: int) -> float:
    """Return the processor seconds of a server: of its processes, and of those that have ended."""
    ticks = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(status.parent.name) == postmaster:
            ticks += sum(map(int, fields[11:15]))
        elif int(fields[1]) == postmaster:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def postmaster_of(server: Server) -> int:
    """Return the process id of a server's first process, the parent of the others."""
    folder = server.psql("show data_directory")
    return int((Path(folder) / "postmaster.pid").read_text().splitlines()[0])


def turns(server: Server, rows: int, runs: int) -> dict[str, list[Cost]]:
    """Return the costs of each command, measured in turns."""
    server.execute(_TABLE.format(rows=rows))
    project = WORK / "verify"
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir(parents=True)
    file = project / "cdpsync.yml"
    file.write_text(
        "warehouse: {path: ./warehouse}\n"
        f"sources: {{shop: {{type: postgres, url: '{server.url}',"
        " tables: {public.big: {mode: full_table}}}}\n"
    )
    command: list[str] = [str(CDPSYNC), "-c", str(file), "-q"]
    chunk_cache = project / ".cdpsync/verified"
    figures: dict[str, list[Cost]] = {}
    postmaster = postmaster_of(server)

    def take(label: str, *arguments: str) -> None:
        before = spent(postmaster)
        ours = measure([*command, *arguments])
        figures.setdefault(label, []).append(Cost(ours, spent(postmaster) - before))

    for number in range(runs):
        take("run: full reload", "run")
        shutil.rmtree(chunk_cache, ignore_errors=True)
        take("verify, the first time", "verify")
        take("verify, nothing changed since", "verify")
        server.execute(_CHANGE.format(low=1 + number * rows // 100, rows=rows))
        measure([*command, "run"])
        take("verify, 1 % changed and synced", "verify")
        take("verify --sample 10%", "verify", "--sample", "10%")
    return figures


def main() -> None:
    """Start a server, fill it, measure in turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    with postgres(shared_buffers="256MB", max_wal_size="8GB") as server:
        figures = turns(server, options.rows, options.runs)
    shutil.rmtree(WORK / "verify", ignore_errors=True)
    reload = figures["run: full reload"]
    print(
        f"{options.rows:,} rows, {options.runs} turns, medians of whole processes; "
        "work: processor time, ours + Postgres'"
    )
    for label, costs in figures.items():
        seconds = statistics.median(cost.ours.seconds for cost in costs)
        wall = ratio([cost.ours for cost in costs], [cost.ours for cost in reload])
        work = statistics.median(a.cpu / b.cpu for a, b in zip(costs, reload, strict=True))
        ours = statistics.median(cost.ours.cpu for cost in costs)
        theirs = statistics.median(cost.theirs for cost in costs)
        peak = max(cost.ours.rss_mb for cost in costs)
        print(
            f"{label:32} {seconds:6.1f} s  {wall:5.2f} x   work {ours:5.1f} + {theirs:4.1f} s"
            f"  {work:5.2f} x  {peak:6.0f} MB"
        )


if __name__ == "__main__":
    main()
