"""Questions about a new connection: what stands before the server, and how many more it allows."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

# A pooler gives its clients numbers of its own for the server's processes. The limits of role and
# database do not hold for superusers (PostgreSQL's documentation, "CREATE ROLE").
FREE_CONNECTIONS = """
    select pg_backend_pid(), 1 + least(
        current_setting('max_connections')::int - count(a.usesysid)
            - case when r.rolsuper then 0
                else current_setting('superuser_reserved_connections')::int
                    + coalesce(current_setting('reserved_connections', true)::int, 0) end,
        case when r.rolconnlimit >= 0 and not r.rolsuper
            then r.rolconnlimit - count(*) filter (where a.usesysid = r.oid) end,
        case when d.datconnlimit >= 0 and not r.rolsuper
            then d.datconnlimit - count(a.usesysid) filter (where a.datid = d.oid) end
    )
    from pg_catalog.pg_roles r
    join pg_catalog.pg_database d on d.datname = current_database()
    cross join pg_catalog.pg_stat_activity a
    where r.rolname = session_user
    group by r.oid, r.rolsuper, r.rolconnlimit, d.oid, d.datconnlimit
"""


def first_row(cursor: psycopg.Cursor[Any]) -> tuple[Any, ...]:
    """Return the row of the only statement among several that has one."""
    while cursor.description is None:
        if not cursor.nextset():
            raise AssertionError("one of the statements returns a row")
    row: tuple[Any, ...] | None = cursor.fetchone()
    if row is None:
        raise AssertionError("the statement returns a row")
    return row


def ends_within(con: psycopg.Connection[Any], seconds: float) -> bool:
    """Return whether the statements that were sent on a connection end well within so many seconds.

    A pooler without a free connection lets them wait for a long time.
    """
    import psycopg

    deadline = time.monotonic() + seconds
    try:
        while True:
            while con.pgconn.is_busy():
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([con.pgconn.socket], [], [], left)[0]:
                    return False
                con.pgconn.consume_input()
            result = con.pgconn.get_result()
            if result is None:
                return True
            if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
                return False
    except psycopg.Error:
        return False
