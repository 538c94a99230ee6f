"""Failures for the tables of sources that cannot be reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync import project
from cdpsync.model import ALL_STREAMS, Failure, SyncMode, TableName, TableResult, TableStatus
from cdpsync.plan.configured import names_stream, table_options
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
    from cdpsync.model.state import ProjectState
    from cdpsync.plan.configured import ConfiguredTable, Names


@dataclass(frozen=True, slots=True)
class UnreachableSource:
    """A source that cannot be reached, and a failure for each of its known tables."""

    source: str
    failure: Failure
    tables: tuple[TableResult, ...]
    seconds: float

    @property
    def placeholder(self) -> TableResult:
        """The failure that stands for tables of the source that are not known."""
        return TableResult(
            self.source,
            ALL_STREAMS,
            TableName(self.source, ALL_STREAMS),
            None,
            TableStatus.FAILED,
            seconds=self.seconds,
            error=self.failure,
        )


def unreachable_source(
    config: Config, state: ProjectState, source: Source, error: CdpsyncError, seconds: float
) -> UnreachableSource:
    """Return a source that cannot be reached, with its known tables and their saved cursors.

    Tables that are missing at the source are left out: it says nothing about them now. `seconds`
    is how long it took to find out.
    """
    seconds = round(seconds, 3)
    missing = {
        (saved.source, saved.stream)
        for saved in state.saved_states
        if saved.missing_since is not None and not names_stream(source, saved.stream)
    }
    failure = Failure.of(error)
    results = []
    for table in project.known_tables(config, state):
        if table.source != source.name or table.key in missing:
            continue
        options = table_options(source, table.stream)
        if options is not None:
            entry = state.entries.get((table.source, table.stream))
            cursor = entry.cursor if entry else None
            results.append(
                TableResult(
                    table.source,
                    table.stream,
                    table.table,
                    options.mode or SyncMode.FULL_TABLE,
                    TableStatus.FAILED,
                    cursor_before=cursor,
                    cursor_after=cursor,
                    seconds=seconds,
                    error=failure,
                )
            )
    return UnreachableSource(source.name, failure, tuple(results), seconds)


def failures(
    sources: Sequence[UnreachableSource],
    tables: Sequence[ConfiguredTable],
    patterns: Sequence[str],
    exclude: Sequence[str],
) -> list[TableResult]:
    """Return the failures of the selected tables of these sources.

    A known table is selected by its name. A pattern that matches no known table may mean a table
    of the source all the same, so the source's placeholder fails. `tables` are the configured
    tables of the other sources.
    """
    results: list[TableResult] = []
    for source in sources:
        concerned = [
            pattern
            for pattern in patterns or (source.source,)
            if concerns_source(source.source, [pattern])
            and not any(
                means_all(source.source, exclusion) or exclusion == pattern for exclusion in exclude
            )
        ]
        if any(
            not source.tables or _matches_no_table(pattern, sources, tables)
            for pattern in concerned
        ):
            results.append(source.placeholder)
        results += [
            table for table in source.tables if is_chosen(names_of(table), patterns, exclude)
        ]
    return results


def _matches_no_table(
    pattern: str, sources: Sequence[UnreachableSource], tables: Sequence[ConfiguredTable]
) -> bool:
    return not any(matches_select(table, pattern) for table in tables) and not any(
        matches_name(*names_of(table), pattern) for source in sources for table in source.tables
    )


def names_of(table: TableResult) -> Names:
    """Return the names by which SELECT can match the table."""
    return table.source, table.stream, str(table.table)
