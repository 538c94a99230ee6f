"""Sessions of one Snowflake account, one for each thread: for its catalogs and for reads."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

from cdpsync.errors import ConnectorError
from cdpsync.sql import quote_name
from cdpsync_connectors.snowflake.errors import (
    is_session_over,
    translate_connecting,
    translate_reading,
)
from cdpsync_connectors.snowflake.login import driver_keywords, is_personal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from snowflake.connector import SnowflakeConnection

    from cdpsync_connectors.snowflake.decode import Batch
    from cdpsync_connectors.snowflake.options import SnowflakeOptions

_NETWORK_TIMEOUT = 300  # seconds after which an unanswered request is not repeated
# The driver cancels a statement after network_timeout, so a read sets a limit of its own: the time
# for which the addresses of its result are valid.
_MAX_STATEMENT_TIME = 6 * 3600

# Values must not depend on the settings of account or user. Above all, a limit on rows would cut
# every table without notice. The chunk size limits the memory of a worker.
_PARAMETERS: dict[str, str | int | bool] = {
    "ABORT_DETACHED_QUERY": True,
    "CLIENT_RESULT_CHUNK_SIZE": 48,  # MB
    "CLIENT_SESSION_KEEP_ALIVE": True,
    "CLIENT_TELEMETRY_ENABLED": False,
    "DATE_INPUT_FORMAT": "AUTO",
    "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT": "ARROW",
    "QUOTED_IDENTIFIERS_IGNORE_CASE": False,
    "ROWS_PER_RESULTSET": 0,
    "TIMESTAMP_INPUT_FORMAT": "AUTO",
    "TIMEZONE": "UTC",
}


class Sessions:
    """A pool of connections to one account, without those that Snowflake has ended.

    Safe from many threads. Where a person answers at each login, all threads share one connection,
    so that the person is asked once.
    """

    def __init__(self, options: SnowflakeOptions) -> None:
        self._options = options
        self._shared = is_personal(options)
        self._idle: list[SnowflakeConnection] = []
        self._guard = threading.Lock()

    @property
    def location(self) -> str:
        """The account, or the host and port that replace its address."""
        server = self._options.connect_options
        if server.host is None:
            return self._options.account
        return f"{server.host}:{server.port}" if server.port else server.host

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query of the catalogs. Raises ConnectorError."""
        with (
            self._translated(),
            self._lend() as connection,
            connection.cursor(_driver().DictCursor) as cursor,
        ):
            cursor.execute(sql)
            return [dict(row) for row in cursor.fetchall()]

    def query(self, sql: str, where: str | None = None) -> list[Batch]:
        """Run a statement once; return the parts of its result, of which none is fetched yet.

        Raises ConnectorError. `where` is the user's condition in the statement.
        """
        with self._translated(where), self._lend() as connection, connection.cursor() as cursor:
            cursor.execute(sql, timeout=self._options.statement_timeout or _MAX_STATEMENT_TIME)
            return cast("list[Batch]", cursor.get_result_batches() or [])

    def close(self) -> None:
        """Log out. May be called twice."""
        with self._guard:
            idle, self._idle = self._idle, []
        for connection in idle:
            with suppress(_driver().Error):
                connection.close(retry=False)

    @contextmanager
    def _translated(self, where: str | None = None) -> Iterator[None]:
        try:
            yield
        except _driver().Error as error:
            known_error = translate_reading(error, self.location, where)
            if known_error is None:
                raise
            raise known_error from error

    @contextmanager
    def _lend(self) -> Iterator[SnowflakeConnection]:
        connection = self._take()
        try:
            yield connection
        except _driver().Error as error:
            self._take_back(connection, has_ended=is_session_over(error))
            raise
        self._take_back(connection)

    def _take(self) -> SnowflakeConnection:
        with self._guard:
            if self._idle:
                return self._idle[-1] if self._shared else self._idle.pop()
            if self._shared:
                self._idle.append(self._connect())
                return self._idle[-1]
        return self._connect()

    def _take_back(self, connection: SnowflakeConnection, *, has_ended: bool = False) -> None:
        with self._guard:
            remaining = [idle for idle in self._idle if idle is not connection]
            self._idle = remaining if has_ended else [*remaining, connection]

    def _connect(self) -> SnowflakeConnection:
        driver = _driver()
        try:
            connection: SnowflakeConnection = driver.connect(**self._parameters())
        except driver.Error as error:
            raise translate_connecting(error, self._shown_login()) from error
        return connection

    def _shown_login(self) -> str:
        return f"{self.location} as {self._options.user}" if self._options.user else self.location

    def _parameters(self) -> dict[str, Any]:
        options = self._options
        parameters = _PARAMETERS | {"QUERY_TAG": options.query_tag}
        if options.statement_timeout is not None:
            parameters["STATEMENT_TIMEOUT_IN_SECONDS"] = options.statement_timeout
        keywords = {
            "account": options.account,
            "user": options.user,
            "role": options.role,
            "warehouse": options.warehouse,
            "database": options.database and quote_name(options.database),
            "schema": quote_name(options.schema_) if options.database else None,
            "login_timeout": options.connect_timeout,
            "network_timeout": _NETWORK_TIMEOUT,
            "application": "cdpsync",
            "session_parameters": parameters,
            "platform_detection_timeout_seconds": 0.0,  # 0 skips a request for a cloud's metadata
            **driver_keywords(options),
            **options.connect_options.model_dump(exclude_none=True),
        }
        return {name: value for name, value in keywords.items() if value is not None}


def _driver() -> ModuleType:
    """Return snowflake.connector. Raises ConnectorError where a driver is not installed."""
    try:
        import pyarrow as pa  # noqa: F401 - the rows are sent in its format
        import snowflake.connector
    except ImportError as error:
        raise ConnectorError(
            "reading Snowflake needs its driver. Install it: pip install 'cdpsync[snowflake]'"
        ) from error
    return snowflake.connector
