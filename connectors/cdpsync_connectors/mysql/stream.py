"""A statement under way: rows decoded on a thread of their own, handed to DuckDB as it asks.

At most a few blocks wait; while DuckDB is busy, the server waits with the rest of the rows.
"""

from __future__ import annotations

import itertools
import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cdpsync.errors import ConnectorError, ReadError
from cdpsync_connectors.mysql import protocol as wire
from cdpsync_connectors.mysql.errors import translate_reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from duckdb import DuckDBPyConnection, DuckDBPyRelation
    from pymysql.connections import Connection

    from cdpsync_connectors._shared.rate_limit import RowLimiter
    from cdpsync_connectors.mysql.connections import Sessions
    from cdpsync_connectors.mysql.decode import OddValueError
    from cdpsync_connectors.mysql.select import Select

_WAITING = 3  # blocks between the wire and DuckDB
_PATIENCE = 0.1  # seconds until it is asked again whether the read is to stop
_ROWS = "cdpsync_mysql_rows"


class Reads:
    """The statements of one connector that are under way, and the errors that ended some.

    An error inside of an Arrow stream reaches DuckDB's caller as text only, so it goes by number.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._failed: dict[str, ConnectorError] = {}
        self._guard = threading.Lock()

    def mark(self, error: ConnectorError) -> str:
        """Keep an error; return the text that stands for it."""
        with self._guard:
            mark = f"[cdpsync-mysql {next(self._numbers)}]"
            self._failed[mark] = error
        return mark

    def find(self, text: str) -> ConnectorError | None:
        """Return the error that this text stands for, or None."""
        with self._guard:
            mark = next((mark for mark in self._failed if mark in text), None)
            return self._failed.pop(mark) if mark else None


@dataclass(frozen=True, slots=True)
class MysqlChunk:
    """A whole table or view: one statement, and so one view of the data."""

    label: str
    sessions: Sessions
    select: Select
    zero_is_null: bool
    reads: Reads
    is_stopped: Callable[[], bool]
    pace: RowLimiter | None = None
    under_way: list[RowStream] = field(default_factory=list)

    def relation(self, con: DuckDBPyConnection) -> DuckDBPyRelation:
        """Return the rows of the statement; see `cdpsync.connector.Chunk`."""
        stream = RowStream(self, self.sessions.connect())
        self.under_way.append(stream)
        con.register(_ROWS, stream.reader())
        return con.sql(f"select {self.select.outer} from {_ROWS}")

    def close(self) -> None:
        """Cut what is still under way."""
        while self.under_way:
            self.under_way.pop().close()

    def name_error(self, error: Exception) -> ConnectorError:
        """Name what ended the statement."""
        if isinstance(error, ConnectorError):
            return error
        from cdpsync_connectors.mysql.decode import OddValueError

        if isinstance(error, OddValueError):
            return self._odd(error)
        select = self.select
        return translate_reading(error, self.sessions.address, select.relation.stream, select.where)

    def _odd(self, error: OddValueError) -> ReadError:
        column = self.select.columns[error.column].name
        as_null = ""
        if error.problem == "is a zero date":
            as_null = 'Set "zero_dates: null" on the source to read it as NULL, or '
        set_ = "set" if as_null else "Set"
        return ReadError(
            f'table "{self.select.relation.stream}", column "{column}": the value {error.value} '
            f"{error.problem}. {as_null}{set_} columns: {{types: {{{column}: varchar}}}} to keep "
            "it as text."
        )


class RowStream:
    """One statement's rows on their way; owns the connection they come over."""

    def __init__(self, chunk: MysqlChunk, mysql: Connection[Any]) -> None:
        self._chunk = chunk
        self._mysql = mysql
        self._waiting: queue.Queue[pa.Schema | pa.RecordBatch | Exception | None]
        self._waiting = queue.Queue(_WAITING)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="cdpsync-mysql", daemon=True)

    def reader(self) -> pa.RecordBatchReader:
        """Start the statement, and when the server begins to answer, return the rows as they come.

        Raises the error that ends it before the first row.
        """
        import pyarrow as pa

        self._thread.start()
        first = self._get()
        if isinstance(first, Exception):
            self.close()
            raise self._chunk.name_error(first) from first
        return pa.RecordBatchReader.from_batches(first, self._batches())

    def close(self) -> None:
        """Hang up. May be called twice, and from any thread."""
        self._stopping.set()
        wire.hang_up(self._mysql)

    def _work(self) -> None:
        from cdpsync_connectors.mysql.decode import ArrowSchema, arrow_type, record_batch, schema_of

        chunk, last = self._chunk, None
        try:
            fields = wire.run(self._mysql, chunk.select.sql)
            shapes = [
                ArrowSchema(arrow_type(found.wire, one), chunk.zero_is_null)
                for found, one in zip(chunk.select.readings, fields, strict=True)
            ]
            self._put(schema_of(shapes))
            for block in wire.blocks(self._mysql):
                batch = record_batch(block, fields, shapes)
                self._put(batch)
                if chunk.pace is not None:
                    chunk.pace.wait(batch.num_rows, self._is_over)
                if self._stopping.is_set():
                    return
        except Exception as error:  # noqa: BLE001 - raised again in the thread that reads
            last = error
        self._put(last)

    def _is_over(self) -> bool:
        return self._stopping.is_set() or self._chunk.is_stopped()

    def _put(self, item: pa.Schema | pa.RecordBatch | Exception | None) -> None:
        while not self._stopping.is_set():
            try:
                self._waiting.put(item, timeout=_PATIENCE)
            except queue.Full:
                continue
            return

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            while (item := self._get()) is not None:
                if isinstance(item, Exception):
                    named = self._chunk.name_error(item)
                    raise RuntimeError(self._chunk.reads.mark(named)) from item
                yield item
        finally:
            self.close()

    def _get(self) -> Any:  # noqa: ANN401 - the schema first, then batches, None or an error last
        while True:
            try:
                return self._waiting.get(timeout=_PATIENCE)
            except queue.Empty:
                if self._is_over():
                    return ReadError("stopped.")
