"""Test project around one connector, which it reads as a run would read it."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import BaseModel, SecretStr

from cdpsync import engine
from cdpsync.connector import registry
from cdpsync.connector.returned import chunks_of, discovered_streams, opened_read, relation_of
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
from cdpsync.project.workspace import catalog_of
from cdpsync.sql import quote_name, quote_names, quote_text
from cdpsync.system import clock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import duckdb

    from cdpsync.connector import Chunk, Connector, ReadRequest
    from cdpsync.model import TablePlan

NAME = "conformance"


def check(condition: bool, message: str) -> None:
    """Raise AssertionError where the condition is false; unlike `assert`, also under -O."""
    if not condition:
        raise AssertionError(message)


@dataclass(frozen=True, slots=True)
class ConnectorCase:
    """A connector under test: options that work, and changes to them that break it."""

    connector: type[Connector]
    options: Mapping[str, object]
    broken: Sequence[Mapping[str, object]]
    streams: Sequence[str]

    def validated(self, **changes: object) -> BaseModel:
        """Return the validated options, with these changes. Raises pydantic's ValidationError."""
        return self.connector.Options.model_validate({**self.options, **changes})

    @contextmanager
    def opened(self, **changes: object) -> Iterator[Connector]:
        """Make the connector, and close it at the end."""
        connector = self.connector(self.validated(**changes))
        try:
            yield connector
        finally:
            connector.close()

    def selected_streams(self, connector: Connector) -> list[Stream]:
        """Return the streams to read. Raises AssertionError where one of them cannot be read."""
        streams = [
            stream
            for stream in discovered_streams(connector)
            if any(fnmatchcase(stream.name, glob) for glob in self.streams)
        ]
        check(bool(streams), f"discover() finds no stream that matches {', '.join(self.streams)}")
        for stream in streams:
            check(
                stream.unreadable_reason is None,
                f"{stream.name} cannot be read: {stream.unreadable_reason}",
            )
        return streams

    def secrets(self) -> list[str]:
        """Return the secrets among the options, as text."""
        return list(secrets_of(self.validated()))


class _ReadingAgain:
    """A connector whose chunks were read once before, as after a failure in the middle of one."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    def __getattr__(self, name: str) -> object:
        return getattr(self._connector, name)

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[list[_ChunkReadBefore]]:
        """Return the connector's chunks, each of which is read to its end before its rows."""
        with opened_read(self._connector, request) as chunks:
            yield [_ChunkReadBefore(chunk) for chunk in chunks_of(self._connector, chunks)]


@dataclass(frozen=True, slots=True)
class _ChunkReadBefore:
    chunk: Chunk

    @property
    def label(self) -> str:
        return self.chunk.label

    def relation(self, con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
        relation_of(self.chunk, con).fetchall()
        con.rollback()  # because each attempt of a run has a transaction of its own
        con.begin()
        return relation_of(self.chunk, con)


def secrets_of(options: BaseModel) -> Iterator[str]:
    """Return the secrets in these options, as text."""
    for name in type(options).model_fields:
        value = getattr(options, name)
        if isinstance(value, SecretStr) and value.get_secret_value():
            yield value.get_secret_value()
        elif isinstance(value, BaseModel):
            yield from secrets_of(value)


@dataclass(frozen=True, slots=True)
class TestProject:
    """A project in a temporary folder, whose only source is the connector under test."""

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
        limit: int | None = None,
        again: bool = False,
        from_state: bool = False,
    ) -> Extracted:
        """Read a stream to Parquet files, as a run would; with `again`, each chunk twice.

        With `from_state`, `low` is the state to go on from.
        """
        mode = mode if from_state or cursor_field else SyncMode.FULL_TABLE
        plan = replace(self._plan(stream, include, cursor_field, mode), limit=limit)
        if from_state:
            plan = replace(plan, cursor_before=low)
        elif low is not None:
            field = plan.cursor_field or ""
            plan = replace(plan, cursor_before=low, window=Window(field, low))
        folder = Path(tempfile.mkdtemp(prefix=f"{label[:40]}-".replace("/", "_"), dir=self.folder))
        pool = Workers(workers, folder / "spill")
        try:
            connector = self.connector
            if again:
                connector = cast("Connector", _ReadingAgain(connector))
            return extract(plan, connector, pool, folder)
        finally:
            pool.close()

    def _plan(
        self,
        stream: Stream,
        include: tuple[str, ...] | None,
        cursor_field: str | None,
        mode: SyncMode,
    ) -> TablePlan:
        follows_log = mode is SyncMode.INCREMENTAL
        options = TableOptions(
            mode=mode,
            cursor_field=None if follows_log else cursor_field,
            include=include,
        )
        source = replace(self.config.sources[NAME], tables=(TableRule(stream.name, options, NAME),))
        (table,) = configured_tables(source, [stream])
        return table_plan(
            table, PreviousState(), full_refresh=False, allow_shrink=True, now=clock.now()
        )

    def rows(self, extracted: Extracted, columns: Sequence[Column] | None = None) -> str:
        """Return a SELECT of the rows that were read."""
        columns = extracted.columns if columns is None else columns
        files = [file.path for file in extracted.files]
        if files:
            return spooled_rows(files, columns)
        nulls = (f"cast(null as {c.type}) as {quote_name(c.name)}" for c in columns)
        return f"select {', '.join(nulls)} where false"

    def assert_same(
        self,
        stream: Stream,
        expected: Extracted,
        actual: Extracted,
        columns: Sequence[Column] | None = None,
        where: str = "true",
    ) -> None:
        """Assert that `actual` has the rows of `expected` where `where` holds, each as often."""
        columns = expected.columns if columns is None else columns
        rows = f"select * from ({self.rows(expected)}) where {where}"
        names = quote_names(column.name for column in columns)
        self._assert_equal(
            stream, f"select {names} from ({rows})", self.rows(actual, columns), where
        )

    def assert_part(self, stream: Stream, whole: Extracted, part: Extracted) -> None:
        """Assert that each row of `part` is one of `whole`."""
        rows = self.con.execute(
            f"({self.rows(part, whole.columns)}) except all ({self.rows(whole)})"
        ).fetchall()
        check(not rows, f"{stream.name}: {len(rows)} rows are not the stream's: {rows[:1]}")

    def assert_in_lake(self, stream: Stream, expected: Extracted) -> None:
        """Assert that a query of the lake gives the rows that were read."""
        with catalog_of(self.config).reader() as con:
            names = quote_names(column.name for column in expected.columns)
            table = f"lake.{NAME}.{quote_name(stream.table)}"
            copy = self.folder / f"{len(list(self.folder.iterdir()))}.parquet"
            con.execute(
                f"copy (select {names} from {table}) to {quote_text(str(copy))} (format parquet)"
            )
        lake_rows = spooled_rows([copy], expected.columns)
        self._assert_equal(stream, self.rows(expected), lake_rows, "true")

    def _assert_equal(self, stream: Stream, expected: str, actual: str, where: str) -> None:
        for minuend, subtrahend, verb in (
            (expected, actual, "missing"),
            (actual, expected, "too many"),
        ):
            rows = self.con.execute(f"({minuend}) except all ({subtrahend})").fetchall()
            check(
                not rows,
                f"{stream.name}: {len(rows)} rows are {verb} (where {where}): {rows[:1]}",
            )

    def values_of(self, extracted: Extracted, field: str) -> list[Cursor]:
        """Return the lowest, a middle and the highest value of a cursor field."""
        column = next(column for column in extracted.columns if column.name == field)
        type_, name = cursor_type_of(column.type), quote_name(field)
        if type_ is None:
            raise AssertionError(f"{field} has the type {column.type}, which has no order")
        finite = f" and isfinite({name})" if "TIME" in column.type or column.type == "DATE" else ""
        rows = self.con.execute(
            f"select distinct {name} from ({self.rows(extracted)}) "
            f"where {name} is not null{finite} order by 1"
        ).fetchall()
        values = [row[0] for row in rows]
        indexes = sorted({0, len(values) // 2, len(values) - 1}) if values else []
        return [Cursor(type_, values[index]) for index in indexes]


@contextmanager
def open_test_project(case: ConnectorCase) -> Iterator[TestProject]:
    """Make the connector and a project around it, in a temporary folder."""
    registry.register(NAME, case.connector)
    with tempfile.TemporaryDirectory(prefix="cdpsync-") as name, case.opened() as connector:
        folder = Path(name)
        streams = case.selected_streams(connector)
        rules = tuple(TableRule(stream.name, TableOptions(), f"{NAME}:1") for stream in streams)
        source = Source(NAME, NAME, case.validated(), f"{NAME}:1", tables=rules)
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
