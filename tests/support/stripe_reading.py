"""What the Stripe tests share: a read at the connector's seam, every row back as text."""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.stripe_server import KEY

from cdpsync import engine
from cdpsync.connector import CursorLimited, ReadRequest
from cdpsync.model import Column, Cursor, CursorType, Window
from cdpsync.sql import quote_name
from cdpsync_connectors.stripe.connector import StripeConnector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.stripe_server import FakeStripe

RATE = 10_000.0


@dataclass(frozen=True)
class Read:
    """What one read gave: rows as text by id, types, and where the next one may start."""

    rows: list[dict[str, str | None]]
    types: dict[str, str]
    cursor: Cursor | None
    notices: list[str]

    @property
    def by_id(self) -> dict[str, dict[str, str | None]]:
        found = {str(row["id"]): row for row in self.rows}
        assert len(found) == len(self.rows), "an object came twice"
        return found


@contextmanager
def connected(server: FakeStripe, **options: Any) -> Iterator[StripeConnector]:
    said = {"api_key": KEY, "api_base": server.url, "max_rate": RATE, "timeout": 30, **options}
    connector = StripeConnector(StripeConnector.Options(**said))
    try:
        yield connector
    finally:
        connector.close()


def at(second: int) -> Cursor:
    return Cursor(CursorType.TIMESTAMPTZ, datetime.fromtimestamp(second, UTC))


def read_on(connector: StripeConnector, stream: str, since: int | None = None, **wanted: Any):
    """Read a stream, from a cursor on where one is given."""
    found = next(s for s in connector.discover() if s.name == stream)
    notices: list[str] = []
    columns = wanted.pop("columns", found.columns)
    field = wanted.get("cursor_field")
    if field == "_updated_at":
        columns = (*columns, Column("_updated_at", "TIMESTAMP WITH TIME ZONE"))
    window = Window(field, at(since)) if since is not None else None
    with tempfile.TemporaryDirectory() as folder, engine.connect(threads=1) as con:
        request = ReadRequest(
            found, columns, window=window, folder=Path(folder), on_notice=notices.append
        )
        with connector.read(replace(request, **wanted)) as chunks:
            rows: list[dict[str, str | None]] = []
            types: dict[str, str] = {}
            for chunk in chunks:
                relation = chunk.relation(con)
                types = dict(zip(relation.columns, map(str, relation.types), strict=True))
                names = ", ".join(f"{quote_name(name)}::varchar" for name in types)
                got = con.execute(f"select {names} from ({relation.sql_query()})").fetchall()
                rows += [dict(zip(types, row, strict=True)) for row in got]
            cursor = chunks.safe_cursor(None) if isinstance(chunks, CursorLimited) else None
            return Read(rows, types, cursor, notices)


def read(server: FakeStripe, stream: str, since: int | None = None, **wanted: Any) -> Read:
    """Read a stream over a line of its own."""
    options = wanted.pop("options", {})
    with connected(server, **options) as connector:
        return read_on(connector, stream, since, **wanted)


def seconds(text: str | None) -> int | None:
    return None if text is None else int(datetime.fromisoformat(text).timestamp())


def same(row: dict[str, str | None], one: dict[str, Any]) -> bool:
    """Whether a row says what the object says, whatever the columns' types."""
    for name, value in one.items():
        if name.startswith("_"):
            continue
        got = row.get(name)
        if isinstance(value, (dict, list)):
            if got is None or json.loads(got) != value:
                return False
        elif value is None:
            if got is not None:
                return False
        elif isinstance(value, bool):
            if got != str(value).lower():
                return False
        elif name in {"created", "date"}:
            if seconds(got) != value:
                return False
        elif got != str(value):
            return False
    return True
