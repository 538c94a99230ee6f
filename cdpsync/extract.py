"""A planned table to Parquet files in the spool: chunks on workers, retried, told as they go."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from concurrent.futures import wait
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from cdpsync import disk, engine
from cdpsync.arriving import landed_columns
from cdpsync.connector import Chunk, Connector, Marked, ReadRequest, Settled, ignore
from cdpsync.cursors import later
from cdpsync.errors import CdpsyncError, ContractError, LandingError, ReadError
from cdpsync.known import keep_known, known_file, take_known
from cdpsync.model import DELETED_AT, Column, Cursor, Deletes, TablePlan
from cdpsync.spooled import highest, spooled_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import duckdb

    from cdpsync.connector import Keys, Share
    from cdpsync.workers import Workers

log = logging.getLogger("cdpsync.extract")

_TRIES = 4
_FIRST_PAUSE = 0.5  # seconds; doubled before each further try

# Level 1 of zstd lands as fast as the source talks; higher levels make the worker the bottleneck.
_LAND = """
    copy ({select}) to {file}
    (format parquet, compression zstd, compression_level 1, return_stats)
"""


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """A Parquet file in the spool, complete; `cursor` is the highest in it."""

    path: Path
    rows: int
    bytes: int
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True)
class Extracted:
    """What one table's read gave: files without empty ones, and the columns as they landed.

    `cursor` is where the next read may start. `notices` are what the connector had to say.
    `reached`: any row had a cursor.
    """

    files: tuple[SpoolFile, ...]
    columns: tuple[Column, ...]
    cursor: Cursor | None = None
    notices: tuple[str, ...] = ()
    reached: bool = True

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return sum(file.rows for file in self.files)


def extract(
    plan: TablePlan,
    connector: Connector,
    workers: Workers,
    folder: Path,
    on_chunk: Callable[[int, int, int], None],
    *,
    on_file: Callable[[SpoolFile], None] = ignore,
    wait_for_room: Callable[[Callable[[], bool]], None] = ignore,
    project: Callable[[tuple[Column, ...], str], str] | None = None,
    only: Keys | Share | None = None,
    known: Path | None = None,
) -> Extracted:
    """Read everything the plan asks for into Parquet files under `folder`.

    `on_chunk(rows, chunks_done, chunks)` is called as chunks arrive. `on_file` gets each file
    that is complete, on the thread that wrote it. `wait_for_room`, given a function that tells
    when to give up, is called before a chunk is read and may take its time. `project`, given the
    columns and a SELECT of them, returns what is written down in their place; no cursor is
    told of it then, and `known` is a folder where that is kept for chunks that do not change until
    they are read again. `only` is what of the rows would do. The first chunk that fails for good
    ends the table with its error; the files stay for whoever owns the folder.
    """
    landing = _Landing(plan, connector, workers, folder, wait_for_room, project, known)

    def land(number: int, chunk: Chunk) -> SpoolFile:
        file = landing.land(number, chunk)
        if file.rows:
            on_file(file)
        return file

    notices: list[str] = []
    fetched = folder / "fetched"
    shutil.rmtree(fetched, ignore_errors=True)
    fetched.mkdir()
    request = replace(
        _request(plan, workers.count),
        only=only,
        steady=known is not None,
        folder=fetched,
        tell=lambda rows: on_chunk(rows, 0, 0),
        notify=notices.append,
        is_stopped=landing.is_stopping,
    )
    with connector.read(request) as chunks:
        listed = list(chunks)
        futures = [
            workers.submit(connector, partial(land, number, chunk))
            for number, chunk in enumerate(listed)
        ]
        files: list[SpoolFile] = []
        try:
            for done, future in enumerate(futures, start=1):
                files.append(future.result())
                on_chunk(sum(file.rows for file in files), done, len(listed))
        except BaseException:
            landing.stopping.set()
            for future in futures:
                future.cancel()
            wait(futures)
            raise
        cursor = _reached(plan, chunks, files)
    shutil.rmtree(fetched, ignore_errors=True)
    kept = tuple(file for file in files if file.rows)
    reached = any(file.cursor is not None for file in kept)
    return Extracted(kept, landing.columns(), cursor, tuple(notices), reached)


def _reached(plan: TablePlan, chunks: Iterable[Chunk], files: Iterable[SpoolFile]) -> Cursor | None:
    """Return where the next read may start; never before where this one did."""
    if plan.cursor_field is None:
        return None
    highest: Cursor | None = None
    for file in files:
        highest = later(highest, file.cursor)
    if isinstance(chunks, Settled):
        highest = chunks.cursor(highest)
    return later(plan.cursor_before, highest)


class _Landing:
    """The landing of one table: every chunk through one statement, all with the same columns."""

    def __init__(
        self,
        plan: TablePlan,
        connector: Connector,
        workers: Workers,
        folder: Path,
        wait_for_room: Callable[[Callable[[], bool]], None],
        project: Callable[[tuple[Column, ...], str], str] | None = None,
        known: Path | None = None,
    ) -> None:
        self.stopping = threading.Event()
        self._plan = plan
        self._connector = connector
        self._workers = workers
        self._folder = folder
        self._wait_for_room = wait_for_room
        self._project = project
        self._known = known
        self._columns: tuple[Column, ...] | None = None
        self._guard = threading.Lock()

    def columns(self) -> tuple[Column, ...]:
        """Return the columns as they landed."""
        if self._columns is None:
            raise ReadError(f"{self._plan.table}: the connector handed over no chunk at all.")
        return self._columns

    def land(self, number: int, chunk: Chunk) -> SpoolFile:
        """Write one chunk down, again where the source says it may help."""
        self._wait_for_room(self.is_stopping)
        for attempt in range(1, _TRIES + 1):
            try:
                return self._attempt(number, chunk)
            except CdpsyncError as error:
                if not error.retryable or attempt == _TRIES or self.is_stopping():
                    raise
                pause = _FIRST_PAUSE * 2 ** (attempt - 1)
                log.warning(
                    "%s, %s: %s Trying again in %.1f s.",
                    self._plan.table,
                    chunk.label,
                    error.message,
                    pause,
                )
                self._wait(pause)
        raise AssertionError("unreachable: the last try returns or raises")

    def _attempt(self, number: int, chunk: Chunk) -> SpoolFile:
        import duckdb

        if self.is_stopping():
            raise ReadError(f"{self._plan.table}: stopped.")
        file = self._folder / f"{number:05d}.parquet"
        file.unlink(missing_ok=True)
        try:
            with self._workers.connection(self._connector) as con:
                relation = chunk.relation(con)
                arriving = self._select(relation)
                select = f"select {arriving} from {_from(relation)}"
                known = None
                if self._project is not None:
                    select = self._project(self.columns(), select)
                    known = self._known_file(chunk, con, self._project(self.columns(), arriving))
                rows = take_known(con, known, file) if known else None
                if rows is not None:
                    return SpoolFile(file, rows, file.stat().st_size)
                sql = _LAND.format(select=select, file=engine.quote_text(str(file)))
                _, rows, size, *_ = con.execute(sql).fetchall()[0]
                if known is not None:
                    keep_known(file, known)
                if self._project is not None:
                    return SpoolFile(file, rows, size)
                landed = spooled_rows([file], self.columns())
                return SpoolFile(file, rows, size, highest(con, self._plan, self.columns(), landed))
        except CdpsyncError:
            raise
        except duckdb.InterruptException as error:
            raise ReadError(f"{self._plan.table}: stopped.") from error
        except Exception as error:
            raise self._translate(error, file) from error

    def _known_file(self, chunk: Chunk, con: duckdb.DuckDBPyConnection, how: str) -> Path | None:
        """Return where what is made of this chunk, in this way, is or will be kept; or None."""
        if self._known is None or not isinstance(chunk, Marked):
            return None
        mark = chunk.mark(con)
        return None if mark is None else known_file(self._known, mark, how)

    def _select(self, relation: duckdb.DuckDBPyRelation) -> str:
        arrived = [
            Column(name, str(type_))
            for name, type_ in zip(relation.columns, relation.types, strict=True)
        ]
        columns = landed_columns(self._plan, arrived)
        with self._guard:
            if self._columns is None:
                self._columns = columns
            elif self._columns != columns:
                raise ContractError(
                    f"{self._plan.table}: the columns changed between two chunks of one read. "
                    "Run it again."
                )
        types = {column.name: column.type for column in arrived}
        return ", ".join(_expression(types.get(column.name), column) for column in columns)

    def _translate(self, error: Exception, file: Path) -> CdpsyncError:
        known = self._connector.translate(error)
        if known is not None:
            return known
        text = engine.first_line(error)
        advice = disk.advice(text)
        if advice:
            return LandingError(f"{file.parent}: {advice}; nothing was committed.")
        return ReadError(f"{self._plan.table}: {text}. Nothing was committed.")

    def is_stopping(self) -> bool:
        """Whether this table, or the whole run, is given up."""
        return self.stopping.is_set() or self._workers.stopping.is_set()

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.is_stopping():
            time.sleep(0.05)


def _expression(arrived: str | None, column: Column) -> str:
    """Return a column as it is written down; one that did not arrive has no values."""
    name = engine.quote_name(column.name)
    if arrived == column.type:
        return name
    return f"cast({'null' if arrived is None else name} as {column.type}) as {name}"


def _from(relation: duckdb.DuckDBPyRelation) -> str:
    """Return a relation as something to select from.

    Its SQL is executed anew, since DuckDB 1.5.5 holds Python's lock while it binds a view or a
    projection over a relation: a source that is slow to answer would stop every other thread.
    """
    if relation.type == "QUERY_RELATION":
        return f"({relation.sql_query()})"
    relation.create_view("chunk", replace=True)
    return "chunk"


def _request(plan: TablePlan, workers: int) -> ReadRequest:
    landed = {column.name: column.type for column in plan.landed.columns} if plan.landed else {}
    changes = plan.stream.changes
    told = changes is not None and changes.deletions and plan.deletes is not Deletes.IGNORE
    return ReadRequest(
        stream=plan.stream,
        columns=tuple(
            column
            for column in plan.columns
            if plan.deletes is not Deletes.SOFT or column.name != DELETED_AT
        ),
        types=plan.types,
        landed={} if plan.full_refresh else landed,
        where=plan.where,
        window=plan.window,
        workers=workers,
        cursor_field=plan.cursor_field,
        deletions=told and plan.window is not None,
        include=None if plan.include is None else frozenset(plan.include),
        exclude=frozenset(plan.exclude or ()),
    )
