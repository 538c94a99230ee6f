"""Config and streams to the tables that a project asks for. Pure: no I/O, no clock."""

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

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


Names = tuple[str, str, str]
"""What SELECT may mean a table by: its source, its stream, and its name in the lake."""


@dataclass(frozen=True, slots=True)
class ConfiguredTable:
    """A stream that the project file asks for, with all that the file says of it.

    `stream` is None when the source has no stream of this name; `near` is then the one it has
    that is spelled most like it.
    """

    source: str
    name: str
    table: TableName
    options: TableOptions
    location: str
    stream: Stream | None
    near: str | None = None

    @property
    def names(self) -> Names:
        """What SELECT may mean it by."""
        return self.source, self.name, str(self.table)

    @property
    def mode(self) -> SyncMode:
        """The sync mode; every row, unless the file says otherwise."""
        return self.options.mode or SyncMode.FULL_TABLE

    @property
    def deletes(self) -> Deletes:
        """What becomes of rows that the source no longer has; they stay, unless the file says."""
        return self.options.deletes or Deletes.IGNORE


def configured_tables(source: Source, streams: Iterable[Stream]) -> tuple[ConfiguredTable, ...]:
    """Return the enabled tables of a source, in the order of its streams.

    Raises ConfigError for a glob that matches nothing, and for two streams of one table.
    """
    listed = list(streams)
    by_name = {stream.name: stream for stream in listed}
    _refuse_idle_globs(source, by_name)
    wanted = [_wanted(source, stream.name, stream) for stream in listed]
    wanted += [
        _wanted(source, rule.pattern, None)
        for rule in source.tables
        if not rule.is_glob and rule.pattern not in by_name
    ]
    enabled = tuple(
        one if one.stream else replace(one, near=suggest(one.name, by_name))
        for one in wanted
        if one is not None
    )
    _refuse_shared_tables(enabled)
    return enabled


def _wanted(source: Source, name: str, stream: Stream | None) -> ConfiguredTable | None:
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
    """Return all that the file says of a stream, or None when it is not to be synced."""
    rules = _rules(source, name)
    if not rules and not _takes_everything(source):
        return None
    options = TableOptions(every=source.every)
    for said in (source.defaults, *(rule.options for rule in rules)):
        options = said.over(options)
    return None if options.enabled is False else options


def _rules(source: Source, name: str) -> list[TableRule]:
    """Return the keys that mean a stream: globs in their order, then the exact one."""
    rules = [rule for rule in source.tables if _matches(rule, name)]
    return sorted(rules, key=lambda rule: not rule.is_glob)


def _takes_everything(source: Source) -> bool:
    """Whether streams that no key names are synced: no keys, or only keys that switch off."""
    return all(rule.options.enabled is False for rule in source.tables)


def _matches(rule: TableRule, name: str) -> bool:
    return fnmatchcase(name, rule.pattern) if rule.is_glob else name == rule.pattern


def _refuse_idle_globs(source: Source, streams: Mapping[str, Stream]) -> None:
    for rule in source.tables:
        if rule.is_glob and not any(_matches(rule, name) for name in streams):
            found = ", ".join(list(streams)[:8]) or "none"
            raise ConfigError(
                f'{rule.location}: tables: "{rule.pattern}" matches no stream of source '
                f'"{source.name}". It has: {found}{", …" if len(streams) > 8 else ""}. '
                f"See them all: cdpsync discover {source.name}."
            )


def _refuse_shared_tables(wanted: Sequence[ConfiguredTable]) -> None:
    owners: dict[str, ConfiguredTable] = {}
    for one in wanted:
        other = owners.setdefault(str(one.table).lower(), one)
        if other is not one:
            raise ConfigError(
                f'{one.location}: streams "{other.name}" ({other.location}) and "{one.name}" would '
                f'both be table {one.table}. Give one of them another "name:".'
            )
