"""A large table: its first load, many runs of 110,000 changes each, and queries."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import peers
from measure import WORK, Command, Contender, Figure, agree, in_turns, measure, median, peak, ratio
from postgres import ask, cdpsync, copy, project
from report import Limit, Line

if TYPE_CHECKING:
    from postgres import Setting

_PEOPLE = """
    create unlogged table people as
    select i as id, 'name ' || i as name, i % 1000 as grp, (i * 1.01)::numeric(12,2) as amt,
        timestamptz '2024-01-01' + i * interval '1 second' as updated_at, md5(i::text) as hash
    from generate_series(1::bigint, {rows}) i;
    alter table people add primary key (id);
    create index on people (updated_at);
    vacuum analyze people
"""

# Changes a hundredth of the rows, all over the table, and adds a thousandth; times differ.
_CHANGES = """
    set enable_hashjoin = off;
    set enable_mergejoin = off;
    update people set amt = amt + 1, updated_at = clock_timestamp()
    from generate_series({seed}::bigint, {rows}, 100) as chosen(id) where people.id = chosen.id;
    insert into people
    select i, 'new ' || i, i % 1000, i % 1000000, clock_timestamp(), md5(i::text)
    from generate_series({rows} + {number} * {new} + 1, {rows} + ({number} + 1) * {new}) i;
    -- Whoever reads a changed row first marks its page, and writes down what lay in memory before.
    select count(hash) from generate_series({seed}::bigint, {rows}, 100) as chosen(id)
    join people using (id);
    checkpoint
"""

_FOLLOW = {"public.people": {"mode": "incremental", "cursor_field": "updated_at"}}
_ANSWER = "select count(*) || ' ' || sum(id)::bigint || ' ' || sum(amt) from {table}"
_SCAN = """
    select count(*) || ' ' || sum(id)::bigint || ' ' || sum(amt) || ' ' || sum(grp)::bigint
        || ' ' || min(name) || ' ' || max(hash) || ' ' || max(updated_at)
    from shop.people
"""
_COUNT = "select count(*) from shop.people"
_DLT = "dlt connectorx"
_VACUUM_EVERY = 20  # changes; the server's own vacuum is off, because it may begin at any time


def changes(setting: Setting) -> list[Line]:
    """10 M rows at scale 1, a key, an indexed cursor; a change is 100,000 rows and 10,000 new."""
    rows = int(10_000_000 * setting.scale)
    setting.server.execute(_PEOPLE.format(rows=rows))
    load = _first_load(setting, rows)
    counted = _query_figures("people", _COUNT, setting.runs)
    followed = _follow(setting, rows)
    ours, theirs = followed.ours, followed.theirs
    first, last = ours[:5], ours[-5:]
    grown_rows, changed = rows + len(ours) * (rows // 1000), f"{rows * 11 // 1000:,} changes"
    followed_lake, fresh = _queries(setting)
    return [
        *load,
        _query("count(*)", rows, counted, Limit("{} s", median(counted), 0.5)),
        Line(
            f"cdpsync run, {changed} into {rows / 1e6:g} M rows",
            tuple(ours[: setting.runs]),
            (
                Limit("{} s", median(ours[: setting.runs]), 1.5),
                Limit(f"{{}} x as fast as {_DLT}", ratio(theirs, ours), 2.5, least=True),
            ),
        ),
        Line(
            f"psql COPY binary > /dev/null of the {changed}",
            tuple(followed.copied),
            ratio=ratio(followed.copied, ours),
        ),
        Line(f"{_DLT}, the same into a DuckDB file", tuple(theirs), ratio=ratio(theirs, ours)),
        Line(f"cdpsync run, {changed}, the first five of {len(ours)}", tuple(first)),
        Line(
            f"cdpsync run, {changed}, the last five of {len(ours)}",
            tuple(last),
            (Limit("{} x the first", median(last) / median(first), 1.5),),
        ),
        Line(f"cdpsync run, {changed}, all {len(ours)}", tuple(ours)),
        _query("every column, freshly loaded", grown_rows, fresh),
        _query(
            f"every column, after {len(ours)} changes",
            grown_rows,
            followed_lake,
            Limit("{} x that of a fresh load", ratio(followed_lake, fresh), 1.3),
        ),
    ]


def _first_load(setting: Setting, rows: int) -> list[Line]:
    truth = setting.server.psql(_ANSWER.format(table="people"))

    def begin() -> Command:
        return cdpsync(project("people", setting.server, _FOLLOW), "run")

    def begin_theirs() -> Command:
        peers.clear("people")
        return _theirs(setting)

    contenders = [
        Contender("cdpsync run", begin, partial(_landed, "people")),
        Contender(_DLT, begin_theirs, _in_duckdb, setting.few),
    ]
    ours, theirs = in_turns(contenders, setting.runs, [truth, truth])
    millions = f"{rows / 1e6:g} M rows"
    limits = (
        Limit(f"{{}} x as fast as {_DLT}", ratio(theirs, ours), 3, least=True),
        Limit("{} MB", peak(ours), 400),
    )
    return [
        Line(f"cdpsync run, first load of {millions}", tuple(ours), limits),
        Line(f"{_DLT}, {millions} into a DuckDB file", tuple(theirs), ratio=ratio(theirs, ours)),
    ]


@dataclass(frozen=True)
class Followed:
    """Figures of runs that followed changes: ours, the peer's, and psql's COPY of the changes."""

    ours: list[Figure] = field(default_factory=list)
    theirs: list[Figure] = field(default_factory=list)
    copied: list[Figure] = field(default_factory=list)


def _follow(setting: Setting, rows: int) -> Followed:
    """Change the table and run, many times; the peers run after the first changes only."""
    server = setting.server
    run = cdpsync(WORK / "people", "run")
    followed = Followed()
    for number in range(setting.times):
        seed, new = 1 + number % 100, rows // 1000
        last = server.psql("select max(updated_at) from people")
        server.execute(_CHANGES.format(rows=rows, seed=seed, number=number, new=new))
        followed.ours.append(measure(run.words))
        if number < setting.runs:
            command = copy(server, f"(select * from people where updated_at > '{last}')")
            followed.copied.append(measure(command.words, command.env))
            command = _theirs(setting)
            followed.theirs.append(measure(command.words, command.env))
            truth = server.psql(_ANSWER.format(table="people"))
            agree("cdpsync run", _landed("people"), truth)
            agree(_DLT, _in_duckdb(), truth)
        if number % _VACUUM_EVERY == _VACUUM_EVERY - 1:
            server.execute("vacuum people")
            print(
                f"  {number + 1} changes: {followed.ours[-1].seconds:.2f} s",
                file=sys.stderr,
                flush=True,
            )
    peers.clear("people")
    agree("cdpsync run", _landed("people"), server.psql(_ANSWER.format(table="people")))
    return followed


def _queries(setting: Setting) -> tuple[list[Figure], list[Figure]]:
    """Query the lake that followed the changes and a fresh one, in turns; compare the rows."""
    fresh = project("fresh", setting.server, _FOLLOW)
    measure(cdpsync(fresh, "run").words)
    truth = ask(fresh, _SCAN)
    contenders = [
        Contender(f"query, {name}", partial(cdpsync, WORK / name, "query", _SCAN))
        for name in ("people", "fresh")
    ]
    agree("the lake that has followed", ask(WORK / "people", _SCAN), truth)
    followed, loaded = in_turns(contenders, setting.runs, [truth, truth])
    return followed, loaded


def _query_figures(name: str, sql: str, runs: int) -> list[Figure]:
    contender = Contender(f"query, {sql}", partial(cdpsync, WORK / name, "query", sql))
    return in_turns([contender], runs, [""])[0]


def _query(query: str, rows: int, figures: list[Figure], *limits: Limit) -> Line:
    return Line(f"cdpsync query, {query}, {rows / 1e6:g} M rows", tuple(figures), limits)


def _theirs(setting: Setting) -> Command:
    folder = peers.work("people")
    return peers.dlt_file(setting.server, "people", folder, "id", "updated_at")


def _landed(name: str) -> str:
    return ask(WORK / name, _ANSWER.format(table="shop.people"))


def _in_duckdb() -> str:
    return peers.ask(str(peers.work("people") / "out.duckdb"), _ANSWER.format(table="shop.people"))
