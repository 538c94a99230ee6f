"""A streaming replica that is read in the primary's place, once it has the primary's log.

The primary is asked which transactions are open, because a replica does not show those of its
primary. So the safe cursor of a replica's rows is exactly the primary's.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cdpsync.errors import ConfigError, ReadError
from cdpsync_connectors.postgres.identity import fetch_system

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from cdpsync_connectors.postgres.connections import Sessions

_PATIENCE = 60.0  # seconds to wait for a replica that is behind
_PAUSE = 0.05
_PAGE = 8192

_SERVER = "select pg_is_in_recovery(), current_database()"
_REPLAYED = "select pg_last_wal_replay_lsn()::text, pg_is_in_recovery()"


class Replica:
    """A replica's sessions; before the first read, it is required to follow the primary."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self._follows_primary = False

    def check(self, primary: psycopg.Connection[Any]) -> None:
        """Connect; raise ConfigError where it does not follow this primary."""
        with self.sessions.lend() as con:
            require_replica_of(primary, con, self.sessions.location)

    def catch_up(
        self,
        primary: psycopg.Connection[Any],
        con: psycopg.Connection[Any],
        is_stopped: Callable[[], bool],
    ) -> None:
        """Wait until the replica, on `con`, has all that the primary has written by now."""
        if not self._follows_primary:
            require_replica_of(primary, con, self.sessions.location)
            self._follows_primary = True
        catch_up(con, written_position(primary), self.sessions.location, is_stopped)


def require_replica_of(
    primary: psycopg.Connection[Any], replica: psycopg.Connection[Any], location: str
) -> None:
    """Raise ConfigError unless the second server is a replica of the first."""
    url_is_replica, database = _fetch(primary, _SERVER)
    is_replica, replica_database = _fetch(replica, _SERVER)
    if url_is_replica:
        raise ConfigError(
            "the server under `url` is itself a replica. Put its primary there; or keep the "
            "replica as the url, and leave out `replica`."
        )
    if not is_replica or fetch_system(primary) != fetch_system(replica):
        raise ConfigError(
            f"replica {location}: this server is not a streaming replica of the one under `url`. "
            "Name one that is, or leave out `replica`."
        )
    if database != replica_database:
        raise ConfigError(
            f"replica {location}: the database is not {database}, as it is under `url`."
        )


def written_position(primary: psycopg.Connection[Any]) -> int:
    """Return the end of the primary's log, whether or not that is on its disk."""
    (lsn,) = _fetch(primary, "select pg_current_wal_insert_lsn()::text")
    return _position(lsn)


def catch_up(
    replica: psycopg.Connection[Any], position: int, location: str, is_stopped: Callable[[], bool]
) -> None:
    """Wait until a replica has replayed the log to a position; raise ReadError if it does not."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        lsn, is_in_recovery = _fetch(replica, _REPLAYED)
        if not is_in_recovery:
            raise ReadError(
                f"replica {location}: this server has become a primary of its own. Put its address "
                "under `url`, or name another replica."
            )
        bytes_behind = position - _position(lsn)
        if bytes_behind <= 0:
            return
        if is_stopped():
            raise ReadError("stopped.")
        if time.monotonic() > deadline:
            raise ReadError(
                f"replica {location}: it is {bytes_behind:,} bytes of log behind its primary, and "
                f"has been for {_PATIENCE:.0f} s. Nothing was read. Find out why it does not "
                "replay, or leave out `replica`."
            )
        time.sleep(_PAUSE)


def _position(lsn: str) -> int:
    """Return a position in the log as a number of bytes.

    Before a page of the log is begun, a primary gives the position of the page's first record,
    after a header of 24 or 40 bytes, where a replica that has everything gives the page's start.
    """
    high, low = lsn.split("/")
    position = (int(high, 16) << 32) + int(low, 16)
    return position - position % _PAGE if position % _PAGE in {24, 40} else position


def _fetch(con: psycopg.Connection[Any], sql: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = con.execute(sql.encode()).fetchone()
    if row is None:
        raise AssertionError("a select of one row has one")
    return row
