"""How a table is cut into parts that are read at once: ranges of its pages, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cdpsync_connectors._postgres_sql import Leaf, quote_literal, quote_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    from cdpsync_connectors._postgres_session import Sessions
    from cdpsync_connectors._postgres_sql import Relation

FEWEST_PAGES, MOST_PAGES = 4_096, 131_072  # of one chunk: 32 MB to 1 GB with pages of 8 KB
_MOST_LEAVES = 64  # small partitions read by one statement
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
    """What is read of a relation: expressions for Postgres and for DuckDB, and which rows."""

    relation: Relation
    inner: str
    outer: str
    conditions: tuple[str, ...]

    def whole(self) -> str:
        """Return the statement for every row."""
        return self._statement(self.relation.sql, ())

    def part(self, ranges: Iterable[PageRange]) -> str:
        """Return the statement for some pages; partitions go by their parent's name."""
        return "\nunion all\n".join(
            self._statement(
                f"{quote_name(r.leaf.schema)}.{quote_name(r.leaf.name)}"
                f" as {quote_name(self.relation.name)}",
                (r.condition,) if r.condition else (),
            )
            for r in ranges
        )

    def versions(self, ranges: Sequence[PageRange]) -> str:
        """Return the statement that tells one state of these pages from another, in one value.

        A row that changes is a new version, elsewhere or of another transaction.
        """
        rows = replace(self, inner="tableoid, ctid, xmin")
        return (
            "select concat_ws(' ', count(*), sum(hash_record_extended(row(v.*), 0)))"
            f"\nfrom ({rows.part(ranges)}) as v"
        )

    def _statement(self, table: str, more: tuple[str, ...]) -> str:
        conditions = " and ".join((*self.conditions, *more))
        return f"select {self.inner}\nfrom {table}" + (
            f"\nwhere {conditions}" if conditions else ""
        )


def _at_once() -> None:
    pass


@dataclass(frozen=True, slots=True)
class PostgresChunk:
    """One statement, run in the view of the data that the whole read shares."""

    label: str
    sessions: Sessions
    sql: str
    outer: str
    snapshot: str | None
    versions: str | None = None
    """What tells whether the rows changed, as SQL; `identity` is what it depends on beside them."""
    identity: str = ""
    turn: Callable[[], None] = _at_once
    """Returns when it is this chunk's turn."""

    def mark(self, con: DuckDBPyConnection) -> str | None:
        """Return a text that changes with any row; see `cdpsync.connector.Marked`."""
        if self.versions is None:
            return None
        alias = quote_literal(self.sessions.attach(con))
        row = con.execute(
            f"select * from postgres_query({alias}, {quote_literal(self.versions)})"
        ).fetchone()
        return f"{self.identity}\n{self.sql}\n{self.outer}\n{row[0]}" if row else None

    def relation(self, con: DuckDBPyConnection) -> DuckDBPyRelation:
        """Return the rows of the statement; see `cdpsync.connector.Chunk`."""
        self.turn()
        alias = quote_literal(self.sessions.attach(con))
        start = quote_literal(self.sessions.relation_settings(self.snapshot))
        con.execute(f"call postgres_execute({alias}, {start})")
        rows = f"postgres_query({alias}, {quote_literal(self.sql)})"
        return con.sql(f"select {self.outer} from {rows}")


def cut(
    select: Select,
    leaves: Sequence[Leaf],
    workers: int,
    chunk: Callable[[str, str, str | None], PostgresChunk],
    *,
    steady: bool = False,
) -> list[PostgresChunk]:
    """Return the chunks of a read: by pages where every leaf allows it, else a single one.

    `chunk` takes a label, the statement, and the one that tells whether the rows changed.
    """
    if not leaves or not all(leaf.addressable for leaf in leaves):
        return [chunk("all rows", select.whole(), None)]
    if steady and len(leaves) == 1:
        groups = steady_ranges(leaves[0])
    else:
        groups = page_ranges(leaves, workers)
    if len(groups) == 1:
        return [chunk("all rows", select.whole(), select.versions(groups[0]))]
    return [
        chunk(_label(group, len(leaves) > 1), select.part(group), select.versions(group))
        for group in groups
    ]


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


def _scans(node: dict[str, Any]) -> bool:
    return node["Node Type"] == "Seq Scan" or any(_scans(part) for part in node.get("Plans", ()))
