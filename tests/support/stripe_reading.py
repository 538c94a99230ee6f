"""Reads of a Stripe stream through the connector, for tests: every row as text."""

from __future__ import annotations

import functools
import json
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.stripe_server import KEY, NOW

from cdpsync import engine
from cdpsync.connector import CursorLimited, ReadRequest
from cdpsync.model import Column, Cursor, CursorType, Window
from cdpsync.sql import quote_name
from cdpsync_connectors.stripe.connector import StripeConnector

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb
    from support.stripe_server import FakeStripe

RATE = 10_000.0
HOUR = 3600


@dataclass(frozen=True)
class Read:
    """The result of one read: rows as text, types, the next read's cursor, and notices."""

    rows: list[dict[str, str | None]]
    types: dict[str, str]
    cursor: Cursor | None
    notices: list[str]

    @property
    def by_id(self) -> dict[str, dict[str, str | None]]:
        rows = {str(row["id"]): row for row in self.rows}
        assert len(rows) == len(self.rows), "an object came twice"
        return rows


@contextmanager
def connected(server: FakeStripe, **options: Any) -> Iterator[StripeConnector]:
    defaults = {"api_key": KEY, "api_base": server.url, "max_rate": RATE, "timeout": 30}
    connector = StripeConnector(StripeConnector.Options(**{**defaults, **options}))
    try:
        yield connector
    finally:
        connector.close()


def at(second: int) -> Cursor:
    return Cursor(CursorType.TIMESTAMPTZ, datetime.fromtimestamp(second, UTC))


@functools.cache
def _connection() -> duckdb.DuckDBPyConnection:
    """One for all reads, as a run's worker has one: to open it takes longer than a small read."""
    return engine.connect(threads=1)


def read_on(connector: StripeConnector, name: str, since: int | None = None, **request_fields: Any):
    """Read a stream with this connector: as a whole, or from a cursor.

    `highest` is the highest cursor among the rows, which limits the next one.
    """
    stream = next(stream for stream in connector.discover() if stream.name == name)
    notices: list[str] = []
    columns = request_fields.pop("columns", stream.columns)
    highest = request_fields.pop("highest", None)
    field = request_fields.get("cursor_field")
    if field == "_updated_at":
        columns = (*columns, Column("_updated_at", "TIMESTAMP WITH TIME ZONE"))
    window = Window(field, at(since)) if since is not None else None
    con = _connection()
    with tempfile.TemporaryDirectory() as folder:
        request = ReadRequest(
            stream, columns, window=window, folder=Path(folder), on_notice=notices.append
        )
        with connector.read(replace(request, **request_fields)) as chunks:
            rows: list[dict[str, str | None]] = []
            types: dict[str, str] = {}
            for chunk in chunks:
                relation = chunk.relation(con)
                types = dict(zip(relation.columns, map(str, relation.types), strict=True))
                names = ", ".join(f"{quote_name(name)}::varchar" for name in types)
                sql = f"select {names} from ({relation.sql_query()})"
                rows += [dict(zip(types, row, strict=True)) for row in con.execute(sql).fetchall()]
            cursor = chunks.safe_cursor(highest) if isinstance(chunks, CursorLimited) else None
            return Read(rows, types, cursor, notices)


def read(server: FakeStripe, name: str, since: int | None = None, **request_fields: Any) -> Read:
    """Read a stream with a connector of its own; `options` are the source's."""
    options = request_fields.pop("options", {})
    with connected(server, **options) as connector:
        return read_on(connector, name, since, **request_fields)


def fill(stripe: FakeStripe, name: str, count: int, step: int = HOUR, **fields: object) -> None:
    """Add objects, each `step` seconds older than the one before."""
    for number in range(count):
        stripe.add(name, created=NOW - number * step, amount=number, **fields)


def seconds(text: str | None) -> int | None:
    return None if text is None else int(datetime.fromisoformat(text).timestamp())


def same(row: dict[str, str | None], object_: dict[str, Any]) -> bool:
    """Whether a row has the values of the object, whatever the columns' types."""
    for name, value in object_.items():
        if name.startswith("_"):
            continue
        text = row.get(name)
        if isinstance(value, (dict, list)):
            if text is None or json.loads(text) != value:
                return False
        elif value is None:
            if text is not None:
                return False
        elif isinstance(value, bool):
            if text != str(value).lower():
                return False
        elif name in {"created", "date"}:
            if seconds(text) != value:
                return False
        elif text != str(value):
            return False
    return True
