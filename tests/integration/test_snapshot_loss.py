"""Loads from a source that hangs up again and again: they continue, and are of one snapshot."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support.faults import FaultProxy

from cdpsync.model import RunStatus
from cdpsync.model.verification import VerifyStatus
from cdpsync.verify.verifier import verify
from cdpsync_connectors.postgres import chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from support.servers import Buckets
    from support.shop import Shop

TABLE = """
    create table orders (id int primary key, v text, rev int not null)
        with (fillfactor = 80, autovacuum_enabled = off);
    insert into orders select i, repeat(md5(i::text), 20), i from generate_series(1, 8000) i;
    analyze orders;
"""  # 5 MB of rows on some 900 pages

MODES: dict[str, dict[str, Any]] = {
    "full_table": {"mode": "full_table"},
    "append_only": {"mode": "append_only", "cursor_field": "rev"},
    "incremental": {"mode": "incremental", "cursor_field": "rev"},
    "incremental by another key": {
        "mode": "incremental",
        "cursor_field": "rev",
        "primary_key": ["rev"],
    },
}


class Losses(logging.Handler):
    """Collects a message for each lost snapshot, and changes the source before the next begins."""

    def __init__(self, shop: Shop, changes: Sequence[str]) -> None:
        super().__init__()
        self.messages: list[str] = []
        self._shop = shop
        self._changes = iter(changes)

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if "Trying again" not in message:
            self.messages.append(message)
            self._shop.pg.execute(next(self._changes, "select 1"))


@contextmanager
def hangs_up(
    shop: Shop, table: dict[str, Any], every: int, changes: Sequence[str] = ()
) -> Iterator[Losses]:
    """Cut each connection after so many bytes; change the source before the next snapshot."""
    losses = Losses(shop, changes)
    log = logging.getLogger("cdpsync.extract.table")
    log.addHandler(losses)
    try:
        with FaultProxy(shop.pg.port) as proxy:
            url = shop.pg.url.replace(f":{shop.pg.port}/", f":{proxy.port}/")
            shop.configure({"public.orders": table}, url=url)
            proxy.cut_every = every
            yield losses
    finally:
        log.removeHandler(losses)


@pytest.fixture
def orders(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A table of some thirty chunks."""
    monkeypatch.setattr(chunks, "FEWEST_PAGES", 32)
    monkeypatch.setattr(chunks, "MOST_PAGES", 32)
    shop.pg.execute(TABLE)
    return shop


WRITERS = (
    # rows move from the end to the beginning and back; rows are deleted, and added
    """delete from orders where id between 100 and 103; vacuum orders;
    update orders set rev = rev + 10000 where id in (7990, 20)""",
    """insert into orders select i, repeat('n', 600), i from generate_series(20001, 20040) i;
    update orders set v = v || '!' where id % 1000 = 1""",
    """begin; savepoint a; update orders set v = 'sub' where id = 2500; release a; commit;
    delete from orders where id = 2501; insert into orders values (2501, 'again', 30000)""",
    "update orders set rev = 40000 where id = 20",
)


@pytest.mark.parametrize("mode", MODES)
def test_load_continues_with_the_chunks_that_it_has(orders: Shop, mode: str) -> None:
    """With writers in between, the lake has the rows of the last snapshot, each once."""
    with hangs_up(orders, MODES[mode], 1_500_000, WRITERS) as losses:
        result = orders.one(threads=1)
        orders.same()
        assert len(losses.messages) >= 3
        assert "chunks are kept" in losses.messages[0]
    assert result.rows_read == result.rows_in_table == 8036
    orders.configure({"public.orders": MODES[mode]})
    orders.pg.execute("update orders set v = 'later', rev = 50000 where id = 4")
    by_id = mode in {"full_table", "incremental"}
    assert orders.one().rows_in_table == (8036 if by_id else 8037)


@pytest.mark.parametrize("shop", ["s3"], indirect=True)
def test_bucket_has_only_the_files_of_the_last_snapshot(orders: Shop, s3: Buckets) -> None:
    """Files that were uploaded and became obsolete are removed, with several workers too."""
    with hangs_up(orders, MODES["full_table"], 1_500_000, WRITERS) as losses:
        orders.one(threads=3)
        orders.same()
        assert losses.messages
    bucket, _, prefix = orders.warehouse["path"].removeprefix("s3://").partition("/")
    objects = s3.client().list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/shop/")
    lake_files = orders.ask(
        "select data_file from ducklake_list_files('lake', 'orders', schema => 'shop')"
    )
    assert {content["Key"] for content in objects["Contents"]} == {
        path.removeprefix(f"s3://{bucket}/") for (path,) in lake_files
    }


REWRITES = {
    "emptied": "truncate orders; insert into orders values (1, 'x', 1)",
    "rewritten": "create index down on orders (id desc); cluster orders using down",
    "vacuumed": "delete from orders where id < 500; vacuum full orders",
    "another column": "alter table orders add extra int default 5",
}


@pytest.mark.parametrize("change", REWRITES)
def test_no_chunk_of_a_rewritten_table_is_reused(orders: Shop, change: str) -> None:
    """The table is read again from its start, in one snapshot."""
    with hangs_up(orders, MODES["full_table"], 3_500_000, [REWRITES[change]]) as losses:
        orders.one(threads=1)
        assert "chunks are kept" in losses.messages[0]
    orders.same("id, v, rev")


def test_chunk_that_never_arrives_whole_is_cut_smaller(
    orders: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no chunk arrives between two hang-ups, smaller ones do."""
    monkeypatch.setattr(chunks, "FEWEST_PAGES", 450)
    monkeypatch.setattr(chunks, "MOST_PAGES", 450)
    with hangs_up(orders, MODES["full_table"], 1_000_000) as losses:
        orders.one(threads=1)
        orders.same()
    assert "from its start" in losses.messages[0]


def test_table_of_one_chunk_is_cut_when_it_never_arrives_whole(shop: Shop) -> None:
    """A table that was too small to be cut arrives in chunks, too."""
    shop.pg.execute(TABLE)
    with hangs_up(shop, MODES["full_table"], 2_000_000):
        shop.one(threads=1)
        shop.same()


def test_database_view_is_read_from_its_start_twice(orders: Shop) -> None:
    """A view has no pages to cut. It fails the second time, and nothing is committed."""
    orders.pg.execute("alter table orders rename to t; create view orders as select * from t")
    with hangs_up(orders, MODES["full_table"], 1_500_000) as losses:
        result = orders.run(threads=1)
    assert result.status is RunStatus.FAILED
    assert len(losses.messages) == 1
    assert "from its start" in losses.messages[0]


def test_verification_continues_with_the_chunks_that_it_has(orders: Shop) -> None:
    """A verification reuses chunks as a load does, and compares the last snapshot."""
    orders.configure({"public.orders": MODES["full_table"]})
    orders.one()
    with hangs_up(orders, MODES["full_table"], 1_500_000, WRITERS) as losses:
        (result,) = verify(orders.file, threads=1)
    assert losses.messages
    assert result.error is None
    assert result.status is VerifyStatus.DIFFERENT
    assert result.compared
    assert result.compared.source.rows == 8036
