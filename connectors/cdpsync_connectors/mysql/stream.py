"""The rows of a running statement: a thread decodes them, and DuckDB takes them as a stream.

At most a few blocks are in memory. While DuckDB is busy, the server waits with the other rows.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cdpsync.errors import ConnectorError, ReadError
from cdpsync_connectors.mysql import protocol
from cdpsync_connectors.mysql.locks import translate_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from duckdb import DuckDBPyConnection, DuckDBPyRelation
    from pymysql.connections import Connection

    from cdpsync_connectors._shared.rate_limit import RowLimiter
    from cdpsync_connectors.mysql.connections import Sessions
    from cdpsync_connectors.mysql.decode import BadValueError
    from cdpsync_connectors.mysql.select import Select

_QUEUE_SIZE = 3  # decoded blocks that wait for DuckDB
_LARGE_BLOCK = 8_000_000  # bytes; of larger ones, which have one row, one waits
_PATIENCE = 0.1  # seconds between two checks whether the read must stop
_ROWS = "cdpsync_mysql_rows"


class StreamErrors:
    """The errors that ended statements of one connector.

    An error inside an Arrow stream reaches DuckDB's caller only as text, so the text is a mark by
    which the caller gets the error itself.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._error_by_mark: dict[str, ConnectorError] = {}
        self._guard = threading.Lock()

    def mark(self, error: ConnectorError) -> str:
        """Store an error; return the mark that identifies it."""
        with self._guard:
            mark = f"[cdpsync-mysql {next(self._numbers)}]"
            self._error_by_mark[mark] = error
        return mark

    def take(self, text: str) -> ConnectorError | None:
        """Return and forget the error whose mark is in a text, or None."""
        with self._guard:
            mark = next((mark for mark in self._error_by_mark if mark in text), None)
            return self._error_by_mark.pop(mark) if mark else None


@dataclass(frozen=True, slots=True)
class MysqlChunk:
    """A whole table or view: one statement, and so one snapshot of the data."""

    label: str
    sessions: Sessions
    select: Select
    zero_is_null: bool
    errors: StreamErrors
    is_stopped: Callable[[], bool]
    limiter: RowLimiter | None = None
    streams: list[RowStream] = field(default_factory=list)
    opened_at: list[float] = field(default_factory=list)
    """When each statement's snapshot was open, by `time.monotonic`: the first rows were there."""

    def relation(self, con: DuckDBPyConnection) -> DuckDBPyRelation:
        """Return the rows of the statement; see `cdpsync.connector.Chunk`."""
        stream = RowStream(self, self.sessions.connect())
        self.streams.append(stream)
        con.register(_ROWS, stream.reader())
        return con.sql(f"select {self.select.outer} from {_ROWS}")

    def close(self) -> None:
        """End the streams that still run."""
        while self.streams:
            self.streams.pop().close()

    def translate(self, error: Exception) -> ConnectorError:
        """Return our error for one that ended the statement."""
        if isinstance(error, ConnectorError):
            return error
        from cdpsync_connectors.mysql.decode import BadValueError

        if isinstance(error, BadValueError):
            return self._bad_value(error)
        return translate_table(error, self.sessions, self.select.relation, self.select.where)

    def _bad_value(self, error: BadValueError) -> ReadError:
        column = self.select.columns[error.column].name
        advice = f"set columns: {{types: {{{column}: varchar}}}} to keep it as text."
        if error.problem == "is a zero date":
            advice = f'set "zero_dates: null" on the source to read it as NULL, or {advice}'
        return ReadError(
            f'table "{self.select.relation.stream}", column "{column}": the value {error.value} '
            f"{error.problem}. {advice[0].upper()}{advice[1:]}"
        )


class RowStream:
    """The rows of one statement; owns the connection that they are read from."""

    def __init__(self, chunk: MysqlChunk, mysql: Connection[Any]) -> None:
        self._chunk = chunk
        self._mysql = mysql
        self._queue: queue.Queue[pa.Schema | pa.RecordBatch | Exception | None]
        self._queue = queue.Queue(_QUEUE_SIZE)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="cdpsync-mysql", daemon=True)

    def reader(self) -> pa.RecordBatchReader:
        """Start the statement; return a reader of its rows once the server begins to answer.

        Raises the error that ends the statement before the first row.
        """
        import pyarrow as pa

        self._thread.start()
        first = self._get()
        if isinstance(first, Exception):
            self.close()
            raise self._chunk.translate(first) from first
        return pa.RecordBatchReader.from_batches(first, self._batches())

    def close(self) -> None:
        """Close the connection. May be called twice, and from any thread."""
        self._stopping.set()
        self._chunk.sessions.hang_up(self._mysql)

    def _work(self) -> None:
        from cdpsync_connectors.mysql.decode import ArrowSchema, arrow_type, record_batch, schema_of

        chunk, last_item = self._chunk, None
        try:
            fields = protocol.run(self._mysql, chunk.select.sql)
            columns = [
                ArrowSchema(arrow_type(expr.wire_kind, field), chunk.zero_is_null)
                for expr, field in zip(chunk.select.exprs, fields, strict=True)
            ]
            self._put(schema_of(columns))
            for number, block in enumerate(protocol.blocks(self._mysql)):
                if number == 0:
                    chunk.opened_at.append(time.monotonic())
                if len(block.data) > _LARGE_BLOCK:
                    self._queue.maxsize = 1
                batch = record_batch(block, fields, columns)
                self._put(batch)
                if chunk.limiter is not None:
                    chunk.limiter.wait(batch.num_rows, self._is_over)
                if self._stopping.is_set():
                    return
        except Exception as error:  # noqa: BLE001 - raised again in the thread that reads
            last_item = error
        self._put(last_item)

    def _is_over(self) -> bool:
        return self._stopping.is_set() or self._chunk.is_stopped()

    def _put(self, item: pa.Schema | pa.RecordBatch | Exception | None) -> None:
        while not self._stopping.is_set():
            try:
                self._queue.put(item, timeout=_PATIENCE)
            except queue.Full:
                continue
            return

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            while (item := self._get()) is not None:
                if isinstance(item, Exception):
                    self.close()
                    error = self._chunk.translate(item)
                    raise RuntimeError(self._chunk.errors.mark(error)) from item
                yield item
        finally:
            self.close()

    def _get(self) -> Any:  # noqa: ANN401 - the schema first, then batches, None or an error last
        while True:
            try:
                return self._queue.get(timeout=_PATIENCE)
            except queue.Empty:
                if self._is_over():
                    return ReadError("stopped.")
