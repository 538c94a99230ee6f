"""The session that holds a lock for which a read has waited in vain."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from cdpsync.errors import ConnectorError, ReadError
from cdpsync_connectors.mysql.errors import LOCKED, error_code, translate_reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymysql.connections import Connection

    from cdpsync_connectors.mysql.catalog import Relation
    from cdpsync_connectors.mysql.connections import Sessions

# Where performance_schema is on, as it is in MySQL, and this user may read it.
_HOLDERS = """
    select t.processlist_id, t.processlist_user, t.processlist_info
    from performance_schema.metadata_locks l
    join performance_schema.threads t on t.thread_id = l.owner_thread_id
    where l.object_schema = %s and l.object_name = %s and l.lock_status = 'GRANTED'
        and t.processlist_id <> connection_id()
    order by l.lock_type in ('EXCLUSIVE', 'SHARED_NO_READ_WRITE', 'SHARED_NO_WRITE') desc
    limit 1
"""
_STATEMENTS = """
    select id, user, info from information_schema.processlist
    where id <> connection_id() and locate(%s, info) > 0 and info not like 'select%%'
    order by time desc limit 1
"""
_LENGTH = 80  # of a statement in a message


def lock_holder(con: Connection[Any], relation: Relation) -> str:
    """Return who holds a lock on a relation: `connection 7 of user app (alter table …)`, or ""."""
    row = _row(con, _HOLDERS, (relation.schema, relation.name))
    row = row or _row(con, _STATEMENTS, (relation.name,))
    if row is None:
        return ""
    statement = " ".join(str(row[2] or "").split())
    if len(statement) > _LENGTH:
        statement = f"{statement[:_LENGTH]}…"
    return f"connection {row[0]} of user {row[1]}" + (f" ({statement})" if statement else "")


def translate_table(
    error: Exception,
    sessions: Sessions,
    relation: Relation,
    where: str | None,
    con: Connection[Any] | None = None,
) -> ConnectorError:
    """Return our error for one of a read of this relation; of a lock, with who holds it.

    A thread that has a connection gives it as `con`, because there may be no second one.
    """
    translated = translate_reading(error, sessions.address, relation.stream, where)
    if error_code(error) != LOCKED:
        return translated
    try:
        with nullcontext(con) if con else sessions.lend() as session:
            holder = lock_holder(session, relation)
    except ConnectorError:
        return translated
    if not holder:
        holder = (
            "a session that the server does not name to this user, as without performance_schema; "
            "its administrator sees them all with SHOW PROCESSLIST"
        )
    return ReadError(
        f'{sessions.address.location}: table "{relation.stream}" was locked for longer than '
        f"lock_timeout ({sessions.lock_timeout:g} s), by {holder}. Run again when that has ended, "
        "or raise lock_timeout."
    )


def _row(con: Connection[Any], sql: str, values: Sequence[Any]) -> Sequence[Any] | None:
    """Return the first row of a statement; None where this user or server does not have it."""
    import pymysql

    try:
        with con.cursor() as cursor:
            cursor.execute(sql, values)
            row: Sequence[Any] | None = cursor.fetchone()
            return row
    except pymysql.Error:
        return None
