"""Chunks that report unchanged rows: the report is always right, and frequent."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.postgres_reading import connected, request_for
from support.servers import postgres

from cdpsync import engine
from cdpsync_connectors.postgres import chunks as postgres_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.servers import Database, Server

    from cdpsync_connectors.postgres.chunks import PostgresChunk
    from cdpsync_connectors.postgres.connector import PostgresConnector

TABLE = """
    create table big (id int primary key, v text) with (fillfactor = 70, autovacuum_enabled = off);
    insert into big select i, repeat('x', 400) || i from generate_series(1, 400) i;
    analyze big;
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A Postgres that allows prepared transactions."""
    with postgres(max_prepared_transactions="5") as running:
        yield running


@pytest.fixture
def source(
    server: Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    """A table of some thirty pages, four of them in a chunk."""
    monkeypatch.setattr(postgres_chunks, "FEWEST_PAGES", 4)
    monkeypatch.setattr(postgres_chunks, "MOST_PAGES", 4)
    with server.database("again") as database:
        database.execute(TABLE)
        yield database


@contextmanager
def worker(connector: PostgresConnector) -> Iterator[Any]:
    """A connection like that of a run's worker."""
    con = engine.connect(extensions=connector.extensions)
    con.begin()
    try:
        yield con
    finally:
        con.rollback()
        con.close()


def rows_of(con: Any, chunk: PostgresChunk) -> list[tuple[Any, ...]]:
    rows = sorted(chunk.relation(con).fetchall())
    con.rollback()
    con.begin()
    return rows


def kept(
    source: Database, between: Callable[[], object], stream: str = "public.big", **changes: Any
) -> tuple[int, int]:
    """Return how many chunks a second read confirms, and of how many; check the confirmed ones."""
    with connected(source.url) as connector, worker(connector) as con:
        request = request_for(connector, stream, **changes)
        with connector.read(request) as chunks:
            first = list(chunks)
            before = [rows_of(con, chunk) for chunk in first]
        between()
        with connector.read(replace(request, previous_chunks=tuple(first))) as chunks:
            now = {chunk.key: rows_of(con, chunk) for chunk in chunks}
            count = source.psql(f"select count(*) from {stream}")
            assert sum(map(len, now.values())) == int(count) or None in now
            confirmed = 0
            for chunk in chunks:
                for old, rows in zip(first, before, strict=True):
                    if chunk.key is not None and chunk.key == old.key:
                        chunk.relation(con)
                        same = chunk.is_unchanged_since(con, old.version, len(rows))
                        con.rollback()
                        con.begin()
                        assert not same or now[chunk.key] == rows
                        confirmed += same
    assert len(first) > 5
    return confirmed, len(first)


QUIET = {
    "nothing": "select 1",
    "vacuum": "vacuum big",
    "freezing": "vacuum freeze big",
    "a lock on rows": "begin; select from big for update; commit",
    "a transaction that is rolled back": "begin; update big set v = 'y'; rollback",
    "another table": "create table other as select * from big",
    "an index": "create index on big (v)",
}


@pytest.mark.parametrize("change", QUIET)
def test_chunks_without_changed_rows_are_confirmed(source: Database, change: str) -> None:
    """Dead, frozen and locked rows change no chunk."""
    confirmed, chunks = kept(source, lambda: source.execute(QUIET[change]))
    assert confirmed == chunks


FEW = {
    "an update in its page": ("update big set v = 'y' where id = 5", 1),
    "an update into another page": ("update big set v = repeat('z', 4000) where id = 5", 2),
    "a row that leaves": ("delete from big where id = 5", 1),
    "a row in the place of another": (
        "delete from big where id = 5; vacuum big; insert into big values (0, repeat('x', 401))",
        1,
    ),
    "as many as left, in a subtransaction": (
        """delete from big where id = 5; vacuum big; begin; savepoint a;
        insert into big values (0, repeat('x', 401)); release a; commit""",
        1,
    ),
    "rows at the end": (
        "insert into big select i, repeat('x', 400) from generate_series(-50, 0) i",
        1,
    ),
}


@pytest.mark.parametrize("change", FEW)
def test_only_changed_chunks_are_not_confirmed(source: Database, change: str) -> None:
    """A moved row changes its old chunk and its new one."""
    sql, changed = FEW[change]
    confirmed, chunks = kept(source, lambda: source.execute(sql))
    assert chunks - changed <= confirmed < chunks


ALL = {
    "vacuum full": "vacuum full big",
    "cluster": "create index desc_id on big (id desc); cluster big using desc_id",
    "truncate": "create table other as select * from big; truncate big;"
    "insert into big select * from other",
    "made anew": "create table other as select * from big; drop table big;"
    "alter table other rename to big",
    "a column made anew": "alter table big drop column v; alter table big add v text default 'y'",
    "a type": "alter table big alter v type varchar using v || '!'",
    "a generated column": "alter table big drop column v;"
    "alter table big add v int generated always as (id * 2) virtual",
    "every row": "update big set v = v",
}


@pytest.mark.parametrize("change", ALL)
def test_no_chunk_is_confirmed_after_a_change_of_the_table(source: Database, change: str) -> None:
    """Pages of a new file, or with other columns, cannot be compared."""
    assert kept(source, lambda: source.execute(ALL[change]))[0] == 0


OPEN = {
    "an update": ["update big set v = 'y' where id = 5"],
    "as many as leave": [
        "delete from big where id = 5",
        "insert into big values (0, repeat('x', 401))",
    ],
    "a subtransaction": [
        "insert into other values (1)",
        "savepoint a",
        "delete from big where id = 5",
        "insert into big values (0, repeat('x', 401))",
        "release a",
    ],
}


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("change", OPEN)
def test_transaction_open_in_the_first_read_is_noticed(
    source: Database, change: str, prepared: bool
) -> None:
    """Its rows count as new, even those of later subtransactions, although its number is older."""
    source.execute("create table other (id int); delete from big where id = 6; vacuum big")
    with psycopg.connect(source.url, autocommit=True) as writer:
        writer.execute("begin")
        for sql in OPEN[change]:
            writer.execute(sql)
        source.execute("insert into other values (2)")  # a younger one, that ends before the view
        if prepared:
            writer.execute("prepare transaction 'p'")
        confirmed, chunks = kept(
            source, lambda: writer.execute("commit prepared 'p'" if prepared else "commit")
        )
    assert 0 < confirmed < chunks


def test_changes_of_partitions_and_children_are_noticed(source: Database) -> None:
    """Rows that move between partitions change both; a rewritten child is noticed."""
    source.execute("""
        create table parts (id int, k int, v text) partition by list (k);
        create table part1 partition of parts for values in (1);
        create table part2 partition of parts for values in (2);
        insert into parts select i, 1 + i / 200, repeat('x', 400) from generate_series(1, 399) i;
        create table child () inherits (big);
        insert into child select i, repeat('c', 400) || i from generate_series(1001, 1400) i;
        alter table child add primary key (id);
        analyze;
    """)
    confirmed, chunks = kept(
        source, lambda: source.execute("update parts set k = 2 where id = 5"), "public.parts"
    )
    assert chunks - 2 <= confirmed < chunks
    confirmed, chunks = kept(
        source, lambda: source.execute("alter table parts detach partition part2"), "public.parts"
    )
    assert confirmed == 0
    confirmed, chunks = kept(source, lambda: source.execute("delete from child where id = 1005"))
    assert confirmed == chunks - 1
    cluster = "create index on child (id desc); cluster child using child_id_idx"
    assert kept(source, lambda: source.execute(cluster))[0] == 0


def test_user_types_and_conditions_are_not_confirmed(
    source: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A label can change without its rows, and a `where` may depend on the clock."""
    monkeypatch.setattr(postgres_chunks, "FEW_ROWS", 1)
    where = "id < 400 or v > now()::text"
    assert kept(source, lambda: None, where=where)[0] == 0
    source.execute("create type mood as enum ('a'); alter table big add m mood")
    assert kept(source, lambda: None)[0] == 0


def test_failed_chunks_are_cut_smaller(source: Database) -> None:
    """Down to single pages. Every row stays in exactly one chunk; other chunks do not change."""
    with connected(source.url) as connector, worker(connector) as con:
        request = request_for(connector, "public.big")
        with connector.read(request) as chunks:
            first = list(chunks)
        failed = (first[1], first[-1])
        request = replace(request, previous_chunks=tuple(first), failed_chunks=failed)
        with connector.read(request) as chunks:
            second = list(chunks)
            ids = [row[0] for chunk in second for row in rows_of(con, chunk)]
    assert sorted(ids) == list(range(1, 401))
    places = {chunk.key for chunk in second}
    assert [chunk.key in places for chunk in first] == [chunk not in failed for chunk in first]
    assert sum(chunk.label.startswith(("pages 4 ", "pages 5 ")) for chunk in second) == 2
