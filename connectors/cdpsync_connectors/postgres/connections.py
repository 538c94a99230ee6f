"""Connections to one Postgres database: psycopg's for its catalogs, DuckDB's scanner for rows."""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from cdpsync.errors import ConfigError, ConnectorError
from cdpsync.redact import remember
from cdpsync.sql import quote_name, quote_text
from cdpsync_connectors.postgres.dsn import shown_database, shown_host, shown_port
from cdpsync_connectors.postgres.errors import translate_connecting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    import psycopg
    from duckdb import DuckDBPyConnection

_MAX_IDLE = 4
_ALIASES = itertools.count(1)

# Printed values must not depend on the settings of role, database or client, and a long read must
# not count as an idle session. jit is off, because it would compile a long select for each chunk.
_SETTINGS = {
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
_CONNECTION = {
    "client_encoding": "UTF8",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "6",
}


class Sessions:
    """A pool of connections to one database. Safe from many threads.

    `parameters` are libpq's; a URL or a keyword string is under the key `url`. With `max_open`, the
    pool closes a returned connection if otherwise more would be open. Settings are SET, because
    connection poolers refuse startup options.
    """

    def __init__(
        self,
        parameters: Mapping[str, str],
        statement_timeout: float | None,
        max_open: int | None = None,
    ) -> None:
        self._max_open = max_open
        self._lent = 0
        self._given_parameters = dict(parameters)
        self._timeout = statement_timeout
        self._parsed: dict[str, str] | None = None
        self._version = 0
        self._idle: list[psycopg.Connection[Any]] = []
        self._guard = threading.Lock()
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
        """Lend a connection in autocommit; raise ConnectError when none can be opened."""
        con = self._reuse_idle() or self._connect()
        with self._guard:
            self._lent += 1
        try:
            yield con
        finally:
            self._take_back(con)

    @contextmanager
    def snapshot(self, con: psycopg.Connection[Any]) -> Iterator[None]:
        """Hold a snapshot of the data open on a connection."""
        con.execute("begin isolation level repeatable read, read only")
        try:
            yield
        finally:
            with suppress(_errors()):
                con.execute("rollback")

    def relation_settings(self, snapshot_id: str | None) -> str:
        """Return the statements that start the transaction of a chunk."""
        settings = self._settings("set local")
        if not snapshot_id:
            return settings
        return f"{settings}; set transaction snapshot {quote_text(snapshot_id)}"

    def attach(self, con: DuckDBPyConnection) -> str:
        """Return the name under which this database is attached to a DuckDB connection.

        A rollback would undo an ATTACH inside the open transaction, so that one, still empty, is
        ended first. The password goes by a secret, which no error and no catalog view shows, and
        which is dropped afterwards.
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
        """Close the connections that are not lent."""
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
        _driver()
        import psycopg

        parameters: dict[str, Any] = dict(
            self._parameters()
        )  # psycopg.connect takes other types by keyword too
        try:
            con = psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)
        except psycopg.Error as error:
            login = f"{self.location} as {self.user}"
            raise translate_connecting(error, login) from error
        self._version = con.info.server_version
        try:
            con.execute(self._settings("set").encode())
            con.execute("set default_transaction_read_only = on")
        except psycopg.Error as error:
            con.close()
            raise translate_connecting(error, self.location) from error
        return con

    def _reuse_idle(self) -> psycopg.Connection[Any] | None:
        """Return an idle connection that still answers, or None; close those that do not."""
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
        has_no_transaction = con.info.transaction_status == con.info.transaction_status.IDLE
        with self._guard:
            self._lent -= 1
            max_idle = _MAX_IDLE if self._max_open is None else self._max_open - self._lent
            if not con.closed and has_no_transaction and len(self._idle) < max_idle:
                self._idle.append(con)
                return
        con.close()

    def _settings(self, scope: str) -> str:
        settings = dict(_SETTINGS)
        for since, newer_settings in _SETTINGS_SINCE.items():
            if self._version >= since:
                settings |= newer_settings
        if self._timeout is not None:
            settings["statement_timeout"] = str(round(self._timeout * 1000))
        return "; ".join(f"{scope} {name} = {value}" for name, value in settings.items())

    def _parameters(self) -> dict[str, str]:
        if self._parsed is None:
            self._parsed = self._parse()
        return self._parsed

    def _parse(self) -> dict[str, str]:
        psycopg = _driver()
        from psycopg.conninfo import conninfo_to_dict

        keywords = {key: value for key, value in self._given_parameters.items() if key != "url"}
        try:
            in_url = conninfo_to_dict(self._given_parameters.get("url", ""))
        except psycopg.Error:
            # libpq's message may repeat a part of the password.
            raise ConfigError(
                "the url is not an address of a Postgres database. Write postgresql://user:password@host:5432/"
                "database, with special characters in user and password percent-encoded."
            ) from None
        parsed = {key: str(value) for key, value in in_url.items() if value is not None}
        parsed = {**_CONNECTION, **parsed, **keywords}
        if "sslrootcert" in parsed:  # without sslmode, libpq would ignore it
            parsed.setdefault("sslmode", os.environ.get("PGSSLMODE", "verify-full"))
        remember(parsed.get("password"))
        remember(parsed.get("sslpassword"))
        return parsed


def _driver() -> ModuleType:
    """Return psycopg. Raises ConnectorError where it is not installed."""
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
