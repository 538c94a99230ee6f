"""A connector on trial: made from its options, and read as a run would read it."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, SecretStr

from cdpsync import engine, project
from cdpsync.connector import registry
from cdpsync.extract.spool import spooled_rows
from cdpsync.extract.table import Extracted, extract
from cdpsync.extract.workers import Workers
from cdpsync.model import (
    Column,
    Config,
    Cursor,
    Source,
    Stream,
    SyncMode,
    TableOptions,
    TableRule,
    Warehouse,
    Window,
)
from cdpsync.model.cursors import cursor_type_of
from cdpsync.plan.configured import configured_tables
from cdpsync.plan.resume import PreviousState
from cdpsync.plan.table import table_plan
from cdpsync.sql import quote_name, quote_names, quote_text
from cdpsync.system import clock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import duckdb

    from cdpsync.connector import Connector
    from cdpsync.model import TablePlan

NAME = "conformance"


def require(holds: bool, otherwise: str) -> None:
    """Raise AssertionError where something does not hold; unlike `assert`, also under -O."""
    if not holds:
        raise AssertionError(otherwise)


@dataclass(frozen=True, slots=True)
class ConnectorCase:
    """A connector, options that work, and changes to them that do not."""

    connector: type[Connector]
    options: Mapping[str, object]
    broken: Sequence[Mapping[str, object]]
    streams: Sequence[str]

    def validated(self, **changes: object) -> BaseModel:
        """Return the options, with these changes. Raises pydantic's ValidationError."""
        return self.connector.Options.model_validate({**self.options, **changes})

    @contextmanager
    def opened(self, **changes: object) -> Iterator[Connector]:
        """Make the connector, and let go of its connections at the end."""
        connector = self.connector(self.validated(**changes))
        try:
            yield connector
        finally:
            connector.close()

    def chosen(self, connector: Connector) -> list[Stream]:
        """Return the streams that are on trial; none of them may be refused."""
        found = [
            stream
            for stream in connector.discover()
            if any(fnmatchcase(stream.name, glob) for glob in self.streams)
        ]
        require(bool(found), f"discover() finds no stream that matches {', '.join(self.streams)}")
        for stream in found:
            require(
                stream.unreadable_reason is None,
                f"{stream.name} cannot be read: {stream.unreadable_reason}",
            )
        return found

    def secrets(self) -> list[str]:
        """Return the secrets among the options, as text."""
        return list(secrets_of(self.validated()))


def secrets_of(options: BaseModel) -> Iterator[str]:
    """Return the secrets in some options, as text."""
    for name in type(options).model_fields:
        value = getattr(options, name)
        if isinstance(value, SecretStr) and value.get_secret_value():
            yield value.get_secret_value()
        elif isinstance(value, BaseModel):
            yield from secrets_of(value)


@dataclass(frozen=True, slots=True)
class TestProject:
    """A connector at work, over a project of its own in a folder that does not last."""

    connector: Connector
    streams: list[Stream]
    config: Config
    folder: Path
    con: duckdb.DuckDBPyConnection

    def read(
        self,
        stream: Stream,
        label: str,
        *,
        workers: int = 1,
        include: tuple[str, ...] | None = None,
        cursor_field: str | None = None,
        mode: SyncMode = SyncMode.APPEND_ONLY,
        low: Cursor | None = None,
    ) -> Extracted:
        """Read a stream to Parquet files, as a run would."""
        plan = self._plan(stream, include, cursor_field, mode)
        if low is not None:
            field = plan.cursor_field or ""
            plan = replace(plan, cursor_before=low, window=Window(field, low))
        folder = Path(tempfile.mkdtemp(prefix=f"{label[:40]}-".replace("/", "_"), dir=self.folder))
        pool = Workers(workers, folder / "spill")
        try:
            return extract(plan, self.connector, pool, folder)
        finally:
            pool.close()

    def _plan(
        self,
        stream: Stream,
        include: tuple[str, ...] | None,
        cursor_field: str | None,
        mode: SyncMode,
    ) -> TablePlan:
        follows = mode is SyncMode.INCREMENTAL
        options = TableOptions(
            mode=SyncMode.FULL_TABLE if cursor_field is None else mode,
            cursor_field=None if follows else cursor_field,
            include=include,
        )
        source = replace(self.config.sources[NAME], tables=(TableRule(stream.name, options, NAME),))
        (one,) = configured_tables(source, [stream])
        return table_plan(
            one, PreviousState(), full_refresh=False, allow_shrink=True, now=clock.now()
        )

    def rows(self, extracted: Extracted, columns: Sequence[Column] | None = None) -> str:
        """Return what was read as SQL."""
        columns = extracted.columns if columns is None else columns
        files = [file.path for file in extracted.files]
        if files:
            return spooled_rows(files, columns)
        nulls = (f"cast(null as {c.type}) as {quote_name(c.name)}" for c in columns)
        return f"select {', '.join(nulls)} where false"

    def assert_same(
        self,
        stream: Stream,
        one: Extracted,
        other: Extracted,
        columns: Sequence[Column] | None = None,
        where: str = "true",
    ) -> None:
        """Assert that two reads gave the same rows, each as often, the first where it says."""
        columns = one.columns if columns is None else columns
        left = f"select * from ({self.rows(one)}) where {where}"
        names = quote_names(column.name for column in columns)
        self._assert_equal(
            stream, f"select {names} from ({left})", self.rows(other, columns), where
        )

    def assert_in_lake(self, stream: Stream, read: Extracted) -> None:
        """Assert that a query gives what was read."""
        with project.catalog_of(self.config).reader() as con:
            names = quote_names(column.name for column in read.columns)
            table = f"lake.{NAME}.{quote_name(stream.table)}"
            copy = self.folder / f"{len(list(self.folder.iterdir()))}.parquet"
            con.execute(
                f"copy (select {names} from {table}) to {quote_text(str(copy))} (format parquet)"
            )
        self._assert_equal(stream, self.rows(read), spooled_rows([copy], read.columns), "true")

    def _assert_equal(self, stream: Stream, left: str, right: str, where: str) -> None:
        for these, those, verb in ((left, right, "missing"), (right, left, "too many")):
            rows = self.con.execute(f"({these}) except all ({those})").fetchall()
            require(
                not rows,
                f"{stream.name}: {len(rows)} rows are {verb} (where {where}): {rows[:1]}",
            )

    def values_of(self, extracted: Extracted, field: str) -> list[Cursor]:
        """Return the lowest, a middle and the highest value of a cursor field."""
        column = next(column for column in extracted.columns if column.name == field)
        type_, name = cursor_type_of(column.type), quote_name(field)
        if type_ is None:
            raise AssertionError(f"{field} arrives as {column.type}, which has no order")
        finite = f" and isfinite({name})" if "TIME" in column.type or column.type == "DATE" else ""
        rows = self.con.execute(
            f"select distinct {name} from ({self.rows(extracted)}) "
            f"where {name} is not null{finite} order by 1"
        ).fetchall()
        values = [row[0] for row in rows]
        picked = sorted({0, len(values) // 2, len(values) - 1}) if values else []
        return [Cursor(type_, values[place]) for place in picked]


@contextmanager
def reading_of(subject: ConnectorCase) -> Iterator[TestProject]:
    """Make the connector, and a project over it in a folder that does not last."""
    registry.register(NAME, subject.connector)
    with tempfile.TemporaryDirectory(prefix="cdpsync-") as name, subject.opened() as connector:
        folder = Path(name)
        streams = subject.chosen(connector)
        rules = tuple(TableRule(stream.name, TableOptions(), f"{NAME}:1") for stream in streams)
        source = Source(NAME, NAME, subject.validated(), f"{NAME}:1", tables=rules)
        warehouse = Warehouse(
            str(folder / "warehouse"),
            folder / "lake/catalog.ducklake",
            folder / "lake/state.json",
            keep=timedelta(days=1),
        )
        con = engine.connect()
        try:
            config = Config(warehouse, {NAME: source}, ())
            (folder / "reads").mkdir()
            yield TestProject(connector, streams, config, folder / "reads", con)
        finally:
            con.close()
            registry.unregister(NAME)
