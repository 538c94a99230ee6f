"""The tables that a project knows without reading a source: from its file, lake and state file."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cdpsync.catalog import Lake
from cdpsync.errors import ConfigError
from cdpsync.model import (
    Config,
    RunRecord,
    TableName,
)
from cdpsync.model.plan import is_side_table
from cdpsync.model.state import ProjectState, TableKey
from cdpsync.plan.configured import default_table, rule_matches, table_options
from cdpsync.plan.selector import did_you_mean, is_chosen, matches_name, means_all, resolved
from cdpsync.project.workspace import catalog_of
from cdpsync.state import read_state, reconcile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cdpsync.plan.configured import Names


@dataclass(frozen=True, slots=True)
class KnownTable:
    """A table that the project file names, or of which the lake has state or a record."""

    source: str
    stream: str
    table: TableName
    enabled: bool

    @property
    def key(self) -> TableKey:
        """The table's key in the state file: its source and stream."""
        return self.source, self.stream

    @property
    def names(self) -> Names:
        """The names that SELECT may match."""
        return self.source, self.stream, str(self.table)


def load_state(config: Config, lake_state: ProjectState | None = None) -> ProjectState:
    """Read the state of the project, from the lake and the state file.

    `lake_state` is the state as the catalog has it; without it, the catalog is opened for it.
    """
    catalog = catalog_of(config)
    if lake_state is None and catalog.exists():
        with catalog.reader(data=False) as con:
            lake_state = Lake(con).state()
    lake_state = lake_state or ProjectState()
    entries, notices = reconcile(read_state(config.warehouse.state), lake_state.saved_states)
    return replace(lake_state, entries=entries, notices=notices)


def records_by_table(state: ProjectState) -> Mapping[TableKey, Sequence[RunRecord]]:
    """Return the latest records of each table, newest first; none for an unknown table."""
    records: dict[TableKey, list[RunRecord]] = defaultdict(list)
    for record in state.latest_runs:
        records[record.result.source, record.result.stream].append(record)
    return records


def known_tables(
    config: Config, state: ProjectState, select: Sequence[str] = (), *, samples: bool = False
) -> tuple[KnownTable, ...]:
    """Return the known tables that SELECT matches. Raises ConfigError when a pattern matches none.

    A pattern may match a source of the project that has no known table yet. With `samples`, the
    tables of sample loads count too; their stream is their own name.
    """
    tables = _all_known(config, state)
    if samples:
        known = {table.table for table in tables}
        tables += [
            KnownTable(table.schema, table.name, table, enabled=False)
            for table in sorted(state.tables, key=str)
            if is_side_table(table) and table not in known
        ]
    names = [table.names for table in tables]
    select = resolved(select, names, config.sources)
    require_known(config, names, select)
    return tuple(table for table in tables if is_chosen(table.names, select))


def _all_known(config: Config, state: ProjectState) -> list[KnownTable]:
    names: dict[TableKey, TableName] = {}
    for saved in state.saved_states:
        names[saved.source, saved.stream] = saved.table
    for record in state.latest_runs:
        result = record.result
        if (result.source, result.stream) not in names and not result.is_placeholder:
            names[result.source, result.stream] = result.table
    for source in config.sources.values():
        for rule in source.tables:
            is_known = any(
                name == source.name and rule_matches(rule, stream) for name, stream in names
            )
            if not rule.is_glob and not is_known:
                name = rule.options.name or default_table(source, rule.pattern)
                names[source.name, rule.pattern] = TableName(source.name, name)
    return [
        KnownTable(source, stream, table, _is_enabled(config, source, stream))
        for (source, stream), table in sorted(names.items(), key=lambda item: item[0])
    ]


def require_known(config: Config, tables: Iterable[Names], select: Sequence[str]) -> None:
    """Raise ConfigError for a pattern of SELECT that matches neither a table nor a source."""
    tables = list(tables)
    for pattern in select:
        if not any(matches_name(*names, pattern) for names in tables) and not any(
            means_all(source, pattern) for source in config.sources
        ):
            known_names = ", ".join(dict.fromkeys(table for *_, table in tables)) or "none yet"
            hint = did_you_mean(pattern, tables, config.sources)
            raise ConfigError(f'"{pattern}" matches no table.{hint} Known tables: {known_names}.')


def _is_enabled(config: Config, source: str, stream: str) -> bool:
    return source in config.sources and table_options(config.sources[source], stream) is not None
