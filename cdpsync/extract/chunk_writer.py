"""The writer of a snapshot's chunks: each becomes one Parquet file in the spool, with retries."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cdpsync import engine
from cdpsync.connector import Chunk, FrugalChunk, SizedChunk, VersionedChunk
from cdpsync.connector.faults import code_fault, fault_error, translated
from cdpsync.connector.returned import relation_of
from cdpsync.errors import CdpsyncError, ContractError, LandingError, ReadError, ViewLostError
from cdpsync.extract.chunk_cache import cache_get, cache_path, cache_put
from cdpsync.extract.columns import incoming_columns, incoming_expression, require_requested
from cdpsync.extract.row_digest import RowDigest, digest_of
from cdpsync.extract.spool import highest_cursor, spooled_rows
from cdpsync.model import Column, Cursor
from cdpsync.sql import quote_text
from cdpsync.system import disk
from cdpsync.system.memory import row_group_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import duckdb

    from cdpsync.connector import Connector
    from cdpsync.extract.workers import Workers
    from cdpsync.model import TablePlan

log = logging.getLogger("cdpsync.extract.table")

_ATTEMPTS = 4  # for one chunk in one snapshot
_FIRST_PAUSE = 0.5  # seconds; doubled before each further attempt

# Level 1 of zstd writes as fast as the source sends; a higher level makes the worker the
# bottleneck. A row group stays in memory until it is complete: with 200 columns and DuckDB's
# default size it would take 0.5 GB a worker.
_COPY = """
    copy ({select}) to {file}
    (format parquet, compression zstd, compression_level 1, row_group_size_bytes {row_group},
        return_stats{metadata})
"""


_VECTOR_ROWS = 2_048
_DECODED_SIZE = 6  # times that in Parquet: text is a third there, and a vector is held twice


class _OutOfMemoryError(Exception):
    """An attempt ran out of a worker's memory, so the chunk is read again alone."""


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """A complete Parquet file in the spool; `cursor` is the highest among its rows.

    It has a `digest` where the plan compares the rows with the lake's.
    """

    path: Path
    rows: int
    bytes: int
    cursor: Cursor | None = None
    digest: RowDigest | None = None


@dataclass(frozen=True, slots=True)
class ReusableChunk:
    """The file of a chunk that was read before; valid while its rows are those of `version`."""

    version: str
    file: SpoolFile

    def is_valid_for(self, con: duckdb.DuckDBPyConnection, chunk: Chunk) -> bool:
        """Whether the rows of the chunk are still those in the file."""
        return isinstance(chunk, VersionedChunk) and chunk.is_unchanged_since(
            con, self.version, self.file.rows
        )


@dataclass(frozen=True, slots=True)
class ChunkTransform:
    """A query over each chunk; its result is written in place of the chunk's rows.

    `select` takes the chunk's columns and a SELECT of them, and returns the SELECT to write.
    `cache_folder` keeps results, for chunks that can report whether their rows changed.
    """

    select: Callable[[tuple[Column, ...], str], str]
    cache_folder: Path | None = None


@dataclass(slots=True)
class ChunkWriter:
    """Writes the chunks of one snapshot, all with the same columns. Used from many threads.

    `new_path` returns the path of the next file. `wait_for_space` blocks while the spool is full,
    until the function that it takes returns True.
    """

    plan: TablePlan
    connector: Connector
    workers: Workers
    new_path: Callable[[], Path]
    wait_for_space: Callable[[Callable[[], bool]], None]
    transform: ChunkTransform | None = None
    limit: int | None = None
    """The most rows to write of a chunk."""
    source_hung_up: bool = field(default=False, init=False)
    """Whether the source ended a connection in the middle of a chunk."""
    stopping: threading.Event = field(default_factory=threading.Event, init=False)
    _columns: tuple[Column, ...] | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def columns(self) -> tuple[Column, ...]:
        """Return the columns of the files. Raises ReadError before the first chunk was read."""
        if self._columns is None:
            raise ReadError(f"{self.plan.table}: the connector returned no chunk.")
        return self._columns

    @property
    def _row_group(self) -> int:
        return row_group_bytes(self.workers.budget.worker)

    def is_stopping(self) -> bool:
        """Whether the read of this snapshot, or the whole run, is given up."""
        return self.stopping.is_set() or self.workers.stopping.is_set()

    def write(self, chunk: Chunk, reusable: ReusableChunk | None = None) -> SpoolFile:
        """Write one chunk to a file; after an error that may pass, try again.

        Where `reusable` is still valid, its file is returned and no row is read. A chunk for which
        a worker has too little memory is read again alone, with the memory of all workers.
        """
        self.wait_for_space(self.is_stopping)
        file = self.new_path()
        try:
            return self._write(file, chunk, reusable, alone=False)
        except _OutOfMemoryError as error:
            file.unlink(missing_ok=True)
            log.info("%s, %s: %s. Reading it alone.", self.plan.table, chunk.label, error)
            return self._write(file, chunk, reusable, alone=True)

    def _write(
        self, file: Path, chunk: Chunk, reusable: ReusableChunk | None, *, alone: bool
    ) -> SpoolFile:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._attempt(file, chunk, reusable, alone=alone)
            except CdpsyncError as error:
                file.unlink(missing_ok=True)
                if not error.retryable or isinstance(error, ViewLostError):
                    raise
                self.source_hung_up = True
                if attempt == _ATTEMPTS or self.is_stopping():
                    raise
                pause = _FIRST_PAUSE * 2 ** (attempt - 1)
                log.warning(
                    "%s, %s: %s Trying again in %.1f s.",
                    self.plan.table,
                    chunk.label,
                    error.message,
                    pause,
                )
                self._wait(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _attempt(
        self, file: Path, chunk: Chunk, reusable: ReusableChunk | None, *, alone: bool
    ) -> SpoolFile:
        import duckdb

        if self.is_stopping():
            raise ReadError(f"{self.plan.table}: stopped.")
        memory = chunk.memory if isinstance(chunk, SizedChunk) else 0.0
        with self.workers.reserve_memory(memory, alone=alone):
            try:
                with self.workers.connection(self.connector, alone=alone) as con:
                    written = self._read(con, file, chunk, reusable, frugal=alone)
            except CdpsyncError:
                raise
            except duckdb.InterruptException as error:
                raise ReadError(f"{self.plan.table}: stopped.") from error
            except Exception as error:
                fault = engine.memory_fault(error)
                if fault is None:
                    raise self._translate(error, file) from error
                if not alone:
                    raise _OutOfMemoryError(fault) from error
                raise self._out_of_memory(fault, chunk) from error
        return self._with_digest(written)

    def _read(
        self,
        con: duckdb.DuckDBPyConnection,
        file: Path,
        chunk: Chunk,
        reusable: ReusableChunk | None,
        *,
        frugal: bool,
    ) -> SpoolFile:
        source = chunk.with_less_memory() if frugal and isinstance(chunk, FrugalChunk) else chunk
        rows = self._incoming_rows(relation_of(source, con), f"{type(source).__name__}.relation")
        if reusable is not None and reusable.is_valid_for(con, chunk):
            return reusable.file
        if self.transform is not None:
            return self._write_transformed(con, self.transform, chunk, rows, file)
        return self._write_rows(con, rows, file)

    def _out_of_memory(self, fault: str, chunk: Chunk) -> LandingError:
        """Return the error of a chunk that is too large for the memory of all workers."""
        value = self._largest_value(chunk) if isinstance(chunk, FrugalChunk) else None
        column, size = value or ("", 0)
        largest = (
            f' Its largest value, of column "{column}", has about {engine.size_text(size)}.'
            if column
            else ""
        )
        leave_out = f"columns: {{exclude: [{column}]}}" if column else "columns: {exclude: […]}"
        return LandingError(
            f"{self.plan.table}, {chunk.label}: {fault}, though few rows were read at a time."
            f"{largest} Nothing was committed. Set a higher warehouse.memory than "
            f"{engine.size_text(self.workers.budget.total)}, or leave large columns out: "
            f"{leave_out}."
        )

    def _largest_value(self, chunk: FrugalChunk) -> tuple[str, int] | None:
        with suppress(Exception), self.workers.connection(self.connector) as con:
            return chunk.largest_value(con)
        return None

    def _incoming_rows(self, relation: duckdb.DuckDBPyRelation, method: str) -> _IncomingRows:
        """Return a chunk's rows in the lake's types. All chunks must have the same columns.

        `method` is the name of the connector's method that returned the relation.
        """
        source_columns = [
            Column(name, str(type_))
            for name, type_ in zip(relation.columns, relation.types, strict=True)
        ]
        require_requested(self.plan, source_columns, method)
        columns = incoming_columns(self.plan, source_columns)
        with self._lock:
            if self._columns is None:
                self._columns = columns
            elif self._columns != columns:
                raise ContractError(
                    f"{self.plan.table}: the columns changed between two chunks of one read. "
                    "Run it again."
                )
        types = {column.name: column.type for column in source_columns}
        expressions = (incoming_expression(types.get(column.name), column) for column in columns)
        return _IncomingRows(relation, ", ".join(expressions))

    def _write_rows(
        self, con: duckdb.DuckDBPyConnection, rows: _IncomingRows, file: Path
    ) -> SpoolFile:
        limit = "" if self.limit is None else f" limit {self.limit}"
        count, size = _copy(con, rows.select() + limit, file, self._row_group)
        written = spooled_rows([file], self.columns())
        return SpoolFile(file, count, size, highest_cursor(con, self.plan, self.columns(), written))

    def _with_digest(self, file: SpoolFile) -> SpoolFile:
        """Return a file with the digest of its rows, if the plan compares them.

        Where a worker has too little memory for them it has none, and the table is replaced.
        """
        import duckdb

        is_compared = self.plan.compares_rows and self.transform is None
        if not is_compared or not file.rows or file.digest is not None:
            return file
        memory = file.bytes / file.rows * _VECTOR_ROWS * _DECODED_SIZE
        workers, columns = self.workers, self.columns()
        with workers.reserve_memory(memory):
            try:
                with workers.connection(self.connector) as con:
                    digest = digest_of(con, spooled_rows([file.path], columns), columns)
            except duckdb.InterruptException as error:
                raise ReadError(f"{self.plan.table}: stopped.") from error
            except duckdb.Error as error:
                if engine.memory_fault(error) is None:
                    raise self._translate(error, file.path) from error
                log.info("%s: too little memory to compare its rows.", self.plan.table)
                return file
        return replace(file, digest=digest)

    def _write_transformed(
        self,
        con: duckdb.DuckDBPyConnection,
        transform: ChunkTransform,
        chunk: Chunk,
        rows: _IncomingRows,
        file: Path,
    ) -> SpoolFile:
        """Write the transform's result for a chunk, or link it from the cache."""
        key = chunk.key if isinstance(chunk, VersionedChunk) else None
        if transform.cache_folder is None or key is None or not isinstance(chunk, VersionedChunk):
            select = transform.select(self.columns(), rows.select())
            return SpoolFile(file, *_copy(con, select, file, self._row_group))
        query = transform.select(self.columns(), rows.columns_sql)
        cached = cache_path(transform.cache_folder, key, query)
        entry = cache_get(con, cached, file)
        if entry is not None:
            version, count = entry
            reusable = ReusableChunk(version, SpoolFile(file, count, file.stat().st_size))
            if reusable.is_valid_for(con, chunk):
                return reusable.file
            file.unlink()
        select = transform.select(self.columns(), rows.select())
        written = SpoolFile(file, *_copy(con, select, file, self._row_group, chunk.version))
        cache_put(file, cached)
        return written

    def _translate(self, error: Exception, file: Path) -> CdpsyncError:
        import duckdb

        place = str(self.plan.table)
        source_error = translated(place, error, self.connector)
        if source_error is not None:
            return source_error
        fault = code_fault(error, self.connector)
        is_of_sql = isinstance(error, duckdb.Error)
        if fault is not None and not (is_of_sql and fault.is_built_in):
            return fault_error(place, fault, error)
        text = engine.first_line(error)
        hint = disk.disk_hint(text)
        if hint:
            return LandingError(f"{file.parent}: {hint}; nothing was committed.")
        return ReadError(f"{self.plan.table}: {text}. Nothing was committed.")

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.is_stopping():
            time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class _IncomingRows:
    """The rows of a chunk, with its columns as SQL expressions in the lake's types."""

    relation: duckdb.DuckDBPyRelation
    columns_sql: str

    def select(self) -> str:
        """Return a SELECT of the rows, for the connection of the relation."""
        return f"select {self.columns_sql} from {_from(self.relation)}"


def _copy(
    con: duckdb.DuckDBPyConnection,
    select: str,
    file: Path,
    row_group: int,
    version: str | None = None,
) -> tuple[int, int]:
    """Write a SELECT to a Parquet file in row groups of so many bytes; return rows and bytes."""
    metadata = f", kv_metadata {{moment: {quote_text(version)}}}" if version else ""
    sql = _COPY.format(
        select=select,
        file=quote_text(str(file)),
        row_group=row_group,
        metadata=metadata,
    )
    _, rows, size, *_ = con.execute(sql).fetchall()[0]
    return rows, size


def _from(relation: duckdb.DuckDBPyRelation) -> str:
    """Return a relation as the FROM of a statement.

    The SQL of a query relation is executed again, because DuckDB 1.5.5 holds Python's lock while
    it binds a view or a projection over a relation: a source that answers slowly would stop every
    other thread.
    """
    if relation.type == "QUERY_RELATION":
        return f"({relation.sql_query()})"
    relation.create_view("chunk", replace=True)
    return "chunk"
