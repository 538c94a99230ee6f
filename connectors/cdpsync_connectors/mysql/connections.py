"""Connections to one MySQL server: a pool for its catalogs, and one connection for each read."""

from __future__ import annotations

import ssl
import threading
import time
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING, Any

from cdpsync.errors import ConnectError, ConnectorError
from cdpsync_connectors.mysql.errors import lacks_connection, translate_connecting
from cdpsync_connectors.mysql.protocol import hang_up, keep_alive, server_version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from pymysql.connections import Connection

    from cdpsync_connectors.mysql.options import Address

# Values must not depend on the settings of server, user or proxy. No setting may limit the rows.
# The timeouts are long, because a reader that waits for a disk is not dead.
_SETTINGS = (
    "set session sql_mode = ''",
    "set session time_zone = '+00:00'",
    "set session sql_select_limit = 18446744073709551615",
    "set session sql_big_selects = 1",
    "set session net_write_timeout = 86400",
    "set session wait_timeout = 86400",
    "set session transaction isolation level repeatable read",
    "set session transaction read only",
)


_PAUSE = 0.05  # seconds between two attempts
_GRACE = 2.0  # seconds in which a server counts a connection that we have closed


class Sessions:
    """A pool of connections to one server. Safe from many threads.

    Where the server has no connection left, a thread waits for those of the others.
    """

    def __init__(
        self,
        address: Address,
        statement_timeout: float | None,
        max_idle: int = 2,
        lock_timeout: float = 60,
    ) -> None:
        self._max_idle = max_idle
        self.address = address
        self._timeout = statement_timeout
        self.lock_timeout = lock_timeout
        self._idle: list[Connection[Any]] = []
        self._open: set[Connection[Any]] = set()
        self._closed_at = 0.0
        self._guard = threading.Lock()

    @contextmanager
    def lend(self) -> Iterator[Connection[Any]]:
        """Lend a connection in autocommit; raise ConnectError when none can be opened."""
        con = self._reuse_idle() or self.connect()
        try:
            yield con
        except BaseException:
            self.hang_up(con)
            raise
        with self._guard:
            if con.open and len(self._idle) < self._max_idle:
                self._idle.append(con)
                return
        self.hang_up(con)

    def hang_up(self, con: Connection[Any]) -> None:
        """Close a connection at once. May be called twice, and from any thread."""
        hang_up(con)
        with self._guard:
            if con in self._open:
                self._open.remove(con)
                self._closed_at = time.monotonic()

    def connect(self) -> Connection[Any]:
        """Return a new connection, outside of the pool, whose session is set up to read exactly.

        It waits while the server has none left and others of ours are open. Idle ones are closed.
        """
        while True:
            try:
                con = self._connect()
            except ConnectError as error:
                if not lacks_connection(error.__cause__ or error) or not self._may_end():
                    raise
                time.sleep(_PAUSE)
            else:
                with self._guard:
                    self._open.add(con)
                return con

    def _may_end(self) -> bool:
        """Close the idle connections; return whether one of ours ends, or has ended just now."""
        self.close()
        with self._guard:
            return bool(self._open) or time.monotonic() - self._closed_at < _GRACE

    def _connect(self) -> Connection[Any]:
        pymysql = _driver()
        address = self.address
        try:
            con: Connection[Any] = pymysql.connect(
                host=address.host,
                port=address.port,
                user=address.user,
                password=address.password.get_secret_value().encode(),
                database=address.database,
                charset="utf8mb4",
                autocommit=True,
                connect_timeout=address.connect_timeout,
                program_name="cdpsync",
                **_tls(address),
            )
        except (pymysql.Error, OSError, RuntimeError, ValueError) as error:
            raise translate_connecting(error, address) from error
        try:
            self._set_up(con)
        except pymysql.Error as error:
            hang_up(con)
            raise translate_connecting(error, address) from error
        return con

    def close(self) -> None:
        """Close the connections that are not lent."""
        with self._guard:
            idle, self._idle = self._idle, []
        for con in idle:
            self.hang_up(con)

    def _set_up(self, con: Connection[Any]) -> None:
        keep_alive(con)
        with con.cursor() as cursor:
            for setting in (*_SETTINGS, *self._timeouts(con)):
                cursor.execute(setting)

    def _timeouts(self, con: Connection[Any]) -> list[str]:
        lock = f"set session lock_wait_timeout = {ceil(self.lock_timeout)}"
        if self._timeout is None:
            return [lock]
        if is_mariadb(con):
            return [lock, f"set session max_statement_time = {self._timeout:f}"]
        return [lock, f"set session max_execution_time = {max(1, round(self._timeout * 1000))}"]

    def _reuse_idle(self) -> Connection[Any] | None:
        """Return an idle connection that still answers, or None; close those that do not."""
        while True:
            with self._guard:
                if not self._idle:
                    return None
                con = self._idle.pop()
            try:
                con.ping(reconnect=False)
            except _driver().Error:
                self.hang_up(con)
            else:
                return con


def is_mariadb(con: Connection[Any]) -> bool:
    """Whether the server is a MariaDB."""
    return "mariadb" in server_version(con).lower()


def server_name(con: Connection[Any]) -> str:
    """Return a name that tells this server from others that one address may lead to."""
    with con.cursor() as cursor:
        cursor.execute("select concat(@@hostname, '/', @@server_id, '/', @@port)")
        ((name,),) = cursor.fetchall()
    return str(name)


def _tls(address: Address) -> dict[str, Any]:
    """Return PyMySQL's keywords for TLS. Without any, it tries TLS and does not verify it."""
    if address.ssl_mode == "disabled":
        return {"ssl_disabled": True}
    if address.ssl_mode == "preferred":
        return {}
    try:
        context = ssl.create_default_context(cafile=address.ssl_ca)
    except OSError as error:
        raise ConnectorError(
            f"{address.location}: ssl_ca: {address.ssl_ca} cannot be read: "
            f"{error.strerror or error}."
        ) from error
    context.check_hostname = address.ssl_mode == "verify_identity"
    if address.ssl_mode == "required":
        context.verify_mode = ssl.CERT_NONE
    return {"ssl": context}


def _driver() -> ModuleType:
    """Return PyMySQL. Raises ConnectorError where a driver is not installed."""
    try:
        import numpy  # noqa: F401, ICN001 - is it installed?
        import pyarrow  # noqa: F401, ICN001
        import pymysql
    except ImportError as error:
        raise ConnectorError(
            "reading MySQL needs its driver. Install it: pip install 'cdpsync[mysql]'"
        ) from error
    return pymysql
