"""A streaming replica that is read in the primary's place, once it is as far as the primary was.

What may still be open is asked of the primary: a replica does not show whose transactions run
there. So the rows of a replica are settled exactly as far as the primary's own would be.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cdpsync.errors import ConfigError, ReadError

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

_PATIENCE = 60.0  # seconds to wait for a replica that is behind
_PAUSE = 0.05
_PAGE = 8192

_SERVER = "select pg_is_in_recovery(), current_database()"
_SYSTEM = "select system_identifier from pg_control_system()"
_REPLAYED = "select pg_last_wal_replay_lsn()::text, pg_is_in_recovery()"


def refuse_stranger(
    primary: psycopg.Connection[Any], replica: psycopg.Connection[Any], place: str
) -> None:
    """Raise ConfigError where the one is no replica of the other."""
    reads_too, base = _fetch(primary, _SERVER)
    reads, its_base = _fetch(replica, _SERVER)
    if reads_too:
        raise ConfigError(
            "the url is of a server that is a replica itself. Name its primary there; or name the "
            "replica as the url, and leave out `replica`."
        )
    if not reads or _system(primary) != _system(replica):
        raise ConfigError(
            f"replica {place}: this server is no streaming replica of the one under `url`. Name "
            "one that is, or leave out `replica`."
        )
    if base != its_base:
        raise ConfigError(f"replica {place}: the database is not {base}, as it is under `url`.")


def written(primary: psycopg.Connection[Any]) -> int:
    """Return how far the primary has written its log, whether or not it is on its disk."""
    (lsn,) = _fetch(primary, "select pg_current_wal_insert_lsn()::text")
    return _position(lsn)


def catch_up(
    replica: psycopg.Connection[Any], position: int, place: str, is_stopped: Callable[[], bool]
) -> None:
    """Wait until a replica has replayed the log up to there; raise ReadError if it does not."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        lsn, recovers = _fetch(replica, _REPLAYED)
        if not recovers:
            raise ReadError(
                f"replica {place}: this server has become a primary of its own. Put its address "
                "under `url`, or name another replica."
            )
        behind = position - _position(lsn)
        if behind <= 0:
            return
        if is_stopped():
            raise ReadError("stopped.")
        if time.monotonic() > deadline:
            raise ReadError(
                f"replica {place}: it is {behind:,} bytes of log behind its primary, and was for "
                f"{_PATIENCE:.0f} s. Nothing was read. See why it does not replay, or leave out "
                "`replica`."
            )
        time.sleep(_PAUSE)


def _position(lsn: str) -> int:
    """Return a place in the log as a number of bytes.

    Before a page of the log is begun, its place is told as that of its first record, behind the
    page's header of 24 or 40 bytes; a replica that has everything tells where the page begins.
    """
    high, low = lsn.split("/")
    position = (int(high, 16) << 32) + int(low, 16)
    return position - position % _PAGE if position % _PAGE in {24, 40} else position


def _system(con: psycopg.Connection[Any]) -> object:
    """Return the number of a cluster, which its replicas share; None where it is not told."""
    from psycopg.errors import InsufficientPrivilege

    try:
        return _fetch(con, _SYSTEM)
    except InsufficientPrivilege:
        return None


def _fetch(con: psycopg.Connection[Any], sql: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = con.execute(sql.encode()).fetchone()
    if row is None:
        raise AssertionError("a select of one row has one")
    return row
