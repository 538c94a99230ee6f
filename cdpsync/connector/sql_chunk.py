"""A chunk that is one SELECT of DuckDB over files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation


@dataclass(frozen=True, slots=True)
class SqlChunk:
    """A part of a stream, as one SELECT."""

    label: str
    sql: str

    def relation(self, con: DuckDBPyConnection) -> DuckDBPyRelation:
        """Return the rows; see `cdpsync.connector.Chunk`."""
        return con.sql(self.sql)
