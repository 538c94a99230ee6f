"""The relations that a read needs, and the sessions that hold a lock on one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.errors import ConnectorError
from cdpsync_connectors.postgres.parameters import load_driver

if TYPE_CHECKING:
    from cdpsync_connectors.postgres.connections import Sessions

# A read locks its table, the table's partitions and indexes, and whatever a view reads.
_NEEDED = """
    with recursive needed as (
        select to_regclass(%s)::oid as oid
        union
        select below.oid from needed n cross join lateral (
            select inhrelid as oid from pg_catalog.pg_inherits where inhparent = n.oid
            union all
            select indexrelid from pg_catalog.pg_index where indrelid = n.oid
            union all
            select d.refobjid from pg_catalog.pg_rewrite w
            join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass
                and d.objid = w.oid and d.refclassid = 'pg_catalog.pg_class'::regclass
            where w.ev_class = n.oid
        ) below
    )
"""
_QUALIFIED = f"""
    {_NEEDED}
    select pg_catalog.quote_ident(s.nspname) || '.' || pg_catalog.quote_ident(c.relname)
    from needed
    join pg_catalog.pg_class c using (oid)
    join pg_catalog.pg_namespace s on s.oid = c.relnamespace
    where c.relname = %s
    limit 1
"""

# Only ACCESS EXCLUSIVE is in a reader's way. A session that waits for it is in the way of all that
# come later.
_HOLDER = f"""
    {_NEEDED}
    select l.relation::regclass::text, l.pid, a.usename, a.application_name, a.state,
        to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS'), l.granted
    from pg_catalog.pg_locks l
    join needed n on n.oid = l.relation
    left join pg_catalog.pg_stat_activity a on a.pid = l.pid
    where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock'
        and l.database = (
            select oid from pg_catalog.pg_database where datname = current_database()
        )
    order by l.granted desc, a.xact_start
    limit 1
"""


def qualified_name(sessions: Sessions, table: str, name: str) -> str:
    """Return a relation that a read of `table` needs, with its schema; asks over a connection."""
    try:
        with sessions.lend() as con:
            row = con.execute(_QUALIFIED.encode(), (table, name)).fetchone()
    except (ConnectorError, load_driver().Error):
        row = None
    return str(row[0]) if row else name


def is_lock_timeout(error: Exception) -> bool:
    """Whether a statement waited for a lock for longer than lock_timeout."""
    return "lock timeout" in str(error)


def lock_message(sessions: Sessions, table: str) -> str:
    """Return who is in the way of a table's readers, and what to do; asks over a new connection."""
    advice = f"was not free within {sessions.lock_timeout:g} s (lock_timeout)."
    again = "Run again when that has ended, or raise lock_timeout on the source."
    try:
        with sessions.lend() as con:
            row = con.execute(_HOLDER.encode(), (table,)).fetchone()
    except (ConnectorError, load_driver().Error):
        row = None
    if row is None:
        return f"{sessions.location}: {table} is locked by another session, and {advice} {again}"
    relation, pid, user, application, state, since, granted = row
    if pid is None:
        holder = "a prepared transaction (see pg_prepared_xacts)"
    else:
        details = [f"user {user}" if user else "", application or "", state or ""]
        details.append(f"transaction since {since} UTC" if since else "")
        holder = f"process {pid} ({', '.join(filter(None, details))})"
    verb = "is locked by" if granted else "is kept from readers by a lock that is waited for by"
    end = "" if pid is None else f" To end it: select pg_terminate_backend({pid})."
    return f"{sessions.location}: {relation} {verb} {holder}, and {advice} {again}{end}"
