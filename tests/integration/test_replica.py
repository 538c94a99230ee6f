"""A streaming replica that is read in the primary's place: late, wrong, promoted; never less."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.faults import FaultProxy
from support.servers import postgres

from cdpsync_connectors.postgres import replica as postgres_replica
from cdpsync_connectors.postgres.replica import _position

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.shop import ReplicatedShop

_FOLLOW = {"mode": "incremental", "cursor_field": "id"}
_ORDERS = "create table orders (id bigint generated always as identity primary key, v text)"


@pytest.fixture
def shop(replicated_shop: ReplicatedShop) -> ReplicatedShop:
    """A project whose rows are read from the replica."""
    replicated_shop.pg.execute(_ORDERS)
    return replicated_shop


@pytest.fixture
def paused(shop: ReplicatedShop, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The replica replays no more log, and the wait for it is short."""
    monkeypatch.setattr(postgres_replica, "_PATIENCE", 0.2)
    shop.replica.psql("select pg_wal_replay_pause()")
    yield
    shop.replica.psql("select pg_wal_replay_resume()")


@pytest.mark.parametrize("mode", ["incremental", "append_only", "full_table"])
def test_rows_come_from_the_replica(shop: ReplicatedShop, mode: str) -> None:
    """The primary sends only rows of its catalogs."""
    shop.pg.execute("insert into orders (v) select repeat('x', 100) from generate_series(1, 20000)")
    rule: dict[str, Any] = {"mode": mode}
    if mode != "full_table":
        rule["cursor_field"] = "id"
    with FaultProxy(shop.pg.port) as primary, FaultProxy(shop.replica.port) as replica:
        shop.configure(
            {"public.orders": rule},
            url=shop.pg.url.replace(f":{shop.pg.port}/", f":{primary.port}/"),
            replica=shop.replica.url.replace(f":{shop.replica.port}/", f":{replica.port}/"),
        )
        assert shop.one().rows_inserted == 20000
        assert primary.passed < 200_000
        assert replica.passed > 2_000_000
    shop.same()


def test_row_committed_just_before_the_read_arrives(shop: ReplicatedShop) -> None:
    """However late the replica is, the read waits until it has the primary's log."""
    shop.configure({"public.orders": _FOLLOW})
    for number in range(4):
        shop.pg.execute("insert into orders (v) select 'x' from generate_series(1, 2000)")
        assert shop.one().rows_in_table == 2000 * (number + 1)


@pytest.mark.usefixtures("paused")
def test_replica_that_stays_behind_is_an_error(shop: ReplicatedShop) -> None:
    """No row is read, and the lake loses none."""
    shop.configure({"public.orders": _FOLLOW})
    shop.pg.execute("insert into orders (v) values ('x')")
    (result,) = shop.run().tables
    assert result.error is not None
    assert "bytes of log behind its primary" in result.error.message
    assert f"127.0.0.1:{shop.replica.port}/" in result.error.message
    assert "secret" not in result.error.message


def test_replica_that_has_everything_of_an_idle_primary_is_not_behind() -> None:
    """The begin of a new page of the log has two positions."""
    assert _position("0/3000028") == _position("0/3000018") == _position("0/3000000")
    assert _position("0/3000030") == 0x3000030
    assert _position("A/0") == 0xA << 32


def _refused(shop: ReplicatedShop, message: str) -> None:
    (result,) = shop.run().tables
    assert result.error is not None
    assert message in result.error.message


def test_another_server_is_refused_as_replica(shop: ReplicatedShop) -> None:
    """Neither is the primary itself or another database; each error is one line."""
    with postgres() as stranger:
        shop.configure({"public.orders": _FOLLOW}, replica=stranger.url)
        _refused(shop, "not a streaming replica of the one under `url`")
    shop.configure({"public.orders": _FOLLOW}, replica=shop.pg.url)
    _refused(shop, "not a streaming replica")
    replica_url = shop.replica.url.rsplit("/", 1)[0] + "/postgres"
    shop.configure({"public.orders": _FOLLOW}, replica=replica_url)
    _refused(shop, f"the database is not {shop.pg.name}")


def test_replica_of_a_replica_is_refused(shop: ReplicatedShop) -> None:
    """Only the primary shows the writers."""
    shop.configure({"public.orders": _FOLLOW}, url=shop.replica.url)
    _refused(shop, "is itself a replica")


def test_secret_of_the_replica_is_hidden(shop: ReplicatedShop) -> None:
    """In a message, and in the warning about a readable file."""
    secret = "planted-9f3c"
    url = shop.replica.url.replace(f":{shop.replica.password}@", f":{secret}@")
    shop.configure({"public.orders": _FOLLOW}, replica=url)
    result = shop.run()
    message = json.dumps([str(table) for table in result.tables])
    assert "password was refused" in message
    assert secret not in message
