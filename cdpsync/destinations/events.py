"""The events of one send: the changes that pass the destination's conditions, in a Parquet file.

The file outlives the process, as the outbox beside it does. What is not delivered is held from it,
and can be rendered again when the project file has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.destinations.feeds.masks import apply_mask
from cdpsync.destinations.held import COLUMNS, compose, events_in
from cdpsync.destinations.templates.compile import Row, compile_condition, compile_text, row_of
from cdpsync.model.destinations import ChangeKind, ChangeOrder
from cdpsync.sql import quote_text
from cdpsync.system import disk, private_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    import duckdb

    from cdpsync.model.destinations import Destination, MaskWindow

# A change that was held alone has passed its condition when it came.
_SELECTED = """
    create temp {kind} selected as
    select * replace ({change} as change)
    from composed as changes
    where is_held or ({condition})
"""

_WRITE = """
    copy (
        select
            {columns}, "row", old, attempts, first_at, {place} as ord,
            {is_deferred} as is_deferred
        from {relation}
    ) to {file} (format parquet, compression zstd, compression_level 1)
"""

_PLACE = "row_number() over (order by is_held desc, ord)"


@dataclass(frozen=True, slots=True)
class Events:
    """What a send has to send: the file, how many there are, and what was left out.

    `deferred` are those over the limit, which are held without an attempt. `held` were held before.
    """

    file: Path
    total: int
    deferred: int
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
) -> Events:
    """Write the changes that pass the conditions, with those that were held, to a file.

    The relation `changes` has the new ones. Raises ConfigError for a wrong condition.
    """
    row = row_of(con, "changes", destination.alias)
    triggered = _count(con, "changes")
    compose(con, held, "changes", destination.order)
    was_held = _count(con, "composed where is_held")
    condition, change = conditions_of(destination, row)
    kind = "view" if condition == "true" else "table"
    con.execute(_SELECTED.format(kind=kind, change=change, condition=condition))
    filtered = _count(con, "composed") - _count(con, "selected")
    relation, masked = "selected", 0
    if destination.mask is not None:
        hash_sql = compile_text(row, destination.mask.by)
        relation, masked, windows = apply_mask(
            con, "selected", destination.mask, hash_sql, windows, now
        )
    # The order of keys is of no account where each has one change.
    is_sorted = destination.order is ChangeOrder.EACH or limit is not None
    private_files.make_folder(file.parent)
    con.execute(
        _WRITE.format(
            columns=", ".join(column for column in COLUMNS if column != "ord"),
            place=_PLACE if is_sorted else "ord",
            is_deferred="false" if limit is None else f"{_PLACE} > {limit}",
            relation=relation,
            file=quote_text(str(file)),
        )
    )
    private_files.make_private(file)
    disk.fsync(file)
    total, deferred = _count(con, relation), 0
    if limit is not None and total > limit:
        deferred = total - limit
    return Events(
        file=file,
        total=total,
        deferred=deferred,
        held=min(was_held, triggered + was_held),
        filtered=filtered,
        masked=masked,
        windows=tuple(windows),
        row=row,
    )


def conditions_of(destination: Destination, row: Row) -> tuple[str, str]:
    """Return SQL of which changes are sent, and of what each is then.

    A deleted row is looked at as it was. With `on_exit: delete`, a row that has passed before and
    passes no longer is a delete.
    """
    if destination.where is None:
        return "true", "change"
    passes = compile_condition(row, destination.where)
    wants_old = ChangeKind.DELETE in destination.on or destination.on_exit
    if not wants_old:
        return passes, "change"
    passed = f"(old is not null and {compile_condition(row, destination.where, image='old')})"
    if not destination.on_exit:
        return f"if(change = 'delete', {passed}, {passes})", "change"
    leaves = f"(change = 'update' and {passed} and not {passes})"
    return (
        f"if(change = 'delete', {passed}, {passes} or {leaves})",
        f"if(not is_held and {leaves}, 'delete', change)",
    )


def _count(con: duckdb.DuckDBPyConnection, relation: str) -> int:
    row = con.execute(f"select count(*) from {relation}").fetchone()
    return int(row[0]) if row else 0
