"""A read of MySQL through Parquet and back, as a run does it; shared by tests."""

from __future__ import annotations

import functools
import tempfile
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cdpsync import engine
from cdpsync.connector import ReadRequest
from cdpsync_connectors.mysql.connector import MysqlConnector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from support.mysql_server import MariaDatabase

    from cdpsync.connector import Chunk


@dataclass(frozen=True)
class ReadBack:
    """The columns of a read, their DuckDB types, and its rows as Python values."""

    columns: list[str]
    types: list[str]
    rows: list[tuple[Any, ...]]

    def column(self, name: str = "c") -> list[Any]:
        index = self.columns.index(name)
        return [row[index] for row in self.rows]

    def type(self, name: str = "c") -> str:
        return self.types[self.columns.index(name)]


@contextmanager
def connected(url: str, **options: Any) -> Iterator[MysqlConnector]:
    connector = MysqlConnector(MysqlConnector.Options(url=url, **options))
    try:
        yield connector
    finally:
        connector.close()


def request_for(connector: MysqlConnector, stream: str, **changes: Any) -> ReadRequest:
    table = next(s for s in connector.discover() if s.name == stream)
    return replace(ReadRequest(table, table.columns), **changes)


def read_back(
    db: MariaDatabase, table: str, options: dict[str, Any] | None = None, **changes: Any
) -> ReadBack:
    """Read a table of this database, every value back from Parquet."""
    with connected(db.url, **(options or {})) as connector:
        request = request_for(connector, f"{db.name}.{table}", **changes)
        with connector.read(request) as chunks:
            return read_chunks(connector, chunks)


@functools.cache
def _connection(_thread: int) -> Any:
    """One for all reads, as a run's worker has one: to open it takes longer than a small read."""
    return engine.connect(threads=1)


def read_chunks(connector: MysqlConnector, chunks: Iterable[Chunk]) -> ReadBack:
    """Write the one chunk to Parquet; errors come out as the connector names them."""
    import duckdb

    (chunk,) = chunks
    with tempfile.TemporaryDirectory() as folder:
        con = _connection(threading.get_ident())
        try:
            con.begin()
            relation = chunk.relation(con)
            columns, types = relation.columns, [str(type_) for type_ in relation.types]
            sql = f"copy ({relation.sql_query()}) to '{folder}/0.parquet' (format parquet)"
            con.execute(sql)
            con.rollback()
            back = con.sql(f"from '{folder}/0.parquet'")
            assert [str(type_) for type_ in back.types] == types
            return ReadBack(columns, types, back.fetchall())
        except Exception as error:
            with suppress(duckdb.Error):
                con.rollback()
            con.close()  # it may be of no use any more
            _connection.cache_clear()
            known_error = connector.translate(error) if isinstance(error, duckdb.Error) else None
            if known_error is None:
                raise
            raise known_error from error
