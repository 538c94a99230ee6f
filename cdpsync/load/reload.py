"""The comparison of a table that was read as a whole with the lake's: equal, a few rows, or other.

The digests of all rows are compared first. Where they differ and the table has a key, those of
each key are. docs/decisions/0021 has the reasons and the measurements.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.catalog import sql_name
from cdpsync.extract.row_digest import RowDigest, digest_of, row_hashes
from cdpsync.extract.spool import spooled_rows
from cdpsync.load.merge import MergeResult, count
from cdpsync.load.parquet import write
from cdpsync.sql import quote_name, quote_names

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from cdpsync.extract.table import Extracted
    from cdpsync.model import Column, TablePlan

MAX_CHANGED_SHARE = 0.1
"""Of a table's rows: where more have changed, all are replaced, because that is cheaper."""

_ALWAYS_EXCHANGED = 10_000  # rows: so many are exchanged, whatever their share, at little cost

# Of each key k0, k1, … whose rows differ: how many the source and the lake have.
_DIFFERING_KEYS = """
    create or replace temp table differing_keys as
    select
        {aliases},
        count(*) filter (side = 1) as at_source,
        count(*) filter (side = -1) as in_lake
    from (
        select {keys}, {first} as first, {second} as second, 1 as side from ({incoming})
        union all
        select {keys}, {first} as first, {second} as second, -1 as side from {table}
    )
    group by {aliases}
    having sum(side) <> 0 or sum(side * first::hugeint) <> 0 or sum(side * second::hugeint) <> 0
"""

_DIFFERENCES = """
    select
        count(*), count(*) filter (at_source = 0), coalesce(max(greatest(at_source, in_lake)), 0)
    from differing_keys
"""

_CHANGED_ROWS = """
    select {columns} from ({incoming}) as incoming
    where exists (select 1 from differing_keys where {same_key})
"""


def compare_reload(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    extracted: Extracted,
    folder: Path,
    *,
    has_files: bool,
) -> MergeResult | None:
    """Return the difference between the rows read and the lake's table; None: replace the table.

    The result has no files and no `delete_keys` where both have the same rows and columns. Without
    the spool files of all rows (`has_files`), it is that or None. `con` has the lake attached.
    """
    if plan.lake_table is None or plan.lake_table.columns != extracted.columns:
        return None
    columns, table = extracted.columns, sql_name(plan.table)
    digests = [file.digest for file in extracted.files if file.digest is not None]
    if len(digests) < len(extracted.files):  # a worker had too little memory
        return None
    incoming_digest = sum(digests, RowDigest())
    by_key = has_files and bool(plan.primary_key)
    if not by_key and count(con, f"from {table}") != incoming_digest.rows:
        return None
    if digest_of(con, f"from {table}", columns) == incoming_digest:
        return MergeResult(columns)
    if not by_key or not extracted.files:
        return None
    incoming = spooled_rows([file.path for file in extracted.files], columns)
    return _differing_rows(con, plan, incoming, columns, folder, incoming_digest.rows)


def _differing_rows(
    con: duckdb.DuckDBPyConnection,
    plan: TablePlan,
    incoming: str,
    columns: tuple[Column, ...],
    folder: Path,
    incoming_rows: int,
) -> MergeResult | None:
    """Return the rows whose keys differ; None where they are too many, or share a key."""
    table, (first, second) = sql_name(plan.table), row_hashes(columns)
    keys = [(f"k{number}", quote_name(name)) for number, name in enumerate(plan.primary_key)]
    con.execute(
        _DIFFERING_KEYS.format(
            aliases=", ".join(alias for alias, _ in keys),
            keys=", ".join(f"{name} as {alias}" for alias, name in keys),
            first=first,
            second=second,
            incoming=incoming,
            table=table,
        )
    )
    row = con.execute(_DIFFERENCES).fetchone()
    differing, deleted, most_per_key = row if row else (0, 0, 0)
    existing_rows = count(con, f"from {table}")
    most = max(_ALWAYS_EXCHANGED, MAX_CHANGED_SHARE * max(existing_rows, incoming_rows))
    if most_per_key > 1 or differing > most or deleted * 2 > existing_rows:
        return None  # the commit refuses a replacement that loses more than half of the rows
    merged = MergeResult(columns)
    if deleted:
        file = folder / "removed.parquet"
        names = ", ".join(f"{alias} as {name}" for alias, name in keys)
        write(con, f"select {names} from differing_keys where at_source = 0", file)
        merged = replace(merged, delete_keys=file)
    if differing > deleted:
        file = folder / "changed.parquet"
        select = _CHANGED_ROWS.format(
            columns=quote_names(column.name for column in columns),
            incoming=incoming,
            same_key=" and ".join(
                f"{alias} is not distinct from incoming.{name}" for alias, name in keys
            ),
        )
        written, size = write(con, select, file, len(columns))
        merged = replace(merged, files=(file,), rows=written, bytes=size, upsert_files=(file,))
    return merged
