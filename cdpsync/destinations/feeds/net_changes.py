"""The net difference of two sets of rows: what was added less what was removed, key by key.

A table now is the table at the position, plus the rows inserted since, less the rows deleted. So
rows that were only moved between files, or changed and changed back, cancel each other, whatever
the order in which DuckLake shows them and whatever snapshots have expired.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from cdpsync.destinations.feeds.changes import row_struct, struct_type
from cdpsync.extract.row_digest import row_hashes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from cdpsync.model import Column

SNAPSHOT, ROW = "cdpsync_snapshot", "cdpsync_row"
"""The columns of rows that say which snapshot wrote them, and which row of it they are."""

# The rows that do not cancel: of each, the newest instance. `unit` is what is told apart beside
# the key: the snapshot, with `changes: each`.
_NET = """
    create or replace temp table feed_net as
    select key, unit, sign(n) as sign, ord
    from (
        select
            key, unit, sum(sign) as n,
            max(ord) filter (sign = 1) as added, max(ord) filter (sign = -1) as removed,
            if(n > 0, added, removed) as ord
        from (
            select {added_key} as key, {unit} as unit, {first} as h1, {second} as h2, {ord} as ord,
                1 as sign
            from {added}
            union all
            select {removed_key}, {unit}, {first}, {second}, {ord}, -1
            from {removed}
        )
        group by key, unit, h1, h2
        having n <> 0
    )
    qualify row_number() over (partition by key, unit, sign(n) order by ord desc) = 1
"""

# Rows without a key: of equal ones, as many as do not cancel, the newest.
_NET_ROWS = """
    create or replace temp table feed_net as
    select key, unit, sign, ord
    from (
        select
            *, sum(sign) over (partition by h1, h2) as n,
            row_number() over (partition by h1, h2, sign order by ord desc) as number
        from (
            select {added_key} as key, 0 as unit, {first} as h1, {second} as h2, {ord} as ord,
                1 as sign
            from {added}
            union all
            select {removed_key}, 0, {first}, {second}, {ord}, -1
            from {removed}
        )
    )
    where number <= n * sign
"""

_PAIRS = """
    select
        coalesce(added.key, removed.key) as key,
        coalesce(added.snapshot_id, removed.snapshot_id) as snapshot_id,
        coalesce(added.ord, removed.ord) as ord,
        added."row" as new, removed."row" as old
    from ({added}) as added
    full join ({removed}) as removed using (key, unit)
"""

_INSTANCES = """
    select n.key, n.unit, r.snapshot_id, n.ord, r."row"
    from (select {snapshot} as snapshot_id, {ord} as ord, {row} as "row" from {rows}) as r
    join feed_net as n on n.ord = r.ord and n.sign = {sign}
"""


@dataclass(frozen=True, slots=True)
class RowSets:
    """Rows that were added and rows that were removed, as SQL that a FROM takes.

    Both have these columns, SNAPSHOT and ROW. The keys are SQL; without `has_key`, rows are told
    apart by all their values. `ord` is SQL that numbers the rows of each, by snapshot and row.
    """

    added: str
    removed: str
    columns: Sequence[Column]
    added_key: str
    removed_key: str
    ord: str
    has_key: bool = True


def materialized(con: duckdb.DuckDBPyConnection, sets: RowSets) -> RowSets:
    """Return the same rows in temporary tables, which are faster to read twice than old files."""
    for name, rows in (("feed_added", sets.added), ("feed_removed", sets.removed)):
        con.execute(f"create or replace temp table {name} as from {rows}")
    return replace(sets, added="feed_added", removed="feed_removed")


def net_pairs(con: duckdb.DuckDBPyConnection, sets: RowSets, *, by_snapshot: bool = False) -> str:
    """Return SQL of key, snapshot_id, ord, `new` and `old` (structs) of each key that differs.

    `new` is NULL where no row was added, `old` where none was removed. With `by_snapshot`, the
    changes of each snapshot are told apart. It is read once: with the temporary table `feed_net`.
    """
    first, second = row_hashes(sets.columns)
    statement = _NET if sets.has_key else _NET_ROWS
    con.execute(
        statement.format(
            added=sets.added,
            removed=sets.removed,
            added_key=sets.added_key,
            removed_key=sets.removed_key,
            unit=SNAPSHOT if by_snapshot else "0",
            ord=sets.ord,
            first=first,
            second=second,
        )
    )
    instances = partial(
        _INSTANCES.format, snapshot=SNAPSHOT, row=row_struct(sets.columns), ord=sets.ord
    )
    return _PAIRS.format(
        added=instances(rows=sets.added, sign=1), removed=instances(rows=sets.removed, sign=-1)
    )


def pairs_as_changes(
    pairs: str, columns: Sequence[Column], deleted_at: str | None, *, needs_old: bool
) -> str:
    """Return SQL of the changes that pairs of images are: key, change, snapshot_id, ord, row, old.

    `deleted_at` is the column that marks a row as deleted at its source, if the table has one.
    """
    new_lives, old_lives = is_alive("new", deleted_at), is_alive("old", deleted_at)
    old = "if(change <> 'insert', old, null)" if needs_old else f"null::{struct_type(columns)}"
    return f"""
        select key, change, snapshot_id, ord, coalesce(new, old) as "row", {old} as old
        from (
            select *, {change_kind(new_lives, old_lives)} as change from ({pairs})
        )
    """


def change_kind(new_lives: str, old_lives: str) -> str:
    """Return SQL of the kind of a change by whether a row is there now, and was before."""
    return (
        f"case when {new_lives} and {old_lives} then 'update' "
        f"when {new_lives} then 'insert' when {old_lives} then 'delete' end"
    )


def is_alive(image: str, deleted_at: str | None) -> str:
    """Return SQL of whether an image is there, and not marked as deleted.

    A struct is NULL only where there is none: one of NULLs is not.
    """
    mark = "" if deleted_at is None else f" and {image}.{deleted_at} is null"
    return f"({image} is not null{mark})"
