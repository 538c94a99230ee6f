"""A large table that changes: its first load, 110,000 changes, a run without news, a question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from measure import CDPSYNC, Figure, Line, measure
from postgres import project

if TYPE_CHECKING:
    from servers import Server

_TABLE = """
    create table people as
    select i as id, 'name ' || i as name, i % 1000 as grp, (i * 1.01)::numeric(12,2) as amt,
        timestamptz '2024-01-01' + i * interval '1 second' as updated_at, md5(i::text) as hash
    from generate_series(1, {rows}) i;
    alter table people add primary key (id);
    create index on people (updated_at)
"""
_CHANGES = """
    update people set amt = amt + 1, updated_at = now() where id % {every} = {seed};
    insert into people select i, 'new ' || i, i % 1000, i, now(), md5(i::text)
    from generate_series((select max(id) + 1 from people), (select max(id) from people) + {new}) i
"""
_FOLLOW = {"mode": "incremental", "cursor_field": "updated_at"}


def people(server: Server, runs: int, rows: int) -> list[Line]:
    """Load it, change a hundredth of it again and again, and ask how many there are."""
    server.execute(_TABLE.format(rows=rows))
    server.execute("vacuum analyze people")
    folder = project("people", server, {"public.people": _FOLLOW})
    run = [CDPSYNC, "-q", "-c", folder / "cdpsync.yml", "run"]
    query = [CDPSYNC, "-q", "-c", folder / "cdpsync.yml", "query"]
    first = measure(run)
    merges: list[Figure] = []
    for seed in range(runs):
        server.execute(_CHANGES.format(every=100, seed=seed, new=rows // 1000))
        merges.append(measure(run))
    quiet = [measure(run) for _ in range(runs)]
    counted = [measure([*query, "select count(*) from shop.people"]) for _ in range(runs)]
    scanned = [measure([*query, "select sum(amt) from shop.people"]) for _ in range(runs)]
    millions = f"{rows / 1e6:g} M rows"
    return [
        Line(f"cdpsync run, first load of {millions}, key and cursor", (first,), "400 MB"),
        Line(f"cdpsync run, 1.1 % changes into {millions}", tuple(merges), "1.5 s at 10 M"),
        Line(f"cdpsync run, nothing new in {millions}", tuple(quiet), "0.7 s"),
        Line(f"cdpsync query, count(*) over {millions}", tuple(counted), "0.5 s"),
        Line(f"cdpsync query, a sum over {millions}", tuple(scanned)),
    ]


def many_tables(server: Server, runs: int, count: int = 100) -> Line:
    """A run over many tables none of which has changed."""
    for number in range(count):
        server.execute(
            f"create table small_{number} (id int primary key, v text, rev int); "
            f"insert into small_{number} select i, 'x', i from generate_series(1, 50) i"
        )
    tables = {"public.small_*": {"mode": "incremental", "cursor_field": "rev"}}
    folder = project("many", server, tables)
    run = [CDPSYNC, "-q", "-c", folder / "cdpsync.yml", "run"]
    measure(run)
    figures = tuple(measure(run) for _ in range(runs))
    return Line(f"cdpsync run, nothing new in {count} tables", figures, "4 s")
