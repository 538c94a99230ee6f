"""The open transactions of a Postgres database: when they began, and which may be writing.

A session shows when its transaction began, but not to every user, and not that of a prepared
transaction. Locks show more, and to every user. A transaction that adds a row, or takes a number
from a sequence, holds a lock on the table or the sequence from before that until it ends, even
while it has no transaction number yet (PostgreSQL's documentation, "Explicit Locking"; for
`nextval`, observed since version 10).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

UNSEEN = timedelta(minutes=5)
"""The assumed age of a transaction whose start is not visible."""

_MARGIN = timedelta(seconds=1)
"""How late a session may show its transaction, because it reads the clock first."""

_XID_CIRCLE = 1 << 32  # transaction numbers wrap around there

# Every session that may write in this database, without our own, which only read. A worker of an
# extension has a type of its own, so the list names the types that never write rows. Only a member
# of pg_read_all_stats sees type, state and times of other users' sessions (PostgreSQL's
# documentation, "The Cumulative Statistics System"). With track_activities off, nobody sees any.
_OPEN = f"""
    with open as (
        select pid, usename, state, backend_type, xact_start,
            coalesce(xact_start, case when state = 'active' then query_start end) as since
        from pg_catalog.pg_stat_activity
        where pid <> pg_backend_pid() and datname = current_database()
            and coalesce(backend_type, '') not in ('autovacuum launcher', 'autovacuum worker',
                'logical replication launcher', 'parallel worker', 'slotsync worker', 'walsender')
            and not (backend_xid is null and application_name like 'cdpsync%'
                and application_name = current_setting('application_name'))
    ), open_since as (
        select since, 'process ' || pid || coalesce(' of user ' || usename, '') as owner
        from open where since is not null
        union all
        select prepared - interval '{UNSEEN.seconds} seconds',
            'the prepared transaction ' || quote_literal(gid)
        from pg_catalog.pg_prepared_xacts where database = current_database()
    )
    select statement_timestamp(), oldest.since, oldest.owner, pg_is_in_recovery(),
        exists (
            select 1 from open
            where backend_type is null or state = 'disabled'
                or (state is null and backend_type = 'client backend')
                or (state like 'idle in transaction%' and xact_start is null)
                or (xact_start is null and current_setting('track_activities') = 'off')
        )
    from (values (1)) as once
    left join (select since, owner from open_since order by since limit 1) as oldest on true
"""

# VACUUM holds a weaker lock on its table, and this one only on the indexes.
_WRITERS = """
    select virtualtransaction from pg_catalog.pg_locks l
    left join pg_catalog.pg_class c on c.oid = l.relation
    where l.locktype = 'relation' and l.granted and c.relkind is distinct from 'i'
        and l.mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
            'AccessExclusiveLock')
        and l.database = (
            select oid from pg_catalog.pg_database where datname = current_database()
        )
    union all
    select backend_xid::text from pg_catalog.pg_stat_activity
    where backend_xid is not null and datname = current_database()
"""
_PREPARED = """
    select transaction::text from pg_catalog.pg_prepared_xacts
    where database = current_database()
"""


@dataclass(frozen=True, slots=True)
class Horizon:
    """The open transactions of the database at one moment, `at`.

    `oldest` is when the first visible one began, and `owner` names its session. `has_unseen` says
    that there may be older ones. A standby sees none of those that write.
    """

    at: datetime
    oldest: datetime | None
    owner: str | None
    is_standby: bool
    has_unseen: bool

    @property
    def safe_until(self) -> datetime:
        """The moment before which no open transaction began."""
        visible_start = min(self.oldest or self.at, self.at - _MARGIN)
        if self.has_unseen or self.is_standby:
            return min(visible_start, self.at - UNSEEN)
        return visible_start


@dataclass(frozen=True, slots=True)
class Writers:
    """The names of the transactions that write; `prepared` are among `all`."""

    all: frozenset[str]
    prepared: frozenset[str]


def fetch_horizon(con: psycopg.Connection[Any]) -> Horizon:
    """Return the transactions that are open now. Call it before a snapshot begins.

    Call it first in a transaction, because pg_stat_activity stays as a transaction first saw it.
    """
    return Horizon(*_row(con, _OPEN))


def fetch_writers(con: psycopg.Connection[Any]) -> Writers:
    """Return the transactions that may be writing in this database now."""
    con.execute("select pg_catalog.pg_stat_clear_snapshot()")  # it would show those of before
    names, prepared = _row(con, f"select array({_WRITERS}), array({_PREPARED})")
    return Writers(frozenset(names) | frozenset(prepared), frozenset(prepared))


def fetch_clock(con: psycopg.Connection[Any]) -> datetime:
    """Return the time of the server's clock."""
    (now,) = _row(con, "select clock_timestamp()")
    moment: datetime = now
    return moment


def next_transaction(con: psycopg.Connection[Any]) -> int | None:
    """Return the first transaction number that the snapshot does not know; begins the snapshot.

    None where a transaction with a lower number is open.
    """
    lowest, highest = _row(
        con,
        "select txid_snapshot_xmin(s), txid_snapshot_xmax(s) from txid_current_snapshot() as t(s)",
    )
    return int(highest) if lowest == highest else None


def is_idle_since(con: psycopg.Connection[Any], number: int) -> bool:
    """Whether no transaction writes, and none has taken this number yet.

    The order matters, because a transaction that wrote and ended in between has taken the number.
    Call it once in a transaction, because `age` counts from its first call there.
    """
    (idle,) = _row(
        con,
        f"""
        select case when pg_is_in_recovery() then false
            when exists ({_WRITERS} union all {_PREPARED}) then false
            else age('{number % _XID_CIRCLE}'::xid) = 0 end
        """,
    )
    return idle is True


def _row(con: psycopg.Connection[Any], sql: str) -> tuple[Any, ...]:
    """Return the row of a statement that has exactly one."""
    row: tuple[Any, ...] | None = con.execute(sql.encode()).fetchone()
    if row is None:
        raise AssertionError("a select without a table has a row")
    return row
