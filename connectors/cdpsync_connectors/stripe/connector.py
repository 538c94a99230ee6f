"""Stripe: its lists as streams, first read in parallel windows of `created`, then by its events.

| in Stripe | in the lake |
| --- | --- |
| documented texts, ids, enumerations | VARCHAR |
| documented integers, amounts in the smallest unit | BIGINT |
| documented seconds since 1970 | TIMESTAMP WITH TIME ZONE |
| booleans | BOOLEAN |
| objects, lists, metadata | JSON |
| anything else, once it has a value | as `_records` says: decimals exact, a mixture JSON |
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cdpsync.errors import ConfigError, ConnectError, ReadError
from cdpsync.model import ChangeLog, Column, Stream
from cdpsync_connectors.stripe.columns import TIME, columns_of
from cdpsync_connectors.stripe.options import StripeOptions
from cdpsync_connectors.stripe.streams import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pydantic import BaseModel

    from cdpsync.connector import Chunk, ReadRequest
    from cdpsync.errors import ConnectorError
    from cdpsync.model import Cursor
    from cdpsync_connectors._shared.records import Records
    from cdpsync_connectors.stripe.client import Client
    from cdpsync_connectors.stripe.streams import Table

_NOT_FOLLOWED = {
    "invoice_items": "Stripe has no event for an item that is changed",
    "balance_transactions": "Stripe has no events of them",
    "account": "it is a single object",
    "events": "events never change",
}


@dataclass(frozen=True, slots=True)
class _Followed:
    """Chunks of a read that followed changes up to a moment."""

    chunks: Sequence[Chunk]
    reached: Cursor

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self.chunks)

    def safe_cursor(self, highest: Cursor | None) -> Cursor | None:  # noqa: ARG002 - the clock tells
        return self.reached


class StripeConnector:
    """A Stripe account, or one that is connected to it, as a source."""

    Options: ClassVar[type[BaseModel]] = StripeOptions
    extensions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: BaseModel) -> None:
        if not isinstance(options, StripeOptions):
            raise TypeError(f"StripeConnector takes StripeOptions, not {type(options).__name__}")
        self._options = options
        self._client: Client | None = None

    def check(self) -> None:
        """Return when Stripe takes the key; a restricted key need not see the account."""
        client = self._line()
        from cdpsync_connectors.stripe.errors import ForbiddenError, MissingError

        try:
            client.get("/v1/account", {}, where="account", is_stopped=lambda: False)
        except MissingError as missing:
            raise ConnectError(
                f"{client.address}: no Stripe answers there: {missing}. Check api_base."
            ) from missing
        except ForbiddenError:
            if self._options.stripe_account:
                raise

    def discover(self) -> Sequence[Stream]:
        """Return every stream, once Stripe has taken the key; rights are known on reading."""
        self.check()
        return [_stream(table) for table in TABLES.values()]

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[Iterable[Chunk]]:
        """Fetch what the request wants, then hand it over; see `Connector.read`."""
        table = TABLES.get(request.stream.name)
        if table is None:
            raise ReadError(
                f"stream {request.stream.name}: not one of Stripe's. "
                f"There are: {', '.join(TABLES)}."
            )
        self._line()
        from cdpsync_connectors._shared.records import Records

        with tempfile.TemporaryDirectory() as spare:
            declared = {column.name: column.type for column in columns_of(table.name)}
            wanted = _with_marks(request)
            marks = {column.name: column.type for column in wanted.columns if column.type == TIME}
            records = Records(request.folder or Path(spare), wanted, {**marks, **declared})
            try:
                reached = self._fetch(table, wanted, records)
                chunks = records.chunks()
                yield chunks if reached is None else _Followed(chunks, reached)
            finally:
                records.close()

    def translate(self, error: Exception) -> ConnectorError | None:
        """Name an error that came out of reading a chunk; None when it is not ours."""
        from cdpsync_connectors._shared.exact_sql import inexact

        return inexact(error)

    def close(self) -> None:
        """Let go of the connections. May be called twice."""
        if self._client is not None:
            self._client.close()

    def _line(self) -> Client:
        if self._client is None:
            try:
                from cdpsync_connectors.stripe.client import Client
            except ImportError as error:
                raise ConfigError(
                    "reading Stripe needs its library. Install it: pip install 'cdpsync[stripe]'"
                ) from error
            self._client = Client(self._options)
        return self._client

    def _fetch(self, table: Table, request: ReadRequest, records: Records) -> Cursor | None:
        """Read into `records`; return how far changes are known, where they are followed."""
        from cdpsync_connectors.stripe.reader import UPDATED, Reading, cursor_at

        reading = Reading(
            self._line(),
            table,
            request,
            records,
            threads=self._options.concurrency,
            since=self._options.since,
        )
        low = _second_before(request)
        if request.cursor_field == UPDATED:
            if not _is_followed(table):
                raise ReadError(
                    f"stream {table.name}: incremental cannot follow it: "
                    f"{_NOT_FOLLOWED[table.name]}. {_instead(table)}"
                )
            if low is None:
                return cursor_at(reading.everything_and_mark())
            return cursor_at(reading.changed_since(low))
        if request.cursor_field not in {None, table.created}:
            raise ReadError(
                f'stream {table.name}: "{request.cursor_field}" is no cursor of it. '
                f"{_instead(table)}"
            )
        if low is None:
            reading.everything()
        else:
            reading.created_since(low)
        return None


def _is_followed(table: Table) -> bool:
    return bool(table.events)


def _instead(table: Table) -> str:
    if table.created is None:
        return "Use mode: full_table."
    return f"Use mode: append_only with cursor_field: {table.created}, or mode: full_table."


def _stream(table: Table) -> Stream:
    from cdpsync_connectors.stripe.reader import KEPT, UPDATED

    changes = ChangeLog(Column(UPDATED, TIME), retention=KEPT, includes_deletes=True)
    return Stream(
        table.name,
        table.name,
        columns_of(table.name),
        primary_key=("id",),
        cursor_fields=(table.created,) if table.created else (),
        kind="list",
        open_schema=True,
        changes=changes if _is_followed(table) else None,
    )


def _with_marks(request: ReadRequest) -> ReadRequest:
    """Return the request with the columns that a read of changes adds, where they are due."""
    from cdpsync_connectors.stripe.reader import DELETED, UPDATED

    names = {column.name for column in request.columns}
    due = [UPDATED] if request.cursor_field == UPDATED else []
    due += [DELETED] if request.include_deletes else []
    marks = tuple(Column(name, TIME) for name in due if name not in names)
    return replace(request, columns=(*request.columns, *marks))


def _second_before(request: ReadRequest) -> int | None:
    """Return the whole second at or before the window's beginning."""
    if request.window is None:
        return None
    value = request.window.low.value
    if not isinstance(value, datetime):
        raise ReadError(
            f"stream {request.stream.name}: a cursor of type {request.window.low.type} is no time. "
            f"Reset it: cdpsync state reset."
        )
    return int(value.timestamp() // 1)
