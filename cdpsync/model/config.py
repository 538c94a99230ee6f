"""The content of the project file: its warehouse, sources and tables."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cdpsync.model.destinations import Destination
    from cdpsync.model.plan import Deletes, Lookback, SchemaChanges, SyncMode


@dataclass(frozen=True, slots=True)
class TableOptions:
    """The options of a table in the YAML. None: not given."""

    enabled: bool | None = None
    mode: SyncMode | None = None
    cursor_field: str | None = None
    primary_key: tuple[str, ...] | None = None
    lookback: Lookback | None = None
    every: timedelta | None = None
    name: str | None = None
    where: str | None = None
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    types: Mapping[str, str] | None = None
    allow_shrink: bool | None = None
    deletes: Deletes | None = None
    deletes_every: timedelta | None = None
    schema_changes: SchemaChanges | None = None

    def over(self, base: TableOptions) -> TableOptions:
        """Return these options, with the missing ones from `base`."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(base, **{name: value for name, value in values.items() if value is not None})


@dataclass(frozen=True, slots=True)
class TableRule:
    """One key under `tables:`, an exact stream name or a glob, with its place in the file.

    With `ignores_case`, it means a stream of another case too, until the streams are known.
    """

    pattern: str
    options: TableOptions
    location: str
    ignores_case: bool = False

    @property
    def is_glob(self) -> bool:
        """Whether the key may match more than one stream."""
        return any(sign in self.pattern for sign in "*?[")


@dataclass(frozen=True, slots=True)
class Source:
    """One source of the project file.

    `options` is the connector's own `Options`, validated; its repr shows no secret. `problem` says
    which of its values a variable or a file should have filled in: then there are no options, and
    the source cannot be opened. `omitted_schema` is left out of the lake's table names. With
    `ignores_case`, names of streams and columns may be written in another case.
    """

    name: str
    type: str
    options: object
    location: str
    every: timedelta | None = None
    defaults: TableOptions = field(default_factory=TableOptions)
    tables: tuple[TableRule, ...] = ()
    problem: str = ""
    omitted_schema: str | None = None
    ignores_case: bool = False


@dataclass(frozen=True, slots=True)
class Warehouse:
    """The place of the lake. `path` is an absolute folder, or a bucket URL."""

    path: str
    catalog: Path
    state: Path
    storage: object = None
    location: str = ""
    spool_max: int = 4 << 30  # bytes of files that wait for their upload
    memory: int | None = None  # bytes that a process may use; None: a share of the machine's
    keep: timedelta = timedelta(days=7)  # how long old snapshots can be queried
    publish: bool = False  # a copy of the catalog beside the data, after each run


@dataclass(frozen=True, slots=True)
class Config:
    """A whole project: its warehouse, its sources and destinations by name, and its files."""

    warehouse: Warehouse
    sources: Mapping[str, Source]
    files: tuple[Path, ...]
    destinations: Mapping[str, Destination] = field(default_factory=dict)
