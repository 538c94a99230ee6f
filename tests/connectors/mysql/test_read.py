"""Reads of MySQL: their rows, their connections, and their errors."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from support.faults import FaultProxy
from support.mysql_reading import connected, read_back, read_chunks, request_for
from support.mysql_server import mariadb
from support.servers import free_port

from cdpsync import engine
from cdpsync.connector import ReadRequest
from cdpsync.errors import ConfigError, ConnectError, ConnectorError, ReadError
from cdpsync.model import Cursor, CursorType, Window
from cdpsync_connectors.mysql import protocol
from cdpsync_connectors.mysql.connector import MysqlConnector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.mysql_server import MariaDatabase, MariaServer


def numbers(db: MariaDatabase, count: int, columns: str = "") -> None:
    db.execute(
        f"create table t (id int primary key, note varchar(200){columns});\n"
        "insert into t (id, note) select seq, repeat(char(97 + seq % 26), seq % 200) "
        f"from seq_1_to_{count}"
    )


def test_many_blocks_give_every_row_once(maria: MariaDatabase) -> None:
    """Rows that cross the end of a block arrive once and complete."""
    numbers(maria, 60_000)
    result = read_back(maria, "t")
    assert result.rows == maria.rows("select id, note from t order by id")


@pytest.mark.parametrize("size", [64, 300, 4096])
def test_rows_are_cut_right_wherever_a_block_ends(
    maria: MariaDatabase, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Blocks far smaller than some rows grow for them."""
    monkeypatch.setattr(protocol, "_SIZE", size)
    numbers(maria, 700)
    result = read_back(maria, "t")
    assert result.rows == maria.rows("select id, note from t order by id")


CURSORS = [
    ("int", "5", Cursor(CursorType.INTEGER, 5), ("4", "5", "6")),
    (
        "bigint unsigned",
        "18446744073709551614",
        Cursor(CursorType.INTEGER, 2**64 - 2),
        ("7", "18446744073709551614", "18446744073709551615"),
    ),
    (
        "date",
        "'2024-02-01'",
        Cursor(CursorType.DATE, date(2024, 2, 1)),
        ("'2024-01-31'", "'2024-02-01'", "'2024-02-02'"),
    ),
    (
        "datetime(6)",
        "'2024-02-01 00:00:00.5'",
        Cursor(CursorType.TIMESTAMP, datetime.fromisoformat("2024-02-01 00:00:00.500000")),
        ("'2024-02-01 00:00:00.499999'", "'2024-02-01 00:00:00.5'", "'2024-02-01 00:00:01'"),
    ),
    (
        "timestamp(6) null",
        "'2024-02-01 00:00:00.5'",
        Cursor(CursorType.TIMESTAMPTZ, datetime(2024, 2, 1, 0, 0, 0, 500000, tzinfo=UTC)),
        ("'2024-02-01 00:00:00.499999'", "'2024-02-01 00:00:00.5'", "'2024-02-01 00:00:01'"),
    ),
]


@pytest.mark.parametrize(("type_", "low", "cursor", "values"), CURSORS, ids=[c[0] for c in CURSORS])
def test_window_includes_its_boundary_and_null_cursors(
    maria: MariaDatabase, type_: str, low: str, cursor: Cursor, values: tuple[str, ...]
) -> None:
    """`>=`, to the microsecond, and every row whose cursor is NULL."""
    rows = ", ".join(f"({n}, {value})" for n, value in enumerate(values, 1))
    maria.execute(
        f"create table t (id int primary key, c {type_});\nset time_zone = '+00:00';\n"
        f"insert into t values {rows}, (9, null)"
    )
    assert sorted(read_back(maria, "t", window=Window("c", cursor)).column("id")) == [2, 3, 9]


def test_window_includes_zero_dates(maria: MariaDatabase) -> None:
    """A zero date is below every cursor, so it would be lost; it is read like a NULL."""
    maria.execute(
        "create table t (id int primary key, c datetime);\nset sql_mode = '';\n"
        "insert into t values (1, '0000-00-00'), (2, '2024-01-01'), (3, '2024-01-03')"
    )
    low = Cursor(CursorType.TIMESTAMP, datetime.fromisoformat("2024-01-02"))
    result = read_back(maria, "t", {"zero_dates": "null"}, window=Window("c", low))
    assert sorted(result.column("id")) == [1, 3]
    with pytest.raises(ReadError, match="is a zero date"):
        read_back(maria, "t", window=Window("c", low))


def test_where_columns_and_a_comment(maria: MariaDatabase) -> None:
    """The user's `where` is the server's SQL, percent signs and comments included."""
    numbers(maria, 30)
    with connected(maria.url) as connector:
        request = request_for(connector, f"{maria.name}.t", where="note like 'c%' -- only c")
        narrow = request.stream.columns[:1]
        request = type(request)(request.stream, narrow, where=request.where)
        with connector.read(request) as chunks:
            result = read_chunks(connector, chunks)
    assert (result.columns, result.rows) == (["id"], [(2,), (28,)])


@pytest.mark.parametrize("where", ["id >", "nope = 1", "id = ?", "id = (select 1"])
def test_wrong_where_is_quoted(maria: MariaDatabase, where: str) -> None:
    """The error has the server's message and the `where`."""
    numbers(maria, 3)
    with pytest.raises(ReadError, match=r"where: ") as caught:
        read_back(maria, "t", where=where)
    assert where in caught.value.message
    assert "\n" not in caught.value.message


def test_read_is_of_one_snapshot(maria: MariaDatabase) -> None:
    """Rows that change during a read are read as they were at its start."""
    numbers(maria, 60_000, ", n int default 1")
    with connected(maria.url) as connector:
        request = request_for(connector, f"{maria.name}.t")
        with connector.read(request) as chunks, closing(engine.connect(threads=1)) as con:
            (chunk,) = chunks
            con.begin()
            relation = chunk.relation(con)
            maria.execute("update t set n = 2;\ninsert into t values (99999, 'late', 1)")
            rows = con.execute(
                f"select count(*), min(n), max(n) from ({relation.sql_query()})"
            ).fetchall()
    assert rows == [(60_000, 1, 1)]


def test_settings_of_server_and_user_change_nothing(maria: MariaDatabase) -> None:
    """The session has its own limit on rows, time zone and SQL mode."""
    numbers(maria, 50)
    maria.execute(
        "set global sql_select_limit = 7;\nset global time_zone = '+03:00';\n"
        "set global sql_mode = 'ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH'"
    )
    try:
        result = read_back(maria, "t")
    finally:
        maria.execute(
            "set global sql_select_limit = default;\nset global time_zone = 'SYSTEM';\n"
            "set global sql_mode = default"
        )
    assert len(result.rows) == 50


def test_discovery_has_keys_cursors_and_kinds(maria: MariaDatabase) -> None:
    """Keys in their order, cursors by rank, views without an estimate."""
    maria.execute(
        "create table a (b int, a int, created datetime, changed_at timestamp null, n bigint, "
        "s text not null, primary key (a, b));\ncreate table k (id int auto_increment primary key);"
        "\ncreate view v as select a, s from a;\ncreate sequence not_a_table"
    )
    with connected(maria.url) as connector:
        a, k, v = connector.discover()
    assert (a.name, a.table, a.kind) == (f"{maria.name}.a", "a", "table")
    assert a.primary_key == ("a", "b")
    assert a.cursor_fields == ("changed_at", "created", "b", "a", "n")
    assert [column.nullable for column in a.columns] == [False, False, True, True, True, False]
    assert a.columns[5].source_type == "text"
    assert (k.primary_key, k.cursor_fields, k.estimated_rows) == (("id",), ("id",), 0)
    assert (v.kind, v.primary_key, v.estimated_rows) == ("view", (), None)


def test_other_databases_are_selected_by_glob(maria: MariaDatabase) -> None:
    """Without `schemas`, the address's database is read; tables of another one keep its name."""
    maria.execute("create table t (id int)")
    audit = f"{maria.name}_audit"
    maria.execute(f"create database {audit};\ncreate table {audit}.log (id int)")
    try:
        with connected(maria.url) as connector:
            assert [s.table for s in connector.discover()] == ["t"]
        with connected(maria.url, schemas=f"{maria.name}*") as connector:
            tables = {s.name: s.table for s in connector.discover()}
        with connected(maria.url.rsplit("/", 1)[0], schemas=[audit]) as connector:
            selected = {s.name: s.table for s in connector.discover()}
    finally:
        maria.execute(f"drop database {audit}")
    assert tables == {f"{maria.name}.t": "t", f"{audit}.log": f"{audit}_log"}
    assert selected == {f"{audit}.log": f"{audit}_log"}


def test_glob_that_matches_nothing_lists_the_databases(maria: MariaDatabase) -> None:
    """Even beside a glob that matches; the error lists the visible databases."""
    problem = r'schemas: "nope\*" matches no database. There are: .*test'
    with connected(maria.url, schemas=[maria.name, "nope*"]) as connector:
        for act in (connector.check, connector.discover):
            with pytest.raises(ConfigError, match=problem):
                act()


def test_dropped_table_or_column_is_named(maria: MariaDatabase) -> None:
    """A table or a column may be dropped between discovery and read."""
    numbers(maria, 3, ", x int")
    with connected(maria.url) as connector:
        request = request_for(connector, f"{maria.name}.t")
        maria.execute("alter table t drop column x")
        with pytest.raises(ReadError, match=r'has no column "x", .* It has: id, note'):
            _enter(connector, request)
        maria.execute("drop table t")
        with pytest.raises(ReadError, match=r"does not exist or was dropped"):
            _enter(connector, request)


def _enter(connector: MysqlConnector, request: Any) -> None:
    with connector.read(request) as chunks:
        read_chunks(connector, chunks)


def test_missing_rights_come_with_the_grant(maria: MariaDatabase) -> None:
    """For a table and for a column that the user may not read."""
    numbers(maria, 3)
    maria.execute(
        "create or replace user reader@'%' identified by 'reader-pw-1';\n"
        f"grant select (id) on {maria.name}.t to reader@'%';\n"
        f"create view {maria.name}.v as select * from t;\n"
        f"grant show view on {maria.name}.v to reader@'%'"
    )
    url = maria.url.replace(f"root:{maria.password}", "reader:reader-pw-1")
    with connected(maria.url) as owner, connected(url) as connector:
        stream = next(s for s in connector.discover() if s.name == f"{maria.name}.t")
        assert [column.name for column in stream.columns] == ["id"]
        request = request_for(owner, f"{maria.name}.t")
        with pytest.raises(ReadError, match='has no column "note"'):
            _enter(connector, request)
        with pytest.raises(ReadError, match=r"GRANT SELECT ON .*`v` TO reader") as caught:
            _enter(connector, request_for(owner, f"{maria.name}.v"))
    assert "reader-pw-1" not in caught.value.message


CONNECTING = [
    ({"password": "wrong-password"}, "the user or the password was refused", False),
    ({"user": "nobody"}, "the user or the password was refused", False),
    ({"database": "no_such_db"}, "there is no such database", False),
    ({"host": "no-such-host.invalid"}, "the host name is not known", False),
    ({"port": None}, "nothing listens there", True),
    ({"ssl_mode": "required"}, "the server does not support TLS", False),
    ({"ssl_mode": "verify_ca", "ssl_ca": "/no/such/ca.pem"}, "cannot be read", False),
]


@pytest.mark.parametrize(
    ("wrong", "problem", "retryable"), CONNECTING, ids=[str(c[0]) for c in CONNECTING]
)
def test_wrong_address_is_one_line(
    maria: MariaDatabase, wrong: dict[str, Any], problem: str, retryable: bool
) -> None:
    """The error names problem, address and next step; never the password."""
    right = {"host": "127.0.0.1", "port": maria.port, "user": "root", "database": maria.name}
    options = {**right, "password": maria.password, **wrong}
    options["port"] = options["port"] or free_port()
    connector = MysqlConnector(MysqlConnector.Options(**options))
    with closing(connector), pytest.raises(ConnectorError, match=problem) as caught:
        connector.check()
    message = caught.value.message
    assert caught.value.retryable is retryable
    assert f"{options['host']}:{options['port']}" in message
    assert "\n" not in message
    assert options["password"] not in message


def test_no_free_connection_is_retryable(maria: MariaDatabase) -> None:
    """`max_user_connections` of a user."""
    maria.execute(
        "create or replace user few@'%' identified by 'few-pw-12' with max_user_connections 1;\n"
        f"grant select on {maria.name}.* to few@'%'"
    )
    url = maria.url.replace(f"root:{maria.password}", "few:few-pw-12")
    import pymysql

    with (
        closing(
            pymysql.connect(host="127.0.0.1", port=maria.port, user="few", password="few-pw-12")
        ),
        connected(url) as connector,
        pytest.raises(ConnectError) as caught,
    ):
        connector.check()
    assert caught.value.retryable
    assert (
        "max_user_connections" in caught.value.message or "reached a limit" in caught.value.message
    )


def test_connection_lost_during_a_read_is_retryable(maria: MariaDatabase) -> None:
    """A read that ends early is an error, never a shorter table; the next one has every row."""
    numbers(maria, 60_000)
    with FaultProxy(maria.port) as proxy:
        url = maria.url.replace(f":{maria.port}/", f":{proxy.port}/")
        with connected(url) as connector:
            request = request_for(connector, f"{maria.name}.t")
            proxy.cut_after = proxy.passed + 2_000_000
            with pytest.raises(ConnectError, match="connection was lost while reading") as caught:
                _enter(connector, request)
            assert caught.value.retryable
            proxy.cut_after = None
            with connector.read(request) as chunks:
                assert len(read_chunks(connector, chunks).rows) == 60_000


@pytest.mark.parametrize("command", ["kill", "kill query"])
def test_killed_statement_is_retryable(maria: MariaDatabase, command: str) -> None:
    """An administrator's KILL ends the read with an error, even after some rows arrived."""
    maria.execute("create table t (id int primary key, note text)")
    maria.execute("insert into t select seq, repeat('x', 60000) from seq_1_to_800")
    with connected(maria.url) as connector:
        request = request_for(connector, f"{maria.name}.t")
        with connector.read(request) as chunks, closing(engine.connect(threads=1)) as con:
            (chunk,) = chunks
            con.begin()
            relation = chunk.relation(con)  # 48 MB, which is more than all buffers together
            (number,) = maria.rows(
                "select id from information_schema.processlist where info like 'select `id` as c0%'"
            )
            maria.execute(f"{command} {number[0]}")
            with pytest.raises(duckdb.Error) as caught:
                con.execute(f"select count(*) from ({relation.sql_query()})").fetchall()
            error = connector.translate(caught.value)
    assert error is not None
    assert error.retryable
    assert "lost while reading" in error.message or "statement was cancelled" in error.message


def test_server_waits_while_nobody_takes_rows(maria: MariaDatabase) -> None:
    """However large a table, only a few blocks of it are in memory; the rest stays at the server.

    What the system keeps for its sockets, at most some 20 MB over both ways, is no part of that.
    """
    maria.execute("create table t (id int primary key, note mediumtext)")
    maria.execute("insert into t select seq, repeat('x', 250000) from seq_1_to_600")
    with FaultProxy(maria.port) as proxy:
        url = maria.url.replace(f":{maria.port}/", f":{proxy.port}/")
        with connected(url) as connector:
            request = request_for(connector, f"{maria.name}.t")
            with connector.read(request) as chunks, closing(engine.connect(threads=1)) as con:
                (chunk,) = chunks
                con.begin()
                relation = chunk.relation(con)
                before, passed = -1, proxy.passed
                while passed != before or not chunk.streams[0]._queue.full():
                    time.sleep(0.5)
                    before, passed = passed, proxy.passed
                assert passed < 75_000_000
                rows = con.execute(
                    f"select count(*), sum(length(note)) from ({relation.sql_query()})"
                ).fetchall()
    assert rows == [(600, 150_000_000)]


@pytest.mark.parametrize("missing", ["pymysql", "pyarrow", "numpy"])
def test_missing_driver_names_the_one_command(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Without the driver, or numpy or pyarrow, the error has the install command."""
    monkeypatch.setitem(sys.modules, missing, None)
    with connected("mysql://u:p@127.0.0.1:1/db") as connector:
        for ask in (connector.check, connector.discover):
            with pytest.raises(ConnectorError, match=r"pip install 'cdpsync\[mysql\]'"):
                ask()


def test_statement_timeout_names_itself(maria: MariaDatabase) -> None:
    """The server ends a statement that takes too long."""
    maria.execute("create view t as select sleep(30) as c")
    with pytest.raises(ReadError, match="Raise statement_timeout"):
        read_back(maria, "t", {"statement_timeout": "200ms"})


def test_read_ends_when_it_is_stopped(maria: MariaDatabase) -> None:
    """A silent server does not delay a run that must stop."""
    maria.execute("create view t as select sleep(600) as c, 1 as d union all select 1, 2")
    stopping = threading.Event()
    with connected(maria.url) as connector:
        request = request_for(connector, f"{maria.name}.t", is_stopped=stopping.is_set)
        with connector.read(request) as chunks:
            stopping.set()
            with pytest.raises(ConnectorError, match="stopped"):
                read_chunks(connector, chunks)


def test_abandoned_read_closes_its_connection(maria: MariaDatabase) -> None:
    """A read that is left in the middle closes its connection."""
    numbers(maria, 60_000)
    with connected(maria.url) as connector:
        request = request_for(connector, f"{maria.name}.t")
        with connector.read(request) as chunks, closing(engine.connect(threads=1)) as con:
            (chunk,) = chunks
            con.begin()
            chunk.relation(con)
            (stream,) = chunk.streams
        assert chunk.streams == []
        stream._thread.join()
        connector.close()
        connector.close()


def test_wrong_options_are_named() -> None:
    """Bare characters in a password, parts beside a URL, an unknown parameter."""
    for url, problem in (
        ("postgres://a@b/c", "write mysql://user:password@host"),
        ("mysql://u:pa@ss@host/db", "percent-encoded"),
        ("mysql://u:pa/ss@host/db", "percent-encoded"),
        ("mysql://u:pa#ss@host/db", "percent-encoded"),
        ("mysql://host:notaport/db", "write mysql://"),
        ("mysql://u:p@host/db?sslmode=x", 'unknown parameter "sslmode". Known: ssl-mode'),
    ):
        with pytest.raises(ValueError, match=problem) as caught:
            MysqlConnector.Options(url=url)
        assert "ss@" not in str(caught.value).replace("password@", "")
    with pytest.raises(ValueError, match="not both: host"):
        MysqlConnector.Options(url="mysql://u:p@host/db", host="x")
    with pytest.raises(ValueError, match="give a url, or host"):
        MysqlConnector.Options(user="u")


def test_url_and_parts_mean_the_same() -> None:
    """Percent signs, ports, IPv6 and parameters."""
    options = MysqlConnector.Options(
        url="mysql://us%40er:p%2Fw%40d@[::1]:3307/sh%20op?ssl-mode=REQUIRED&charset=utf8"
    )
    address = options.address()  # type: ignore[attr-defined]  # our own options
    assert (address.host, address.port, address.database) == ("::1", 3307, "sh op")
    assert (address.user, address.password.get_secret_value()) == ("us@er", "p/w@d")
    assert (address.ssl_mode, address.connect_timeout) == ("required", 10)
    assert "p/w@d" not in repr(options) + repr(address)


@pytest.fixture
def locked(maria: MariaDatabase) -> Iterator[None]:
    """A table t whose definition another session holds."""
    numbers(maria, 3)
    with closing(maria.connect()) as con, con.cursor() as cursor:
        cursor.execute("lock tables t write")
        yield


@pytest.mark.usefixtures("locked")
def test_wait_for_a_lock_ends_after_lock_timeout(maria: MariaDatabase) -> None:
    """The bound is the user's, so the read is not tried again."""
    with pytest.raises(
        ReadError, match=r"was locked for longer than lock_timeout \(1 s\)"
    ) as caught:
        read_back(maria, "t", {"lock_timeout": "1s"})
    assert f'table "{maria.name}.t"' in caught.value.message
    assert not caught.value.retryable


def test_migration_that_waits_itself_is_named(maria: MariaDatabase) -> None:
    """An ALTER waits for a reader, and everybody else for the ALTER."""
    numbers(maria, 3)
    with closing(maria.connect(autocommit=False)) as con, con.cursor() as cursor:
        cursor.execute("select * from t")
        alter = threading.Thread(
            target=maria.execute, args=("alter table t add column n int, algorithm=copy",)
        )
        alter.start()
        while not maria.rows(
            "select 1 from information_schema.processlist where state like 'Waiting for table%'"
        ):
            time.sleep(0.01)
        with pytest.raises(ReadError, match=r"by connection \d+ of user root \(alter table t add"):
            read_back(maria, "t", {"lock_timeout": "1s"})
        con.commit()
        alter.join()


def test_holder_of_a_lock_is_named_by_performance_schema() -> None:
    """Where it is on, a session that does nothing but hold a lock is named too."""
    instrument = "wait/lock/metadata/sql/mdl=ON"
    with (
        mariadb(performance_schema="ON", performance_schema_instrument=instrument) as server,
        closing(server.connect()) as con,
        con.cursor() as cursor,
    ):
        cursor.execute("create table t (id int)")
        cursor.execute("lock tables t write")
        with pytest.raises(ReadError, match=f"by connection {con.thread_id()} of user root"):
            read_back(server, "t", {"lock_timeout": 1})


def test_replica_has_no_safe_cursor(mariadb_server: MariaServer) -> None:
    """It does not know the transactions of its primary, so cursors have a lookback there."""
    with mariadb_server.database("replicated") as db, connected(db.url) as connector:
        db.execute("create table t (id int primary key)")
        (stream,) = connector.discover()
        assert (stream.has_safe_cursor, stream.unsafe_cursor_reason) == (True, "")
        try:
            db.execute(
                "change master to master_host='127.0.0.1', master_port=1, master_user='x';\n"
                "start slave"
            )
            (stream,) = connector.discover()
        finally:
            db.execute("stop slave;\nreset slave all")
    assert not stream.has_safe_cursor
    assert "receives rows from another one" in stream.unsafe_cursor_reason


def test_invalid_view_is_named_as_such(maria: MariaDatabase) -> None:
    """A view over a dropped table, and one whose definer is gone."""
    maria.execute(
        "create table t (id int);\ncreate table u (id int);\ncreate view v as select * from t;\n"
        "create definer = nobody@x view w as select * from u;\ndrop table t"
    )
    with connected(maria.url) as connector:
        streams = {stream.name: stream for stream in connector.discover()}
        reason = streams[f"{maria.name}.v"].unreadable_reason or ""
        assert f'the view "{maria.name}.v" is invalid at the server: View' in reason
        assert streams[f"{maria.name}.u"].unreadable_reason is None
        request = ReadRequest(streams[f"{maria.name}.w"], streams[f"{maria.name}.w"].columns)
        with pytest.raises(ReadError, match="is invalid at the server: The user specified"):
            _enter(connector, request)


@pytest.mark.parametrize("limit", [1, 2])
def test_reads_share_the_connections_that_there_are(maria: MariaDatabase, limit: int) -> None:
    """A thread waits until another one's connection is free, in place of failing its table."""
    numbers(maria, 5)
    maria.execute(
        "create or replace user few@'%' identified by 'few-pw-12' "
        f"with max_user_connections {limit};\ngrant select on {maria.name}.* to few@'%'"
    )
    url = maria.url.replace(f"root:{maria.password}", "few:few-pw-12")
    with connected(url) as connector, ThreadPoolExecutor(4) as threads:
        request = request_for(connector, f"{maria.name}.t")

        def read(_: int) -> int:
            with connector.read(request) as chunks:
                return len(read_chunks(connector, chunks).rows)

        assert list(threads.map(read, range(8))) == [5] * 8
