"""Postgres to a lake, side by side with psql's COPY of the same rows to nowhere."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import duckdb
from measure import CDPSYNC, WORK, Figure, Line, aside, measure, ratio

from cdpsync import engine

if TYPE_CHECKING:
    from pathlib import Path

    from servers import Server

FOLDER = {"path": "./warehouse"}


def load_tpch(server: Server, scale: float, *tables: str) -> None:
    """Put TPC-H tables into the server, as its generator makes them."""
    aside(_generate, server.dsn, scale, tables)
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


def project(
    name: str, server: Server, tables: dict[str, Any], warehouse: dict[str, Any] | None = None
) -> Path:
    """Write a project file over this server; return its folder, empty but for it."""
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shop = {"type": "postgres", "url": server.url, "tables": tables}
    said = {"warehouse": warehouse or FOLDER, "sources": {"shop": shop}}
    (folder / "cdpsync.yml").write_text(json.dumps(said))
    return folder


def lineitem(server: Server, runs: int) -> list[Line]:
    """6 M rows, Postgres to committed lake, in turns with psql's COPY of them to nowhere."""
    psql = [server.bin / "psql", "-X", "-q", "-d", server.dsn_bare]
    copy = [*psql, "-c", "copy lineitem to stdout (format binary)"]
    said: list[Figure] = []
    landed: list[Figure] = []
    for _ in range(runs + 1):
        said.append(measure(copy, {"PGPASSWORD": server.password}))
        folder = project("lineitem", server, {"public.lineitem": {}})
        landed.append(measure([CDPSYNC, "-q", "-c", folder / "cdpsync.yml", "run"]))
    said, landed = said[1:], landed[1:]  # the first of each warms the caches
    return [
        Line("psql COPY lineitem binary > /dev/null (6.0 M rows)", tuple(said)),
        Line(
            "cdpsync run, lineitem to folder lake",
            tuple(landed),
            "1.5 x, 500 MB",
            ratio(landed, said),
        ),
    ]


def nothing_new(server: Server, runs: int) -> Line:
    """A run of one incremental table that has not changed."""
    server.execute("alter table orders add primary key (o_orderkey)")
    tables = {"public.orders": {"mode": "incremental", "cursor_field": "o_orderdate"}}
    folder = project("nothing", server, tables)
    run = [CDPSYNC, "-q", "-c", folder / "cdpsync.yml", "run"]
    measure(run)
    return Line("cdpsync run, nothing new in 1 table", tuple(measure(run) for _ in range(runs)))
