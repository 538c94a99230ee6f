"""Rows of MySQL committed after a read, with cursors given before it, are never lost."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.busy_writers import busy_writers
from support.mysql_shop import MysqlShop

from cdpsync import sync
from cdpsync_connectors.mysql import safe_cursor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.mysql_server import MariaDatabase

TABLE = (
    "create table orders (id bigint auto_increment primary key, v text, "
    "at datetime not null default current_timestamp, "
    "ts timestamp(6) not null default current_timestamp(6), "
    "day date not null default curdate())"
)
INSERT = "insert into orders (v) values ('{v}')"


@pytest.fixture
def shop(tmp_path: Path, maria: MariaDatabase) -> MysqlShop:
    """An empty project over a database with an empty table."""
    maria.execute(TABLE)
    return MysqlShop(tmp_path, maria)  # type: ignore[arg-type]  # see MysqlShop


def configure(shop: MysqlShop, mode: str, cursor: str, **source: Any) -> None:
    shop.configure({shop.orders: {"mode": mode, "cursor_field": cursor}}, **source)


@contextlib.contextmanager
def open_transaction(shop: MysqlShop, *statements: str) -> Iterator[Any]:
    """A transaction with these statements, committed in the end."""
    con = shop.db.connect()
    with contextlib.closing(con), con.cursor() as cursor:
        cursor.execute("begin")
        for statement in statements:
            cursor.execute(statement)
        yield cursor
        con.commit()


@pytest.mark.parametrize("mode", ["incremental", "append_only"])
def test_row_of_a_transaction_that_commits_late(shop: MysqlShop, mode: str) -> None:
    """The row is older than the newest one that was read, and committed after the read.

    A table for each type of cursor.
    """
    cursors = ("id", "at", "ts", "day")
    tables = [f"by_{cursor}" for cursor in cursors]

    def in_each(value: str) -> list[str]:
        return [INSERT.format(v=value).replace("orders", table) for table in tables]

    def rows_in_lake() -> dict[str, int]:
        return {table: result.rows_in_table for table, result in shop.each().items()}

    for table in tables:
        shop.db.execute(TABLE.replace("orders", table))
    options = {"mode": mode}
    shop.configure(
        {f"{shop.db.name}.by_{cursor}": {**options, "cursor_field": cursor} for cursor in cursors}
    )
    shop.db.execute(";\n".join(in_each("first")))
    with open_transaction(shop, *in_each("late")):
        time.sleep(1.1)  # so that the times, which have whole seconds, differ
        shop.db.execute(";\n".join(in_each("newest")))
        assert rows_in_lake() == dict.fromkeys(tables, 2)
        assert rows_in_lake() == dict.fromkeys(tables, 2)
    assert rows_in_lake() == dict.fromkeys(tables, 3)
    for table in tables:
        shop.same_rows(table)
    assert not any(result.rows_inserted for result in shop.each().values())


def test_row_of_a_prepared_transaction(shop: MysqlShop) -> None:
    """XA PREPARE: the transaction has no session any more, and is committed by another one."""
    configure(shop, "append_only", "id")
    with contextlib.closing(shop.db.connect()) as con, con.cursor() as cursor:
        for statement in ("xa start 'x'", INSERT.format(v="late"), "xa end 'x'", "xa prepare 'x'"):
            cursor.execute(statement)
    shop.db.execute(INSERT.format(v="newest"))
    assert shop.one().rows_in_table == 1
    shop.db.execute("xa commit 'x'")
    shop.one()
    shop.same_rows()


@pytest.mark.parametrize("when", ["before", "after"])
def test_row_of_a_statement_that_waits_in_a_trigger(shop: MysqlShop, when: str) -> None:
    """Its time is that of its start, before it has a transaction; its number comes later."""
    lock = f"'{shop.db.name}'"
    shop.db.execute(
        f"create trigger slow {when} insert on orders for each row "
        f"set @waited = if(new.v = 'late', get_lock({lock}, 60), 0)"
    )
    configure(shop, "append_only", "ts")
    late = threading.Thread(target=shop.db.execute, args=(INSERT.format(v="late"),))
    with contextlib.closing(shop.db.connect()) as con, con.cursor() as cursor:
        cursor.execute(f"select get_lock({lock}, 0)")
        late.start()
        wait_until(shop, "state = 'User lock' and time_ms > 1500")
        shop.db.execute(INSERT.format(v="newest"))
        assert shop.one().rows_in_table == 1
    late.join()
    shop.one()
    shop.same_rows()


def wait_until(shop: MysqlShop, condition: str) -> None:
    while not shop.source(f"select 1 from information_schema.processlist where {condition}"):
        time.sleep(0.01)


def test_quiet_table_is_not_held_back(shop: MysqlShop) -> None:
    """Readers, idle transactions and writers that ended hold nothing back."""
    configure(shop, "incremental", "id")
    for number in range(5):
        shop.db.execute(INSERT.format(v=number))
    with open_transaction(shop, "select * from orders"):
        assert shop.one().cursor_after.value == 5
        assert shop.one().rows_read == 1


def test_transaction_left_open_is_named(shop: MysqlShop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's record names the session that holds the cursor back, and since when."""
    monkeypatch.setattr(safe_cursor, "LONG", safe_cursor.LONG * -1)
    configure(shop, "append_only", "id")
    shop.db.execute(INSERT.format(v="first"))
    shop.one()
    with open_transaction(shop, INSERT.format(v="late"), "select connection_id()") as cursor:
        ((session,),) = cursor.fetchall()
        shop.db.execute(INSERT.format(v="newest"))
        (notice,) = shop.one().notices
        assert f"connection {session} has had a transaction open since" in notice
        assert shop.one().cursor_after.value == 1
    assert shop.one().notices == ()
    assert shop.one().cursor_after.value == 3


def test_list_that_others_read_all_the_time_is_not_trusted(shop: MysqlShop) -> None:
    """InnoDB then answers with an old list, which lacks the transaction."""
    configure(shop, "append_only", "id")
    shop.db.execute(INSERT.format(v="first"))
    stop = threading.Event()

    def poll() -> None:
        with contextlib.closing(shop.db.connect()) as con, con.cursor() as cursor:
            while not stop.wait(0.02):
                cursor.execute("select count(*) from information_schema.innodb_trx")

    monitor = threading.Thread(target=poll)
    monitor.start()
    try:
        shop.one()
        with open_transaction(shop, INSERT.format(v="late")):
            shop.db.execute(INSERT.format(v="newest"))
            shop.one()
        shop.one()
    finally:
        stop.set()
        monitor.join()
    shop.same_rows()


def test_user_without_process_has_a_lookback_and_the_grant(shop: MysqlShop) -> None:
    """A thousand numbers below the cursor are read again, and the run names what would help."""
    user = f"reader_{shop.db.name}"
    shop.db.execute(f"create user {user} identified by 'r';\ngrant select on *.* to {user}")
    url = shop.db.url.replace(f"{shop.db.user}:{shop.db.password}", f"{user}:r")
    try:
        configure(shop, "append_only", "id", url=url)
        shop.db.execute(INSERT.format(v="first"))
        with open_transaction(shop, INSERT.format(v="late")):
            shop.db.execute(INSERT.format(v="newest"))
            (notice,) = shop.one().notices
            assert "1,000 numbers below the cursor" in notice
            assert f"GRANT PROCESS ON *.* TO {user}" in notice
        assert shop.one().rows_inserted == 1
        shop.same_rows()
        shop.configure(
            {shop.orders: {"mode": "append_only", "cursor_field": "id", "lookback": 5}}, url=url
        )
        assert shop.one().notices == ()
    finally:
        shop.db.execute(f"drop user {user}")


@pytest.mark.parametrize("cursor", ["id", "ts"])
def test_runs_among_busy_writers_lose_nothing(shop: MysqlShop, cursor: str) -> None:
    """Many transactions, short and long, commit in any order while runs follow each other."""
    configure(shop, "append_only", cursor)
    with busy_writers(lambda: contextlib.closing(shop.db.connect(autocommit=False)), INSERT):
        for _ in range(6):
            (result,) = sync.run(shop.file).tables
            assert result.error is None
    shop.one()
    shop.same_rows()
