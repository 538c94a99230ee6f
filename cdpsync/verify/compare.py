"""Comparison of one lake table with its source: digests summed by group, then joined by key.

A digest is DuckDB's 64-bit hash of the row's values in the lake's types, so the comparison is with
the values that a load would write. One process hashes both sides. The sums of groups of about
1,000 rows are compared first, because most are equal. Only rows of the other groups are joined by
key. docs/decisions/0014 says why the source does not hash.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cdpsync.connector import RowSlice
from cdpsync.extract.spool import spooled_rows
from cdpsync.load.merge import cast_existing
from cdpsync.model import DELETED_AT, Column, Deletes, SyncMode, TablePlan
from cdpsync.model.cursors import cursor_sql
from cdpsync.model.verification import WRONG, Difference, DiffKind, SideStats, TableDiff
from cdpsync.sql import fold_name, quote_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import duckdb

LISTED = 100  # differences that are listed with their keys; all are counted
_ROWS_PER_GROUP = 1_000
_INTEGERS = {"SMALLINT", "INTEGER", "BIGINT"}

_DIGESTS = """
    select {keys} {hash} as h, {cursor} as c, {newer} as newer, {soft_deleted} as soft_deleted
    from ({rows}) as side
    where {in_slice}
"""

_SUMS = """
    create or replace temp table {side}_sums as
    select {group} as g, count(*) as n, sum(h) as t, min(c) as low, max(c) as high
    from ({digests}) where not soft_deleted
    group by all
"""

_DIFFERING_GROUPS = """
    create or replace temp table differing_groups as
    select coalesce(s.g, l.g) as g
    from source_sums as s full join lake_sums as l on s.g = l.g
    where s.n is distinct from l.n or s.t is distinct from l.t
"""

_STATS = """
    select coalesce(sum(n), 0)::bigint, min(low)::varchar, max(high)::varchar from {side}_sums
"""

# Where the source repeats a key, its newest row counts; of several newest rows, any.
_BY_KEY = """
    create or replace temp table differences as
    with s as (
        select {keys}, list(h) as hashes, bool_or(newer) as newer
        from (
            select * from ({source})
            where {group} in (from differing_groups)
            qualify rank() over (partition by {keys} order by c desc nulls last) = 1
        )
        group by all
    ), l as (
        select {keys}, min(h) as h, count(*) as n, bool_or(soft_deleted) as soft_deleted
        from ({lake})
        where {group} in (from differing_groups)
        group by all
    ), compared as (
        select {either}, coalesce(l.n, 1) as n,
            case
                when l.n is null then if(s.newer, 'newer', 'missing')
                when s.newer is null then if(l.soft_deleted, null, '{only_in_lake}')
                when l.n > 1 then 'extra'
                when list_contains(s.hashes, l.h) and not l.soft_deleted then null
                when s.newer then 'newer'
                else 'stale'
            end as kind,
            s.newer is not null as at_source
        from s full join l on {same}
    )
    select {keys}, if(kind = 'extra' and at_source, n - 1, n) as n, kind from compared
    where kind is not null
"""

_BY_ROW = """
    create or replace temp table differences as
    with s as (
        select h, count(*) as n, count(*) filter (newer) as newer
        from ({source})
        where {group} in (from differing_groups)
        group by all
    ), l as (
        select h, count(*) as n from ({lake}) where {group} in (from differing_groups) group by all
    ), compared as (
        select coalesce(s.h, l.h) as h, coalesce(s.n, 0) as at_source, coalesce(l.n, 0) as in_lake,
            coalesce(s.newer, 0) as newer
        from s full join l on s.h = l.h
    )
    select h, abs(at_source - in_lake) as n,
        case
            when at_source > in_lake
                then if(at_source - in_lake <= newer, 'newer', 'missing')
            when at_source = 0 then '{only_in_lake}'
            else 'extra'
        end as kind
    from compared
    where at_source <> in_lake
"""


@dataclass(frozen=True, slots=True)
class CompareSpec:
    """The columns and rows of one table that are compared, by `key` or by whole rows.

    `columns` have the types in which both sides are hashed. `unhashed_columns` are read with them
    and not compared. With a `row_slice`, only the rows in it are compared.
    """

    plan: TablePlan
    columns: tuple[Column, ...]
    unhashed_columns: tuple[Column, ...]
    row_slice: RowSlice | None

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that identify a row; empty where whole rows are compared."""
        return key_of(self.plan)

    @property
    def key_aliases(self) -> list[str]:
        """The names of the key columns among digests and differences: k0, k1, …."""
        return [f"k{number}" for number in range(len(self.key))]

    @property
    def read_columns(self) -> tuple[Column, ...]:
        """All columns that are read of the source."""
        return (*self.columns, *self.unhashed_columns)

    def source_digests(self, rows: str) -> str:
        """Return a SELECT of the digests of incoming rows."""
        values = {column.name: quote_name(column.name) for column in self.read_columns}
        return self._digests(rows, values, soft_deleted="false")

    def lake_digests(self, table: str) -> str:
        """Return a SELECT of the digests of the lake's rows."""
        lake_columns = self.plan.lake_table.columns if self.plan.lake_table else ()
        existing = {fold_name(column.name): column for column in lake_columns}
        values = {
            column.name: cast_existing(self.plan, column, existing.get(fold_name(column.name)))
            for column in self.read_columns
        }
        has_marks = self.plan.deletes is Deletes.SOFT and DELETED_AT in existing
        soft_deleted = f"{quote_name(DELETED_AT)} is not null" if has_marks else "false"
        return self._digests(f"from {table}", values, soft_deleted)

    def _digests(self, rows: str, values: dict[str, str], soft_deleted: str) -> str:
        row_hash = f"hash({', '.join(values[column.name] for column in self.columns)})"
        key_values = [values[name] for name in self.key]
        cursor = values.get(self.plan.cursor_field or "", "cast(null as integer)")
        return _DIGESTS.format(
            keys="".join(
                f"{value} as {alias}, "
                for value, alias in zip(key_values, self.key_aliases, strict=True)
            ),
            hash=row_hash,
            cursor=cursor,
            newer=self._newer(cursor),
            soft_deleted=soft_deleted,
            rows=rows,
            in_slice=_in_slice(self.row_slice, key_values, row_hash, values),
        )

    def _newer(self, cursor: str) -> str:
        """Return the condition that the next run reads a row in any case.

        Only its change log would answer that for a stream that has one, and it is not read here.
        """
        follows_log = self.plan.mode is SyncMode.INCREMENTAL and self.plan.stream.changes
        if self.plan.mode is SyncMode.FULL_TABLE or follows_log or self.plan.follows_state:
            return "false"
        window = self.plan.window
        if window is None:
            return "true"
        types = {column.name: column.type for column in self.read_columns}
        low = cursor_sql(window.low, types.get(window.cursor_field, ""))
        return f"coalesce({cursor} >= {low}, true)"


def _in_slice(
    row_slice: RowSlice | None, key_values: Sequence[str], row_hash: str, values: dict[str, str]
) -> str:
    if row_slice is None:
        return "true"
    if row_slice.column:
        return f"abs({values[row_slice.column]} % {row_slice.parts}) = {row_slice.part}"
    hash_value = f"hash({', '.join(key_values)})" if key_values else row_hash
    return f"(({hash_value}) >> 40) % {row_slice.parts} = {row_slice.part}"


def read_whole(plan: TablePlan) -> TablePlan:
    """Return the plan of a read of all rows that the source has."""
    whole = replace(plan, window=None, deletes=Deletes.IGNORE)
    return replace(whole, cursor_type=None, cursor_before=None) if plan.follows_state else whole


def key_of(plan: TablePlan) -> tuple[str, ...]:
    """Return the columns that identify a row both at the source and in the lake.

    Empty for a table that is appended to, because it may hold several versions of a row.
    """
    source_key = plan.stream.primary_key if plan.stream.key_enforced else ()
    is_unique = bool(source_key) and set(source_key) <= set(plan.primary_key)
    is_keyed = plan.mode is SyncMode.INCREMENTAL or (plan.mode is SyncMode.FULL_TABLE and is_unique)
    is_keyed = is_keyed or plan.follows_state
    return plan.primary_key if is_keyed else ()


def slice_of(plan: TablePlan, parts: int, part: int) -> RowSlice | None:
    """Return one of `parts` equal parts of a table; None: all of it.

    It is cut by the value of an integer key, because a source can filter by that. Without such a
    key it has no column, and is cut by the hash of the key or the row.
    """
    if parts == 1:
        return None
    key = key_of(plan)
    column = next((column for column in plan.columns if column.name in key), None)
    is_integer = len(key) == 1 and column is not None and column.type in _INTEGERS
    has_user_type = column is not None and column.name in plan.types
    return RowSlice(column.name if column and is_integer and not has_user_type else "", parts, part)


def compare(
    con: duckdb.DuckDBPyConnection, spec: CompareSpec, digest_files: Sequence[Path], table: str
) -> TableDiff:
    """Compare the digests of the source, in spool files, with those of the lake's table.

    `con` has the lake attached. If rows differ, its temporary table `differences` has their keys
    k0, k1, … (or h, the hash of the row), their number and their kind afterwards.
    """
    source, lake = _incoming_digests(spec, digest_files), spec.lake_digests(table)
    keys = ", ".join(spec.key_aliases)
    row = con.execute(f"select greatest(1, count(*) // {_ROWS_PER_GROUP}) from {table}").fetchone()
    hash_value = f"hash({keys})" if keys else "h"
    group = f"{hash_value} % {row[0] if row else 1}"
    for side, digests in (("source", source), ("lake", lake)):
        con.execute(_SUMS.format(side=side, group=group, digests=digests))
    con.execute(_DIFFERING_GROUPS)
    source_stats, lake_stats = _side_stats(con, "source"), _side_stats(con, "lake")
    if not con.execute("select 1 from differing_groups limit 1").fetchone():
        return TableDiff(source_stats, lake_stats, {})
    only_in_lake = _kind_only_in_lake(spec.plan)
    parts = {"source": source, "lake": lake, "group": group, "only_in_lake": only_in_lake}
    if keys:
        either = ", ".join(f"coalesce(s.{k}, l.{k}) as {k}" for k in spec.key_aliases)
        same = " and ".join(f"s.{k} is not distinct from l.{k}" for k in spec.key_aliases)
        con.execute(_BY_KEY.format(keys=keys, either=either, same=same, **parts))
    else:
        con.execute(_BY_ROW.format(**parts))
    totals = con.execute("select kind, sum(n)::bigint from differences group by all").fetchall()
    counts = {DiffKind(kind): int(n) for kind, n in totals}
    return TableDiff(source_stats, lake_stats, counts, _listed(con, spec))


def _kind_only_in_lake(plan: TablePlan) -> DiffKind:
    """Return the kind of a row that the source does not have: kept on purpose, or extra."""
    keeps = plan.mode is SyncMode.APPEND_ONLY
    keeps = keeps or (plan.mode is SyncMode.INCREMENTAL and plan.deletes is Deletes.IGNORE)
    return DiffKind.GONE if keeps else DiffKind.EXTRA


def _incoming_digests(spec: CompareSpec, digest_files: Sequence[Path]) -> str:
    if digest_files:
        names = [*spec.key_aliases, "h", "c", "newer", "soft_deleted"]
        return spooled_rows(digest_files, [Column(name, "") for name in names])
    nulls = ", ".join(
        f"cast(null as {column.type}) as {quote_name(column.name)}" for column in spec.read_columns
    )
    return spec.source_digests(f"select {nulls} where false") if nulls else ""


def _side_stats(con: duckdb.DuckDBPyConnection, side: str) -> SideStats:
    row = con.execute(_STATS.format(side=side)).fetchone() or (0, None, None)
    return SideStats(*row)


def _listed(con: duckdb.DuckDBPyConnection, spec: CompareSpec) -> tuple[Difference, ...]:
    names = spec.key or ("row",)
    values = [f"{alias}::varchar" for alias in spec.key_aliases] or ["lower(to_hex(h))"]
    order = spec.key_aliases or ["h"]
    rows = con.execute(
        f"select kind, {', '.join(values)} from differences where kind in {WRONG_SQL} "
        f"order by kind, {', '.join(order)} limit {LISTED}"
    ).fetchall()
    return tuple(
        Difference(DiffKind(kind), tuple(zip(names, key, strict=True))) for kind, *key in rows
    )


WRONG_SQL = "('" + "', '".join(WRONG) + "')"
"""The kinds of difference that are errors, as a list in SQL."""
