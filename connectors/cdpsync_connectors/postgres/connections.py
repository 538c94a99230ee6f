"""Connections to one Postgres database: psycopg's for its catalogs, DuckDB's scanner for rows.

A pooler may give the server's session to another client after each transaction. So every setting is
SET LOCAL in the transaction that needs it, and nothing outlives that.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from cdpsync.sql import quote_name, quote_text
from cdpsync_connectors.postgres.dsn import shown_database, shown_host, shown_port
from cdpsync_connectors.postgres.errors import is_refused_for_number, translate_connecting
from cdpsync_connectors.postgres.keepalive import KeepAlive
from cdpsync_connectors.postgres.parameters import libpq_parameters, load_driver
from cdpsync_connectors.postgres.probe import FREE_CONNECTIONS, ends_within, first_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import psycopg
    from duckdb import DuckDBPyConnection

_MAX_IDLE = 4
_ALIASES = itertools.count(1)

# Printed values must not depend on the settings of role, database or client, and a long read must
# not count as an idle session. jit is off, because it would compile a long select for each chunk.
_SETTINGS = {
    "client_encoding": "'UTF8'",
    "TimeZone": "'UTC'",
    "DateStyle": "'ISO, MDY'",
    "IntervalStyle": "'postgres'",
    "bytea_output": "'hex'",
    "extra_float_digits": "3",
    "standard_conforming_strings": "on",
    "idle_in_transaction_session_timeout": "0",
    "row_security": "off",  # a policy that hides rows causes an error, not a shorter table
}
_SETTINGS_SINCE = {
    110000: {"jit": "off"},
    140000: {"idle_session_timeout": "0"},
    170000: {"transaction_timeout": "0"},
}

# A closed connection still counts for a moment, until its process at the server has ended.
_CLOSING = 3.0  # seconds
_PAUSE = 0.05
_PROBING = 1.0  # seconds that a pooler has to give one more connection


class Sessions:
    """A pool of connections to one database. Safe from many threads.

    `parameters` are libpq's; a URL or a keyword string is under the key `url`. With `max_open`, the
    pool closes a returned connection if otherwise more would be open. `name` is what
    pg_stat_activity shows of our transactions. Timeouts are in seconds. `on_refused` is called
    where there are too many connections.
    """

    def __init__(
        self,
        parameters: Mapping[str, str],
        statement_timeout: float | None,
        max_open: int | None = None,
        *,
        lock_timeout: float = 60.0,
        name: str = "cdpsync",
        on_refused: Callable[[], None] = lambda: None,
    ) -> None:
        self.max_open = max_open
        self.lock_timeout = lock_timeout
        self.is_pooled = False
        """Whether a pooler stands before the server; known after the first connection."""
        self.free_connections: int | None = None
        """How many connections the server itself had left for us at the first one, and that one."""
        self._lent = 0
        self._on_refused = on_refused
        self._given_parameters = dict(parameters)
        self._local_settings = {
            "application_name": quote_text(name),
            "lock_timeout": str(round(lock_timeout * 1000)),
        }
        if statement_timeout is not None:
            self._local_settings["statement_timeout"] = str(round(statement_timeout * 1000))
        self._parsed: dict[str, str] | None = None
        self._version = 0
        self._idle: list[psycopg.Connection[Any]] = []
        self._guard = threading.Lock()
        self._keep_alive = KeepAlive()
        self._alias = f"cdpsync_postgres_{next(_ALIASES)}"
        self._attached: weakref.WeakSet[DuckDBPyConnection] = weakref.WeakSet()

    @property
    def location(self) -> str:
        """The database's address, as `host:port/database`."""
        parameters = self._parameters()
        host = parameters.get("host") or parameters.get("hostaddr")
        host = host or os.environ.get("PGHOST", "localhost")
        port = parameters.get("port") or os.environ.get("PGPORT", "5432")
        database = parameters.get("dbname") or os.environ.get("PGDATABASE") or self.user
        return f"{shown_host(host)}:{shown_port(port)}/{shown_database(database)}"

    @property
    def user(self) -> str:
        """The user who logs in, as far as parameters or environment name one."""
        return self._parameters().get("user") or os.environ.get("PGUSER", "") or "the user"

    @contextmanager
    def lend(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend a connection in a transaction, as `begin` begins it.

        Raises ConnectError when none can be opened.
        """
        con = self._reuse_idle() or self._connect()
        with self._guard:
            self._lent += 1
        try:
            yield con
        finally:
            self._take_back(con)

    def begin(self, con: psycopg.Connection[Any]) -> None:
        """Begin a transaction in which each statement sees what is committed by then.

        It only reads, and it has the settings that values depend on. One that is open is ended.
        """
        con.execute(self._begin_sql("read committed", con).encode())

    def begin_snapshot(self, con: psycopg.Connection[Any]) -> None:
        """Begin a transaction whose statements see one moment; see `begin`."""
        con.execute(self._begin_sql("repeatable read", con).encode())

    @contextmanager
    def snapshot(self, con: psycopg.Connection[Any]) -> Iterator[None]:
        """Hold a snapshot of the data open on a connection."""
        self.begin_snapshot(con)
        try:
            with self._keep_alive.keep(con):
                yield
        finally:
            with suppress(load_driver().Error):
                con.execute("rollback")

    def relation_settings(self, snapshot_id: str | None) -> str:
        """Return the statements that start the transaction of a chunk."""
        settings = self._settings_sql()
        if not snapshot_id:
            return settings
        return f"{settings}; set transaction snapshot {quote_text(snapshot_id)}"

    def attach(self, con: DuckDBPyConnection, *, keeps_connections: bool = True) -> str:
        """Return the name under which this database is attached to a DuckDB connection.

        A rollback would undo an ATTACH inside the open transaction, so that one, still empty, is
        ended first. The password goes by a secret, which no error and no catalog view shows, and
        which is dropped afterwards.

        DuckDB resets a connection that it keeps by DISCARD ALL. A pooler's connection is not ours
        to reset, so behind one, each transaction has a connection of its own.
        """
        if con in self._attached:
            return self._alias
        con.rollback()
        try:
            if self.is_pooled or not keeps_connections:
                con.execute("set pg_pool_max_connections = 0")
            self.retry_refused(lambda: self._attach(con))
        finally:
            con.begin()
        self._attached.add(con)
        return self._alias

    def retry_refused(self, connect: Callable[[], None]) -> None:
        """Call what connects until the server counts our closed connections no more."""
        deadline = time.monotonic() + _CLOSING
        while True:
            try:
                return connect()
            except Exception as error:
                if not is_refused_for_number(error) or time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE)

    def count_connections(self, con: psycopg.Connection[Any], wanted: int) -> int:
        """Return how many connections a pooler gives at once, up to `wanted`; `con` is lent."""
        if con.info.transaction_status == con.info.transaction_status.IDLE:
            self.begin(con)
        given = [con]
        waiting: list[psycopg.Connection[Any]] = []
        while len(given) < wanted and not waiting:
            further = self._connect_soon()
            if further is None:
                break
            (given if ends_within(further, _PROBING) else waiting).append(further)
        for opened in given:
            _end_transaction(opened)
        for opened in waiting:  # its turn has come; to leave now would cost the pooler a connection
            if ends_within(opened, _PROBING):
                _end_transaction(opened)
        for opened in (*given[1:], *waiting):
            opened.close()
        return len(given)

    @staticmethod
    def driver_error() -> type[Exception]:
        """Return the root of psycopg's errors."""
        error: type[Exception] = load_driver().Error
        return error

    def close(self) -> None:
        """Close the connections that are not lent."""
        self._keep_alive.close()
        self.close_idle()

    def close_idle(self) -> None:
        """Close the connections that wait to be lent."""
        with self._guard:
            idle, self._idle = self._idle, []
        for con in idle:
            con.close()

    def _attach(self, con: DuckDBPyConnection) -> None:
        from psycopg.conninfo import make_conninfo

        parameters = self._parameters()
        public = {key: v for key, v in parameters.items() if key not in {"user", "password"}}
        secret = ", ".join(
            f"{key} {quote_text(parameters[key])}"
            for key in ("user", "password")
            if key in parameters
        )
        name, address = quote_name(self._alias), quote_text(make_conninfo(**public))
        if not secret:
            con.execute(f"attach {address} as {name} (type postgres, read_only)")
            return
        con.execute(f"create or replace temporary secret {name} (type postgres, {secret})")
        try:
            con.execute(f"attach {address} as {name} (type postgres, secret {name}, read_only)")
        finally:
            con.execute(f"drop secret {name}")

    def _connect(self) -> psycopg.Connection[Any]:
        """Open a connection, begin its transaction, and find out what stands before the server."""
        import psycopg

        opened: list[psycopg.Connection[Any]] = []
        try:
            self.retry_refused(lambda: opened.append(self._open()))
            (con,) = opened
            self._version = con.info.server_version
            if self.free_connections is None:
                begin = self._begin_sql("read committed", con)
                # Its own transaction, because what it sees of other sessions stays until the end.
                cursor = con.execute(f"begin; {FREE_CONNECTIONS}; rollback; {begin}".encode())
                pid, self.free_connections = first_row(cursor)
                self.is_pooled = pid != con.info.backend_pid
            else:
                self.begin(con)
        except psycopg.Error as error:
            for con in opened:
                con.close()
            if is_refused_for_number(error):
                self._on_refused()
            login = self.location if opened else f"{self.location} as {self.user}"
            raise translate_connecting(error, login) from error
        return con

    def _open(self, connect_timeout: int | None = None) -> psycopg.Connection[Any]:
        load_driver()
        import psycopg

        # Any, because psycopg.connect takes parameters of other types by keyword too.
        parameters: dict[str, Any] = dict(self._parameters())
        if connect_timeout is not None:
            parameters["connect_timeout"] = connect_timeout
        return psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)

    def _connect_soon(self) -> psycopg.Connection[Any] | None:
        """Return a connection that is beginning a transaction; None where there is none soon."""
        import psycopg

        try:
            con = self._open(connect_timeout=2)  # libpq's least
            con.pgconn.send_query(self._begin_sql("read committed", con).encode())
        except psycopg.Error:
            return None
        return con

    def _reuse_idle(self) -> psycopg.Connection[Any] | None:
        """Return an idle connection with a transaction begun, or None; close broken ones."""
        while True:
            with self._guard:
                if not self._idle:
                    return None
                con = self._idle.pop()
            try:
                self.begin(con)
            except load_driver().Error:
                con.close()
            else:
                return con

    def _take_back(self, con: psycopg.Connection[Any]) -> None:
        with self._guard:
            self._lent -= 1
            max_idle = _MAX_IDLE if self.max_open is None else self.max_open - self._lent
            keeps = len(self._idle) < max_idle
        # A pooler would close the server's connection too, if we left in a transaction.
        if (keeps or self.is_pooled) and _end_transaction(con) and keeps:
            with self._guard:
                self._idle.append(con)
            return
        con.close()

    def _begin_sql(self, level: str, con: psycopg.Connection[Any]) -> str:
        """Return the statements that end a transaction if one is open, and begin another."""
        is_idle = con.info.transaction_status == con.info.transaction_status.IDLE
        rollback = "" if is_idle else "rollback; "
        return f"{rollback}begin isolation level {level}, read only; {self._settings_sql()}"

    def _settings_sql(self) -> str:
        settings = _SETTINGS | self._local_settings
        for since, newer_settings in _SETTINGS_SINCE.items():
            if self._version >= since:
                settings |= newer_settings
        return "; ".join(f"set local {name} = {value}" for name, value in settings.items())

    def _parameters(self) -> dict[str, str]:
        if self._parsed is None:
            self._parsed = libpq_parameters(self._given_parameters)
        return self._parsed


def _end_transaction(con: psycopg.Connection[Any]) -> bool:
    """End the transaction of a connection, if one is open; return whether it can be used again."""
    status = con.info.transaction_status
    if status not in {status.INTRANS, status.INERROR}:
        return not con.closed and status == status.IDLE
    try:
        con.execute("rollback")
    except load_driver().Error:
        return False
    return True
