"""What is open in a Postgres database: since when, and who may be writing.

Sessions tell when their transactions began, not to everybody, and not that of a prepared one.
Locks tell more, and to all: whoever adds a row, or takes a number from a sequence, holds one on the
table or the sequence from before that until the transaction ends, also while it has no number of
its own yet (PostgreSQL's documentation, "Explicit Locking"; for `nextval`, seen since version 10).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

UNSEEN = timedelta(minutes=5)
"""How long a transaction is taken to be open where its beginning cannot be seen."""

_MARGIN = timedelta(seconds=1)
"""How long a session may take to tell of a transaction: it reads the clock first."""

_CIRCLE = 1 << 32  # numbers of transactions

# Every session that may write here; not ours, which only read. A worker of an extension has a type
# of its own, so those are named that never write rows. Of other users' sessions only a member of
# pg_read_all_stats is told type, state and times (PostgreSQL's documentation, "The Cumulative
# Statistics System"). With track_activities off, a session tells nothing to anybody.
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
    ), begun as (
        select since, 'process ' || pid || coalesce(' of user ' || usename, '') as who
        from open where since is not null
        union all
        select prepared - interval '{UNSEEN.seconds} seconds',
            'the prepared transaction ' || quote_literal(gid)
        from pg_catalog.pg_prepared_xacts where database = current_database()
    )
    select statement_timestamp(), oldest.since, oldest.who, pg_is_in_recovery(),
        exists (
            select 1 from open
            where backend_type is null or state = 'disabled'
                or (state is null and backend_type = 'client backend')
                or (state like 'idle in transaction%' and xact_start is null)
                or (xact_start is null and current_setting('track_activities') = 'off')
        )
    from (values (1)) as once
    left join (select since, who from begun order by since limit 1) as oldest on true
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
    """What was open in the database at one moment.

    `oldest` is when the first of the open transactions began, where that can be seen, and `who`
    it is; `has_unseen`: there may be older ones. Of a standby, all that write are unseen.
    """

    at: datetime
    oldest: datetime | None
    who: str | None
    is_standby: bool
    has_unseen: bool

    @property
    def reaches(self) -> datetime:
        """The moment before which nothing is open."""
        known = min(self.oldest or self.at, self.at - _MARGIN)
        return min(known, self.at - UNSEEN) if self.has_unseen or self.is_standby else known


@dataclass(frozen=True, slots=True)
class Writers:
    """The transactions that write, by what they are called; `prepared` are among `all`."""

    all: frozenset[str]
    prepared: frozenset[str]


def fetch_horizon(con: psycopg.Connection[Any]) -> Horizon:
    """Return what is open now; to be asked outside of a view."""
    return Horizon(*_row(con, _OPEN))


def fetch_writers(con: psycopg.Connection[Any]) -> Writers:
    """Return who may be writing now, in this database."""
    names, prepared = _row(con, f"select array({_WRITERS}), array({_PREPARED})")
    return Writers(frozenset(names) | frozenset(prepared), frozenset(prepared))


def fetch_clock(con: psycopg.Connection[Any]) -> datetime:
    """Return what the server's clock shows."""
    (now,) = _row(con, "select clock_timestamp()")
    moment: datetime = now
    return moment


def next_transaction(con: psycopg.Connection[Any]) -> int | None:
    """Return the first number of a transaction that a view does not know; begins the view.

    None where one with a lower number is open.
    """
    lowest, highest = _row(
        con,
        "select txid_snapshot_xmin(s), txid_snapshot_xmax(s) from txid_current_snapshot() as t(s)",
    )
    return int(highest) if lowest == highest else None


def is_idle_since(con: psycopg.Connection[Any], number: int) -> bool:
    """Whether nobody writes, and then: no transaction has been given this number yet.

    In this order: who has written and ended in between has taken it. To be asked once in a
    transaction, where `age` counts from what it was first told.
    """
    (idle,) = _row(
        con,
        f"""
        select case when pg_is_in_recovery() then false
            when exists ({_WRITERS} union all {_PREPARED}) then false
            else age('{number % _CIRCLE}'::xid) = 0 end
        """,
    )
    return idle is True


def _row(con: psycopg.Connection[Any], sql: str) -> tuple[Any, ...]:
    """Return the row of a statement that has exactly one."""
    row: tuple[Any, ...] | None = con.execute(sql.encode()).fetchone()
    if row is None:
        raise AssertionError("a select without a table has a row")
    return row
