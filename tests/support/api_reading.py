"""Sources that are HTTP APIs in a test: made from options, read as a run does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb

from cdpsync.connector import ReadRequest, registry
from cdpsync.model import Cursor, CursorType, Stream, Window

if TYPE_CHECKING:
    from datetime import datetime

    from support.api_server import ApiServer

    from cdpsync.connector import Connector


def rest_source(server: ApiServer, resources: dict[str, Any], **client: Any) -> Connector:
    """Return a source of `type: rest` at a local server."""
    return source("rest", client={"base_url": server.url, **client}, resources=resources)


def source(type_: str, **options: Any) -> Connector:
    """Return a source of any type, or of a manifest."""
    model = registry.options_for(type_)
    class_ = registry.connector_class(type_)
    return class_(model.model_validate(options))


def stream_of(connector: Any, name: str) -> Stream:
    """Return a stream; of a REST API as its options alone describe it, without a request."""
    if not hasattr(connector, "_api"):
        return next(stream for stream in connector.discover() if stream.name == name)
    resources = connector._api().resources()
    return next(resource for resource in resources if resource.name == name).stream()


def read(connector: Connector, name: str, **fields: Any) -> list[dict[str, Any]]:
    """Return all records that a read gives, as a run would load them."""
    stream = stream_of(connector, name)
    request = ReadRequest(stream, stream.columns, **fields)
    con = duckdb.connect()
    con.execute("set timezone = 'UTC'")
    rows: list[dict[str, Any]] = []
    with con, connector.read(request) as chunks:
        for chunk in chunks:
            relation = chunk.relation(con)
            names = relation.columns
            rows += [dict(zip(names, row, strict=True)) for row in relation.fetchall()]
    return rows


def since(field: str, moment: datetime) -> dict[str, Any]:
    """Return the fields of a read of changes from a time on."""
    low = Cursor(CursorType.TIMESTAMPTZ, moment)
    return {"window": Window(field, low), "cursor_field": field, "saved_cursor": low}


def notices_of(connector: Connector, name: str, **fields: Any) -> list[str]:
    """Read a stream; return what it says to the run's record."""
    notices: list[str] = []
    read(connector, name, on_notice=notices.append, **fields)
    return notices
