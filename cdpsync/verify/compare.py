"""Source against lake: a digest of each row on both sides, summed by bucket, then key by key.

A digest is DuckDB's 64-bit hash of the row's values in the lake's types, so what is compared is
what a load would have written; both sides are hashed by the same process. The sums of 1,000 rows
tell most buckets equal; only of the others the keys are joined. docs/decisions/0014 says why the
source does not hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.connector import Bucket
from cdpsync.extract.spool import spooled_rows
from cdpsync.load.merge import cast_existing
from cdpsync.model import DELETED_AT, Column, Deletes, SyncMode, TablePlan
from cdpsync.model.cursors import cursor_sql
from cdpsync.model.verification import WRONG, Difference, DiffKind, SideStats, TableDiff
from cdpsync.sql import quote_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import duckdb

LISTED = 100  # differences that are told one by one; all are counted
_PER_BUCKET = 1_000  # rows
_INTEGERS = {"SMALLINT", "INTEGER", "BIGINT"}

_DIGEST = """
    select {keys} {hash} as h, {cursor} as c, {newer} as newer, {marked} as marked
    from ({rows}) as held
    where {share}
"""

_SUMS = """
    create or replace temp table {side}_sums as
    select {bucket} as b, count(*) as n, sum(h) as t, min(c) as low, max(c) as high
    from ({digests}) where not marked
    group by all
"""

_DIFFERING = """
    create or replace temp table differing as
    select coalesce(s.b, l.b) as b
    from source_sums as s full join lake_sums as l on s.b = l.b
    where s.n is distinct from l.n or s.t is distinct from l.t
"""

_REACH = """
    select coalesce(sum(n), 0)::bigint, min(low)::varchar, max(high)::varchar from {side}_sums
"""

# Where the source may repeat a key, its newest row counts; of several newest, any.
_BY_KEY = """
    create or replace temp table found as
    with s as (
        select {keys}, list(h) as hashes, bool_or(newer) as newer
        from (
            select * from ({source})
            where {bucket} in (from differing)
            qualify rank() over (partition by {keys} order by c desc nulls last) = 1
        )
        group by all
    ), l as (
        select {keys}, min(h) as h, count(*) as n, bool_or(marked) as marked
        from ({lake})
        where {bucket} in (from differing)
        group by all
    ), told as (
        select {either}, coalesce(l.n, 1) as n,
            case
                when l.n is null then if(s.newer, 'newer', 'missing')
                when s.newer is null then if(l.marked, null, '{unknown}')
                when l.n > 1 then 'extra'
                when list_contains(s.hashes, l.h) and not l.marked then null
                when s.newer then 'newer'
                else 'stale'
            end as kind,
            s.newer is not null as doubled
        from s full join l on {same}
    )
    select {keys}, if(kind = 'extra' and doubled, n - 1, n) as n, kind from told
    where kind is not null
"""

_BY_ROW = """
    create or replace temp table found as
    with s as (
        select h, count(*) as n, count(*) filter (newer) as newer
        from ({source})
        where {bucket} in (from differing)
        group by all
    ), l as (
        select h, count(*) as n from ({lake}) where {bucket} in (from differing) group by all
    ), told as (
        select coalesce(s.h, l.h) as h, coalesce(s.n, 0) as there, coalesce(l.n, 0) as here,
            coalesce(s.newer, 0) as newer
        from s full join l on s.h = l.h
    )
    select h, abs(there - here) as n,
        case
            when there > here then if(there - here <= newer, 'newer', 'missing')
            when there = 0 then '{unknown}'
            else 'extra'
        end as kind
    from told
    where there <> here
"""


@dataclass(frozen=True, slots=True)
class CompareSpec:
    """How one table is compared: `columns` on both sides, by `key`, or whole where there is none.

    `columns` have the types in which both sides are hashed; `carried` are read beside them and
    not compared. `share` is what of the rows is looked at.
    """

    plan: TablePlan
    columns: tuple[Column, ...]
    carried: tuple[Column, ...]
    share: Bucket | None

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that tell rows apart; none where rows are compared whole."""
        return key_of(self.plan)

    def digests_of_source(self, rows: str) -> str:
        """Return a SELECT of the digests of arriving rows."""
        names = {column.name: quote_name(column.name) for column in (*self.columns, *self.carried)}
        return self._digests(rows, names, marked="false")

    def digests_of_lake(self, table: str) -> str:
        """Return a SELECT of the digests of the lake's rows."""
        held = {column.name.lower(): column for column in self._held()}
        values = {
            column.name: cast_existing(self.plan, column, held.get(column.name.lower()))
            for column in (*self.columns, *self.carried)
        }
        marks = self.plan.deletes is Deletes.SOFT and DELETED_AT in held
        return self._digests(
            f"from {table}", values, f"{quote_name(DELETED_AT)} is not null" if marks else "false"
        )

    def _digests(self, rows: str, values: dict[str, str], marked: str) -> str:
        hashed = f"hash({', '.join(values[column.name] for column in self.columns)})"
        keys = [values[name] for name in self.key]
        field = self.plan.cursor_field
        cursor = values.get(field or "", "cast(null as integer)")
        return _DIGEST.format(
            keys="".join(f"{value} as k{n}, " for n, value in enumerate(keys)),
            hash=hashed,
            cursor=cursor,
            newer=self._newer(cursor),
            marked=marked,
            rows=rows,
            share=_in_share(self.share, keys, hashed, values),
        )

    def _newer(self, cursor: str) -> str:
        """Return the condition that the next run reads a row anyway.

        Of a stream with a log of changes only the log tells, and it is not read here.
        """
        follows_log = self.plan.mode is SyncMode.INCREMENTAL and self.plan.stream.changes
        if self.plan.mode is SyncMode.FULL_TABLE or follows_log:
            return "false"
        window = self.plan.window
        return f"coalesce({cursor} >= {cursor_sql(window.low)}, true)" if window else "true"

    def _held(self) -> tuple[Column, ...]:
        return self.plan.lake_table.columns if self.plan.lake_table else ()


def _in_share(
    share: Bucket | None, keys: Sequence[str], hashed: str, values: dict[str, str]
) -> str:
    if share is None:
        return "true"
    if share.column:
        return f"abs({values[share.column]} % {share.parts}) = {share.part}"
    mixed = f"hash({', '.join(keys)})" if keys else hashed
    return f"(({mixed}) >> 40) % {share.parts} = {share.part}"


def key_of(plan: TablePlan) -> tuple[str, ...]:
    """Return the key by which rows are found again: where it is one at the source and in the lake.

    A table that is appended to may hold several versions of a row.
    """
    own = plan.stream.primary_key if plan.stream.key_enforced else ()
    unique = bool(own) and set(own) <= set(plan.primary_key)
    keyed = plan.mode is SyncMode.INCREMENTAL or (plan.mode is SyncMode.FULL_TABLE and unique)
    return plan.primary_key if keyed else ()


def share_of(plan: TablePlan, parts: int, part: int) -> Bucket | None:
    """Return one share of a table: by the value of an integer key, where a source can do that.

    Else without a column: by the hash of key or row.
    """
    if parts == 1:
        return None
    key = key_of(plan)
    column = next((one for one in plan.columns if one.name in key), None)
    countable = len(key) == 1 and column is not None and column.type in _INTEGERS
    asked = column is not None and column.name in plan.types
    return Bucket(column.name if column and countable and not asked else "", parts, part)


def compare(
    con: duckdb.DuckDBPyConnection, how: CompareSpec, digests: Sequence[Path], table: str
) -> TableDiff:
    """Compare the digests of the source, in spool files, with those of the lake's table.

    `con` has the lake attached. What differs, if anything, stands in its temporary table `found`
    afterwards: k0, k1, … (or h, the hash of the row), how many rows, and their kind.
    """
    source, lake = _arrived(how, digests), how.digests_of_lake(table)
    keys = ", ".join(f"k{n}" for n in range(len(how.key)))
    row = con.execute(f"select greatest(1, count(*) // {_PER_BUCKET}) from {table}").fetchone()
    count = row[0] if row else 1
    bucket = f"hash({keys}) % {count}" if keys else f"h % {count}"
    for side, select in (("source", source), ("lake", lake)):
        con.execute(_SUMS.format(side=side, bucket=bucket, digests=select))
    con.execute(_DIFFERING)
    sides = [_reach(con, side) for side in ("source", "lake")]
    if not con.execute("select 1 from differing limit 1").fetchone():
        return TableDiff(sides[0], sides[1], {})
    said = {"source": source, "lake": lake, "bucket": bucket, "unknown": _unknown(how.plan)}
    if keys:
        pairs = [f"k{n}" for n in range(len(how.key))]
        either = ", ".join(f"coalesce(s.{k}, l.{k}) as {k}" for k in pairs)
        same = " and ".join(f"s.{k} is not distinct from l.{k}" for k in pairs)
        con.execute(_BY_KEY.format(keys=keys, either=either, same=same, **said))
    else:
        con.execute(_BY_ROW.format(**said))
    counted = con.execute("select kind, sum(n)::bigint from found group by all").fetchall()
    counts = {DiffKind(kind): int(n) for kind, n in counted}
    return TableDiff(sides[0], sides[1], counts, _listed(con, how))


def _unknown(plan: TablePlan) -> DiffKind:
    """Return what a row is that the source does not have: kept on purpose, or one too many."""
    keeps = plan.mode is SyncMode.APPEND_ONLY
    keeps = keeps or (plan.mode is SyncMode.INCREMENTAL and plan.deletes is Deletes.IGNORE)
    return DiffKind.GONE if keeps else DiffKind.EXTRA


def _arrived(how: CompareSpec, digests: Sequence[Path]) -> str:
    names = [*(f"k{n}" for n in range(len(how.key))), "h", "c", "newer", "marked"]
    if digests:
        return spooled_rows(digests, [Column(name, "") for name in names])
    types = {column.name: column.type for column in (*how.columns, *how.carried)}
    empty = ", ".join(
        f"cast(null as {column.type}) as {quote_name(column.name)}"
        for column in (*how.columns, *how.carried)
    )
    return how.digests_of_source(f"select {empty} where false") if types else ""


def _reach(con: duckdb.DuckDBPyConnection, side: str) -> SideStats:
    row = con.execute(_REACH.format(side=side)).fetchone() or (0, None, None)
    return SideStats(*row)


def _listed(con: duckdb.DuckDBPyConnection, how: CompareSpec) -> tuple[Difference, ...]:
    names = how.key or ("row",)
    values = [f"k{n}::varchar" for n in range(len(how.key))] or ["lower(to_hex(h))"]
    order = [f"k{n}" for n in range(len(how.key))] or ["h"]
    rows = con.execute(
        f"select kind, {', '.join(values)} from found where kind in {WRONG_SQL} "
        f"order by kind, {', '.join(order)} limit {LISTED}"
    ).fetchall()
    return tuple(
        Difference(DiffKind(kind), tuple(zip(names, key, strict=True))) for kind, *key in rows
    )


WRONG_SQL = "('" + "', '".join(WRONG) + "')"
