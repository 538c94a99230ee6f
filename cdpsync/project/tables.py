"""The tables a project knows without asking any source: from its file, its lake and its state."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.catalog import Lake, LakeState
from cdpsync.errors import ConfigError
from cdpsync.model import (
    ALL_STREAMS,
    Config,
    LakeTable,
    RunRecord,
    SavedState,
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
class KnownTable:
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
class ProjectState:
    """The state of a project between runs, from lake and state file, read at one moment.

    `latest_runs` has each table's last record and its last successful one of a kind, newest first,
    and none from before the table was deleted.
    """

    state: State
    saved_states: tuple[SavedState, ...]
    latest_runs: tuple[RunRecord, ...]
    tables: Mapping[TableName, LakeTable]
    notices: tuple[str, ...] = ()


def load_state(config: Config, recorded: LakeState | None = None) -> ProjectState:
    """Bring together what the lake and the state file remember.

    `recorded` is the lake's part; without it, the catalog is opened for it.
    """
    catalog = catalog_of(config)
    if recorded is None and catalog.exists():
        with catalog.reader(data=False) as con:
            recorded = Lake(con).state()
    recorded = recorded or LakeState()
    state, notices = reconcile(read_state(config.warehouse.state), recorded.saved_states)
    return ProjectState(
        state, recorded.saved_states, recorded.latest_runs, recorded.tables, notices
    )


def records_by_table(memory: ProjectState) -> Mapping[tuple[str, str], Sequence[RunRecord]]:
    """Return the latest records of each source's stream, newest first; none of an unknown one."""
    records: dict[tuple[str, str], list[RunRecord]] = defaultdict(list)
    for record in memory.latest_runs:
        records[record.result.source, record.result.stream].append(record)
    return records


def known_tables(
    config: Config, memory: ProjectState, select: Sequence[str] = ()
) -> tuple[KnownTable, ...]:
    """Return the known tables that SELECT means. Raises ConfigError when one means none.

    A source of the project may be named before anything is known of it.
    """
    found = _found(config, memory)
    _refuse_unknown(config, [one.names for one in found], select)
    return tuple(one for one in found if is_chosen(one.names, select))


def _found(config: Config, memory: ProjectState) -> list[KnownTable]:
    found: dict[tuple[str, str], KnownTable] = {}
    for entry in memory.saved_states:
        found[entry.source, entry.stream] = _known(config, entry.source, entry.stream, entry.table)
    for record in memory.latest_runs:
        result = record.result
        if (result.source, result.stream) not in found and result.stream != ALL_STREAMS:
            found[result.source, result.stream] = _known(
                config, result.source, result.stream, result.table
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


def _known(config: Config, source: str, stream: str, table: TableName) -> KnownTable:
    return KnownTable(source, stream, table, _is_enabled(config, source, stream))


def _is_enabled(config: Config, source: str, stream: str) -> bool:
    return source in config.sources and table_options(config.sources[source], stream) is not None
