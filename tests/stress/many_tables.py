"""Many small tables in one project, in each mode: `make load TABLES=1000` says what they cost."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from support.servers import postgres

if TYPE_CHECKING:
    from collections.abc import Iterable

ROWS = 5
MODES = ("incremental", "append_only", "full_table")


def mode_of(number: int) -> str:
    """Return how a table is kept."""
    return MODES[number % len(MODES)]


def make(url: str, count: int) -> None:
    """Make so many tables of a few rows each."""
    with psycopg.connect(url, autocommit=True) as con:
        for first in range(0, count, 100):
            con.execute(
                f"""
                do $$ begin for n in {first}..{min(first + 100, count) - 1} loop
                    execute format('create table t%s (id int primary key, rev int, v text)', n);
                    execute format('insert into t%s select i, i, ''v'' || i
                        from generate_series(1, {ROWS}) i', n);
                end loop; end $$
                """.encode()
            )


def change(url: str, numbers: Iterable[int]) -> None:
    """Add a row to these tables."""
    with psycopg.connect(url, autocommit=True) as con:
        for number in numbers:
            con.execute(
                f"insert into t{number} select max(id) + 1, max(rev) + 1, 'new' "
                f"from t{number}".encode()
            )


def project_file(url: str, count: int) -> str:
    """Return a project of these tables: globs for most, as a person would write it."""
    tables: dict[str, Any] = {"public.*": {"mode": "incremental", "cursor_field": "rev"}}
    for number in range(count):
        mode = mode_of(number)
        if mode != "incremental":
            said = {} if mode == "full_table" else {"cursor_field": "rev"}
            tables[f"public.t{number}"] = {"mode": mode, **said}
    source = {"type": "postgres", "url": url, "tables": tables}
    return json.dumps({"warehouse": {"path": "./warehouse"}, "sources": {"shop": source}})


@dataclass(frozen=True)
class Cost:
    """What a command took, with all its threads: seconds, of them at work, and peak memory."""

    seconds: float
    cpu: float
    rss_mb: float
    said: str


def measured(folder: Path, *args: str) -> Cost:
    """Run cdpsync in a process of its own; fail when it fails."""
    command = [str(Path(sys.executable).with_name("cdpsync")), *args]
    start = time.monotonic()
    out = folder / "out"
    with out.open("wb") as stdout:
        process = subprocess.Popen(command, cwd=folder, stdout=stdout, stderr=subprocess.PIPE)
        complaint = process.stderr.read().decode() if process.stderr else ""
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{complaint}")
    return Cost(
        time.monotonic() - start,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1024,
        out.read_text(),
    )


def main() -> None:
    """Print a line per step of the life of a project."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=1000)
    count = parser.parse_args().tables
    with postgres() as server, server.database("many") as pg, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(pg.url, count)
        (folder / "cdpsync.yml").write_text(project_file(pg.url, count))
        catalog = folder / ".cdpsync/catalog.ducklake"

        def step(what: str, *args: str) -> Cost:
            cost = measured(folder, "-q", *args)
            size = catalog.stat().st_size / 1e6 if catalog.exists() else 0.0
            print(
                f"{what:22} {cost.seconds:7.1f} s  {cost.cpu:6.1f} s of CPU  "
                f"{cost.rss_mb:5.0f} MB  catalog {size:5.1f} MB",
                flush=True,
            )
            return cost

        print(f"{count} tables of {ROWS} rows\n")
        step("plan, nothing loaded", "plan", "-o", "json")
        step("first run", "run", "-o", "json")
        step("run, nothing new", "run", "-o", "json")
        change(pg.url, range(0, count, max(1, count // 10)))
        step("run, 10 tables changed", "run", "-o", "json")
        step("run, one table", "run", "shop.t1", "-o", "json")
        step("plan", "plan", "-o", "json")
        status = json.loads(step("status", "status", "-o", "json").said)
        step("status --history", "status", "--history", "-n", "10", "-o", "json")
        union = " union all ".join(f"select count(*) as n from shop.t{n}" for n in range(10))
        step("query of 10 tables", "query", "-o", "json", f"select sum(n) as n from ({union})")
        step("query of one", "query", "-o", "json", "select * from shop.t1")
        step("maintain", "maintain", "-o", "json")
        step("maintain, again", "maintain", "-o", "json")
        step("run, nothing new", "run", "-o", "json")
        wrong = [one["table"] for one in status if one["status"] != "ok"]
        print(f"\n{len(status)} tables told, {len(wrong)} not ok")


if __name__ == "__main__":
    main()
