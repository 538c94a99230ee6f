"""The tables that the project file asks for: its options, applied to a source's streams."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cdpsync.errors import ConfigError, suggest
from cdpsync.model import (
    Deletes,
    Source,
    Stream,
    SyncMode,
    TableName,
    TableOptions,
    TableRule,
)
from cdpsync.sql import fold_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


Names = tuple[str, str, str]
"""The names by which SELECT can match a table: its source, its stream, its table in the lake."""

_MOST_LISTED = 8  # streams in an error message


@dataclass(frozen=True, slots=True)
class ConfiguredTable:
    """A stream with the options that the project file gives it.

    `stream` is None where the source has no stream of this name. `suggestion` is then the most
    similar name that it has.
    """

    source: str
    name: str
    table: TableName
    options: TableOptions
    location: str
    stream: Stream | None
    suggestion: str | None = None

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


def configured_tables(source: Source, streams: Iterable[Stream]) -> tuple[ConfiguredTable, ...]:
    """Return the enabled tables of a source, in the order of its streams.

    Raises ConfigError for a glob that matches no stream, and for two streams with one table.
    """
    listed = list(streams)
    by_name = {stream.name: stream for stream in listed}
    _require_matches(source, by_name)
    tables = [_configured_table(source, stream.name, stream) for stream in listed]
    tables += [
        _configured_table(source, rule.pattern, None)
        for rule in source.tables
        if not rule.is_glob and rule.pattern not in by_name
    ]
    enabled = tuple(
        table if table.stream else replace(table, suggestion=suggest(table.name, by_name))
        for table in tables
        if table is not None
    )
    _reject_shared_tables(enabled)
    return enabled


def _configured_table(source: Source, name: str, stream: Stream | None) -> ConfiguredTable | None:
    options = table_options(source, name)
    if options is None:
        return None
    table = options.name or (stream.table if stream else name.rsplit(".", 1)[-1])
    rules = _rules(source, name)
    location = rules[-1].location if rules else source.location
    return ConfiguredTable(
        source.name, name, TableName(source.name, table), options, location, stream
    )


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
    rules = [rule for rule in source.tables if _matches(rule, name)]
    return sorted(rules, key=lambda rule: not rule.is_glob)


def is_named(source: Source, name: str) -> bool:
    """Whether a key under `tables:` matches a stream."""
    return bool(_rules(source, name))


def _syncs_unnamed_streams(source: Source) -> bool:
    """Whether streams that no key matches are synced: all keys disable tables, or none is there."""
    return all(rule.options.enabled is False for rule in source.tables)


def _matches(rule: TableRule, name: str) -> bool:
    return fnmatchcase(name, rule.pattern) if rule.is_glob else name == rule.pattern


def _require_matches(source: Source, streams: Mapping[str, Stream]) -> None:
    """Raise ConfigError for a glob that matches no stream."""
    for rule in source.tables:
        if rule.is_glob and not any(_matches(rule, name) for name in streams):
            listed = ", ".join(list(streams)[:_MOST_LISTED]) or "none"
            ellipsis = ", …" if len(streams) > _MOST_LISTED else ""
            raise ConfigError(
                f'{rule.location}: tables: "{rule.pattern}" matches no stream of source '
                f'"{source.name}". It has: {listed}{ellipsis}. '
                f"List all of them: cdpsync discover {source.name}."
            )


def _reject_shared_tables(tables: Sequence[ConfiguredTable]) -> None:
    """Raise ConfigError for two streams with one table; names in the lake ignore case."""
    owners: dict[str, ConfiguredTable] = {}
    for table in tables:
        owner = owners.setdefault(fold_name(str(table.table)), table)
        if owner is not table:
            raise ConfigError(
                f'{table.location}: streams "{owner.name}" ({owner.location}) and "{table.name}" '
                f'would both be table {table.table}. Give one of them another "name:".'
            )
