"""Results of tables that their sources no longer have, and of patterns that match no stream."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync.model import (
    Failure,
    SkipReason,
    SyncMode,
    TableName,
    TableResult,
    TableStatus,
)
from cdpsync.plan.configured import table_options
from cdpsync.plan.selector import is_chosen, matches_name
from cdpsync.plan.source_changes import IdlePattern, idle_patterns, missing_streams
from cdpsync.serialize import text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from cdpsync.connector import UnmatchedPattern
    from cdpsync.model import SavedState, Source, Stream
    from cdpsync.model.state import ProjectState
    from cdpsync.plan.configured import ConfiguredTable, Names

    IsNotDue = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class DiscoveredSource:
    """A source that was reached, with its streams and the patterns that select none of them."""

    source: Source
    streams: Sequence[Stream]
    idle_patterns: Sequence[IdlePattern]

    @classmethod
    def of(
        cls, source: Source, streams: Sequence[Stream], unmatched: Iterable[UnmatchedPattern]
    ) -> DiscoveredSource:
        """Return a discovered source; `unmatched` are patterns of the connector's own options."""
        patterns = idle_patterns(source, streams)
        patterns += [
            IdlePattern(source.name, pattern.streams, pattern.message) for pattern in unmatched
        ]
        return cls(source, streams, patterns)

    def missing(self, tables: Iterable[ConfiguredTable], state: ProjectState) -> list[SavedState]:
        """Return the state of each table that the lake has and the source no longer has."""
        return missing_streams(self.source, self.streams, tables, state.saved_states, state.tables)

    def idle_pattern_of(self, stream: str) -> IdlePattern | None:
        """Return the pattern that selects this stream and no stream that the source has."""
        if not self.streams and not self.idle_patterns:
            message = f'source "{self.source.name}" has no stream any more.'
            return IdlePattern(self.source.name, "*", message)
        return next((idle for idle in self.idle_patterns if idle.matches(stream)), None)


@dataclass(slots=True)
class MissingTables:
    """What the sources of a run no longer have.

    `skipped` and `failed` are results of the selected tables and patterns. `changed` are saved
    states whose `missing_since` is new: a time for a table that was found missing, None for one
    that is back.
    """

    skipped: list[TableResult] = field(default_factory=list)
    failed: list[TableResult] = field(default_factory=list)
    changed: list[SavedState] = field(default_factory=list)


def missing_tables(
    sources: Iterable[DiscoveredSource],
    tables: Sequence[ConfiguredTable],
    state: ProjectState,
    *,
    is_selected: Callable[[Names], bool],
    is_not_due: IsNotDue,
    now: datetime,
) -> MissingTables:
    """Compare the streams of the sources with the tables of the lake.

    A table is missing that the lake has, that the project file still asks for, and that its source
    does not have. It is skipped with a notice. Where the pattern that asks for it matches nothing
    any more, it fails. A pattern that matches nothing and that no table of the lake is of fails
    itself.
    """
    result = MissingTables()
    for source in sources:
        missing = source.missing(tables, state)
        result.changed += _changed(source, missing, state, now)
        for saved in missing:
            names = (saved.source, saved.stream, str(saved.table))
            if not is_selected(names):
                continue
            table_result = _missing_result(source, saved, now)
            pattern = source.idle_pattern_of(saved.stream)
            if pattern is None or is_not_due(saved.source, saved.stream):
                result.skipped.append(table_result)
            else:
                result.failed.append(_failed(table_result, f"{pattern.message} "))
        for idle in _idle_results(source, missing):
            if is_selected((idle.source, idle.stream, str(idle.table))):
                target = result.failed if idle.status is TableStatus.FAILED else result.skipped
                target.append(idle)
    return result


def _changed(
    source: DiscoveredSource, missing: Sequence[SavedState], state: ProjectState, now: datetime
) -> Iterator[SavedState]:
    """Yield the saved states of tables that are newly missing, or back."""
    for saved in missing:
        if saved.missing_since is None:
            yield replace(saved, missing_since=now)
    names = {stream.name for stream in source.streams}
    for saved in state.saved_states:
        is_back = saved.source == source.source.name and saved.stream in names
        if is_back and saved.missing_since is not None:
            yield replace(saved, missing_since=None)


def _missing_result(source: DiscoveredSource, saved: SavedState, now: datetime) -> TableResult:
    options = table_options(source.source, saved.stream)
    return TableResult(
        saved.source,
        saved.stream,
        saved.table,
        (options.mode if options else None) or SyncMode.FULL_TABLE,
        TableStatus.SKIPPED,
        cursor_before=saved.cursor,
        cursor_after=saved.cursor,
        notices=(missing_notice(saved.table, saved.missing_since or now),),
        skip_reason=SkipReason.MISSING,
    )


def missing_notice(table: TableName, since: datetime) -> str:
    """Return the sentence about a table that is missing at its source."""
    return (
        f"{text.missing_since(since)}: it was dropped "
        "or renamed, or may no longer be read. The lake keeps its rows. To forget it: cdpsync "
        f"delete {table}"
    )


def _failed(result: TableResult, prefix: str) -> TableResult:
    """Return the failure of a missing table; its message is the notice, with its reason."""
    (notice,) = result.notices
    error = ReadError(f"{result.table}: {prefix}It is {notice}.")
    return replace(
        result,
        status=TableStatus.FAILED,
        error=Failure.of(error),
        notices=(),
        skip_reason=None,
    )


def _idle_results(source: DiscoveredSource, missing: Sequence[SavedState]) -> Iterator[TableResult]:
    """Yield the failure of each pattern that selects neither a stream nor a table of the lake."""
    for idle in source.idle_patterns:
        if any(idle.matches(saved.stream) for saved in missing):
            continue
        result = TableResult(
            idle.source,
            idle.pattern,
            TableName(idle.source, idle.pattern),
            None,
            TableStatus.SKIPPED,
            skip_reason=SkipReason.EXCLUDES_NOTHING,
        )
        if idle.excludes:
            yield replace(result, notices=(idle.message,))
        else:
            failure = Failure.of(ReadError(idle.message))
            yield replace(result, status=TableStatus.FAILED, error=failure, skip_reason=None)


def selects_missing(
    pattern: str,
    sources: Iterable[DiscoveredSource],
    tables: Sequence[ConfiguredTable],
    state: Callable[[], ProjectState],
) -> bool:
    """Whether SELECT matches a pattern of the project file that is idle, or a missing table.

    The state is read only if the patterns do not decide.
    """
    sources = tuple(sources)
    if any(
        matches_name(idle.source, idle.pattern, f"{idle.source}.{idle.pattern}", pattern)
        for source in sources
        for idle in source.idle_patterns
    ):
        return True
    return any(is_chosen(names, [pattern]) for names in missing_names(sources, tables, state()))


def missing_names(
    sources: Iterable[DiscoveredSource], tables: Sequence[ConfiguredTable], state: ProjectState
) -> list[Names]:
    """Return the names of the tables that are missing at their sources."""
    return [
        (saved.source, saved.stream, str(saved.table))
        for source in sources
        for saved in source.missing(tables, state)
    ]
