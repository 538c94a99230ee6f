"""One chunk into a Parquet file of the spool: tried again, or taken from what is there."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cdpsync import engine
from cdpsync.connector import Chunk, SizedChunk, VersionedChunk
from cdpsync.errors import CdpsyncError, ContractError, LandingError, ReadError, ViewLostError
from cdpsync.extract.chunk_cache import cache_get, cache_path, cache_put
from cdpsync.extract.columns import incoming_columns
from cdpsync.extract.spool import highest, spooled_rows
from cdpsync.model import Column, Cursor
from cdpsync.sql import quote_name, quote_text
from cdpsync.system import disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import duckdb

    from cdpsync.connector import Connector
    from cdpsync.extract.workers import Workers
    from cdpsync.model import TablePlan

log = logging.getLogger("cdpsync.extract.table")

_TRIES = 4
_FIRST_PAUSE = 0.5  # seconds; doubled before each further try

# Level 1 of zstd lands as fast as the source talks; higher levels make the worker the bottleneck.
# A row group is in memory until it is whole: of 200 columns it would take 0.5 GB a worker.
_LAND = """
    copy ({select}) to {file}
    (format parquet, compression zstd, compression_level 1, row_group_size_bytes '32MB',
        return_stats{more})
"""


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """A Parquet file in the spool, complete; `cursor` is the highest in it."""

    path: Path
    rows: int
    bytes: int
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True)
class ReusableChunk:
    """What was made of a chunk in an earlier view: good where the rows are those of `version`."""

    version: str
    file: SpoolFile


@dataclass(frozen=True, slots=True)
class ChunkTransform:
    """A query over each chunk; its result is written in place of the chunk's rows.

    `select` takes the chunk's columns and a SELECT of them, and returns the SELECT to write.
    `cache_folder` keeps results, for chunks that can report whether their rows changed.
    """

    select: Callable[[tuple[Column, ...], str], str]
    cache_folder: Path | None = None


@dataclass(frozen=True, slots=True)
class ReadContext:
    """How the chunks of a table are written down; see `cdpsync.extract.table.extract`."""

    plan: TablePlan
    connector: Connector
    workers: Workers
    folder: Path
    wait_for_space: Callable[[Callable[[], bool]], None]
    transform: ChunkTransform | None = None
    numbers: itertools.count[int] = field(default_factory=itertools.count)


class ChunkWriter:
    """The landing of one view's chunks: each through one statement, all with the same columns."""

    def __init__(self, manner: ReadContext) -> None:
        self.stopping = threading.Event()
        self.source_hung_up = False
        """Whether the source hung up in the middle of a chunk."""
        self._how = manner
        self._plan = manner.plan
        self._columns: tuple[Column, ...] | None = None
        self._guard = threading.Lock()

    def columns(self) -> tuple[Column, ...]:
        """Return the columns as they landed."""
        if self._columns is None:
            raise ReadError(f"{self._plan.table}: the connector handed over no chunk at all.")
        return self._columns

    def write(self, chunk: Chunk, kept: ReusableChunk | None = None) -> SpoolFile:
        """Write one chunk down, again where the source says it may help.

        What is kept of it is returned where its rows are still the same.
        """
        self._how.wait_for_space(self.is_stopping)
        file = self._how.folder / f"{next(self._how.numbers):05d}.parquet"
        for attempt in range(1, _TRIES + 1):
            try:
                return self._attempt(file, chunk, kept)
            except CdpsyncError as error:
                file.unlink(missing_ok=True)
                if not error.retryable or isinstance(error, ViewLostError):
                    raise
                self.source_hung_up = True
                if attempt == _TRIES or self.is_stopping():
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

    def _attempt(self, file: Path, chunk: Chunk, kept: ReusableChunk | None) -> SpoolFile:
        import duckdb

        if self.is_stopping():
            raise ReadError(f"{self._plan.table}: stopped.")
        try:
            memory = chunk.memory if isinstance(chunk, SizedChunk) else 0.0
            workers = self._how.workers
            with workers.reserve_memory(memory), workers.connection(self._how.connector) as con:
                relation = chunk.relation(con)
                arriving = self._select(relation)
                if kept is not None and _is_good(con, chunk, kept):
                    return kept.file
                if self._how.transform is None:
                    return self._write(con, file, f"select {arriving} from {_from(relation)}")
                return self._projected(con, file, chunk, relation, arriving)
        except CdpsyncError:
            raise
        except duckdb.InterruptException as error:
            raise ReadError(f"{self._plan.table}: stopped.") from error
        except Exception as error:
            raise self._translate(error, file) from error

    def _write(self, con: duckdb.DuckDBPyConnection, file: Path, select: str) -> SpoolFile:
        rows, size = _copy(con, file, select)
        landed = spooled_rows([file], self.columns())
        return SpoolFile(file, rows, size, highest(con, self._plan, self.columns(), landed))

    def _projected(
        self,
        con: duckdb.DuckDBPyConnection,
        file: Path,
        chunk: Chunk,
        relation: duckdb.DuckDBPyRelation,
        arriving: str,
    ) -> SpoolFile:
        """Write down what is made of a chunk, or take what is known of it."""
        if self._how.transform is None:
            raise AssertionError("there is something to be made of a chunk")
        project, folder = self._how.transform.select, self._how.transform.cache_folder
        place = chunk.key if isinstance(chunk, VersionedChunk) else None
        if folder is None or place is None or not isinstance(chunk, VersionedChunk):
            select = project(self.columns(), f"select {arriving} from {_from(relation)}")
            return SpoolFile(file, *_copy(con, file, select))
        known = cache_path(folder, place, project(self.columns(), arriving))
        earlier = cache_get(con, known, file)
        if earlier is not None:
            moment, rows = earlier
            kept = ReusableChunk(moment, SpoolFile(file, rows, file.stat().st_size))
            if _is_good(con, chunk, kept):
                return kept.file
            file.unlink()
        select = project(self.columns(), f"select {arriving} from {_from(relation)}")
        made = SpoolFile(file, *_copy(con, file, select, moment=chunk.version))
        cache_put(file, known)
        return made

    def _select(self, relation: duckdb.DuckDBPyRelation) -> str:
        arrived = [
            Column(name, str(type_))
            for name, type_ in zip(relation.columns, relation.types, strict=True)
        ]
        columns = incoming_columns(self._plan, arrived)
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
        known = self._how.connector.translate(error)
        if known is not None:
            return known
        text = engine.first_line(error)
        advice = disk.disk_hint(text)
        if advice:
            return LandingError(f"{file.parent}: {advice}; nothing was committed.")
        return ReadError(f"{self._plan.table}: {text}. Nothing was committed.")

    def is_stopping(self) -> bool:
        """Whether this view, or the whole run, is given up."""
        return self.stopping.is_set() or self._how.workers.stopping.is_set()

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.is_stopping():
            time.sleep(0.05)


def _is_good(con: duckdb.DuckDBPyConnection, chunk: Chunk, kept: ReusableChunk) -> bool:
    return isinstance(chunk, VersionedChunk) and chunk.is_unchanged_since(
        con, kept.version, kept.file.rows
    )


def _copy(
    con: duckdb.DuckDBPyConnection, file: Path, select: str, moment: str | None = None
) -> tuple[int, int]:
    """Write a SELECT to a Parquet file; return its rows and bytes."""
    more = f", kv_metadata {{moment: {quote_text(moment)}}}" if moment else ""
    sql = _LAND.format(select=select, file=quote_text(str(file)), more=more)
    _, rows, size, *_ = con.execute(sql).fetchall()[0]
    return rows, size


def _expression(arrived: str | None, column: Column) -> str:
    """Return a column as it is written down; one that did not arrive has no values."""
    name = quote_name(column.name)
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
