"""A source that hangs up again and again: the load goes on where it was, and is of one moment."""

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
    """Hears of each view that was lost, and changes the source before the next begins."""

    def __init__(self, shop: Shop, changes: Sequence[str]) -> None:
        super().__init__()
        self.told: list[str] = []
        self._shop = shop
        self._changes = iter(changes)

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if "Trying again" not in said:
            self.told.append(said)
            self._shop.pg.execute(next(self._changes, "select 1"))


@contextmanager
def hangs_up(
    shop: Shop, table: dict[str, Any], every: int, changes: Sequence[str] = ()
) -> Iterator[Losses]:
    """Let everything be cut after so many bytes, and the source change before the next view."""
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
    # a row from the end to the beginning and one the other way; rows that leave, and new ones
    """delete from orders where id between 100 and 103; vacuum orders;
    update orders set rev = rev + 10000 where id in (7990, 20)""",
    """insert into orders select i, repeat('n', 600), i from generate_series(20001, 20040) i;
    update orders set v = v || '!' where id % 1000 = 1""",
    """begin; savepoint a; update orders set v = 'sub' where id = 2500; release a; commit;
    delete from orders where id = 2501; insert into orders values (2501, 'again', 30000)""",
    "update orders set rev = 40000 where id = 20",
)


@pytest.mark.parametrize("mode", MODES)
def test_load_goes_on_where_it_was(orders: Shop, mode: str) -> None:
    """Cut again and again, with writers in between: the rows of the last view, each once."""
    with hangs_up(orders, MODES[mode], 1_500_000, WRITERS) as losses:
        result = orders.one(threads=1)
        orders.same()
        assert len(losses.told) >= 3
        assert "chunks are kept" in losses.told[0]
    assert result.rows_read == result.rows_in_table == 8036
    orders.configure({"public.orders": MODES[mode]})
    orders.pg.execute("update orders set v = 'later', rev = 50000 where id = 4")
    by_id = mode in {"full_table", "incremental"}
    assert orders.one().rows_in_table == (8036 if by_id else 8037)


@pytest.mark.parametrize("shop", ["s3"], indirect=True)
def test_files_of_a_bucket_are_those_of_the_last_view(orders: Shop, s3: Buckets) -> None:
    """What was sent and is not good any more is taken back; with several workers, too."""
    with hangs_up(orders, MODES["full_table"], 1_500_000, WRITERS) as losses:
        orders.one(threads=3)
        orders.same()
        assert losses.told
    bucket, _, prefix = orders.warehouse["path"].removeprefix("s3://").partition("/")
    there = s3.client().list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/shop/")
    named = orders.ask(
        "select data_file from ducklake_list_files('lake', 'orders', schema => 'shop')"
    )
    assert {one["Key"] for one in there["Contents"]} == {
        path.removeprefix(f"s3://{bucket}/") for (path,) in named
    }


REWRITES = {
    "emptied": "truncate orders; insert into orders values (1, 'x', 1)",
    "rewritten": "create index down on orders (id desc); cluster orders using down",
    "vacuumed": "delete from orders where id < 500; vacuum full orders",
    "another column": "alter table orders add extra int default 5",
}


@pytest.mark.parametrize("change", REWRITES)
def test_nothing_is_kept_of_a_table_that_was_rewritten(orders: Shop, change: str) -> None:
    """It is read again from its start, in one view."""
    with hangs_up(orders, MODES["full_table"], 3_500_000, [REWRITES[change]]) as losses:
        orders.one(threads=1)
        assert "chunks are kept" in losses.told[0]
    orders.same("id, v, rev")


def test_chunk_that_does_not_get_through_is_cut_smaller(
    orders: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no chunk arrives between two cuts, smaller ones do."""
    monkeypatch.setattr(chunks, "FEWEST_PAGES", 450)
    monkeypatch.setattr(chunks, "MOST_PAGES", 450)
    with hangs_up(orders, MODES["full_table"], 1_000_000) as losses:
        orders.one(threads=1)
        orders.same()
    assert "from its start" in losses.told[0]


def test_table_of_one_chunk_is_cut_when_it_does_not_get_through(shop: Shop) -> None:
    """So does a table that was not worth cutting."""
    shop.pg.execute(TABLE)
    with hangs_up(shop, MODES["full_table"], 2_000_000):
        shop.one(threads=1)
        shop.same()


def test_view_is_read_from_its_start_twice(orders: Shop) -> None:
    """What has no pages of its own, and does not get through, fails; and nothing is committed."""
    orders.pg.execute("alter table orders rename to t; create view orders as select * from t")
    with hangs_up(orders, MODES["full_table"], 1_500_000) as losses:
        result = orders.run(threads=1)
    assert result.status is RunStatus.FAILED
    assert len(losses.told) == 1
    assert "from its start" in losses.told[0]


def test_verification_goes_on_where_it_was(orders: Shop) -> None:
    """So does the reading of a verification, and what it finds is the last view's."""
    orders.configure({"public.orders": MODES["full_table"]})
    orders.one()
    with hangs_up(orders, MODES["full_table"], 1_500_000, WRITERS) as losses:
        (found,) = verify(orders.file, threads=1)
    assert losses.told
    assert found.error is None
    assert found.status is VerifyStatus.DIFFERENT
    assert found.compared
    assert found.compared.source.rows == 8036
