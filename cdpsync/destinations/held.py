"""Held changes: those that were not delivered yet, in a Parquet file beside the outboxes.

The lake names the outbox that was settled last, and the file has that id in its name. So both
change in one moment, when the lake's transaction commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.destinations.delivery.journal import PENDING
from cdpsync.destinations.delivery.outbox import seq_list
from cdpsync.engine import connect, first_line
from cdpsync.errors import CatalogError
from cdpsync.sql import fold_name, quote_name, quote_text
from cdpsync.system import clock, disk, private_files

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    import duckdb
    from duckdb.sqltypes import DuckDBPyType

    from cdpsync.destinations.delivery.journal import Settlements
    from cdpsync.destinations.delivery.outbox import Outbox

COLUMNS = ("event_id", "key", "change", "snapshot_id", "changed_at", "ord")
"""The columns of a change beside its images; `row` and `old` follow."""

FATE = ("attempts", "first_at", "may_have_arrived", "sends", "last_at", "next_at")
"""What is known of a change that was held: its attempts, in how many sends they were in vain, the
first and the last of them, and before when it is not tried again."""

_FIRST_WAIT, _LONGEST_WAIT = 10, 300  # seconds; each wait is twice the one before

# What a held change and a newer one of the same key are together. The held one may have arrived,
# because an attempt that failed can still have been carried out. So a deletion is sent even where
# the insertion was not acknowledged, unless it surely never left. `before` is the image at the
# position, which conditions on what was there look at.
_COMPOSED = """
    create temp table composed as
    select
        coalesce(c.event_id, h.event_id) as event_id,
        coalesce(c.key, h.key) as key,
        case
            when h.key is null then c.change
            when c.key is null then h.change
            when h.change = 'insert' and c.change = 'update' then 'insert'
            when h.change = 'delete' and c.change = 'insert' and not h.may_have_arrived
                then 'update'
            else c.change
        end as change,
        coalesce(c.snapshot_id, h.snapshot_id) as snapshot_id,
        coalesce(c.changed_at, h.changed_at) as changed_at,
        coalesce(c.ord, h.ord) as ord,
        if(c.key is null, h."row", c."row") as "row",
        case
            when h.key is null or c.change = 'delete' then c.old
            when c.key is null then h.old
            when h.change = 'insert' or (h.change = 'delete' and h.may_have_arrived) then null
            else h.old
        end as old,
        c.old as before,
        c.key is null as is_held,
        h.key is not null as has_passed,
        coalesce(h.may_have_arrived, false) as may_have_arrived,
        if(c.key is null, h.attempts, 0) as attempts,
        if(c.key is null, h.first_at, null) as first_at,
        coalesce(h.sends, 0) as sends,
        h.last_at,
        h.next_at,
        coalesce(h.change = 'insert' and c.change = 'delete' and not h.may_have_arrived, false)
            as is_cancelled
    from {changes} as c
    full join held as h on h.key = c.key
"""
_ALL_NEW = """
    create temp view composed as
    select
        {columns}, "row", old, old as before, false as is_held, false as has_passed,
        false as may_have_arrived, 0 as attempts, null::timestamptz as first_at,
        0 as sends, null::timestamptz as last_at, null::timestamptz as next_at,
        false as is_cancelled
    from {changes}
"""
_IN_TURN = """
    create temp table composed as
    select
        {columns}, "row", old, old as before, true as is_held, true as has_passed,
        may_have_arrived, attempts, first_at, sends, last_at, next_at, false as is_cancelled
    from held
    where event_id not in (select event_id from {changes})
    union all
    select {columns}, "row", old, old, false, false, false, 0, null, 0, null, null, false
    from {changes}
"""

# With `changes: each`, a key may have had several changes. They are one, if only the last counts.
_ONE_PER_KEY = """
    create or replace temp table held as
    select * exclude (first_change, first_old, most_sends, latest_at, latest_next) replace (
        most_sends as sends,
        latest_at as last_at,
        latest_next as next_at,
        if(first_change = 'insert' and change <> 'delete', 'insert', change) as change,
        if(first_change = 'insert' and change <> 'delete', null, first_old) as old
    )
    from (
        select
            *,
            first_value(change) over (partition by key order by ord) as first_change,
            first_value(old) over (partition by key order by ord) as first_old,
            max(sends) over (partition by key) as most_sends,
            max(last_at) over (partition by key) as latest_at,
            max(next_at) over (partition by key) as latest_next
        from held
        qualify row_number() over (partition by key order by ord desc) = 1
    )
"""

_UNSETTLED = """
    create temp table held as
    select
        {columns}, e."row", e.old, greatest(e.attempts, coalesce(f.attempts, 0)) as attempts,
        coalesce(e.first_at, f.last_at::timestamptz) as first_at,
        {is_recovered} or e.may_have_arrived or e.attempts > 0 or f.seq is not null
            as may_have_arrived,
        e.sends + (f.seq is not null)::integer as sends,
        coalesce(f.last_at::timestamptz, e.last_at) as last_at,
        greatest(
            if(
                f.seq is null,
                e.next_at,
                f.last_at::timestamptz + to_seconds(least({first} * 2 ** least(e.sends, 9), {most}))
            ),
            f.retry_at::timestamptz,
            {not_before}
        ) as next_at
    from {events} as e
    left join (
        select event_id, seq from {outbox} where seq in (select seq from pending)
    ) as o on o.event_id = e.event_id::varchar
    left join failures as f on f.seq = o.seq
    where e.is_deferred or o.seq is not null
"""

# A change waits if one of its key does, because a key has one order.
WAITS = """
    coalesce(
        max(next_at) over (partition by {unit}) > {now}::timestamptz
            and coalesce(max(last_at) over (partition by {unit}) <= {now}::timestamptz, true),
        false
    )
"""
_WAITING = """
    select
        count(*), min(changed_at), count(*) filter (where waits), min(due_at) filter (where waits)
    from (
        select changed_at, {waits} as waits, max(next_at) over (partition by {unit}) as due_at
        {rest}
    )
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many changes are held, since when, how many of them wait, and when the first may go."""

    held: int = 0
    since: datetime | None = None
    waiting: int = 0
    next_at: datetime | None = None

    @property
    def are_all(self) -> bool:
        """Whether there are held changes, and none may be tried now."""
        return 0 < self.waiting == self.held


def events_in(file: Path) -> str:
    """Return the events of a file, as SQL in brackets."""
    return f"(from read_parquet({quote_text(str(file))}, hive_partitioning = false))"


def compose(
    con: duckdb.DuckDBPyConnection, file: Path | None, changes: str, *, by_key: bool
) -> None:
    """Make the table `composed` of held changes and newer ones, which `changes` has.

    It has the columns of `changes`, whether the change was held alone (`is_held`), its attempts so
    far, the first at `first_at`, and what is known of the key's held change. With `by_key`, a key
    has one row in it; else each change stands for itself. Raises CatalogError where the file cannot
    be read.
    """
    columns = ", ".join(COLUMNS)
    if file is None or not file.exists():
        con.execute(_ALL_NEW.format(changes=changes, columns=columns))
        return
    _load_held(con, file, changes)
    if by_key:
        con.execute(_ONE_PER_KEY)
    con.execute((_COMPOSED if by_key else _IN_TURN).format(changes=changes, columns=columns))


def write_held(
    events: Path,
    outbox: Outbox,
    settlements: Settlements,
    file: Path,
    *,
    is_recovered: bool,
    not_before: datetime | None = None,
    has_key: bool = True,
) -> Waiting:
    """Write the events that an outbox did not settle, and those that were deferred, to a file.

    `is_recovered`: a process died while it sent the outbox, so any of them may have arrived.
    `not_before`: until then the destination asks to wait. Without any, there is no file. Raises
    CatalogError where the disk refuses.
    """
    con = connect(threads=1)
    try:
        con.execute("create temp table pending (seq bigint)")
        con.execute(f"insert into pending {seq_list(settlements.ranges(PENDING))}")
        con.execute(
            "create temp table failures"
            "(seq bigint, attempts integer, last_at varchar, retry_at varchar)"
        )
        failures = settlements.failures
        if failures:
            con.execute(
                "insert into failures select unnest(?), unnest(?), unnest(?), unnest(?::varchar[])",
                [
                    list(failures),
                    [failure.attempts for failure in failures.values()],
                    [failure.last_at for failure in failures.values()],
                    [failure.retry_at for failure in failures.values()],
                ],
            )
        con.execute(
            _UNSETTLED.format(
                columns=", ".join(f"e.{column}" for column in COLUMNS),
                events=events_in(events),
                outbox=outbox.relation,
                is_recovered="true" if is_recovered else "false",
                not_before=_time(not_before),
                first=_FIRST_WAIT,
                most=_LONGEST_WAIT,
            )
        )
        result = _waiting(con, "from held", has_key=has_key)
        file.unlink(missing_ok=True)  # of a transaction that failed
        if result.held:
            private_files.make_folder(file.parent)
            con.execute(f"copy held to {quote_text(str(file))} (format parquet)")
            private_files.make_private(file)
            disk.fsync(file)
            disk.fsync(file.parent)
    except OSError as error:
        raise CatalogError(f"{file}: {disk.write_error(error)}") from error
    finally:
        con.close()
    return result


def look_at_held(file: Path, *, has_key: bool) -> Waiting:
    """Return how many changes a file has, and whether they wait; none where it cannot be read."""
    import duckdb

    con = connect(threads=1)
    try:
        return _waiting(con, f"from read_parquet({quote_text(str(file))})", has_key=has_key)
    except duckdb.Error:  # whoever sends them tells why
        return Waiting()
    finally:
        con.close()


def _waiting(con: duckdb.DuckDBPyConnection, rest: str, *, has_key: bool) -> Waiting:
    unit = unit_of(has_key=has_key)
    waits = WAITS.format(unit=unit, now=_time(clock.now()))
    row = con.execute(_WAITING.format(waits=waits, unit=unit, rest=rest)).fetchone()
    return Waiting(*row) if row else Waiting()


def unit_of(*, has_key: bool) -> str:
    """Return what has one order: a key, or without keys each change."""
    return "key" if has_key else "event_id"


def _time(moment: datetime | None) -> str:
    return (
        "null::timestamptz" if moment is None else f"timestamptz {quote_text(moment.isoformat())}"
    )


def _load_held(con: duckdb.DuckDBPyConnection, file: Path, changes: str) -> None:
    """Make the table `held` with images of the type that `changes` has now.

    A column that the table has no more is left out, and one that came since is NULL.
    """
    import duckdb

    image = con.sql(f'select "row" from {changes}').types[0]
    relation = f"read_parquet({quote_text(str(file))}, hive_partitioning = false)"
    try:
        stored = con.sql(f'select "row" from {relation}').types[0]
        images = [f"{_image(name, stored, image)} as {quote_name(name)}" for name in ("row", "old")]
        con.execute(
            f"create temp table held as select {', '.join(COLUMNS)}, {', '.join(images)}, "
            f"{', '.join(FATE)} from {relation}"
        )
    except duckdb.Error as error:
        raise CatalogError(
            f"{file}: the held changes cannot be read ({first_line(error)}). To go on without "
            "them, move the file away."
        ) from error


def _image(name: str, stored: DuckDBPyType, wanted: DuckDBPyType) -> str:
    """Return SQL of a stored image with the columns and types that are wanted."""
    column = quote_name(name)
    existing = {fold_name(child): child for child, _ in stored.children}
    parts = []
    for child, type_ in wanted.children:
        own = existing.get(fold_name(child))
        value = f"try_cast({column}.{quote_name(own)} as {type_})" if own else f"null::{type_}"
        parts.append(f"{quote_name(child)} := {value}")
    return f"case when {column} is not null then struct_pack({', '.join(parts)}) end"
