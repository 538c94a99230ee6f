"""Fakes for answers that fakesnow cannot give: many slow batches, every type, every error.

The batches are of the driver's own class, built as the driver builds them from an answer. Their
bytes come from an HTTP server that is as slow or as broken as a test needs. Only the connection and
its cursor are fakes.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import threading
from base64 import b64encode
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OPTIONS = {"account": "acme-main", "user": "reader", "password": "stand-in", "database": "SHOP"}


def stream(**columns: tuple[pa.Array, str, int]) -> bytes:
    """Return an Arrow stream of columns, each an array with its logical type and its scale."""
    fields = [
        pa.field(name, array.type, metadata={"logicalType": kind, "scale": str(scale)})
        for name, (array, kind, scale) in columns.items()
    ]
    arrays = [array for array, _, _ in columns.values()]
    sink = pa.BufferOutputStream()
    batch = pa.record_batch(arrays, schema=pa.schema(fields))
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def whole_numbers(start: int, count: int) -> bytes:
    """Return a part of a table ID NUMBER(18,0), NOTE VARCHAR."""
    numbers = pa.array(range(start, start + count), pa.int32())
    notes = pa.array([f"note {number}" for number in range(start, start + count)])
    return stream(ID=(numbers, "FIXED", 0), NOTE=(notes, "TEXT", 0))


def inline_batch(data: bytes, rows: int) -> Any:
    """Return the driver's batch whose bytes came with the answer itself."""
    batch = _batch(rows, None)
    batch._data = b64encode(data).decode()
    return batch


def remote_batch(url: str, rows: int) -> Any:
    """Return the driver's batch whose bytes are to be downloaded."""
    from snowflake.connector.result_batch import RemoteChunkInfo

    return _batch(rows, RemoteChunkInfo(url, 0, 0))


def _batch(rows: int, remote: Any) -> Any:
    from snowflake.connector.arrow_context import ArrowConverterContext
    from snowflake.connector.result_batch import ArrowResultBatch

    return ArrowResultBatch(
        rowcount=rows,
        chunk_headers=None,
        remote_chunk_info=remote,
        context=ArrowConverterContext(),
        use_dict_result=False,
        numpy=False,
        schema=[],
        number_to_decimal=False,
    )


@lru_cache(maxsize=4)
def _packed(content: bytes) -> bytes:
    return gzip.compress(content, 1)


@dataclass
class Storage:
    """An HTTP server with the parts of a result, gzipped as in Snowflake's stages.

    It keeps every request waiting until `at_once` of them are there, or all that are left.
    `on_request(number of requests so far)` is called before each answer.
    """

    parts: list[bytes]
    at_once: int = 1
    most: int = 0
    requests: int = 0
    on_request: Callable[[int], None] = lambda _: None
    replace: dict[int, list[bytes]] = field(default_factory=dict)
    """For a part, the bodies that are sent first in its place, in order."""
    _waiting: int = 0
    _answered: int = 0
    _turn: threading.Condition = field(default_factory=threading.Condition)

    def content(self, number: int) -> bytes:
        """Return a part once enough requests for others are under way."""
        with self._turn:
            self.requests += 1
            self._waiting += 1
            self.most = max(self.most, self._waiting)
            self.on_request(self.requests)
            self._turn.notify_all()
            self._turn.wait_for(self._may_go, timeout=60)
            self._waiting -= 1
            self._answered += 1
            replacements = self.replace.get(number)
            return replacements.pop(0) if replacements else self.parts[number]

    def _may_go(self) -> bool:
        remaining = len(self.parts) - self._answered
        return self.most >= self.at_once or self._waiting >= remaining

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Serve on a free port; yield the address before a part's number."""
        storage = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = _packed(storage.content(int(self.path.strip("/"))))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@dataclass
class FakeSnowflake:
    """In place of `snowflake.connector.connect`: a database SHOP with one table, PUBLIC.T.

    `columns` are (name, type, precision, scale). `errors` are raised by statements that match
    their pattern; the pattern `login` means the login.
    """

    columns: list[tuple[str, str, int | None, int | None]]
    batches: list[Any] = field(default_factory=list)
    table: dict[str, Any] = field(default_factory=dict)
    key: list[str] = field(default_factory=list)
    errors: dict[str, Exception] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)
    timeouts: list[int | None] = field(default_factory=list)
    login: dict[str, Any] = field(default_factory=dict)
    logins: int = 0

    def connect(self, **login: Any) -> Any:
        self.login = login
        self.logins += 1
        self.fail("login")
        return _Connection(self)

    def fail(self, action: str) -> None:
        for pattern, error in self.errors.items():
            if re.search(pattern, action, re.IGNORECASE):
                raise error

    def rows(self, sql: str) -> list[dict[str, Any]]:
        if "information_schema.tables" in sql:
            row = {"TABLE_SCHEMA": "PUBLIC", "TABLE_NAME": "T", "TABLE_TYPE": "BASE TABLE"}
            return [{**row, "ROW_COUNT": 7, **self.table}]
        if "information_schema.columns" in sql:
            return [self._column(*column) for column in self.columns]
        if "show primary keys" in sql:
            return [
                {"table_name": "T", "column_name": name, "key_sequence": number}
                for number, name in enumerate(self.key, start=1)
            ]
        return []

    def _column(self, name: str, kind: str, precision: Any, scale: Any) -> dict[str, Any]:
        return {
            "TABLE_SCHEMA": "PUBLIC",
            "TABLE_NAME": self.table.get("TABLE_NAME", "T"),
            "COLUMN_NAME": name,
            "DATA_TYPE": kind,
            "NUMERIC_PRECISION": precision,
            "NUMERIC_SCALE": scale,
            "IS_NULLABLE": "YES",
        }


@dataclass
class _Connection:
    fake: FakeSnowflake

    @contextlib.contextmanager
    def cursor(self, *_: Any) -> Iterator[_Cursor]:
        yield _Cursor(self.fake)

    def close(self, **_: Any) -> None:
        pass


@dataclass
class _Cursor:
    fake: FakeSnowflake
    sql: str = ""

    def execute(self, sql: str, timeout: int | None = None) -> None:
        self.fake.statements.append(sql)
        self.fake.timeouts.append(timeout)
        self.fake.fail(sql)
        self.sql = sql

    def fetchall(self) -> list[dict[str, Any]]:
        return self.fake.rows(self.sql)

    def get_result_batches(self) -> list[Any]:
        return self.fake.batches
