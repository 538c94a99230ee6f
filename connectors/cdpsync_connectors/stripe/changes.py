"""Reads what changed in a Stripe stream: created, changed and deleted objects, by their events.

https://docs.stripe.com/api/events: each change has an event for 30 days. An event has the object
of its moment in the API version of its moment, so the object is fetched again by its id.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cdpsync.connector.records.parse import parse_record
from cdpsync.errors import ReadError
from cdpsync.model import Cursor, CursorType
from cdpsync_connectors.stripe.child_changes import read_children_since
from cdpsync_connectors.stripe.clocks import has_test_clock, is_left_out
from cdpsync_connectors.stripe.errors import MissingError
from cdpsync_connectors.stripe.events import (
    DELETIONS,
    EVENTS,
    EventReader,
    parse_event,
)
from cdpsync_connectors.stripe.pages import parse_list, second_of, text_of
from cdpsync_connectors.stripe.reader import is_deleted
from cdpsync_connectors.stripe.stream import EVENT_RETENTION
from cdpsync_connectors.stripe.windows import WindowReader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdpsync.connector.records.parse import Fields
    from cdpsync_connectors.stripe.events import Event
    from cdpsync_connectors.stripe.reader import StreamReader

LATE_EVENTS = timedelta(minutes=5)
"""Stripe may add an event late, so the next run reads this much again."""


@dataclass(frozen=True, slots=True)
class _Change:
    """The latest change of an object: its second, and the event with its last content.

    `last_event` sorts by second, then deletions behind other events, then id. `has_deletion`:
    whether an event reports that the object itself was deleted.
    """

    second: int
    last_event: tuple[int, bool, str] | None = None
    has_deletion: bool = False

    def combine(self, event: Event, *, has_content: bool) -> _Change:
        """Return this change with one more event, which may have the object's content."""
        last_event, has_deletion = self.last_event, self.has_deletion
        if has_content:
            is_deletion = event.type.endswith(DELETIONS)
            current = (event.created, is_deletion, event.id)
            last_event = current if last_event is None else max(current, last_event)
            has_deletion = has_deletion or is_deletion
        return _Change(max(self.second, event.created), last_event, has_deletion)


class ChangeReader:
    """Reads a stream once as a whole, then its changes; each read returns where the next begins."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self._stream = reader.stream
        self._lists = reader.lists
        self._guard = threading.Lock()

    def read_first(self) -> datetime:
        """Read all objects; return the time from which the next read must read changes.

        The next read lists objects again that are newer than that. So `_updated_at` is here what
        it will be then, and the rows are recognized as unchanged.
        """
        start = self._server_time() - LATE_EVENTS
        start_second, created = int(start.timestamp()), self._stream.created
        where = self._lists.where(self._stream.path)

        def mark(fields: Fields) -> int:
            if created is None:
                return start_second
            return max(start_second, second_of(fields, created, where))

        self._reader.read_all(mark)
        return start

    def read_since(self, low: int, *, is_new: bool = False) -> datetime:
        """Read all objects created, changed or deleted from `low` on; return the new cursor.

        Events come first, then the newest objects of the list: they are as current as objects
        fetched by id, and come a hundred at a time. With `is_new`, the list is read as a whole.
        """
        now = self._server_time()
        if now - datetime.fromtimestamp(low, UTC) > EVENT_RETENTION:
            raise ReadError(
                f"stream {self._stream.name}: Stripe keeps events for {EVENT_RETENTION.days} days, "
                "and the table was last read before. Reload it: cdpsync run --full-refresh."
            )
        if self._stream.follows_parent:
            read_children_since(self._reader, low, is_new=is_new)
            return now - LATE_EVENTS
        changes = self._changes_since(low)
        if is_new:
            self._reader.read_all(lambda fields: max(low, self._second_of_listed(fields, changes)))
        elif self._stream.created is not None:
            start = max(low, self._reader.since or low)
            self._read_created(start, self._stream.created, changes)
        self._fetch_all(changes, low)
        return now - LATE_EVENTS

    def _server_time(self) -> datetime:
        """Return the time of Stripe's clock; raises ReadError if the key may not read events."""
        client = self._reader.client
        where = self._lists.where(EVENTS)
        response = client.get(EVENTS, {"limit": 1}, where=where, is_stopped=self._lists.is_stopped)
        parse_list(response.body, where)  # because a proxy has a clock, too
        return response.server_time(client.address)

    def _read_created(self, low: int, created: str, changes: dict[str, _Change]) -> None:
        """Read the objects created from `low` on, and take their changes out of `changes`."""

        def on_page(page: list[Fields]) -> None:
            self._reader.add(page, lambda fields: self._second_of_listed(fields, changes))

        params = self._reader.list_params
        WindowReader(self._lists, self._stream.path, params, created, on_page).read(
            low, self._reader.threads
        )

    def _second_of_listed(self, fields: Fields, changes: dict[str, _Change]) -> int:
        """Return when a listed object changed last, and take its change out of `changes`."""
        where = self._lists.where(self._stream.path)
        with self._guard:
            change = changes.pop(text_of(fields, "id", where), None)
        created = self._stream.created
        second = 0 if created is None else second_of(fields, created, where)
        return max(second, change.second if change else 0)

    def _changes_since(self, low: int) -> dict[str, _Change]:
        """Return the latest change of each object that has events, by id."""
        changes: dict[str, _Change] = {}

        def on_event(event: Event, id_: str) -> None:
            has_content = self._stream.id_path(event.type) is None
            change = changes.get(id_) or _Change(event.created)
            changes[id_] = change.combine(event, has_content=has_content)

        EventReader(self._lists, self._stream).read(low, self._reader.threads, on_event)
        return changes

    def _fetch_all(self, changes: Mapping[str, _Change], low: int) -> None:
        """Fetch each changed object, and add it, or its deletion where that is proven.

        Stripe's word that an object is missing is no proof alone. A deletion event is, or the stub
        `deleted: true`. The event may be newer than those that were read, so they are read again.
        """
        missing: dict[str, MissingError] = {}

        def fetch(changed: tuple[str, _Change]) -> None:
            id_, change = changed
            try:
                fields = self._reader.fetch_own(id_)
            except MissingError as error:
                missing[id_] = error
                return
            if is_deleted(fields) or self._is_detached(fields):
                self._add_deleted(id_, change)
            elif not self._is_before_start(fields) and not self._is_of_test_clock(fields):
                self._reader.add([fields], lambda _: change.second)

        with ThreadPoolExecutor(self._reader.threads, thread_name_prefix="stripe-fetch") as pool:
            self._reader.for_each(pool, fetch, changes.items())
        if any(not changes[id_].has_deletion for id_ in missing):
            changes = {**changes, **self._changes_since(low)}
        for id_, error in missing.items():
            self._add_missing(id_, changes[id_], error)

    def _add_missing(self, id_: str, change: _Change, error: MissingError) -> None:
        """Add an object that Stripe does not have as deleted, if an event says so too.

        An event of another object proves nothing either way: the own event is read by the run in
        whose time it falls.
        """
        if change.has_deletion:
            self._add_deleted(id_, change)
        elif change.last_event is not None:
            raise ReadError(
                f"{error.message} No event says that it was deleted, so nothing was changed. If "
                "this remains, read the table anew: cdpsync run --full-refresh.",
                retryable=True,
            ) from error

    def _add_deleted(self, id_: str, change: _Change) -> None:
        """Add a deleted object, unless it was one that a list leaves out."""
        content = self._last_content(change)
        where = self._lists.where(EVENTS)
        if content is None or not has_test_clock(parse_record(content, where)):
            self._reader.add_deleted(id_, content, change.second)

    def _is_of_test_clock(self, fields: Fields) -> bool:
        """Whether the stream's list would leave out an object, because of a test clock."""
        try:
            return is_left_out(self._stream, fields, self._reader.fetch)
        except MissingError:  # a payment method whose customer is gone: Stripe says so later
            return False

    def _last_content(self, change: _Change) -> bytes | None:
        """Return the content of a deleted object from its last event."""
        if change.last_event is None or not self._reader.request.include_deletes:
            return None
        try:
            fields = self._reader.fetch(EVENTS, change.last_event[-1])
        except MissingError:
            return None
        return bytes(parse_event(fields, self._lists.where(EVENTS)).data.object)

    def _is_detached(self, fields: Fields) -> bool:
        """Whether an object says that it left the list: a payment method without a customer."""
        customer = bytes(fields.get("customer", b""))
        return self._stream.name == "payment_methods" and customer == b"null"

    def _is_before_start(self, fields: Fields) -> bool:
        """Whether an object was created before the start date."""
        created, since = self._stream.created, self._reader.since
        if since is None or created is None:
            return False
        return second_of(fields, created, self._lists.where(self._stream.object_path)) < since


def cursor_at(time: datetime) -> Cursor:
    """Return a time as the cursor of a table that follows changes."""
    return Cursor(CursorType.TIMESTAMPTZ, time.replace(microsecond=0))
