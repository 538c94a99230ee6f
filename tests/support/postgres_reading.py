"""A read of Postgres through Parquet and back, as a run does it; shared by tests."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdpsync import engine
from cdpsync.connector import ReadRequest
from cdpsync.sql import quote_name
from cdpsync_connectors.postgres.connector import PostgresConnector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cdpsync.connector import Chunk


@dataclass(frozen=True)
class ReadBack:
    """The columns of a read, their DuckDB types, and its rows as text that DuckDB prints."""

    columns: list[str]
    types: list[str]
    rows: list[tuple[Any, ...]]

    def column(self, name: str = "c") -> list[Any]:
        index = self.columns.index(name)
        return [row[index] for row in self.rows]

    def type(self, name: str = "c") -> str:
        return self.types[self.columns.index(name)]


@contextmanager
def connected(url: str, **options: Any) -> Iterator[PostgresConnector]:
    connector = PostgresConnector(PostgresConnector.Options(url=url, **options))
    try:
        yield connector
    finally:
        connector.close()


def request_for(connector: PostgresConnector, stream: str, **changes: Any) -> ReadRequest:
    table = next(s for s in connector.discover() if s.name == stream)
    return replace(ReadRequest(table, table.columns), **changes)


def read_back(
    url: str, stream: str, options: dict[str, Any] | None = None, **changes: Any
) -> ReadBack:
    """Read a stream, every value back from Parquet."""
    with connected(url, **(options or {})) as connector:
        request = request_for(connector, stream, **changes)
        with connector.read(request) as chunks:
            return read_chunks(connector, chunks)


def read_chunks(connector: PostgresConnector, chunks: Iterable[Chunk]) -> ReadBack:
    """Write chunks to Parquet one after another; errors come out as the connector names them."""
    import duckdb

    columns: list[str] = []
    types: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        con = engine.connect(threads=1, extensions=connector.extensions)
        try:
            for number, chunk in enumerate(chunks):
                con.begin()
                relation = chunk.relation(con)
                columns, types = relation.columns, [str(type_) for type_ in relation.types]
                relation.create_view("chunk", replace=True)
                con.execute(f"copy (from chunk) to '{folder}/{number:05}.parquet' (format parquet)")
                con.rollback()
            return ReadBack(columns, types, _as_text(con, Path(folder), columns, types))
        except duckdb.Error as error:
            with suppress(duckdb.Error):  # to close without it would end the process
                con.rollback()
            known_error = connector.translate(error)
            if known_error is None:
                raise
            raise known_error from error
        finally:
            con.close()


def _as_text(con: Any, folder: Path, columns: list[str], types: list[str]) -> list[tuple[Any, ...]]:
    con.execute(f"create view landed as from read_parquet('{folder}/*.parquet')")
    back = [str(row[1]) for row in con.execute("describe landed").fetchall()]
    assert back == types
    printed = [_print(quote_name(c), t) for c, t in zip(columns, types, strict=True)]
    rows: list[tuple[Any, ...]] = con.execute(f"select {', '.join(printed)} from landed").fetchall()
    return rows


def _print(name: str, type_: str) -> str:
    """Text without DuckDB's escapes: lists as lists of text, bytes as psql's hex."""
    lists = "[]" * type_.count("[]")
    if not type_.startswith("BLOB"):
        return f"{name}::varchar{lists}"
    printed = "'\\x' || lower(hex({x}))"
    if not lists:
        return printed.replace("{x}", name)
    inner = printed.replace("{x}", "x")
    for _ in range(type_.count("[]") - 1):
        inner = f"list_transform(x, lambda x: {inner})"
    return f"list_transform({name}, lambda x: {inner})"
