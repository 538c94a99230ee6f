"""The events of one send: the changes that pass the destination's conditions, in a Parquet file.

The file outlives the process, as the outbox beside it does. What is not delivered is held from it,
and can be rendered again when the project file has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.destinations.feeds.masks import apply_mask
from cdpsync.destinations.held import COLUMNS, FATE, WAITS, compose, events_in, unit_of
from cdpsync.destinations.templates.compile import Row, compile_condition, compile_text, row_of
from cdpsync.model.destinations import ChangeKind, ChangeOrder
from cdpsync.sql import quote_text
from cdpsync.system import clock, disk, private_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    import duckdb

    from cdpsync.model.deliveries import MaskWindow
    from cdpsync.model.destinations import Destination

# A change that was held alone has passed its condition when it came. The inner query looks at the
# image at the position in the place of the old one.
_SELECTED = """
    create temp table selected as
    select * exclude (passed) replace ({change} as change)
    from (
        select * exclude (old, sent_old), sent_old as old
        from (
            select *, {passed} as passed
            from (
                select * exclude (old, before), before as old, old as sent_old
                from composed
                where not is_cancelled
            ) as changes
        )
    ) as changes
    where is_held or ({condition})
"""
_ALL = "create temp view selected as select * exclude (before) from composed where not is_cancelled"

_WRITE = """
    copy (
        select
            {columns}, "row", old, {fate}, {place} as ord, {is_deferred} as is_deferred
        from (select *, {waits} as waits from {relation})
    ) to {file} (format parquet, compression zstd, compression_level 1)
"""

_PLACE = "row_number() over (order by waits, is_held desc, ord)"


@dataclass(frozen=True, slots=True)
class Events:
    """What a send has to send: the file, how many there are, and what was left out.

    `triggered` are all that have come, and those `held` before: filtered, masked, or in the file.
    """

    file: Path
    total: int
    triggered: int
    held: int
    filtered: int
    masked: int
    windows: tuple[MaskWindow, ...]
    row: Row

    @property
    def relation(self) -> str:
        """The events, as SQL in brackets."""
        return events_in(self.file)


def write_events(
    con: duckdb.DuckDBPyConnection,
    destination: Destination,
    file: Path,
    *,
    held: Path | None,
    windows: Sequence[MaskWindow],
    now: datetime,
    limit: int | None = None,
    has_key: bool = True,
    tries_all: bool = False,
) -> Events:
    """Write the changes that pass the conditions, with those that were held, to a file.

    Held ones that wait for their next attempt, and newer changes of their keys, are in it, too, but
    deferred; with `tries_all` none is.
    The relation `changes` has the new ones. Without a key, each change stands for itself. Raises
    ConfigError for a wrong condition.
    """
    row = row_of(con, "changes", destination.alias)
    compose(con, held, "changes", by_key=has_key and destination.order is ChangeOrder.LAST)
    triggered, was_held = _count(con, "composed"), _count(con, "composed where is_held")
    conditions = conditions_of(destination, row)
    con.execute(_ALL if conditions is None else _SELECTED.format(**conditions))
    filtered = triggered - _count(con, "selected")
    relation, masked = "selected", 0
    if destination.mask is not None:
        hash_sql = compile_text(row, destination.mask.by)
        relation, masked, windows = apply_mask(
            con, "selected", destination.mask, hash_sql, windows, now
        )
    # The order of keys is of no account where each has one change.
    is_sorted = destination.order is ChangeOrder.EACH or limit is not None
    waits = "false"
    if held is not None and not tries_all:
        unit = unit_of(has_key=has_key)
        waits = WAITS.format(unit=unit, now=quote_text(clock.now().isoformat()))
    private_files.make_folder(file.parent)
    con.execute(
        _WRITE.format(
            columns=", ".join(column for column in COLUMNS if column != "ord"),
            place=_PLACE if is_sorted else "ord",
            fate=", ".join(FATE),
            waits=waits,
            is_deferred="waits" if limit is None else f"(waits or {_PLACE} > {limit})",
            relation=relation,
            file=quote_text(str(file)),
        )
    )
    private_files.make_private(file)
    disk.fsync(file)
    return Events(
        file=file,
        total=_count(con, relation),
        triggered=triggered,
        held=was_held,
        filtered=filtered,
        masked=masked,
        windows=tuple(windows),
        row=row,
    )


def conditions_of(destination: Destination, row: Row) -> dict[str, str] | None:
    """Return SQL of which changes are sent, and of what each is then; None: all, as they are.

    `passed` is about a row as it was at the position, which is also how a deleted one is looked at.
    With `on_exit: delete`, a row that has passed before and passes no longer is a delete.
    """
    asked = ", ".join(f"'{kind}'" for kind in sorted(destination.on))
    is_asked = f"(change in ({asked}) or has_passed)"
    if destination.where is None:
        if not destination.on_exit:
            return None
        condition = f"{is_asked} or change = 'delete'"
        return {"passed": "true", "condition": condition, "change": "change"}
    passes = compile_condition(row, destination.where)
    if not (ChangeKind.DELETE in destination.on or destination.on_exit):
        return {"passed": "true", "condition": passes, "change": "change"}
    passed = f"(old is not null and {compile_condition(row, destination.where, image='old')})"
    leaves = "false"
    if destination.on_exit:
        is_known = "(change = 'update' or (change = 'insert' and may_have_arrived))"
        leaves = f"({is_known} and passed and not {passes})"
    return {
        "passed": passed,
        "condition": f"if(change = 'delete', passed, ({passes} and {is_asked}) or {leaves})",
        "change": f"if(not is_held and {leaves}, 'delete', change)",
    }


def _count(con: duckdb.DuckDBPyConnection, relation: str) -> int:
    row = con.execute(f"select count(*) from {relation}").fetchone()
    return int(row[0]) if row else 0
