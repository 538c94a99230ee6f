"""Masks: of the changes with one value, only the first in each interval, or each n-th, is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.model.deliveries import MaskWindow
from cdpsync.sql import quote_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import duckdb

    from cdpsync.model.destinations import Mask

_HASHED = """
    create or replace temp table mask_hashed as
    select *, coalesce(md5({value}), 'null') as mask_hash from {relation} as changes
"""

# A held change has passed its mask when it came, and so has what has taken its place.
_NUMBERED = """
    create or replace temp table mask_numbered as
    select
        h.*, not {has_passed} as mask_counts,
        coalesce(w.seen, 0) + row_number() over (
            partition by h.mask_hash, {has_passed} order by h.ord
        ) as mask_number
    from mask_hashed as h
    left join mask_windows as w on w.mask_hash = h.mask_hash
"""

_SENT = """
    create or replace temp table unmasked as
    select * exclude (mask_hash, mask_counts, mask_number) from mask_numbered
    where not mask_counts or {passes}
"""

_WINDOWS = """
    select mask_hash, min(since), sum(seen)::bigint
    from (
        from mask_windows
        union all by name
        select mask_hash, {now}::timestamptz as since, count(*) as seen
        from mask_numbered where mask_counts group by all
    )
    group by mask_hash
    order by mask_hash
"""


def apply_mask(
    con: duckdb.DuckDBPyConnection,
    relation: str,
    mask: Mask,
    value: str,
    windows: Sequence[MaskWindow],
    now: datetime,
) -> tuple[str, int, tuple[MaskWindow, ...]]:
    """Return the relation of the changes to send, how many are masked, and the windows to keep.

    `value` is SQL of the text that a mask compares, over `relation` as `changes`. A window begins
    with the first change of a value. With `every` it ends after that time, and the count with it.
    With `after`, each change whose number in its window is a multiple is sent, else the first.
    """
    con.execute(
        "create or replace temp table mask_windows"
        "(mask_hash varchar, since timestamptz, seen bigint)"
    )
    open_windows = [window for window in windows if _is_open(window, mask, now)]
    if open_windows:
        con.execute(
            "insert into mask_windows select unnest($1::varchar[]), unnest($2::timestamptz[]), "
            "unnest($3::bigint[])",
            [
                [window.hash for window in open_windows],
                [window.start for window in open_windows],
                [window.seen for window in open_windows],
            ],
        )
    con.execute(_HASHED.format(value=value, relation=relation))
    has_passed = "h.has_passed" if _tells_passed(con) else "false"
    con.execute(_NUMBERED.format(has_passed=has_passed))
    passes = "mask_number = 1" if mask.after is None else f"mask_number % {mask.after:d} = 0"
    con.execute(_SENT.format(passes=passes))
    masked = _count(con, "mask_numbered") - _count(con, "unmasked")
    rows = con.execute(_WINDOWS.format(now=quote_text(now.isoformat()))).fetchall()
    for table in ("mask_hashed", "mask_numbered", "mask_windows"):
        con.execute(f"drop table {table}")
    return "unmasked", masked, tuple(MaskWindow(*row) for row in rows)


def _is_open(window: MaskWindow, mask: Mask, now: datetime) -> bool:
    """Whether a window still counts. Without `every`, a change that is sent ends it."""
    if mask.every is not None:
        return window.start + mask.every > now
    return mask.after is not None and window.seen % mask.after > 0


def _tells_passed(con: duckdb.DuckDBPyConnection) -> bool:
    columns = con.execute("describe mask_hashed").fetchall()
    return "has_passed" in {row[0] for row in columns}


def _count(con: duckdb.DuckDBPyConnection, table: str) -> int:
    row = con.execute(f"select count(*) from {table}").fetchone()
    return int(row[0]) if row else 0
