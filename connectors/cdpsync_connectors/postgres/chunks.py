"""How a table is cut into parts that are read at once: ranges of its pages, or not at all."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any

from cdpsync_connectors.postgres.catalog import Leaf, quote_literal, quote_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    from cdpsync.connector import ReadRequest
    from cdpsync_connectors.postgres.catalog import Relation
    from cdpsync_connectors.postgres.connections import Sessions

PAGE = 8_192  # bytes
FEWEST_PAGES, MOST_PAGES = 4_096, 131_072  # of one chunk: 32 MB to 1 GB with pages of 8 KB
_MOST_LEAVES = 64  # small partitions read by one statement
_PARTS = 8  # into which a chunk is cut that did not get through
_CIRCLE, _HALF_A_CIRCLE = 1 << 32, 2_000_000_000  # transactions
# DuckDB reads 2,048 rows into a vector, however large, and holds it as it is read, as it is
# gathered for a row group and as that is written; and where large values lie, they are compressed.
_VECTOR, _COPIES = 2_048, 8
_LARGE_VECTOR = 8_000_000  # bytes; one that is larger is padded
_MOST_PADDING = 16  # DuckDB puts vectors of fewer than 64 rows together again
_PADDED = 150_000_000  # bytes that a worker then takes, measured: a row group of 32 MB, as above
FEW_ROWS = 1_000_000  # below this a filtered read is not worth cutting


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
    """Cut tables into groups of ranges; every page, present or yet to come, is in exactly one.

    Out-of-line values count for the size of a group, though they lie in pages of their own.
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
            if not groups or filled + weight > step or len(groups[-1]) >= _MOST_LEAVES:
                groups.append([])
                filled = 0.0
            groups[-1].append(PageRange(leaf, low, high))
            filled += weight
    return groups


@dataclass(frozen=True, slots=True)
class Select:
    """What is read of a relation: expressions for Postgres and for DuckDB, and which rows.

    Rows must meet all of the `conditions` and one of the `windows`, of which none can meet two;
    `apart`, each window has a statement of its own.
    `inner` are called c0, c1 and so on, and read the columns `reads`; `types` are what they become.
    With `padding` so many rows are sent for each, all but one of them NULL in every column: then a
    vector of DuckDB's, which takes as many rows whatever their size, holds fewer real ones. Column
    `real` tells them apart.
    """

    relation: Relation
    inner: tuple[str, ...]
    outer: str
    conditions: tuple[str, ...]
    windows: tuple[str, ...] = ()
    apart: bool = False
    reads: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    padding: int = 1

    def padded(self, row_bytes: float) -> Select:
        """Return the same for rows of this size: padded so that a vector is not much too large."""
        parts = ceil(row_bytes * _VECTOR / _LARGE_VECTOR)
        doubled = 1 << max(parts - 1, 0).bit_length()  # so that it does not change with each row
        return replace(self, padding=min(_MOST_PADDING, doubled))

    def whole(self) -> str:
        """Return the statement for every row."""
        windows = (self.apart and self.windows) or (self._window,)
        return "\nunion all\n".join(
            self._statement(self.relation.sql, (window,) if window else ()) for window in windows
        )

    @property
    def is_filtered(self) -> bool:
        """Whether not all rows are wanted."""
        return bool(self.conditions or self.windows)

    @property
    def _window(self) -> str:
        return f"({' or '.join(self.windows)})" if self.windows else ""

    def part(self, ranges: Iterable[PageRange]) -> str:
        """Return the statement for some pages; partitions go by their parent's name."""
        return "\nunion all\n".join(
            self._statement(
                f"{quote_name(r.leaf.schema)}.{quote_name(r.leaf.name)}"
                f" as {quote_name(self.relation.name)}",
                tuple(one for one in (self._window, r.condition) if one),
            )
            for r in ranges
        )

    def changes(self, ranges: Sequence[PageRange]) -> str:
        """Return the statement that tells whether the rows of these pages are others than before.

        To be formatted with how many they were, and with the oldest transaction that was open then.
        Whatever was written since has a younger one's number, which `age` compares in their circle
        of 2^32; and of rows that none of these wrote, there are fewer only where some are gone.
        """
        rows = replace(self, inner=("xmin",), padding=1)
        return f"""
            select count(*) <> {{rows}}
                or count(*) filter (
                    where age(v.c0) <= (select age('{{oldest32}}'::xid)) and age(v.c0) >= 0
                ) > 0
                or (
                    select txid_snapshot_xmax(txid_current_snapshot()) - {{oldest}}
                ) not between 0 and {_HALF_A_CIRCLE}
            from ({rows.part(ranges).replace("{", "{{").replace("}", "}}")}) as v
        """

    def _statement(self, table: str, more: tuple[str, ...]) -> str:
        conditions = " and ".join((*self.conditions, *more))
        rows = f"\nfrom {table}" + (f"\nwhere {conditions}" if conditions else "")
        if self.padding == 1:
            return f"select {_named(self.inner)}{rows}"
        real = (
            f"case when {_REAL} = 1 then {inner} end{_digits(type_)}"
            for inner, type_ in zip(self.inner, self.types, strict=True)
        )
        names = ", ".join(map(quote_name, self.reads))
        return (
            f"select {_named(real)}, {_REAL} as real\nfrom (select {names}, "
            f"generate_series(1, {self.padding}) as {_REAL}{rows}) as "
            f"{quote_name(self.relation.name)}"
        )


_REAL = quote_name("which of the padded rows")


def _named(expressions: Iterable[str]) -> str:
    return ", ".join(f"{expression} as c{number}" for number, expression in enumerate(expressions))


def _digits(type_: str) -> str:
    """Say again how many digits a value has: a CASE forgets it, and the scanner needs to know."""
    decimal = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)(\[\])?", type_)
    return f"::numeric({decimal[1]},{decimal[2]}){decimal[3] or ''}" if decimal else ""


def _at_once() -> None:
    pass


@dataclass(frozen=True, slots=True)
class View:
    """What the chunks of one read share.

    `snapshot` is what other connections take up, None where none can. `identity` is what the
    values of a row version depend on beside itself, None where that is not known. `moment` is the
    oldest transaction that was open. `row_bytes` is what a row takes on disk, about.
    """

    sessions: Sessions
    snapshot: str | None
    identity: str | None = None
    moment: str = ""
    row_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class PostgresChunk:
    """One statement, run in the view of the data that the whole read shares.

    `ranges` are the pages it reads, none where it is not known to read all of some pages.
    """

    label: str
    view: View
    select: Select
    ranges: tuple[PageRange, ...]
    sql: str
    turn: Callable[[], None] = _at_once
    """Returns when it is this chunk's turn."""

    @property
    def key(self) -> str | None:
        """What is read how, as text; see `cdpsync.connector.VersionedChunk`."""
        if self.view.identity is None or not self.ranges:
            return None
        return f"{self.view.identity}\n{self.sql}\n{self.select.outer}"

    @property
    def version(self) -> str:
        """When the view began; see `cdpsync.connector.VersionedChunk`."""
        return self.view.moment

    @property
    def memory(self) -> float:
        """What a worker holds of it; see `cdpsync.connector.SizedChunk`."""
        if self.select.padding > 1:
            return _PADDED
        return self.view.row_bytes * _VECTOR * _COPIES

    def is_unchanged_since(self, con: DuckDBPyConnection, version: str, rows: int) -> bool:
        """Whether the rows are those of that moment; see `cdpsync.connector.VersionedChunk`."""
        oldest = int(version)
        sql = self.select.changes(self.ranges).format(
            rows=rows, oldest=oldest, oldest32=oldest % _CIRCLE
        )
        alias = quote_literal(self.view.sessions.attach(con))
        row = con.execute(f"select * from postgres_query({alias}, {quote_literal(sql)})").fetchone()
        return row is not None and row[0] is False

    def relation(self, con: DuckDBPyConnection) -> DuckDBPyRelation:
        """Return the rows of the statement; see `cdpsync.connector.Chunk`."""
        self.turn()
        sessions = self.view.sessions
        alias = quote_literal(sessions.attach(con))
        start = quote_literal(sessions.relation_settings(self.view.snapshot))
        con.execute(f"call postgres_execute({alias}, {start})")
        rows = f"postgres_query({alias}, {quote_literal(self.sql)})"
        only = " where real = 1" if self.select.padding > 1 else ""
        return con.sql(f"select {self.select.outer} from {rows}{only}")


def cut(leaves: Sequence[Leaf], request: ReadRequest) -> list[list[PageRange]]:
    """Return the pages of each chunk, where every leaf allows to ask for them; else none."""
    if not leaves or not all(leaf.addressable for leaf in leaves):
        return []
    again = cut_again(leaves, request)
    if again is not None:
        return again
    if request.stable_chunks and len(leaves) == 1:
        return steady_ranges(leaves[0])
    return page_ranges(leaves, request.workers)


def chunks_of(view: View, select: Select, groups: Sequence[list[PageRange]]) -> list[PostgresChunk]:
    """Return a chunk for each group of pages, or the one for all rows."""
    if len(groups) < 2:
        ranges = tuple(groups[0]) if groups else ()
        return [PostgresChunk("all rows", view, select, ranges, select.whole())]
    partitioned = len({one.leaf.name for group in groups for one in group}) > 1
    return [
        PostgresChunk(_label(group, partitioned), view, select, tuple(group), select.part(group))
        for group in groups
    ]


def cut_again(leaves: Sequence[Leaf], request: ReadRequest) -> list[list[PageRange]] | None:
    """Cut tables as an earlier read did, smaller where it got stuck; None where they are others."""
    now = {(leaf.schema, leaf.name): leaf for leaf in leaves}
    earlier = [chunk for chunk in request.previous_chunks if isinstance(chunk, PostgresChunk)]
    then = {(one.leaf.schema, one.leaf.name) for chunk in earlier for one in chunk.ranges}
    if not earlier or then != set(now):
        return None
    stuck = {id(chunk) for chunk in request.failed_chunks}
    groups: list[list[PageRange]] = []
    for chunk in earlier:
        group = [replace(one, leaf=now[one.leaf.schema, one.leaf.name]) for one in chunk.ranges]
        groups += _smaller(group) if id(chunk) in stuck else [group]
    return groups


def _smaller(group: list[PageRange]) -> list[list[PageRange]]:
    """Cut a group into parts, down to single pages."""
    if len(group) > 1:
        size = -(-len(group) // _PARTS)
        return [group[at : at + size] for at in range(0, len(group), size)]
    (one,) = group
    high = max(one.leaf.pages, one.low + 1) if one.high is None else one.high
    size = -(-(high - one.low) // _PARTS)
    starts = range(one.low, high, size)
    ends = [*starts[1:], one.high]
    return [[replace(one, low=low, high=end)] for low, end in zip(starts, ends, strict=True)]


def steady_ranges(leaf: Leaf) -> list[list[PageRange]]:
    """Cut a table at the same pages each time, whatever was added to it."""
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
    """Whether a plan, as EXPLAIN writes it, walks through whole tables for many rows."""
    return plan["Plan Rows"] >= FEW_ROWS and _scans(plan)


def finds_by_bitmaps(plan: dict[str, Any]) -> bool:
    """Whether a plan puts together what indexes say, and spends little on whole tables."""
    nodes = list(_nodes(plan))
    scans = sum(node["Total Cost"] for node in nodes if node["Node Type"] == "Seq Scan")
    bitmaps = any(node["Node Type"] == "BitmapOr" for node in nodes)
    return bitmaps and bool(scans * 2 <= plan["Total Cost"])


def _scans(plan: dict[str, Any]) -> bool:
    return any(node["Node Type"] == "Seq Scan" for node in _nodes(plan))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)
