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
from cdpsync.model.destinations import ChangeOrder
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

# What a held change and a newer one of the same key are together. The first may have arrived,
# because an attempt that failed can still have been carried out. So a deletion is sent even where
# the insertion was not acknowledged, unless it was never tried.
_COMPOSED = """
    create temp table composed as
    select
        coalesce(c.event_id, h.event_id) as event_id,
        coalesce(c.key, h.key) as key,
        case
            when h.key is null then c.change
            when c.key is null then h.change
            when h.change = 'insert' and c.change = 'update' then 'insert'
            when h.change = 'delete' and c.change = 'insert' and h.attempts = 0 then 'update'
            else c.change
        end as change,
        coalesce(c.snapshot_id, h.snapshot_id) as snapshot_id,
        coalesce(c.changed_at, h.changed_at) as changed_at,
        coalesce(c.ord, h.ord) as ord,
        if(c.key is null, h."row", c."row") as "row",
        case
            when h.key is null then c.old
            when c.key is null or h.change <> 'insert' then h.old
        end as old,
        c.key is null as is_held,
        if(c.key is null, h.attempts, 0) as attempts,
        if(c.key is null, h.first_at, null) as first_at
    from {changes} as c
    full join held as h on h.key = c.key
    where not coalesce(h.change = 'insert' and c.change = 'delete' and h.attempts = 0, false)
"""
_ALL_NEW = """
    create temp view composed as
    select
        {columns}, "row", old, false as is_held, 0 as attempts, null::timestamptz as first_at
    from {changes}
"""
_IN_TURN = """
    create temp table composed as
    select {columns}, "row", old, true as is_held, attempts, first_at from held
    union all
    select {columns}, "row", old, false, 0, null from {changes}
"""

_UNSETTLED = """
    create temp table held as
    select
        {columns}, e."row", e.old, coalesce(f.attempts, e.attempts) as attempts,
        coalesce(f.first_at::timestamptz, e.first_at) as first_at
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
    con: duckdb.DuckDBPyConnection, file: Path | None, changes: str, order: ChangeOrder
) -> None:
    """Make the table `composed` of held changes and newer ones, which `changes` has.

    It has the columns of `changes`, whether the change was held alone (`is_held`), and its attempts
    so far, the first at `first_at`. With ChangeOrder.LAST a key has one row in it. Raises
    CatalogError where the file cannot be read.
    """
    if file is None or not file.exists():
        con.execute(_ALL_NEW.format(changes=changes, columns=", ".join(COLUMNS)))
        return
    _load_held(con, file, changes)
    sql = _COMPOSED if order is ChangeOrder.LAST else _IN_TURN
    con.execute(sql.format(changes=changes, columns=", ".join(COLUMNS)))


def write_held(
    events: Path, outbox: Outbox, settlements: Settlements, file: Path
) -> tuple[int, datetime | None]:
    """Write the events that an outbox did not settle, and those that were deferred, to a file.

    Returns how many there are, and the time of the oldest. Without any, no file is written. Raises
    CatalogError where the disk refuses.
    """
    con = connect(threads=1)
    try:
        con.execute("create temp table pending (seq bigint)")
        con.execute(f"insert into pending {seq_list(settlements.ranges(PENDING))}")
        con.execute("create temp table failures (seq bigint, attempts integer, first_at varchar)")
        failures = settlements.failures
        if failures:
            con.execute(
                "insert into failures select unnest(?), unnest(?), unnest(?)",
                [
                    list(failures),
                    [failure.attempts for failure in failures.values()],
                    [failure.first_at for failure in failures.values()],
                ],
            )
        con.execute(
            _UNSETTLED.format(
                columns=", ".join(f"e.{column}" for column in COLUMNS),
                events=events_in(events),
                outbox=outbox.relation,
            )
        )
        row = con.execute("select count(*), min(changed_at) from held").fetchone()
        count, oldest = row or (0, None)
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
            f"attempts, first_at from {relation}"
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
