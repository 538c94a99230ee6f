"""The chunks of a read: ranges of a table's pages, read at once, or one chunk for all rows."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cdpsync.sql import quote_name, quote_names, quote_text
from cdpsync_connectors.postgres.padding import (
    VECTOR_ROWS,
    careful_padding_of,
    large_columns,
    size_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    from cdpsync.connector import ReadRequest
    from cdpsync_connectors.postgres.catalog import Leaf, Relation
    from cdpsync_connectors.postgres.snapshots import SharedSnapshot

PAGE = 8_192  # bytes
FEWEST_PAGES, MOST_PAGES = 4_096, 131_072  # of one chunk: 32 MB to 1 GB with pages of 8 KB
FEW_ROWS = 1_000_000  # a filtered read of fewer rows is one chunk
_MAX_LEAVES = 64  # small partitions that one statement reads
_RETRY_PARTS = 8  # into which a failed chunk is cut
_XID_CIRCLE, _HALF_CIRCLE = 1 << 32, 2_000_000_000  # transactions
# DuckDB holds a vector several times: as it is read, as it is gathered for a row group, as that is
# written and as that is compressed.
_VECTOR_COPIES = 8
_PADDED_MEMORY = 150_000_000  # bytes that a worker then holds, measured: a row group of 32 MB


@dataclass(frozen=True, slots=True)
class PageRange:
    """Pages `low` to `high`, not included, of one table; None is the open end."""

    leaf: Leaf
    low: int
    high: int | None

    @property
    def condition(self) -> str | None:
        """The range as SQL, or None for the whole table."""
        ends = [f"ctid >= '({self.low},0)'"] if self.low else []
        ends += [f"ctid < '({self.high},0)'"] if self.high is not None else []
        return " and ".join(ends) or None

    @property
    def label(self) -> str:
        """The range in words."""
        if self.condition is None:
            return "all rows"
        return f"pages {self.low} to {'the end' if self.high is None else self.high - 1}"


def page_ranges(leaves: Sequence[Leaf], workers: int) -> list[list[PageRange]]:
    """Cut tables into groups of ranges; every page, present or future, is in exactly one.

    A group's size includes its out-of-line values, though these are stored in pages of their own.
    """
    total = sum(leaf.pages + leaf.toast_pages for leaf in leaves)
    step = max(FEWEST_PAGES, min(MOST_PAGES, total // (max(workers, 1) * 4)))
    groups: list[list[PageRange]] = []
    filled = 0.0
    for leaf in leaves:
        size = leaf.pages + leaf.toast_pages
        count = min(max(1, round(size / step)), max(1, leaf.pages))
        starts = [number * leaf.pages // count for number in range(count)]
        weight = size / count
        for low, high in zip(starts, [*starts[1:], None], strict=True):
            if not groups or filled + weight > step or len(groups[-1]) >= _MAX_LEAVES:
                groups.append([])
                filled = 0.0
            groups[-1].append(PageRange(leaf, low, high))
            filled += weight
    return groups


@dataclass(frozen=True, slots=True)
class Select:
    """The rows and columns that one read takes of a relation, as SQL for Postgres and for DuckDB.

    A row must meet all `conditions`, and one of the `windows` if there are any. No row meets two
    windows. With `separate_windows`, each window is read by a statement of its own.

    `inner` are Postgres' expressions over `columns`; they are named c0, c1 and so on, and have the
    lake's `types`. `outer` is DuckDB's select list over them.

    `padding` is Postgres' expression for how many rows it sends for each: the row itself, in which
    the column `real` is 1, and rows of NULLs, which DuckDB drops. It grows with the row's size, so
    that a vector of DuckDB holds few large rows. See the picture in docs/decisions/0019.
    """

    relation: Relation
    inner: tuple[str, ...]
    outer: str
    conditions: tuple[str, ...]
    windows: tuple[str, ...] = ()
    separate_windows: bool = False
    columns: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    padding: str | None = None
    limit: int | None = None

    def full_sql(self) -> str:
        """Return the statement that reads all pages."""
        windows = (self.separate_windows and self.windows) or (self._any_window,)
        return "\nunion all\n".join(
            self._statement(self.relation.sql, (window,) if window else ()) for window in windows
        )

    def range_sql(self, ranges: Iterable[PageRange]) -> str:
        """Return the statement that reads some pages; a partition is named as its parent."""
        return "\nunion all\n".join(
            self._statement(
                f"{quote_name(r.leaf.schema)}.{quote_name(r.leaf.name)}"
                f" as {quote_name(self.relation.name)}",
                tuple(condition for condition in (self._any_window, r.condition) if condition),
            )
            for r in ranges
        )

    def change_sql(self, ranges: Sequence[PageRange], row_count: int, oldest: int) -> str:
        """Return the statement that answers whether the rows of some pages have changed.

        `row_count` is how many they were, `oldest` the oldest transaction that was open then. A
        row version written since has a later transaction number; `age` compares the numbers, which
        wrap around at 2^32. Where no row is later, only deleted rows can make a difference, and
        then there are fewer than `row_count`.
        """
        versions = replace(self, inner=("xmin",), padding=None).range_sql(ranges)
        return f"""
            select count(*) <> {row_count}
                or count(*) filter (
                    where age(v.c0) <= (select age('{oldest % _XID_CIRCLE}'::xid))
                        and age(v.c0) >= 0
                ) > 0
                or (
                    select txid_snapshot_xmax(txid_current_snapshot()) - {oldest}
                ) not between 0 and {_HALF_CIRCLE}
            from ({versions}) as v
        """

    @property
    def is_filtered(self) -> bool:
        """Whether it leaves rows out."""
        return bool(self.conditions or self.windows)

    @property
    def _any_window(self) -> str:
        return f"({' or '.join(self.windows)})" if self.windows else ""

    def _statement(self, table: str, more_conditions: tuple[str, ...]) -> str:
        conditions = " and ".join((*self.conditions, *more_conditions))
        rows = f"\nfrom {table}" + (f"\nwhere {conditions}" if conditions else "")
        limit = "" if self.limit is None else f"\nlimit {self.limit}"
        if self.padding is None:
            select = f"select {_numbered(self.inner)}{rows}{limit}"
            return f"select * from ({select}) as first_rows" if limit else select
        name = quote_name(self.relation.name)
        if self.relation.kind == "view" or limit:  # OFFSET, so that no column is computed twice
            fence = limit or "\noffset 0"
            rows = f"\nfrom (select {quote_names(self.columns)}{rows}{fence}) as {name}"
        real_values = (
            f"case when {_REAL} = 1 then {inner} end{_digits(type_)}"
            for inner, type_ in zip(self.inner, self.types, strict=True)
        )
        return (
            f"select {_numbered(real_values)}, {_REAL} as real\n"
            f"from (select {quote_names(self.columns)}, "
            f"generate_series(1, {self.padding}) as {_REAL}{rows}) as {name}"
        )


_REAL = quote_name("number of the padded row")


def _numbered(expressions: Iterable[str]) -> str:
    return ", ".join(f"{expression} as c{number}" for number, expression in enumerate(expressions))


def _digits(type_: str) -> str:
    """Return the cast that restores the digits of a decimal.

    A CASE loses them, and the scanner needs them.
    """
    decimal = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)(\[\])?", type_)
    return f"::numeric({decimal[1]},{decimal[2]}){decimal[3] or ''}" if decimal else ""


def _no_wait() -> None:
    pass


@dataclass(frozen=True, slots=True)
class PostgresChunk:
    """One statement, run in the snapshot that the whole read shares.

    `ranges` are the pages that it reads; empty where it may not read all rows of some pages.
    `is_whole`: it is the only chunk of its read.
    """

    label: str
    snapshot: SharedSnapshot
    select: Select
    ranges: tuple[PageRange, ...]
    is_whole: bool
    wait_for_turn: Callable[[], None] = _no_wait
    """Returns when the source's limit on rows a second allows this chunk."""

    @property
    def sql(self) -> str:
        """The statement that reads its rows."""
        return self.select.full_sql() if self.is_whole else self.select.range_sql(self.ranges)

    @property
    def key(self) -> str | None:
        """Identifies the rows and how they are read; see `cdpsync.connector.VersionedChunk`."""
        if self.snapshot.identity is None or not self.ranges:
            return None
        return f"{self.snapshot.identity}\n{self.sql}\n{self.select.outer}"

    @property
    def version(self) -> str:
        """The moment of the snapshot; see `cdpsync.connector.VersionedChunk`."""
        return self.snapshot.oldest_open

    @property
    def memory(self) -> float:
        """The bytes that a worker holds of it; see `cdpsync.connector.SizedChunk`."""
        if self.select.padding is not None:
            return _PADDED_MEMORY
        return self.snapshot.row_bytes * VECTOR_ROWS * _VECTOR_COPIES

    def with_less_memory(self) -> PostgresChunk:
        """Return the chunk as it is read where memory is short; see `cdpsync.connector`."""
        padding = careful_padding_of(self.select.relation, self.select.columns)
        return replace(self, select=replace(self.select, padding=padding))

    def largest_value(self, con: DuckDBPyConnection) -> tuple[str, int] | None:
        """Return the column of the largest value, and its bytes; see `cdpsync.connector`."""
        columns = large_columns(self.select.relation, self.select.columns)
        if not columns:
            return None
        sizes = tuple(f"coalesce(max({size_of(column)}), 0)" for column in columns)
        measured = replace(self, select=replace(self.select, inner=sizes, padding=None))
        alias = self.snapshot.open(con, measured.sql, self.select.relation)
        rows = con.execute(
            f"select * from postgres_query({alias}, {quote_text(measured.sql)})"
        ).fetchall()
        maxima = [max(values) for values in zip(*rows, strict=True)]
        size, number = max((size, number) for number, size in enumerate(maxima))
        return columns[number].name, size

    def is_unchanged_since(self, con: DuckDBPyConnection, version: str, rows: int) -> bool:
        """Whether the rows are those of that version; see `cdpsync.connector.VersionedChunk`."""
        sql = self.select.change_sql(self.ranges, rows, int(version))
        alias = quote_text(self.snapshot.sessions.attach(con))
        row = con.execute(f"select * from postgres_query({alias}, {quote_text(sql)})").fetchone()
        return row is not None and row[0] is False

    def relation(self, con: DuckDBPyConnection) -> DuckDBPyRelation:
        """Return the rows of the statement; see `cdpsync.connector.Chunk`."""
        self.wait_for_turn()
        alias = self.snapshot.open(con, self.sql, self.select.relation)
        rows = f"postgres_query({alias}, {quote_text(self.sql)})"
        real_rows = " where real = 1" if self.select.padding is not None else ""
        return con.sql(f"select {self.select.outer} from {rows}{real_rows}")


def cut(leaves: Sequence[Leaf], request: ReadRequest) -> list[list[PageRange]]:
    """Return the pages of each chunk; none where a leaf cannot be read by its pages."""
    if not leaves or not all(leaf.addressable for leaf in leaves):
        return []
    previous_groups = cut_again(leaves, request)
    if previous_groups is not None:
        return previous_groups
    if request.stable_chunks and len(leaves) == 1:
        return stable_ranges(leaves[0])
    return page_ranges(leaves, request.workers)


def chunks_of(
    snapshot: SharedSnapshot, select: Select, groups: Sequence[list[PageRange]]
) -> list[PostgresChunk]:
    """Return a chunk for each group of pages, or one chunk for all rows."""
    if len(groups) < 2:
        ranges = tuple(groups[0]) if groups else ()
        return [PostgresChunk("all rows", snapshot, select, ranges, is_whole=True)]
    partitioned = len({range_.leaf.name for group in groups for range_ in group}) > 1
    return [
        PostgresChunk(_label(group, partitioned), snapshot, select, tuple(group), is_whole=False)
        for group in groups
    ]


def cut_again(leaves: Sequence[Leaf], request: ReadRequest) -> list[list[PageRange]] | None:
    """Cut tables as an earlier read did, smaller where a chunk failed.

    None where there was no earlier read, or where it read other tables.
    """
    leaf_by_name = {(leaf.schema, leaf.name): leaf for leaf in leaves}
    previous = [chunk for chunk in request.previous_chunks if isinstance(chunk, PostgresChunk)]
    previous_names = {
        (range_.leaf.schema, range_.leaf.name) for chunk in previous for range_ in chunk.ranges
    }
    if not previous or previous_names != set(leaf_by_name):
        return None
    failed_ids = {id(chunk) for chunk in request.failed_chunks}
    groups: list[list[PageRange]] = []
    for chunk in previous:
        group = [
            replace(range_, leaf=leaf_by_name[range_.leaf.schema, range_.leaf.name])
            for range_ in chunk.ranges
        ]
        groups += _smaller(group) if id(chunk) in failed_ids else [group]
    return groups


def _smaller(group: list[PageRange]) -> list[list[PageRange]]:
    """Cut a group into parts, down to single pages."""
    if len(group) > 1:
        size = -(-len(group) // _RETRY_PARTS)
        return [group[at : at + size] for at in range(0, len(group), size)]
    (pages,) = group
    high = max(pages.leaf.pages, pages.low + 1) if pages.high is None else pages.high
    size = -(-(high - pages.low) // _RETRY_PARTS)
    starts = range(pages.low, high, size)
    ends = [*starts[1:], pages.high]
    return [[replace(pages, low=low, high=end)] for low, end in zip(starts, ends, strict=True)]


def stable_ranges(leaf: Leaf) -> list[list[PageRange]]:
    """Cut a table at the same pages each time, however many were added."""
    starts = list(range(0, max(leaf.pages, 1), FEWEST_PAGES))
    return [
        [PageRange(leaf, low, high)] for low, high in zip(starts, [*starts[1:], None], strict=True)
    ]


def _label(group: list[PageRange], partitioned: bool) -> str:
    first = group[0]
    if not partitioned:
        return first.label
    if len(group) == 1:
        return f"{first.leaf.name}, {first.label}"
    return f"{first.leaf.name} to {group[-1].leaf.name}"


def scans_much(plan: dict[str, Any]) -> bool:
    """Whether a plan, as EXPLAIN writes it, scans whole tables for many rows."""
    scans = any(node["Node Type"] == "Seq Scan" for node in _nodes(plan))
    return plan["Plan Rows"] >= FEW_ROWS and scans


def finds_by_bitmaps(plan: dict[str, Any]) -> bool:
    """Whether a plan combines indexes, and scans of whole tables cost at most half of it."""
    nodes = list(_nodes(plan))
    scan_cost = sum(node["Total Cost"] for node in nodes if node["Node Type"] == "Seq Scan")
    has_bitmaps = any(node["Node Type"] == "BitmapOr" for node in nodes)
    return has_bitmaps and bool(scan_cost * 2 <= plan["Total Cost"])


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)
