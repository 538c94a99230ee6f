"""The tables that the project file asks for: its options, applied to a source's streams."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cdpsync.errors import ConfigError
from cdpsync.model import (
    Deletes,
    Source,
    Stream,
    SyncMode,
    TableName,
    TableOptions,
    TableRule,
)
from cdpsync.model.plan import derived_table_name
from cdpsync.plan.spelling import is_same_name, spelled_as, spelled_as_columns, suggestion_for

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from cdpsync.model import SavedState


Names = tuple[str, str, str]
"""The names by which SELECT can match a table: its source, its stream, its table in the lake."""


@dataclass(frozen=True, slots=True)
class ConfiguredTable:
    """A stream with the options that the project file gives it.

    `stream` is None where the source has no stream of this name. `suggestion` is then the most
    similar name that it has. `follows_cursors` is that of the source's connector.
    """

    source: str
    name: str
    table: TableName
    options: TableOptions
    location: str
    stream: Stream | None
    suggestion: str | None = None
    follows_cursors: bool = True

    @property
    def names(self) -> Names:
        """The names by which SELECT can match the table."""
        return self.source, self.name, str(self.table)

    @property
    def mode(self) -> SyncMode:
        """The sync mode; by default every row is read and the table replaced."""
        return self.options.mode or SyncMode.FULL_TABLE

    @property
    def deletes(self) -> Deletes:
        """What becomes of rows that the source no longer has; by default they stay."""
        return self.options.deletes or Deletes.IGNORE


def configured_tables(
    source: Source, streams: Iterable[Stream], loaded: Collection[str] = ()
) -> tuple[ConfiguredTable, ...]:
    """Return the enabled tables of a source, in the order of its streams.

    `loaded` are the streams that the lake has, which are not left out.
    """
    listed = [s for s in streams if s.name in loaded or not is_left_out(source, s)]
    by_name = {stream.name: stream for stream in listed}
    source = spelled_as_streams(source, by_name)
    tables = [_configured_table(source, stream.name, stream) for stream in listed]
    tables += [
        _configured_table(source, rule.pattern, None)
        for rule in source.tables
        if not rule.is_glob and rule.pattern not in by_name
    ]
    return tuple(
        table if table.stream else replace(table, suggestion=suggestion_for(table.name, by_name))
        for table in tables
        if table is not None
    )


def with_former_names(
    tables: Sequence[ConfiguredTable], saved_states: Callable[[], Iterable[SavedState]]
) -> tuple[ConfiguredTable, ...]:
    """Return the tables; those that the lake has under a former name keep it: queries use it.

    The saved states are asked for only if there may be such a table.
    """
    if not any(map(_has_former_name, tables)):
        return tuple(tables)
    loaded = {(saved.source, saved.stream, saved.table) for saved in saved_states()}
    return tuple(_with_former_name(table, loaded) for table in tables)


def _has_former_name(table: ConfiguredTable) -> bool:
    stream = table.stream
    if stream is None or table.options.name is not None:
        return False
    return stream.former_table not in {None, stream.table}


def _with_former_name(
    table: ConfiguredTable, loaded: Collection[tuple[str, str, TableName]]
) -> ConfiguredTable:
    former = TableName(table.source, (table.stream and table.stream.former_table) or "")
    is_loaded = _has_former_name(table) and (table.source, table.name, former) in loaded
    return replace(table, table=former) if is_loaded else table


def _configured_table(source: Source, name: str, stream: Stream | None) -> ConfiguredTable | None:
    options = table_options(source, name)
    if options is None:
        return None
    if source.ignores_case and stream is not None:
        options = spelled_as_columns(options, [column.name for column in stream.columns])
    table = options.name or (stream.table if stream else default_table(source, name))
    rules = _rules(source, name)
    location = rules[-1].location if rules else source.location
    return ConfiguredTable(
        source.name,
        name,
        TableName(source.name, table),
        options,
        location,
        stream,
        follows_cursors=follows_cursors(source),
    )


def follows_cursors(source: Source) -> bool:
    """Whether the source's connector can read a stream from a cursor on."""
    return bool(getattr(source.options, "follows_cursors", True))


def unfollowed_modes(source: Source) -> list[ConfigError]:
    """Return the error of each key of the project file with a mode that its source cannot follow.

    The project file alone tells, before any stream is known.
    """
    if follows_cursors(source):
        return []
    asked = [
        (rule.location, rule.pattern, options.mode)
        for rule in source.tables
        if (options := table_options(source, rule.pattern)) is not None
    ]
    if _syncs_unnamed_streams(source):
        asked.append((source.location, "*", source.defaults.mode))
    return [
        unfollowed_mode(location, name, mode)
        for location, name, mode in asked
        if mode not in {None, SyncMode.FULL_TABLE}
    ]


def unfollowed_mode(location: str, table: str, mode: SyncMode | None) -> ConfigError:
    """Return the error of a table whose mode needs a cursor at a source that follows none."""
    return ConfigError(
        f'{location}: table "{table}": {mode} continues from a cursor, and this source is read '
        "whole by each run. Use mode: full_table."
    )


def spelled_as_streams(source: Source, names: Iterable[str]) -> Source:
    """Return a source whose keys under `tables:` are written as these streams are.

    A stream of exactly this name wins. A key that could mean several streams stays as it is.
    """
    listed = list(names)
    rules = tuple(
        replace(
            rule,
            pattern=rule.pattern if rule.is_glob else spelled_as(rule.pattern, listed),
            ignores_case=rule.is_glob
            and not any(fnmatchcase(name, rule.pattern) for name in listed),
        )
        if rule.ignores_case
        else rule
        for rule in source.tables
    )
    return replace(source, tables=rules)


def default_table(source: Source, stream: str) -> str:
    """Return the name that discovery gives the table of a stream, which need not exist yet."""
    name_of = getattr(source.options, "default_table", None)
    if name_of is not None:
        return str(name_of(stream))
    return derived_table_name(stream, source.omitted_schema)  # no such option, or no value yet


def table_options(source: Source, name: str) -> TableOptions | None:
    """Return a stream's options, merged from all keys that match it; None if it is not synced."""
    rules = _rules(source, name)
    if not rules and not _syncs_unnamed_streams(source):
        return None
    options = TableOptions(every=source.every)
    for overrides in (source.defaults, *(rule.options for rule in rules)):
        options = overrides.over(options)
    return None if options.enabled is False else options


def _rules(source: Source, name: str) -> list[TableRule]:
    """Return the keys that match a stream: globs in their order, then the exact key."""
    rules = [rule for rule in source.tables if rule_matches(rule, name)]
    return sorted(rules, key=lambda rule: not rule.is_glob)


def is_left_out(source: Source, stream: Stream) -> bool:
    """Whether a stream is read only if a key under `tables:` matches it, and none does."""
    return stream.only_if_named is not None and not is_named(source, stream.name)


def is_named(source: Source, name: str) -> bool:
    """Whether a key under `tables:` matches a stream."""
    return bool(_rules(source, name))


def _syncs_unnamed_streams(source: Source) -> bool:
    """Whether streams that no key matches are synced: all keys disable tables, or none is there."""
    return all(rule.options.enabled is False for rule in source.tables)


def names_stream(source: Source, stream: str) -> bool:
    """Whether the project file names this stream in full."""
    return any(not rule.is_glob and rule_matches(rule, stream) for rule in source.tables)


def rule_matches(rule: TableRule, name: str) -> bool:
    """Whether a key under `tables:` matches a stream of this name."""
    if rule.is_glob:
        in_upper_case = rule.ignores_case and fnmatchcase(name, rule.pattern.upper())
        return in_upper_case or fnmatchcase(name, rule.pattern)
    return name == rule.pattern or (rule.ignores_case and is_same_name(name, rule.pattern))
