"""Sources that cannot be asked: a failure for each of their tables that is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync import project
from cdpsync.model import ALL_STREAMS, Failure, SyncMode, TableName, TableResult, TableStatus
from cdpsync.plan.configured import table_options
from cdpsync.plan.selector import (
    concerns_source,
    is_chosen,
    matches_name,
    matches_select,
    means_all,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdpsync.errors import CdpsyncError
    from cdpsync.model import Config, Source
    from cdpsync.plan.configured import ConfiguredTable, Names


@dataclass(frozen=True, slots=True)
class UnreachableSource:
    """A source that cannot be asked, why, and a failure for each table that is known of it."""

    source: str
    failure: Failure
    tables: tuple[TableResult, ...]

    @property
    def placeholder(self) -> TableResult:
        """The failure that stands for tables of which nothing is known."""
        return TableResult(
            self.source,
            ALL_STREAMS,
            TableName(self.source, ALL_STREAMS),
            None,
            TableStatus.FAILED,
            error=self.failure,
        )


def unreached(
    config: Config, memory: project.ProjectState, source: Source, error: CdpsyncError
) -> UnreachableSource:
    """Return a source that cannot be asked, with its known tables as they are remembered."""
    failure = Failure.of(error)
    tables = []
    for one in project.known_tables(config, memory):
        options = table_options(source, one.stream) if one.source == source.name else None
        if options is not None:
            said = memory.state.get((one.source, one.stream))
            cursor = said.cursor if said else None
            tables.append(
                TableResult(
                    one.source,
                    one.stream,
                    one.table,
                    options.mode or SyncMode.FULL_TABLE,
                    TableStatus.FAILED,
                    cursor_before=cursor,
                    cursor_after=cursor,
                    error=failure,
                )
            )
    return UnreachableSource(source.name, failure, tuple(tables))


def failures(
    sources: Sequence[UnreachableSource],
    wanted: Sequence[ConfiguredTable],
    patterns: Sequence[str],
    exclude: Sequence[str],
) -> list[TableResult]:
    """Return the failures that SELECT asks for.

    Known tables are chosen by name. Where no name is known that a pattern could mean, the source
    may have it all the same: its placeholder fails, so that nothing asked for goes untold.
    """
    found: list[TableResult] = []
    for one in sources:
        asked = [
            pattern
            for pattern in patterns or (one.source,)
            if concerns_source(one.source, [pattern])
            and not any(means_all(one.source, left) or left == pattern for left in exclude)
        ]
        if any(not one.tables or _is_idle(pattern, sources, wanted) for pattern in asked):
            found.append(one.placeholder)
        found += [table for table in one.tables if is_chosen(_names(table), patterns, exclude)]
    return found


def _is_idle(
    pattern: str, sources: Sequence[UnreachableSource], wanted: Sequence[ConfiguredTable]
) -> bool:
    return not any(matches_select(one, pattern) for one in wanted) and not any(
        matches_name(*_names(table), pattern) for one in sources for table in one.tables
    )


def _names(table: TableResult) -> Names:
    return table.source, table.stream, str(table.table)
