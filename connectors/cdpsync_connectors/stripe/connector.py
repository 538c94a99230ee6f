"""The Stripe connector: lists as streams, read as a whole first and by Stripe's events later.

| in Stripe | in the lake |
| --- | --- |
| documented texts, ids, enumerations | VARCHAR |
| documented integers, amounts in the smallest unit | BIGINT |
| documented seconds since 1970 | TIMESTAMP WITH TIME ZONE |
| booleans | BOOLEAN |
| objects, lists, metadata | JSON |
| other fields, once they have a value | see `_shared.records`: decimals exact, a mixture JSON |
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cdpsync.errors import ConfigError, ConnectError, ReadError
from cdpsync.model import ChangeLog, Column, SourceIdentity, Stream
from cdpsync.model.cursors import later
from cdpsync_connectors.stripe.columns import ACCOUNT, DELETED, TIME, UPDATED, columns_of
from cdpsync_connectors.stripe.options import StripeOptions
from cdpsync_connectors.stripe.stream import EVENT_RETENTION
from cdpsync_connectors.stripe.streams import STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pydantic import BaseModel

    from cdpsync.connector import Chunk, ReadRequest
    from cdpsync.connector.records.records import Records
    from cdpsync.errors import ConnectorError
    from cdpsync.model import Cursor
    from cdpsync_connectors.stripe.client import Client
    from cdpsync_connectors.stripe.reader import StreamReader
    from cdpsync_connectors.stripe.stream import StripeStream

NOT_PERMITTED = "the API key may not read it"
_LONGEST_RUN = timedelta(hours=1)  # between the plan of a table and the read of its events

_WITHOUT_CHANGES = {
    "invoice_items": "Stripe has no event for an item that is changed",
    "account": "it is a single object",
    "events": "events never change",
    "account_tax_ids": "Stripe has no events of them",
    "entitlement_features": "Stripe has no events of them",
    "shipping_rates": "Stripe has no events of them",
    "accounts": "Stripe sends their events to webhooks alone",
}


@dataclass(frozen=True, slots=True)
class _LimitedChunks:
    """Chunks of a read, and the cursor up to which it is complete.

    The next cursor is that of a read of changes, and not above it for another column.
    """

    chunks: Sequence[Chunk]
    cursor: Cursor
    follows_changes: bool

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self.chunks)

    def safe_cursor(self, highest: Cursor | None) -> Cursor | None:
        if self.follows_changes:
            return self.cursor
        if highest is None or later(highest, self.cursor) == self.cursor:
            return highest
        return self.cursor


class StripeConnector:
    """A Stripe account, or an account that is connected to it, as a source."""

    Options: ClassVar[type[BaseModel]] = StripeOptions
    extensions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: BaseModel) -> None:
        if not isinstance(options, StripeOptions):
            raise TypeError(f"StripeConnector takes StripeOptions, not {type(options).__name__}")
        self._options = options
        self._open_client: Client | None = None
        self._account = None if options.reads_all_accounts else options.stripe_account
        self._forbidden: dict[str, str] = {}

    def check(self) -> None:
        """Return if Stripe accepts the key; a restricted key need not have account access."""
        client = self._client()
        from cdpsync_connectors.stripe.errors import ForbiddenError
        from cdpsync_connectors.stripe.pages import parse_object, text_of

        try:
            response = client.get("/v1/account", {}, where="account", is_stopped=lambda: False)
            account = parse_object(response.body, "account", None)
            self._account = text_of(account, "id", "account")
        except ForbiddenError:
            if self._options.stripe_account and not self._options.reads_all_accounts:
                raise
        except ReadError as error:
            raise ConnectError(
                f"{client.address}: Stripe does not answer at this address: {error.message} "
                "Check api_base."
            ) from error
        if self._options.is_restricted and not self._options.reads_all_accounts:
            from cdpsync_connectors.stripe.permissions import forbidden_streams

            self._forbidden = forbidden_streams(client, self._options.concurrency)

    @property
    def check_notices(self) -> Sequence[str]:
        """The streams that the key may not read, as the last `check` found."""
        if not self._forbidden:
            return ()
        return (f"the API key may not read: {', '.join(self._forbidden)}",)

    def discover(self) -> Sequence[Stream]:
        """Return every stream; those that the key may not read have an `unreadable_reason`."""
        self.check()
        answered_at = self._client().answered_at
        kept_since = answered_at and answered_at - EVENT_RETENTION + _LONGEST_RUN
        return [self._stream(stream, kept_since) for stream in STREAMS.values()]

    def _stream(self, stream: StripeStream, kept_since: datetime | None) -> Stream:
        """Return a stream with what this source's options and key make of it."""
        described = replace(
            _stream(stream, kept_since), row_format=self._options.row_format(stream.name)
        )
        if self._is_per_account(stream):
            columns, key = (ACCOUNT, *described.columns), (ACCOUNT.name, *described.primary_key)
            described = replace(described, columns=columns, primary_key=key)
        message = self._forbidden.get(stream.name)
        if message is None:
            return described
        return replace(
            described, columns=(), unreadable_reason=message, only_if_named=NOT_PERMITTED
        )

    def source_identity(self) -> SourceIdentity | None:
        """Return the account and its mode; see `Identified.source_identity`.

        A restricted key may not see the account. Then it is that of `stripe_account`, or left out.
        """
        named = {"account": self._account, "mode": self._options.mode}
        parts = {part: (name,) for part, name in named.items() if name is not None}
        if not parts:
            return None
        mode = f" ({self._options.mode})" if self._options.mode else ""
        account = f"Stripe account {self._account}" if self._account else "a Stripe account"
        return SourceIdentity(parts, f"{account}{mode}")

    def _is_per_account(self, stream: StripeStream) -> bool:
        """Whether a stream is read for each connected account, with the account as a column."""
        return self._options.reads_all_accounts and stream.name != "accounts"

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[Iterable[Chunk]]:
        """Fetch the requested objects into files, then yield their chunks; see `Connector.read`."""
        stream = STREAMS.get(request.stream.name)
        if stream is None:
            raise ReadError(
                f"stream {request.stream.name}: not a stream of Stripe. "
                f"The streams are: {', '.join(STREAMS)}."
            )
        self._client()
        from cdpsync.connector.records.records import Records

        with tempfile.TemporaryDirectory() as own_folder:
            full_request = _with_change_columns(request)
            declared = {c.name: c.type for c in full_request.columns if c.type == TIME}
            declared |= {column.name: column.type for column in columns_of(stream.name)}
            records = Records(request.folder or Path(own_folder), full_request, declared)
            try:
                cursor = self._fetch(stream, full_request, records)
                chunks = records.chunks()
                follows = request.cursor_field == UPDATED
                yield chunks if cursor is None else _LimitedChunks(chunks, cursor, follows)
            finally:
                records.close()

    def translate(self, error: Exception) -> ConnectorError | None:
        """Return the error of a value in a chunk as a ReadError; None for any other."""
        from cdpsync.connector.exact_sql import inexact

        return inexact(error)

    def close(self) -> None:
        """Close the connections. May be called twice."""
        if self._open_client is not None:
            self._open_client.close()

    def _client(self) -> Client:
        if self._open_client is None:
            try:
                from cdpsync_connectors.stripe.client import Client
            except ImportError as error:
                raise ConfigError(
                    "reading Stripe needs its library. Install it: pip install 'cdpsync[stripe]'"
                ) from error
            self._open_client = Client(self._options)
        return self._open_client

    def _fetch(self, stream: StripeStream, request: ReadRequest, records: Records) -> Cursor | None:
        """Read the stream into `records`; return the cursor up to which the read is complete."""
        import msgspec

        from cdpsync_connectors.stripe.accounts import AT_ONCE, read_accounts
        from cdpsync_connectors.stripe.changes import cursor_at
        from cdpsync_connectors.stripe.pages import ListReader
        from cdpsync_connectors.stripe.reader import StreamReader

        _require_cursor(stream, request.cursor_field)
        low = _window_second(request)
        lists = ListReader(self._client(), stream.name, request.is_stopped)
        is_per_account = self._is_per_account(stream)
        threads = self._options.concurrency

        def read_one(own_lists: ListReader, account: str, is_new: bool) -> datetime | None:
            reader = StreamReader(
                own_lists,
                stream,
                request,
                records,
                threads=max(1, threads // AT_ONCE) if is_per_account else threads,
                since=self._options.since,
                expand=self._options.expand.get(stream.name, ()),
                own={ACCOUNT.name: msgspec.json.encode(account)} if account else None,
            )
            return _read(reader, request.cursor_field, low, is_new=is_new)

        time = read_accounts(lists, low, read_one) if is_per_account else read_one(lists, "", False)
        return None if time is None else cursor_at(time)


def _require_cursor(stream: StripeStream, cursor_field: str | None) -> None:
    """Raise ReadError for a cursor that the stream does not have."""
    if cursor_field == UPDATED and not stream.has_changes:
        raise ReadError(
            f"stream {stream.name}: incremental cannot follow it: "
            f"{_WITHOUT_CHANGES[stream.name]}. {_other_modes(stream)}"
        )
    if cursor_field not in {None, UPDATED, stream.created}:
        raise ReadError(
            f'stream {stream.name}: "{cursor_field}" is not a cursor of this stream. '
            f"{_other_modes(stream)}"
        )


def _read(
    reader: StreamReader, cursor_field: str | None, low: int | None, *, is_new: bool
) -> datetime | None:
    """Read a stream of one account; return where the next read of changes must begin.

    `is_new`: the account may have objects that are older than `low` and were never read.
    """
    from cdpsync_connectors.stripe.changes import ChangeReader
    from cdpsync_connectors.stripe.settling import read_settling

    if cursor_field == UPDATED and reader.stream.settles:
        return read_settling(reader, None if is_new else low)
    if cursor_field == UPDATED:
        changes = ChangeReader(reader)
        return changes.read_first() if low is None else changes.read_since(low, is_new=is_new)
    if low is None or is_new:
        reader.read_all()
    else:
        reader.read_created_since(low)
    return None


def _other_modes(stream: StripeStream) -> str:
    if stream.created is None:
        return "Use mode: full_table."
    return f"Use mode: append_only with cursor_field: {stream.created}, or mode: full_table."


def _stream(stream: StripeStream, kept_since: datetime | None) -> Stream:
    has_events = bool(stream.event_types)
    changes = ChangeLog(
        Column(UPDATED, TIME),
        retention=EVENT_RETENTION if has_events else None,
        kept_since=kept_since if has_events else None,
        includes_deletes=stream.reports_deletions,
    )
    return Stream(
        stream.name,
        stream.name,
        columns_of(stream.name),
        primary_key=("id",),
        cursor_fields=(stream.created,) if stream.created else (),
        kind="list",
        open_schema=True,
        changes=changes if stream.has_changes else None,
        only_if_named=stream.only_if_named,
    )


def _with_change_columns(request: ReadRequest) -> ReadRequest:
    """Return the request with the columns that a read of changes adds."""
    names = {column.name for column in request.columns}
    added_names = [UPDATED] if request.cursor_field == UPDATED else []
    added_names += [DELETED] if request.include_deletes else []
    added = tuple(Column(name, TIME) for name in added_names if name not in names)
    return replace(request, columns=(*request.columns, *added))


def _window_second(request: ReadRequest) -> int | None:
    """Return the whole second at or before the window's beginning; None without a window."""
    if request.window is None:
        return None
    value = request.window.low.value
    if not isinstance(value, datetime):
        raise ReadError(
            f"stream {request.stream.name}: a cursor of type {request.window.low.type} is not a "
            "time. Reset it: cdpsync state reset."
        )
    return int(value.timestamp() // 1)
