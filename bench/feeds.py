"""What a send costs before its first request: `python bench/feeds.py`.

The lake has a table of 10 M rows. 110,000 changes of it, in one snapshot or in a hundred, become an
outbox. With 20 destinations of which none is behind, only that is found out. Each case is a process
of its own; its start is not counted, its memory is.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from measure import WORK

from cdpsync import engine, project
from cdpsync.catalog import CatalogFile, ducklake_changes, transaction
from cdpsync.destinations.delivery.outbox import Outbox
from cdpsync.destinations.events import write_events
from cdpsync.destinations.feeds.changes import FeedRequest
from cdpsync.destinations.feeds.feed import feed_of
from cdpsync.destinations.feeds.positions import position_at
from cdpsync.destinations.rendering import render
from cdpsync.model import TableName
from cdpsync.model.destinations import ChangeKind, ChangeOrder

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

FOLDER = WORK / "feeds"
ORDERS = TableName("shop", "orders")
ONE = "one.ducklake"
KINDS = frozenset({ChangeKind.INSERT, ChangeKind.UPDATE})
_SNAPSHOTS = 100
_DESTINATIONS = 20

# What is asked for: insert and update not told apart, told apart, with deletes, with old images.
REQUESTS = {
    "rows": {"kinds": KINDS, "tells_kind": False},
    "kinds": {"kinds": KINDS},
    "deletes": {"kinds": KINDS | {ChangeKind.DELETE}},
    "old": {"kinds": KINDS, "needs_old": True},
    "each": {"kinds": KINDS, "order": ChangeOrder.EACH},
}

_PROJECT = """
warehouse: {path: ./data, memory: 1GB}
sources: {}
destinations:
  ops:
    type: webhook
    from: shop.orders
    key: [id]
    url: http://127.0.0.1:9/orders
    body: {order: "{{ id }}", customer: "{{ customer }}", status: "{{ status }}",
           total: "{{ total }}", at: "{{ created }}", note: "{{ note }} of {{ customer }}"}
    batch: {rows: 500}
"""

_ROWS = """
    select i as id, 'customer ' || (i % 100000) as customer,
        ['open', 'paid', 'sent'][1 + i % 3] as status,
        ((i % 100000) / 100)::decimal(18, 2) as total,
        timestamptz '2026-01-01' + to_seconds(i) as created, {note} as note
    from {numbers}
"""


def catalog(name: str = "many") -> CatalogFile:
    """Return the catalog after all changes, or after the first snapshot of them."""
    file = project.catalog_of(project.load(FOLDER / "cdpsync.yml"))
    return file if name == "many" else replace(file, path=FOLDER / ONE)


def build(rows: int) -> None:
    """Create the lake: ten files, a snapshot of 110,000 changes, and a hundred of 1,100 each."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    (FOLDER / "cdpsync.yml").write_text(_PROJECT)
    with catalog().writer() as con:
        with _commit(con, "bench: schema"):
            empty = _ROWS.format(note="''", numbers="(select 1::bigint as i where false)")
            con.execute(f"create schema lake.shop; create table lake.shop.orders as {empty}")
        part = rows // 10
        for number in range(10):
            numbers = f"range({number * part}, {(number + 1) * part}) as r(i)"
            with _commit(con):
                select = _ROWS.format(note="md5(i::varchar)", numbers=numbers)
                con.execute(f"insert into lake.shop.orders {select}")
        _merge(con, f"select i * {rows // 101_000} as i from range(100000) as r(i) "
                    f"union all select {rows} + i from range(10000) as r(i)")  # fmt: skip
    catalog().export(FOLDER / ONE)
    with catalog().writer() as con:
        for number in range(_SNAPSHOTS):
            _merge(
                con,
                f"select i * {rows // 1_010} + {number + 1} as i from range(1000) as r(i) "
                f"union all select {2 * rows + 100 * number} + i from range(100) as r(i)",
            )


def _merge(con: duckdb.DuckDBPyConnection, numbers: str) -> None:
    with _commit(con):
        con.execute(f"create or replace temp table numbers as {numbers}")
        con.execute("delete from lake.shop.orders as o using numbers as n where o.id = n.i")
        select = _ROWS.format(note="'changed ' || i", numbers="numbers")
        con.execute(f"insert into lake.shop.orders {select}")


@contextmanager
def _commit(con: duckdb.DuckDBPyConnection, message: str = "bench: shop.orders") -> Iterator[None]:
    with transaction(con, message, ORDERS):
        yield


# ---- cases, each in a process of its own


def outbox(name: str, which: str) -> dict[str, float]:
    """Write the outbox of the changes in the first snapshot, or in the hundred after it."""
    destination = project.load(FOLDER / "cdpsync.yml").destinations["ops"]
    request = FeedRequest("ops", ("id",), ORDERS, **REQUESTS[name])
    target = FOLDER / "outbox" / name
    catalog(which).warm()  # a part of the start of the process
    started = time.process_time()
    with catalog(which).reader() as con:
        con.execute(engine.ONE_THREAD)
        snapshots, uuid = (
            ducklake_changes.snapshots(con),
            ducklake_changes.table_identity(con, ORDERS).uuid,
        )
        position = position_at(request, snapshots[-2 if which == "one" else -1 - _SNAPSHOTS], uuid)
        result = feed_of(request).read(con, position)
        read = time.process_time()
        now = datetime.now(UTC)
        events = write_events(
            con, destination, target / "events.parquet", held=None, windows=(), now=now
        )
        rendering = render(destination, events.row, events.relation)
        Outbox.create(con, rendering.select, target / "outbox", nonce=rendering.nonce)
        finished = time.process_time()
    return {"changes": result.total, "feed": read - started, "cpu": finished - started}


def nothing_changed() -> dict[str, float]:
    """Find out that no destination is behind."""
    catalog().warm()
    started = time.process_time()
    with catalog().reader(data=False) as con:
        newest, identity = (
            ducklake_changes.snapshots(con)[-1],
            ducklake_changes.table_identity(con, ORDERS),
        )
        for number in range(_DESTINATIONS):
            request = FeedRequest(f"ops{number}", ("id",), ORDERS)
            position = position_at(request, newest, identity.uuid)
            if feed_of(request).is_behind(con, position):
                raise SystemExit("a destination is behind")
    return {"cpu": time.process_time() - started}


def peak_mb() -> float:
    """Return this process's peak memory, without that of the parent it was forked from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def child(case: str) -> None:
    name, _, which = case.partition(" ")
    result = nothing_changed() if name == "nothing" else outbox(name, which)
    result["rss_mb"] = peak_mb()
    print(json.dumps(result))


def measured(case: str, runs: int) -> dict[str, float]:
    """Return the best of some runs of a case, each in a process of its own."""
    words = [sys.executable, __file__, "--case", case]
    results = [
        json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        for _ in range(runs)
    ]
    return {name: min(result[name] for result in results) for name in results[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        child(options.case)
        return
    if not (FOLDER / ONE).exists():
        build(options.rows)
    figure = measured("nothing", options.runs)
    print(f"nothing changed, {_DESTINATIONS} destinations: {figure['cpu']:.2f} s of a core "
          f"(limit 0.30), {figure['rss_mb']:.0f} MB")  # fmt: skip
    for which, snapshots in (("one", 1), ("many", _SNAPSHOTS)):
        for name in REQUESTS:
            figure = measured(f"{name} {which}", options.runs)
            print(
                f"{figure['changes']:,.0f} changes in {snapshots} snapshots, {name}: "
                f"feed {figure['feed']:.2f}, with outbox {figure['cpu']:.2f} s of a core "
                f"(limit 1.00), {figure['rss_mb']:.0f} MB (limit 300)"
            )


if __name__ == "__main__":
    main()
