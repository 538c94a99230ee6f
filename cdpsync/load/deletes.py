"""Rows that the source no longer has, found by its keys: removed from the lake, or marked there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.catalog import require_no_shrink
from cdpsync.extract.spool import spooled_rows
from cdpsync.load.merge import count, held_as, same_key, write
from cdpsync.model import DELETED_AT, Column, Cursor, CursorType, Deletes
from cdpsync.model.cursors import cursor_sql
from cdpsync.sql import quote_name, quote_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    import duckdb

    from cdpsync.load.merge import MergeResult
    from cdpsync.model import TablePlan

_GONE = """
    select {columns} from {table} as held
    where {present}
      and not exists (select 1 from ({keys}) as arrived where {same_key})
      and not exists (select 1 from ({staged}) as arrived where {same_key})
"""

_BACK = """
    select {columns} from {table} as held
    where not ({present})
      and exists (select 1 from ({keys}) as arrived where {same_key})
      and not exists (select 1 from ({staged}) as arrived where {same_key})
"""


def merge_deletes(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    staged: MergeResult,
    keys: Sequence[Path],
    table: str,
    folder: Path,
    now: datetime,
) -> MergeResult:
    """Add to what must land that the keys in the lake, and not in `keys`, are gone at the source.

    `keys` are spool files with every key that the source has. `con` has the lake attached, where
    the table is called `table`. Rows that were marked and are back lose the mark. Raises
    ContractError when more than half of the rows would go and that was not allowed.
    """
    held = plan.lake_table.columns if plan.lake_table else ()
    soft = plan.deletes is Deletes.SOFT
    has_marks = soft and any(column.name == DELETED_AT for column in held)
    said = {
        "table": table,
        "present": f"held.{quote_name(DELETED_AT)} is null" if has_marks else "true",
        "keys": keys_in(plan, keys),
        "staged": keys_in(plan, staged.files),
        "same_key": same_key(plan),
    }
    columns = quote_names(plan.primary_key)
    leaving = count(con, _GONE.format(columns=columns, **said))
    if not plan.allow_shrink:
        _refuse_shrink(con, plan, said, leaving)
    if not soft:
        file = folder / "removed.parquet"
        write(con, _GONE.format(columns=columns, **said), file)
        return replace(staged, delete_keys=file) if leaving else staged
    moment = cursor_sql(Cursor(CursorType.TIMESTAMPTZ, now))
    select = _GONE.format(columns=marked(plan, staged.columns, held, moment), **said)
    if has_marks:
        none = "cast(null as timestamptz)"
        select += (
            f" union all {_BACK.format(columns=marked(plan, staged.columns, held, none), **said)}"
        )
    file = folder / "marked.parquet"
    rows, size = write(con, select, file)
    if not rows:
        return staged
    return replace(
        staged,
        files=(*staged.files, file),
        rows=staged.rows + rows,
        bytes=staged.bytes + size,
        upsert_files=(*staged.upsert_files, file),
        soft_deleted=staged.soft_deleted + leaving,
    )


def _refuse_shrink(
    con: duckdb.DuckDBPyConnection, plan: TablePlan, said: dict[str, str], leaving: int
) -> None:
    before = count(con, "select 1 from {table} as held where {present}".format(**said))
    require_no_shrink(
        before,
        before - leaving,
        f"{plan.table}: {leaving:,} of its {before:,} rows are not at the source any more: "
        "more than half. They stay, and nothing was committed. If that is right, run it with "
        '--allow-shrink, or set "allow_shrink: true" for the table.',
    )


def keys_in(plan: TablePlan, files: Sequence[Path]) -> str:
    """Return the keys in spool files, of which there may be none."""
    columns = [Column(name, "") for name in plan.primary_key]
    if files:
        return spooled_rows(files, columns)
    return f"select {', '.join(f'null as {quote_name(c.name)}' for c in columns)} where false"


def marked(plan: TablePlan, columns: Sequence[Column], held: Sequence[Column], mark: str) -> str:
    """Return each column of the lake's rows as it will be after a commit of these, marked anew."""
    becoming = {column.name.lower(): column for column in columns}
    kept = [
        f"{held_as(plan, becoming.get(column.name.lower(), column), column)} "
        f"as {quote_name(column.name)}"
        for column in held
        if column.name != DELETED_AT
    ]
    return ", ".join([*kept, f"{mark} as {quote_name(DELETED_AT)}"])
