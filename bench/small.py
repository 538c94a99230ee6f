"""Commands that people use every day: runs without changes, the help text, a long status."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import peers
from measure import (
    CDPSYNC,
    Command,
    Contender,
    Figure,
    agree,
    aside,
    in_turns,
    median,
    output,
    ratio,
)
from postgres import ask, cdpsync, load_tpch, project
from report import Limit, Line

if TYPE_CHECKING:
    from pathlib import Path

    from postgres import Setting
    from support.servers import Database


_MANY = """
    do $$ begin
        for n in 1..{count} loop
            execute format('create table small_%s (id int primary key, v text, rev int)', n);
            execute format('insert into small_%s select i, ''x'', i from generate_series(1, 50) i',
                n);
        end loop;
    end $$;
    vacuum analyze
"""
_FOLLOW_MANY = {"public.small_*": {"mode": "incremental", "cursor_field": "rev"}}
_FOLLOW_ORDERS = {"public.orders": {"mode": "incremental", "cursor_field": "o_orderdate"}}
_ORDERS = "select count(*) || ' ' || sum(o_orderkey)::bigint from {table}"
_PAST = """
    insert into lake.cdpsync.runs
    select past.* replace (
        run_id || '-' || n as run_id,
        started_at + to_hours(n) as started_at,
        finished_at + to_hours(n) as finished_at
    )
    from (
        from lake.cdpsync.runs
        qualify row_number() over (partition by source, stream order by rowid) = 1
    ) as past, generate_series(1, ?) as hours(n)
    order by n, source, stream
"""
_DLT = "dlt connectorx"


def nothing_new(setting: Setting) -> list[Line]:
    """A run without changes; at scale 1 with 1 table of 1.5 M rows, and with 100 tables."""
    server, count = setting.server, _scaled(100, setting)
    load_tpch(server, setting.scale, "orders")
    server.execute(
        "alter table orders add primary key (o_orderkey); create index on orders (o_orderdate)"
    )
    server.execute(_MANY.format(count=count))
    single = project("one", server, _FOLLOW_ORDERS)
    hundred = project("many", server, _FOLLOW_MANY)
    last = "select count(*) || ' tables' from {table} where table_name like 'small%'"
    contenders = [  # the first turn, which is not counted, loads them
        Contender(
            "1 table",
            partial(cdpsync, single, "run"),
            partial(_answer, single, "shop.orders", _ORDERS),
        ),
        Contender(_DLT, partial(_theirs, server), _in_duckdb),
        Contender(
            f"{count} tables",
            partial(cdpsync, hundred, "run"),
            partial(_answer, hundred, "duckdb_tables()", last),
        ),
    ]
    truth = server.psql(_ORDERS.format(table="orders"))
    ours, theirs, many_tables = in_turns(
        contenders, setting.runs, [truth, truth, f"{count} tables"]
    )
    return [
        Line(
            "cdpsync run, nothing new in 1 table",
            tuple(ours),
            (Limit("{} s", median(ours), 0.7),),
        ),
        Line(
            f"{_DLT}, nothing new in 1 table, into a DuckDB file",
            tuple(theirs),
            ratio=ratio(theirs, ours),
        ),
        Line(
            f"cdpsync run, nothing new in {count} tables",
            tuple(many_tables),
            (Limit("{} s", median(many_tables), 4),),
        ),
    ]


def startup(setting: Setting) -> list[Line]:
    """The help text; at scale 1 the status of 200 tables, of 10,000 records and of 10,000 runs."""
    tables, runs = _scaled(200, setting), _scaled(10_000, setting)
    setting.server.execute(_MANY.format(count=tables))
    folder = project("many", setting.server, _FOLLOW_MANY)
    output(cdpsync(folder, "run").words)
    aside(_record, folder / "cdpsync.yml", runs // tables)
    in_all = _status(folder, tables, setting.runs)
    aside(_record_at_once, folder / "cdpsync.yml", runs - runs // tables)
    of_each = _status(folder, tables, setting.runs)
    help_ = in_turns([Contender("--help", lambda: Command([CDPSYNC, "--help"]))], 9, [""])[0]
    limits = [(Limit("{} s", median(figures), 0.7),) for figures in (in_all, of_each)]
    return [
        Line("cdpsync --help", tuple(help_), (Limit("{} s", median(help_), 0.2),)),
        Line(
            f"cdpsync status, {tables} tables, {runs:,} records of past runs",
            tuple(in_all),
            limits[0],
        ),
        Line(
            f"cdpsync status, {tables} tables, {runs:,} past runs of them all",
            tuple(of_each),
            limits[1],
        ),
    ]


def _status(folder: Path, tables: int, runs: int) -> list[Figure]:
    rows = json.loads(output(cdpsync(folder, "status", "-o", "json").words))
    agree("status", f"{len(rows)} tables", f"{tables} tables")
    return in_turns([Contender("status", partial(cdpsync, folder, "status"))], runs, [""])[0]


def _scaled(count: int, setting: Setting) -> int:
    return max(10, int(count * setting.scale))


def _answer(folder: Path, table: str, answer: str) -> str:
    return ask(folder, answer.format(table=table))


def _theirs(server: Database) -> Command:
    return peers.dlt_file(server, "orders", peers.work("orders"), "o_orderkey", "o_orderdate")


def _in_duckdb() -> str:
    return peers.ask(str(peers.work("orders") / "out.duckdb"), _ORDERS.format(table="shop.orders"))


def _record(file: Path, runs: int) -> None:
    """Record this many past runs of every table in the lake, with a commit each, as runs do."""
    from cdpsync import project as projects
    from cdpsync.catalog import Lake

    with projects.catalog_of(projects.load(file)).writer() as con:
        lake = Lake(con)
        latest_runs = lake.system_tables.latest_runs()
        for number in range(runs):
            lake.record(replace(run, run_id=f"{run.run_id}-past-{number}") for run in latest_runs)


def _record_at_once(file: Path, runs: int) -> None:
    """Record this many more in one statement, because as many commits would take too long."""
    from cdpsync import project as projects

    with projects.catalog_of(projects.load(file)).writer() as con:
        con.execute(_PAST, [runs])
