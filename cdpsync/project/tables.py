"""The tables a project knows without asking any source: from its file, its lake and its state."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.catalog import Lake, Recorded
from cdpsync.errors import ConfigError
from cdpsync.model import (
    ALL_STREAMS,
    Config,
    CursorEntry,
    LakeTable,
    RunRecord,
    Source,
    TableName,
)
from cdpsync.plan.configured import table_options
from cdpsync.plan.selector import is_chosen, matches_name, means_all
from cdpsync.project.workspace import catalog_of
from cdpsync.state import State, read_state, reconcile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cdpsync.plan.configured import Names


# ---- what is known of the tables, without asking any source


@dataclass(frozen=True, slots=True)
class Known:
    """A table that the project file names or the lake remembers."""

    source: str
    stream: str
    table: TableName
    enabled: bool

    @property
    def names(self) -> Names:
        """What SELECT may name it by."""
        return self.source, self.stream, str(self.table)


@dataclass(frozen=True, slots=True)
class Memory:
    """All that is remembered between runs, at one moment.

    `latest` has each table's last record and its last successful one of a kind, newest first, and
    nothing from before it was deleted.
    """

    state: State
    cursors: tuple[CursorEntry, ...]
    latest: tuple[RunRecord, ...]
    tables: Mapping[TableName, LakeTable]
    notices: tuple[str, ...] = ()


def remember(config: Config, recorded: Recorded | None = None) -> Memory:
    """Bring together what the lake and the state file remember.

    `recorded` is the lake's part; without it, the catalog is opened for it.
    """
    catalog = catalog_of(config)
    if recorded is None and catalog.exists():
        with catalog.reader(data=False) as con:
            recorded = Lake(con).recorded()
    recorded = recorded or Recorded()
    state, notices = reconcile(read_state(config.warehouse.state), recorded.cursors)
    return Memory(state, recorded.cursors, recorded.latest, recorded.tables, notices)


def records_by_table(memory: Memory) -> Mapping[tuple[str, str], Sequence[RunRecord]]:
    """Return the latest records of each source's stream, newest first; none of an unknown one."""
    records: dict[tuple[str, str], list[RunRecord]] = defaultdict(list)
    for record in memory.latest:
        records[record.result.source, record.result.stream].append(record)
    return records


def known_tables(config: Config, memory: Memory, select: Sequence[str] = ()) -> tuple[Known, ...]:
    """Return the known tables that SELECT means. Raises ConfigError when one means none.

    A source of the project may be named before anything is known of it.
    """
    found = _found(config, memory)
    _refuse_unknown(config, [one.names for one in found], select)
    return tuple(one for one in found if is_chosen(one.names, select))


def _found(config: Config, memory: Memory) -> list[Known]:
    found: dict[tuple[str, str], Known] = {}
    for entry in memory.cursors:
        found[entry.source, entry.stream] = _known(config, entry.source, entry.stream, entry.table)
    for record in memory.latest:
        result = record.result
        if (result.source, result.stream) not in found and result.stream != ALL_STREAMS:
            table = TableName(*result.table.split(".", 1))
            found[result.source, result.stream] = _known(
                config, result.source, result.stream, table
            )
    for source in config.sources.values():
        for rule in source.tables:
            if not rule.is_glob and (source.name, rule.pattern) not in found:
                name = rule.options.name or _guess_table(source, rule.pattern)
                found[source.name, rule.pattern] = _known(
                    config, source.name, rule.pattern, TableName(source.name, name)
                )
    return [one for _, one in sorted(found.items())]


def _refuse_unknown(config: Config, tables: Iterable[Names], select: Sequence[str]) -> None:
    for pattern in select:
        if not any(matches_name(*names, pattern) for names in tables) and not any(
            means_all(source, pattern) for source in config.sources
        ):
            known = ", ".join(dict.fromkeys(table for *_, table in tables)) or "none yet"
            raise ConfigError(f'"{pattern}" matches no table. Known tables: {known}.')


def _guess_table(source: Source, stream: str) -> str:
    """Return the table's name as discovery would, for a stream that was never read."""
    default = getattr(source.options, "default_schema", None)
    schema, _, name = stream.rpartition(".")
    return name if schema in {"", default} else stream.replace(".", "_")


def _known(config: Config, source: str, stream: str, table: TableName) -> Known:
    return Known(source, stream, table, _is_enabled(config, source, stream))


def _is_enabled(config: Config, source: str, stream: str) -> bool:
    return source in config.sources and table_options(config.sources[source], stream) is not None
