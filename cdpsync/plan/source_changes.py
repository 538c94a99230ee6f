"""Streams that a source no longer has, patterns without a match, and streams that share a table.

Pure: the streams of a source are compared with the project file and the state of the last run.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cdpsync.errors import ConfigError
from cdpsync.model import SyncMode
from cdpsync.plan.configured import names_stream, rule_matches, table_options
from cdpsync.sql import fold_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cdpsync.model import SavedState, Source, Stream, TableName
    from cdpsync.model.state import TableKey
    from cdpsync.plan.configured import ConfiguredTable

_MOST_LISTED = 8  # streams in an error message


@dataclass(frozen=True, slots=True)
class IdlePattern:
    """A pattern of the project file that selects no stream of its source.

    `pattern` is a glob of streams. `message` names the place and what the source has instead.
    `excludes`: it only disables tables, so nothing is missing without it.
    """

    source: str
    pattern: str
    message: str
    excludes: bool = False

    def matches(self, stream: str) -> bool:
        """Whether the pattern selects a stream of this name."""
        return fnmatchcase(stream, self.pattern)


def idle_patterns(source: Source, streams: Sequence[Stream]) -> list[IdlePattern]:
    """Return the globs under `tables:` that match no stream."""
    names = [stream.name for stream in streams]
    listed = ", ".join(names[:_MOST_LISTED]) or "none"
    ellipsis = ", …" if len(names) > _MOST_LISTED else ""
    return [
        IdlePattern(
            source.name,
            rule.pattern,
            f'{rule.location}: tables: "{rule.pattern}" matches no stream of source '
            f'"{source.name}". It has: {listed}{ellipsis}. '
            f"List all of them: cdpsync discover {source.name}.",
            excludes=rule.options.enabled is False,
        )
        for rule in source.tables
        if rule.is_glob and not any(rule_matches(rule, name) for name in names)
    ]


def shared_tables(
    tables: Iterable[ConfiguredTable], saved_states: Iterable[SavedState]
) -> dict[TableKey, ConfigError]:
    """Return the error of each stream that would share its table with another one.

    The stream whose rows the table has goes on, and the others of its group fail; if it has those
    of none of them, all fail, because their order must not decide. A stream whose table differs
    from an existing one in case alone fails too, as after a rename at the source: it would replace
    rows that are nowhere else. `full_table` may, because it keeps none of those.
    """
    groups: dict[str, list[ConfiguredTable]] = defaultdict(list)
    for table in tables:
        if table.stream is not None:
            groups[folded(table.table)].append(table)
    states = {folded(saved.table): saved for saved in saved_states}
    owners = {name: (saved.source, saved.stream) for name, saved in states.items()}
    renamed = {
        (table.source, table.name): _renamed_table_error(table, states[name])
        for name, (table, *others) in groups.items()
        if name in states and not others and _is_renamed(table, states[name])
    }
    return renamed | {
        (table.source, table.name): _shared_table_error(
            table, _other(group, table, owners.get(name))
        )
        for name, group in groups.items()
        for table in group
        if len(group) > 1 and owners.get(name) != (table.source, table.name)
    }


def _is_renamed(table: ConfiguredTable, saved: SavedState) -> bool:
    """Whether a table is to get the name of another stream's table in another case."""
    is_other = (saved.source, saved.stream) != (table.source, table.name)
    return is_other and saved.table != table.table and table.mode is not SyncMode.FULL_TABLE


def _renamed_table_error(table: ConfiguredTable, saved: SavedState) -> ConfigError:
    return ConfigError(
        f'{table.location}: stream "{table.name}" would be table {table.table}. The lake ignores '
        f'case and has {saved.table} from stream "{saved.stream}", whose rows it would lose. Give '
        f"this one another name, under tables: '{table.name}': {{name: {table.table.name}_2}}; or "
        f"drop the old table first: cdpsync delete {saved.source}.{saved.stream}."
    )


def _other(
    group: Sequence[ConfiguredTable], table: ConfiguredTable, owner: TableKey | None
) -> ConfiguredTable:
    """Return the stream to name beside one that shares its table: the table's owner, or another."""
    others = [other for other in group if other is not table]
    return next((other for other in others if (other.source, other.name) == owner), others[0])


def _shared_table_error(table: ConfiguredTable, other: ConfiguredTable) -> ConfigError:
    return ConfigError(
        f'{table.location}: streams "{table.name}" and "{other.name}" ({other.location}) would '
        f"both be table {table.table}. Give this one another name, under tables: "
        f"'{table.name}': {{name: {table.table.name}_2}}."
    )


def folded(table: TableName) -> str:
    """Return a table's name as the lake compares it."""
    return fold_name(str(table))


def missing_streams(
    source: Source,
    streams: Sequence[Stream],
    tables: Iterable[ConfiguredTable],
    saved_states: Iterable[SavedState],
    lake_tables: Mapping[TableName, object],
) -> list[SavedState]:
    """Return the state of each table of the lake whose stream the source no longer has.

    A table counts if the project file still asks for its stream, by a glob or by naming no table.
    One that is named in full fails anyway. If another stream has taken the table, it is not
    missing.
    """
    names = {stream.name for stream in streams}
    claimed = {folded(table.table) for table in tables if table.stream is not None}
    return [
        saved
        for saved in saved_states
        if saved.source == source.name
        and saved.stream not in names
        and saved.table in lake_tables
        and folded(saved.table) not in claimed
        and is_asked_for(source, saved.stream)
        and not names_stream(source, saved.stream)
    ]


def is_asked_for(source: Source, stream: str) -> bool:
    """Whether the project file asks for a stream of this name, if the source has it."""
    selects = getattr(source.options, "selects", None)  # not every connector's options have it
    return table_options(source, stream) is not None and (selects is None or selects(stream))
