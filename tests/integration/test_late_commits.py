"""Rows committed after a read, with cursors given before it, are never lost."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.busy_writers import busy_writers

from cdpsync import sync

if TYPE_CHECKING:
    from collections.abc import Collection

    from support.shop import Shop

COLUMNS = {
    "sequence": "id bigint generated always as identity primary key, v text",
    "timestamptz": "id serial primary key, v text, at timestamptz default now()",
    "timestamp": "id serial primary key, v text, at timestamp default now()",
    "date": "id serial primary key, v text, at date default current_date",
}
INSERT = "insert into orders (v) values ('{v}')"


@pytest.fixture(params=["primary", "replica"])
def place(request: pytest.FixtureRequest) -> str:
    """The server that the rows are read from."""
    return str(request.param)


@pytest.fixture
def mode(place: str) -> str:
    """Both modes that follow a cursor: one from each place, because the cursor is the same."""
    return "incremental" if place == "primary" else "append_only"


@pytest.fixture
def shop(request: pytest.FixtureRequest, place: str, shop: Shop) -> Shop:
    """A project that reads from that server."""
    return shop if place == "primary" else request.getfixturevalue("replicated_shop")


def configure(shop: Shop, kind: str, mode: str, **source_options: Any) -> None:
    shop.pg.execute(f"create table orders ({COLUMNS[kind]})")
    shop.configure({"public.orders": table_options(kind, mode)}, **source_options)


def table_options(kind: str, mode: str) -> dict[str, str]:
    return {"mode": mode, "cursor_field": "id" if kind == "sequence" else "at"}


def configure_each(shop: Shop, kinds: Collection[str], mode: str) -> None:
    """Let the project have a table for each kind of cursor, named after it."""
    shop.pg.execute("".join(f"create table t_{kind} ({COLUMNS[kind]});" for kind in kinds))
    shop.configure({f"public.t_{kind}": table_options(kind, mode) for kind in kinds})


def inserts(kinds: Collection[str], v: str) -> str:
    """Return the statements that insert a row into the table of each kind."""
    return "".join(f"insert into t_{kind} (v) values ('{v}');" for kind in kinds)


def figures(shop: Shop, figure: str) -> dict[str, int]:
    """Run; no table fails. Return a figure of each result, by the table's kind."""
    results = shop.run().tables
    assert {result.table.name: result.error for result in results if result.error} == {}
    return {result.table.name.removeprefix("t_"): getattr(result, figure) for result in results}


def test_row_of_a_transaction_that_commits_late(shop: Shop, mode: str) -> None:
    """The row is older than the newest one that was read, and committed after the read.

    A table for each kind of cursor.
    """
    configure_each(shop, COLUMNS, mode)
    shop.pg.execute(inserts(COLUMNS, "first"))
    with psycopg.connect(shop.pg.url) as late:
        late.execute(inserts(COLUMNS, "late"))
        shop.pg.execute(inserts(COLUMNS, "newest"))
        assert figures(shop, "rows_in_table") == dict.fromkeys(COLUMNS, 2)
        assert figures(shop, "rows_in_table") == dict.fromkeys(COLUMNS, 2)
    assert figures(shop, "rows_in_table") == dict.fromkeys(COLUMNS, 3)
    shop.all_same(*(f"t_{kind}" for kind in COLUMNS))
    assert figures(shop, "rows_inserted") == dict.fromkeys(COLUMNS, 0)


def test_row_of_a_transaction_that_had_written_nothing_yet(shop: Shop, mode: str) -> None:
    """Its now() is its start, when neither its number nor its rows were visible."""
    kinds = ("timestamptz", "timestamp")
    configure_each(shop, kinds, mode)
    with psycopg.connect(shop.pg.url) as late:
        late.execute("select 1")
        shop.pg.execute(inserts(kinds, "newest"))
        assert figures(shop, "rows_inserted") == dict.fromkeys(kinds, 1)
        late.execute(inserts(kinds, "late"))
    figures(shop, "rows_inserted")
    shop.all_same(*(f"t_{kind}" for kind in kinds))


def test_update_of_a_transaction_that_commits_late(shop: Shop) -> None:
    """A late update of a row arrives too."""
    configure(shop, "timestamptz", "incremental")
    for _ in range(3):
        shop.pg.execute(INSERT.format(v="old"))
    shop.one()
    with psycopg.connect(shop.pg.url) as late:
        late.execute("update orders set v = 'changed', at = now() where id = 1")
        shop.pg.execute("update orders set v = 'changed', at = now() where id = 2")
        shop.one()
    assert shop.one().rows_updated == 1
    shop.same()


def test_cursor_is_the_newest_row_of_a_quiet_database(shop: Shop) -> None:
    """Without open transactions, only the last second is held back: only ties are read again."""
    configure(shop, "timestamptz", "incremental")
    for number in range(5):
        shop.pg.execute(INSERT.format(v=number))
    shop.pg.execute("update orders set at = at - interval '2 seconds'")
    ((newest,),) = shop.source("select max(at) from orders")
    assert shop.one().cursor_after.value == newest
    assert shop.one().rows_read == 1


def test_sequence_of_a_quiet_database_is_not_held_back(shop: Shop) -> None:
    """A transaction that only reads holds no number back after its end."""
    configure(shop, "sequence", "incremental")
    for number in range(5):
        shop.pg.execute(INSERT.format(v=number))
    assert shop.one().cursor_after.value == 5
    assert shop.one().rows_read == 1


def test_user_who_may_not_see_others_reads_five_minutes_again(shop: Shop) -> None:
    """Few users see the start of other transactions; without it, the newest minutes stay open."""
    configure(shop, "timestamptz", "incremental")
    shop.pg.execute(
        "create role only_reads login password 'r'; grant select on orders to only_reads"
    )
    url = re.sub("//[^@]+@", "//only_reads:r@", shop.pg.url)
    shop.configure({"public.orders": {"mode": "incremental", "cursor_field": "at"}}, url=url)
    with psycopg.connect(shop.pg.url) as late:
        late.execute("select 1")
        shop.pg.execute(INSERT.format(v="newest"))
        shop.one()
        late.execute(INSERT.format(v="late"))
    shop.one()
    shop.same()


def test_transaction_left_open_is_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's record and `status` name the session that holds the cursor back, and since when."""
    from cdpsync import project
    from cdpsync_connectors.postgres import safe_cursor as settled

    monkeypatch.setattr(settled, "LONG", settled.LONG * 0)
    configure(shop, "timestamptz", "incremental")
    shop.pg.execute(INSERT.format(v="first"))
    with psycopg.connect(shop.pg.url) as late:
        late.execute("select 1")
        (notice,) = shop.one().notices
        assert f"process {late.info.backend_pid} of user" in notice
        (state,) = project.status(project.load(shop.file))
        assert state.notices == (notice,)
    assert shop.one().notices == ()


@pytest.mark.parametrize("kind", ["sequence", "timestamptz"])
def test_runs_among_busy_writers_lose_nothing(shop: Shop, kind: str, mode: str) -> None:
    """Many transactions, short and long, commit in any order while runs follow each other."""
    configure(shop, kind, mode)
    with busy_writers(lambda: psycopg.connect(shop.pg.url), INSERT):
        for _ in range(6):
            (result,) = sync.run(shop.file).tables
            assert result.error is None
    shop.one()
    shop.same()
