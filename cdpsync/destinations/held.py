"""Held changes: those that were not delivered yet, in a Parquet file beside the outboxes.

The lake names the outbox that was settled last, and the file has that id in its name. So both
change in one moment, when the lake's transaction commits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.destinations.delivery.journal import PENDING
from cdpsync.destinations.delivery.outbox import seq_list
from cdpsync.engine import connect, first_line
from cdpsync.errors import CatalogError
from cdpsync.sql import fold_name, quote_name, quote_text
from cdpsync.system import disk, private_files

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    import duckdb
    from duckdb.sqltypes import DuckDBPyType

    from cdpsync.destinations.delivery.journal import Settlements
    from cdpsync.destinations.delivery.outbox import Outbox

COLUMNS = ("event_id", "key", "change", "snapshot_id", "changed_at", "ord")
"""The columns of a change beside its images; `row` and `old` follow."""

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
        false as is_cancelled
    from {changes}
"""
_IN_TURN = """
    create temp table composed as
    select
        {columns}, "row", old, old as before, true as is_held, true as has_passed,
        may_have_arrived, attempts, first_at, false as is_cancelled
    from held
    where event_id not in (select event_id from {changes})
    union all
    select {columns}, "row", old, old, false, false, false, 0, null, false
    from {changes}
"""

# With `changes: each`, a key may have had several changes. They are one, if only the last counts.
_ONE_PER_KEY = """
    create or replace temp table held as
    select * exclude (first_change, first_old) replace (
        if(first_change = 'insert' and change <> 'delete', 'insert', change) as change,
        if(first_change = 'insert' and change <> 'delete', null, first_old) as old
    )
    from (
        select
            *,
            first_value(change) over (partition by key order by ord) as first_change,
            first_value(old) over (partition by key order by ord) as first_old
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
            as may_have_arrived
    from {events} as e
    left join (
        select event_id, seq from {outbox} where seq in (select seq from pending)
    ) as o on o.event_id = e.event_id::varchar
    left join failures as f on f.seq = o.seq
    where e.is_deferred or o.seq is not null
"""


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
    events: Path, outbox: Outbox, settlements: Settlements, file: Path, *, is_recovered: bool
) -> tuple[int, datetime | None]:
    """Write the events that an outbox did not settle, and those that were deferred, to a file.

    `is_recovered`: a process died while it sent the outbox, so any of them may have arrived.
    Returns how many there are, and the time of the oldest. Without any, there is no file. Raises
    CatalogError where the disk refuses.
    """
    con = connect(threads=1)
    try:
        con.execute("create temp table pending (seq bigint)")
        con.execute(f"insert into pending {seq_list(settlements.ranges(PENDING))}")
        con.execute("create temp table failures (seq bigint, attempts integer, last_at varchar)")
        failures = settlements.failures
        if failures:
            con.execute(
                "insert into failures select unnest(?), unnest(?), unnest(?)",
                [
                    list(failures),
                    [failure.attempts for failure in failures.values()],
                    [failure.last_at for failure in failures.values()],
                ],
            )
        con.execute(
            _UNSETTLED.format(
                columns=", ".join(f"e.{column}" for column in COLUMNS),
                events=events_in(events),
                outbox=outbox.relation,
                is_recovered="true" if is_recovered else "false",
            )
        )
        row = con.execute("select count(*), min(changed_at) from held").fetchone()
        count, oldest = row or (0, None)
        file.unlink(missing_ok=True)  # of a transaction that failed
        if count:
            private_files.make_folder(file.parent)
            con.execute(f"copy held to {quote_text(str(file))} (format parquet)")
            private_files.make_private(file)
            disk.fsync(file)
            disk.fsync(file.parent)
    except OSError as error:
        raise CatalogError(f"{file}: {disk.write_error(error)}") from error
    finally:
        con.close()
    return int(count), oldest


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
            f"attempts, first_at, may_have_arrived from {relation}"
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
