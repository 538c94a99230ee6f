"""Connections to one Postgres: psycopg's for questions, DuckDB's scanner for rows."""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from cdpsync.errors import ConfigError, ConnectorError
from cdpsync.redact import remember
from cdpsync_connectors.postgres.catalog import quote_literal, quote_name
from cdpsync_connectors.postgres.dsn import shown_database, shown_host, shown_port
from cdpsync_connectors.postgres.errors import translate_connecting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    import psycopg
    from duckdb import DuckDBPyConnection

_IDLE_KEPT = 4
_ALIASES = itertools.count(1)

# So that what is printed does not depend on the role's, the database's or the client's settings,
# and that a long read is not taken for an idle session. jit compiles a long select for each chunk.
_SETTINGS = {
    "TimeZone": "'UTC'",
    "DateStyle": "'ISO, MDY'",
    "IntervalStyle": "'postgres'",
    "bytea_output": "'hex'",
    "extra_float_digits": "3",
    "standard_conforming_strings": "on",
    "idle_in_transaction_session_timeout": "0",
    "row_security": "off",  # a policy that would keep rows back is an error, not a shorter table
}
_SETTINGS_SINCE = {
    110000: {"jit": "off"},
    140000: {"idle_session_timeout": "0"},
    170000: {"transaction_timeout": "0"},
}
_CONNECTION = {
    "client_encoding": "UTF8",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "6",
}


class Sessions:
    """One database's connections: lent, taken back, closed. Safe from many threads.

    `parameters` are libpq's; what of them is a URL or keyword string stands under `url`. With
    `most`, one that is not needed is closed where so many are lent already.
    Settings are SET, not given as startup options, which connection poolers refuse.
    """

    def __init__(
        self,
        parameters: Mapping[str, str],
        statement_timeout: float | None,
        most: int | None = None,
    ) -> None:
        self._most = most
        self._lent = 0
        self._given = dict(parameters)
        self._timeout = statement_timeout
        self._parsed: dict[str, str] | None = None
        self._version = 0
        self._idle: list[psycopg.Connection[Any]] = []
        self._guard = threading.Lock()
        self._alias = f"cdpsync_postgres_{next(_ALIASES)}"
        self._attached: weakref.WeakSet[DuckDBPyConnection] = weakref.WeakSet()

    @property
    def place(self) -> str:
        """Where this is, as `host:port/database`."""
        known = self._parameters()
        host = known.get("host") or known.get("hostaddr") or os.environ.get("PGHOST", "localhost")
        port = known.get("port") or os.environ.get("PGPORT", "5432")
        name = known.get("dbname") or os.environ.get("PGDATABASE") or self.user
        return f"{shown_host(host)}:{shown_port(port)}/{shown_database(name)}"

    @property
    def user(self) -> str:
        """Who we are there, as far as we were told."""
        return self._parameters().get("user") or os.environ.get("PGUSER", "") or "the user"

    @contextmanager
    def lend(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend a connection in autocommit; raise ConnectError when there is none to be had."""
        con = self._idle_one() or self._connect()
        with self._guard:
            self._lent += 1
        try:
            yield con
        finally:
            self._take_back(con)

    @contextmanager
    def view(self, con: psycopg.Connection[Any]) -> Iterator[None]:
        """Keep one unchanging view of the data open on a connection."""
        con.execute("begin isolation level repeatable read, read only")
        try:
            yield
        finally:
            with suppress(_errors()):
                con.execute("rollback")

    def relation_settings(self, snapshot: str | None) -> str:
        """Return what starts the transaction of a chunk."""
        start = self._settings("set local")
        return start + (f"; set transaction snapshot {quote_literal(snapshot)}" if snapshot else "")

    def attach(self, con: DuckDBPyConnection) -> str:
        """Return the name under which this database is attached to a DuckDB connection.

        An ATTACH inside a transaction goes with it, so the open one, still empty, makes way. The
        password goes by a secret, which no error and no catalog view shows, and is dropped again.
        """
        if con in self._attached:
            return self._alias
        con.rollback()
        try:
            self._attach(con)
        finally:
            con.begin()
        self._attached.add(con)
        return self._alias

    def close(self) -> None:
        """Close what is not lent."""
        with self._guard:
            idle, self._idle = self._idle, []
        for con in idle:
            con.close()

    def _attach(self, con: DuckDBPyConnection) -> None:
        from psycopg.conninfo import make_conninfo

        parameters = self._parameters()
        open_ones = {k: v for k, v in parameters.items() if k not in {"user", "password"}}
        secret = ", ".join(
            f"{key} {quote_literal(parameters[key])}"
            for key in ("user", "password")
            if key in parameters
        )
        name, address = quote_name(self._alias), quote_literal(make_conninfo(**open_ones))
        if not secret:
            con.execute(f"attach {address} as {name} (type postgres, read_only)")
            return
        con.execute(f"create or replace temporary secret {name} (type postgres, {secret})")
        try:
            con.execute(f"attach {address} as {name} (type postgres, secret {name}, read_only)")
        finally:
            con.execute(f"drop secret {name}")

    def _connect(self) -> psycopg.Connection[Any]:
        _driver()
        import psycopg

        parameters: dict[str, Any] = dict(self._parameters())  # they share a call with other types
        try:
            con = psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)
        except psycopg.Error as error:
            where = f"{self.place} as {self.user}"
            raise translate_connecting(error, where) from error
        self._version = con.info.server_version
        try:
            con.execute(self._settings("set").encode())
            con.execute("set default_transaction_read_only = on")
        except psycopg.Error as error:
            con.close()
            raise translate_connecting(error, self.place) from error
        return con

    def _idle_one(self) -> psycopg.Connection[Any] | None:
        """Return a connection that waits and still answers; let go of those that do not."""
        while True:
            with self._guard:
                if not self._idle:
                    return None
                con = self._idle.pop()
            try:
                con.execute("select")
            except _errors():
                con.close()
            else:
                return con

    def _take_back(self, con: psycopg.Connection[Any]) -> None:
        idle = con.info.transaction_status == con.info.transaction_status.IDLE
        with self._guard:
            self._lent -= 1
            kept = _IDLE_KEPT if self._most is None else self._most - self._lent
            if not con.closed and idle and len(self._idle) < kept:
                self._idle.append(con)
                return
        con.close()

    def _settings(self, scope: str) -> str:
        wanted = dict(_SETTINGS)
        for since, more in _SETTINGS_SINCE.items():
            if self._version >= since:
                wanted |= more
        if self._timeout is not None:
            wanted["statement_timeout"] = str(round(self._timeout * 1000))
        return "; ".join(f"{scope} {name} = {value}" for name, value in wanted.items())

    def _parameters(self) -> dict[str, str]:
        if self._parsed is None:
            self._parsed = self._parse()
        return self._parsed

    def _parse(self) -> dict[str, str]:
        psycopg = _driver()
        from psycopg.conninfo import conninfo_to_dict

        rest = {key: value for key, value in self._given.items() if key != "url"}
        try:
            told = conninfo_to_dict(self._given.get("url", ""))
        except psycopg.Error:
            # What libpq says may repeat a piece of the password.
            raise ConfigError(
                "the url is not an address of Postgres. Write postgresql://user:password@host:5432/"
                "database, with special characters in user and password percent-encoded."
            ) from None
        parsed = {key: str(value) for key, value in told.items() if value is not None}
        parsed = {**_CONNECTION, **parsed, **rest}
        if "sslrootcert" in parsed:  # libpq would not look at it
            parsed.setdefault("sslmode", os.environ.get("PGSSLMODE", "verify-full"))
        remember(parsed.get("password"))
        remember(parsed.get("sslpassword"))
        return parsed


def _driver() -> ModuleType:
    """Return psycopg, which may not be installed."""
    try:
        import psycopg
    except ImportError as error:
        raise ConnectorError(
            "reading Postgres needs its driver. Install it: pip install 'cdpsync[postgres]'"
        ) from error
    return psycopg


def _errors() -> type[Exception]:
    error: type[Exception] = _driver().Error
    return error
