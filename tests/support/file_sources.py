"""Sources of files in a test: written, discovered, and read as a run does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from cdpsync.connector import ReadRequest
from cdpsync.errors import ConnectorError
from cdpsync_connectors.files.connector import FilesConnector
from cdpsync_connectors.files.options import FilesOptions

if TYPE_CHECKING:
    from pathlib import Path

    from cdpsync.model import Stream


def connector(path: Path | str, **options: Any) -> FilesConnector:
    return FilesConnector(FilesOptions.model_validate({"path": str(path), **options}))


def write(path: Path, content: str | bytes = "id\n1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(source: FilesConnector) -> str:
    """Return the reason why the only stream cannot be read; a read of it has the same error."""
    (stream,) = source.discover()
    assert stream.columns == ()
    with pytest.raises(ConnectorError) as raised, source.read(ReadRequest(stream, ())):
        pass
    assert raised.value.message == stream.unreadable_reason
    assert not raised.value.retryable
    return stream.unreadable_reason


def types(source: FilesConnector, stream: str | None = None) -> dict[str, str]:
    discovered = find_stream(source, stream)
    return {column.name: column.type for column in discovered.columns}


def find_stream(source: FilesConnector, name: str | None) -> Stream:
    """Return the stream of this name, or the first one."""
    streams = {stream.name: stream for stream in source.discover()}
    return streams[name] if name else next(iter(streams.values()))


def rows(
    source: FilesConnector,
    con: duckdb.DuckDBPyConnection,
    stream: str | None = None,
    only: list[str] | None = None,
    **request_fields: Any,
) -> list[tuple[Any, ...]]:
    """Read a stream as a run does: chunk by chunk, each with the same columns and types."""
    discovered = find_stream(source, stream)
    columns = tuple(c for c in discovered.columns if only is None or c.name in only)
    all_rows: list[tuple[Any, ...]] = []
    schemas = set()
    try:
        with source.read(ReadRequest(discovered, columns, **request_fields)) as chunks:
            for chunk in chunks:
                relation = chunk.relation(con)
                schemas.add((tuple(relation.columns), tuple(map(str, relation.types))))
                all_rows += relation.fetchall()
    except duckdb.Error as error:
        read_error = source.translate(error)
        if read_error is None:
            raise
        raise read_error from error
    assert len(schemas) == 1
    return all_rows
