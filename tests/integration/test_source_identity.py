"""Whose cursor it is: a table that was read from another source stops, is reloaded or accepted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.mysql_server import mariadb
from support.mysql_shop import MysqlShop
from support.pooler import pgbouncer
from support.servers import Database
from support.shop import Shop
from support.stripe_server import fake_stripe

from cdpsync import project, sync
from cdpsync.model.verification import VerifyStatus
from cdpsync.project import edit
from cdpsync.verify.verifier import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.mysql_server import MariaDatabase, MariaServer
    from support.servers import Server
    from support.snowflake_server import Account

    from cdpsync.model import RunResult, SourceIdentity

FOLLOW = {"mode": "incremental", "cursor_field": "id", "primary_key": ["id"]}
ORDERS = "create table orders (id int primary key, v text)"


@pytest.fixture
def copy(postgres_server: Server) -> Iterator[Database]:
    """A second database of the same cluster."""
    with postgres_server.database("test_copy_of_shop") as database:
        yield database


@pytest.fixture
def orders(shop: Shop) -> Shop:
    """Ten orders, synced, and a table that is replaced by each run."""
    shop.pg.execute(ORDERS + "; create table plans (id int primary key)")
    shop.pg.execute("insert into orders select i, 'a' from generate_series(1, 10) i")
    shop.pg.execute("insert into plans values (1), (2)")
    shop.configure({"public.orders": FOLLOW, "public.plans": {}})
    assert [result.error for result in shop.run().tables] == [None, None]
    return shop


def moved_to(shop: Shop, database: Database, user: str = "postgres") -> None:
    """Point the source at another database, or at the same one as another user."""
    settings = json.loads(shop.file.read_text())
    settings["sources"]["shop"]["url"] = database.url.replace("//postgres:", f"//{user}:")
    shop.file.write_text(json.dumps(settings))


def identity_of(shop: Shop, stream: str = "public.orders") -> SourceIdentity:
    """Return the identity that the catalog has beside the cursor of a stream."""
    states = project.load_state(project.load(shop.file)).saved_states
    (saved,) = [state for state in states if state.stream == stream]
    assert saved.source_identity is not None
    return saved.source_identity


def only_error(result: RunResult) -> str:
    """Return the message of the only table that failed."""
    (error,) = [table.error for table in result.tables if table.error]
    assert error.type == "ContractError"
    return error.message


def test_another_database_stops_tables_that_follow_a_cursor(orders: Shop, copy: Database) -> None:
    """One line names both and the two ways on; nothing is read. A full_table is replaced."""
    copy.execute(ORDERS + "; create table plans (id int primary key)")
    copy.execute("insert into orders values (3, 'b'), (11, 'b')")
    copy.execute("insert into plans values (8), (9)")
    before, cursor = identity_of(orders).label, orders.state()["public.orders"]
    assert f"database {orders.pg.name} of the Postgres server " in before
    assert cursor["source_identity"] == before
    moved_to(orders, copy)
    result = orders.run()
    message = only_error(result)
    assert message.startswith(f"the cursor was read from {before}, and the source is now ")
    assert f"is now database {copy.name} of the Postgres server " in message
    assert "cdpsync run shop --accept-source; else" in message
    assert message.endswith("cdpsync run shop --full-refresh.")
    assert orders.state()["public.orders"] == cursor
    (plans,) = [table for table in result.tables if table.table == "shop.plans"]
    assert plans.notices[0].startswith(f"loaded from another source: it was read from {before}")
    assert orders.ask("select id from shop.plans order by id") == [(8,), (9,)]
    assert only_error(orders.run()) == message  # until a person has decided
    plans = orders.one("shop.plans")
    assert plans.notices == ()
    assert only_error(orders.run("shop.orders")) == message
    moved_to(orders, orders.pg)
    assert orders.run("shop.orders").tables[0].error is None


def test_full_refresh_takes_the_rows_of_the_other_source(orders: Shop, copy: Database) -> None:
    """So does a reset; afterwards the cursor is of the new source."""
    copy.execute(ORDERS + "; insert into orders select i, 'b' from generate_series(1, 6) i")
    moved_to(orders, copy)
    result = orders.one("shop.orders", full_refresh=True)
    assert (result.rows_in_table, result.cursor_after.value) == (6, 6)
    assert copy.name in identity_of(orders).label
    assert orders.one("shop.orders").rows_read == 1
    moved_to(orders, orders.pg)
    edit.reset(project.load(orders.file), ["shop.orders"])
    assert orders.one("shop.orders").rows_in_table == 10
    assert orders.pg.name in identity_of(orders).label


def test_accepted_source_goes_on_from_the_cursor(orders: Shop, copy: Database) -> None:
    """A copy has other oids, so its tables would count as made anew; accepted, they do not."""
    copy.execute(ORDERS)
    copy.execute("insert into orders select i, 'a' from generate_series(1, 10) i")
    copy.execute("insert into orders values (11, 'new')")
    moved_to(orders, copy)
    (planned,) = sync.plan(orders.file, ["shop.orders"], accept_source=True).plans
    assert planned.window is not None
    assert copy.name in planned.source_identity.label
    result = orders.one("shop.orders", accept_source=True)
    assert (result.rows_read, result.rows_inserted) == (2, 1)
    assert result.notices[0].startswith("accepted as the same data: it was read from database ")
    assert orders.one("shop.orders").notices == ()
    copy.execute("drop table orders; " + ORDERS + "; insert into orders values (1, 'anew')")
    assert orders.one("shop.orders", allow_shrink=True).rows_in_table == 1


@pytest.mark.parametrize("deletes", ["hard", "soft"])
def test_rows_of_another_source_are_neither_deleted_nor_kept(
    orders: Shop, copy: Database, deletes: str
) -> None:
    """Keys are not compared with another source, and its marks do not stay after a reload."""
    copy.execute(ORDERS + "; insert into orders select i, 'b' from generate_series(6, 15) i")
    orders.configure({"public.orders": {**FOLLOW, "deletes": deletes}})
    orders.one()
    orders.pg.execute("delete from orders where id = 2")
    assert orders.one().rows_deleted == 1
    rows = orders.ask("select * from shop.orders order by id")
    moved_to(orders, copy)
    only_error(orders.run())
    assert orders.ask("select * from shop.orders order by id") == rows
    orders.one(full_refresh=True)
    assert orders.ask("select min(id), count(*) from shop.orders") == [(6, 10)]


def test_verify_compares_with_the_other_source_and_repairs_nothing(
    orders: Shop, copy: Database
) -> None:
    """What differs says whether it is the same data; a repair would mix the rows of two sources."""
    copy.execute(ORDERS + "; create table plans (id int primary key)")
    copy.execute("insert into orders select i, 'a' from generate_series(1, 9) i")
    copy.execute("insert into plans values (1), (2)")
    moved_to(orders, copy)
    results = verify(orders.file)
    assert [result.status for result in results] == [VerifyStatus.EQUAL, VerifyStatus.EQUAL]
    for result in results:
        assert result.notices[0].startswith("another source: it was read from database ")
    copy.execute("delete from plans")
    for result in verify(orders.file, repair=True):
        assert result.status is VerifyStatus.FAILED
        assert "and the source is now database" in result.error.message
    assert orders.ask("select count(*) from shop.plans") == [(2,)]


def test_status_names_the_source_of_each_table(orders: Shop, copy: Database) -> None:
    """So does the plan; a load that the guard stops says that it is of another source."""
    label = identity_of(orders).label
    overviews = project.status(project.load(orders.file))
    assert [overview.source_identity for overview in overviews] == [label, label]
    copy.execute("create table plans (id int primary key)")
    moved_to(orders, copy)
    (result,) = orders.run("shop.plans").tables
    assert "less than half" in result.error.message
    assert result.notices[0].startswith("loaded from another source")


def test_state_of_an_older_version_takes_the_first_source_it_sees(orders: Shop) -> None:
    """An upgrade stops no table."""
    with project.catalog_of(project.load(orders.file)).writer() as con:
        con.execute("alter table lake.cdpsync.cursors drop column source_identity")
        con.execute("update lake.cdpsync.meta set format_version = 4")
    assert orders.one("shop.orders").rows_inserted == 0
    assert orders.pg.name in identity_of(orders).label


def test_replica_pooler_or_renamed_database_is_the_same_source(
    replicated_servers: tuple[Server, Server], tmp_path: Path
) -> None:
    """The server says who it is, whatever the address; a renamed database keeps its oid."""
    primary, replica = replicated_servers
    with primary.database("test_identity") as pg:
        pg.execute(ORDERS + "; insert into orders values (1, 'a')")
        shop = Shop(tmp_path, pg)
        shop.configure({"public.orders": FOLLOW})
        shop.one()
        identity = identity_of(shop)
        replica.wait_for(primary)
        moved_to(shop, Database(replica.port, replica.password, pg.name, replica.bin))
        assert shop.one().error is None
        assert identity_of(shop) == identity
        with pgbouncer(pg) as pooler:
            moved_to(shop, pooler.database(pg))
            assert shop.one().error is None
        assert identity_of(shop) == identity
        primary.psql(f"alter database {pg.name} rename to test_identity_2")
        moved_to(shop, Database(primary.port, primary.password, "test_identity_2", primary.bin))
        assert shop.one().error is None
        primary.psql(f"alter database test_identity_2 rename to {pg.name}")


def test_cluster_that_a_role_may_not_see_is_left_out(orders: Shop) -> None:
    """Then the database's oid alone counts; what was known of the cluster stays known."""
    identity = identity_of(orders)
    orders.pg.execute(
        "revoke execute on function pg_control_system() from public; create role blind login "
        f"password '{orders.pg.password}'; grant select on orders, plans to blind"
    )
    try:
        moved_to(orders, orders.pg, user="blind")
        assert [result.error for result in orders.run().tables] == [None, None]
        assert identity_of(orders) == identity
        orders.run(full_refresh=True)
        assert set(identity_of(orders).parts) == {"database", "system"}
    finally:
        orders.pg.execute(
            "grant execute on function pg_control_system() to public; drop owned by blind; "
            "drop role blind"
        )


def test_another_cluster_is_another_source(
    orders: Shop, replicated_servers: tuple[Server, Server]
) -> None:
    """A logical copy in a cluster of its own."""
    with replicated_servers[0].database(orders.pg.name) as copy:
        copy.execute(ORDERS)
        moved_to(orders, copy)
        assert "and the source is now database" in only_error(orders.run("shop.orders"))


def test_another_server_of_mariadb_stops_and_another_address_does_not(
    maria: MariaDatabase, mariadb_server: MariaServer, tmp_path: Path
) -> None:
    """A failover behind one address goes on; another server on this machine is another source."""
    shop = MysqlShop(tmp_path, maria)  # type: ignore[arg-type]  # see MysqlShop
    shop.db.execute(ORDERS + ";\ninsert into orders values (1, 'a')")
    shop.configure({shop.orders: FOLLOW})
    shop.one()
    shop.url = shop.db.url.replace("127.0.0.1", "localhost")
    shop.configure({shop.orders: FOLLOW})
    assert shop.one().error is None
    with mariadb() as server, server.database(maria.name) as copy:
        copy.execute(ORDERS + ";\ninsert into orders values (1, 'a'), (2, 'b')")
        shop.url = copy.url
        shop.configure({shop.orders: FOLLOW})
        message = only_error(shop.run())
        assert "read from the MariaDB server " in message
        assert f"at 127.0.0.1:{copy.port}. Nothing was read." in message
        assert shop.one(accept_source=True).rows_inserted == 1
        assert shop.one().notices == ()


def test_other_database_of_a_mariadb_server_has_other_streams(
    maria: MariaDatabase, mariadb_server: MariaServer, tmp_path: Path
) -> None:
    """A stream has the name of its database, so the cursor of another one is not its own."""
    shop = MysqlShop(tmp_path, maria)  # type: ignore[arg-type]  # see MysqlShop
    shop.db.execute(ORDERS + ";\ninsert into orders values (7, 'a'), (8, 'a')")
    shop.configure({"*.orders": FOLLOW})
    shop.one()
    with mariadb_server.database("test_other_shop") as other:
        other.execute(ORDERS + ";\ninsert into orders values (1, 'b'), (2, 'b')")
        shop.url = other.url
        shop.configure({"*.orders": FOLLOW})
        (result,) = [r for r in shop.run().tables if r.stream == "test_other_shop.orders"]
        assert result.error is None
        assert shop.ask("select id from shop.orders order by id") == [(1,), (2,)]


def stripe_project(folder: Path, url: str, **source: Any) -> Path:
    """Write a project that reads the customers of a fake Stripe; return its file."""
    settings = {"type": "stripe", "api_base": url, "max_rate": 10_000, **source}
    settings["tables"] = {"customers": {"mode": "incremental"}}
    file = folder / "cdpsync.yml"
    file.write_text(json.dumps({"sources": {"shop": settings}}))
    return file


def test_other_stripe_accounts_and_modes_are_other_sources(tmp_path: Path) -> None:
    """A live key after a test key, and another account, are told by name."""
    with fake_stripe() as stripe:
        stripe.add("customers")
        stripe.key = test_key = "sk_test_51TESTsecret"
        file = stripe_project(tmp_path, stripe.url, api_key=test_key)
        assert sync.run(file).tables[0].error is None
        stripe.key = live_key = "rk_live_51TESTsecret"
        stripe_project(tmp_path, stripe.url, api_key=live_key)
        assert only_error(sync.run(file)).startswith(
            "the cursor was read from Stripe account acct_1 (test), and the source is now Stripe "
            "account acct_1 (live). Nothing was read."
        )
        assert sync.run(file, full_refresh=True).tables[0].error is None
        stripe.account = "acct_2"
        message = only_error(sync.run(file))
        assert (
            "account acct_1 (live), and the source is now Stripe account acct_2 (live)" in message
        )


def test_other_snowflake_database_is_another_source(snow: Account, tmp_path: Path) -> None:
    """Streams of the default database have the same names in another one."""
    from support.snowflake_server import Account

    other = Account(snow.port, f"{snow.database}_COPY")
    Account(snow.port, "").execute(
        f"create database {other.database}", f"create schema {other.database}.public"
    )
    file = tmp_path / "cdpsync.yml"
    for account in (snow, other):
        account.execute("create table orders (id int primary key)", "insert into orders values (5)")
        tables = {"PUBLIC.ORDERS": {"mode": "incremental", "cursor_field": "ID"}}
        settings = {**account.options, "tables": tables}
        file.write_text(json.dumps({"sources": {"shop": settings}}))
        result = sync.run(file)
        if account is snow:
            assert result.tables[0].error is None
    assert (
        f"read from Snowflake account ACME-MAIN, database {snow.database}, and the source is now "
        f"Snowflake account ACME-MAIN, database {other.database}. Nothing"
    ) in only_error(result)
