"""One read of a Stripe stream: everything, what was created since, or what changed since.

https://docs.stripe.com/api/events: events tell of each change for 30 days. What they carry is an
object of that moment in the API version of that moment, so it is fetched again by its id.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from cdpsync.errors import ReadError
from cdpsync.model import Cursor, CursorType
from cdpsync_connectors._shared.records import Fields, parse_record
from cdpsync_connectors.stripe.errors import MissingError
from cdpsync_connectors.stripe.events import Event, items_before, parse_event, pointed
from cdpsync_connectors.stripe.expand import completed
from cdpsync_connectors.stripe.pages import Lists, Windows, second_of, text_of
from cdpsync_connectors.stripe.streams import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cdpsync.connector import ReadRequest
    from cdpsync_connectors._shared.records import Records
    from cdpsync_connectors.stripe.client import Client
    from cdpsync_connectors.stripe.streams import Table

UPDATED, DELETED = "_updated_at", "_deleted_at"
KEPT = timedelta(days=30)
MARGIN = timedelta(minutes=5)
"""Events may be told late: this much is read again by the next run."""

_MOST_TYPES = 20  # of one request: https://docs.stripe.com/api/events/list
_GONE = (".deleted", ".detached")


@dataclass(frozen=True, slots=True)
class _Change:
    """The last that events told of an object: when, and which of them has what it then was."""

    at: int
    told: tuple[int, bool, str] | None = None

    def and_then(self, event: Event, *, is_own: bool) -> _Change:
        """Return this change with one more event; of one second, what went comes last."""
        told = self.told
        if is_own:
            own = (event.created, event.type.endswith(_GONE), event.id)
            told = own if told is None else max(own, told)
        return _Change(max(self.at, event.created), told)


class Reading:
    """One read under way: its records go to `records`, from as many threads as are allowed."""

    def __init__(
        self,
        client: Client,
        table: Table,
        request: ReadRequest,
        records: Records,
        *,
        threads: int,
        since: int | None,
    ) -> None:
        self._client = client
        self._table = table
        self._request = request
        self._records = records
        self._threads = threads
        self._since = since
        self._lists = Lists(client, table.name, request.is_stopped)
        self._once: set[str] = set()  # of lists per parent: an object may move between two
        self._guard = threading.Lock()

    def everything(self) -> None:
        """Read all objects there are; of a list with `created`, those from `since` on."""
        self._everything(self._since, None)

    def everything_and_mark(self) -> datetime:
        """Read all objects; return the moment from which on changes must be read.

        Objects that are newer will be listed again by the next read, and have the time that
        they will have then, so that they are known to be the same.
        """
        start = self._ask_events() - MARGIN
        second, created = int(start.timestamp()), self._table.created
        where = self._lists.where(self._table.path)

        def mark(fields: Fields) -> int:
            return second if created is None else max(second, second_of(fields, created, where))

        self._everything(self._since, mark)
        return start

    def _everything(self, since: int | None, mark: Callable[[Fields], int] | None) -> None:
        table = self._table

        def keep(page: list[Fields]) -> None:
            self._keep(page, mark)

        if table.is_single:
            keep([self._one(table.path, table.path)])
        elif table.parent is not None:
            self._of_parents(keep)
        elif table.created is not None:
            Windows(self._lists, table.path, table.params, table.created, keep).read(
                since, self._threads
            )
        else:
            for page in self._lists.pages(table.path, table.params):
                keep(page)

    def _of_parents(self, keep: Callable[[list[Fields]], None]) -> None:
        parent = TABLES[self._table.parent or ""]
        with ThreadPoolExecutor(self._threads, thread_name_prefix="stripe-children") as crew:

            def of_page(page: list[Fields]) -> None:
                where = self._lists.where(parent.path)
                ids = [text_of(one, "id", where) for one in page]
                self._all(crew, lambda id_: self._of_parent(id_, keep), ids)

            Windows(
                self._lists, parent.path, parent.params, parent.created or "created", of_page
            ).read(None, self._threads)

    def _of_parent(self, parent: str, keep: Callable[[list[Fields]], None]) -> None:
        try:
            for page in self._children(parent):
                keep(page)
        except ReadError:
            if self._parent_is_there(parent):
                raise

    def _parent_is_there(self, parent: str) -> bool:
        """Whether an object still exists whose list was just refused."""
        table = TABLES[self._table.parent or ""]
        try:
            fields = self._one(f"{table.place}/{parent}", f"{table.place}/:id")
        except MissingError:
            return False
        return not _is_deleted(fields)

    def _children(self, parent: str) -> Iterable[list[Fields]]:
        path = self._table.path.replace("{parent}", parent)
        params = {k: v.replace("{parent}", parent) for k, v in self._table.params.items()}
        return self._lists.pages(path, params, self._table.path)

    def created_since(self, low: int) -> None:
        """Read the objects created from `low` on."""
        if self._table.created is None:
            raise ReadError(
                f"stream {self._table.name}: Stripe's list of it cannot be filtered by time. "
                "Use mode: full_table."
            )
        self._everything(max(low, self._since or low), None)

    def changed_since(self, low: int) -> datetime:
        """Read what was created, changed and deleted from `low` on; return how far that reaches.

        Events first, then the newest of the list: what the list has is as fresh as what would
        be fetched by id, a hundred at a time.
        """
        now = self._ask_events()
        if now - datetime.fromtimestamp(low, UTC) > KEPT:
            raise ReadError(
                f"stream {self._table.name}: Stripe keeps events for {KEPT.days} days, and the "
                "table was last read before. Reload it: cdpsync run --full-refresh."
            )
        if self._table.name == "subscription_items":
            self._changed_items(low)
            return now - MARGIN
        changes = self._changes(low)
        if self._table.created is not None:
            self._newest(max(low, self._since or low), self._table.created, changes)
        self._fetch(changes)
        return now - MARGIN

    def _newest(self, low: int, created: str, changes: dict[str, _Change]) -> None:
        where = self._lists.where(self._table.path)

        def mark(fields: Fields) -> int:
            with self._guard:
                change = changes.pop(text_of(fields, "id", where), None)
            return max(second_of(fields, created, where), change.at if change else 0)

        def keep(page: list[Fields]) -> None:
            self._keep(page, mark)

        table = self._table
        Windows(self._lists, table.path, table.params, created, keep).read(low, self._threads)

    def _changes(self, low: int) -> dict[str, _Change]:
        """Return what events told of each object: the latest, by id."""
        changes: dict[str, _Change] = {}

        def note(event: Event) -> None:
            id_ = pointed(event.data.object, self._table.pointer(event.type))
            if id_ is not None:
                old = changes.get(id_) or _Change(event.created)
                is_own = self._table.pointer(event.type) is None
                changes[id_] = old.and_then(event, is_own=is_own)

        self._events(low, note)
        return changes

    def _events(self, low: int, note: Callable[[Event], None]) -> None:
        types = self._table.events
        for start in range(0, len(types), _MOST_TYPES):
            params = {
                f"types[{number}]": type_
                for number, type_ in enumerate(types[start : start + _MOST_TYPES])
            }

            def keep(page: list[Fields]) -> None:
                found = [parse_event(fields, self._lists.where("/v1/events")) for fields in page]
                with self._guard:
                    for event in found:
                        note(event)

            Windows(self._lists, "/v1/events", params, "created", keep).read(low, self._threads)

    def _fetch(self, changes: Mapping[str, _Change]) -> None:
        place = self._table.place

        def fetch(one: tuple[str, _Change]) -> None:
            id_, change = one
            try:
                fields = self._one(f"{place}/{id_}", f"{place}/:id")
            except MissingError:
                fields = None
            if fields is None or _is_deleted(fields) or self._is_elsewhere(fields):
                self._keep_gone(id_, self._last_content(change), change.at)
            elif not self._is_before(fields):
                self._keep([fields], lambda _: change.at)

        with ThreadPoolExecutor(self._threads, thread_name_prefix="stripe-fetch") as crew:
            self._all(crew, fetch, changes.items())

    def _all(
        self, crew: ThreadPoolExecutor, do: Callable[[Any], None], items: Iterable[Any]
    ) -> None:  # Any: what one is, only `do` knows
        """Do this with every item; the first error stops the others and is raised."""
        try:
            for _ in crew.map(do, items):
                pass
        except BaseException:
            self._lists.failed.set()
            raise

    def _last_content(self, change: _Change) -> bytes | None:
        """Return an object that is gone as its last event has it."""
        if change.told is None or not self._request.include_deletes:
            return None
        path = f"/v1/events/{change.told[-1]}"
        try:
            fields = self._one(path, "/v1/events/:id")
        except MissingError:
            return None
        return bytes(parse_event(fields, self._lists.where(path)).data.object)

    def _is_elsewhere(self, fields: Fields) -> bool:
        """Whether an object is no longer in the list: a payment method without a customer."""
        return (
            self._table.name == "payment_methods"
            and bytes(fields.get("customer", b"null")) == b"null"
        )

    def _is_before(self, fields: Fields) -> bool:
        """Whether an object was created before the start date, and so is left out."""
        created = self._table.created
        if self._since is None or created is None:
            return False
        return second_of(fields, created, self._lists.where(self._table.place)) < self._since

    def _keep_gone(self, id_: str, content: bytes | None, at: int) -> None:
        if not self._request.include_deletes:
            return
        where = self._lists.where(self._table.place)
        fields = parse_record(content, where) if content else {}
        moment = str(at).encode()
        gone = {**fields, "id": msgspec.json.encode(id_), UPDATED: moment, DELETED: moment}
        self._records.add([gone])

    def _changed_items(self, low: int) -> None:
        """Read the items of subscriptions that changed; those that were among them are gone."""
        changed: dict[str, int] = {}
        before: dict[str, tuple[int, str, bytes]] = {}

        def note(event: Event) -> None:
            id_ = pointed(event.data.object, None)
            if id_ is not None:
                changed[id_] = max(event.created, changed.get(id_, 0))
                for item, content in items_before(event.data.previous_attributes).items():
                    if item not in before or before[item][0] < event.created:
                        before[item] = (event.created, id_, content)

        self._events(low, note)
        there: set[str] = set()

        def fetch(one: tuple[str, int]) -> None:
            def keep(page: list[Fields]) -> None:
                there.update(text_of(fields, "id", self._table.path) for fields in page)
                self._keep(page, lambda _: one[1])

            self._of_parent(one[0], keep)

        with ThreadPoolExecutor(self._threads, thread_name_prefix="stripe-items") as crew:
            self._all(crew, fetch, changed.items())
        for item, (_, subscription, content) in before.items():
            if item not in there:
                self._keep_gone(item, content, changed[subscription])

    def _keep(self, page: list[Fields], mark: Callable[[Fields], int] | None) -> None:
        """Add objects to the records, where changes are followed each with its second."""
        where = self._lists.where(self._table.path)
        kept = []
        for fields in page:
            id_ = text_of(fields, "id", where)
            if self._table.parent is None or self._is_first(id_):
                more = {} if mark is None else {UPDATED: str(mark(fields)).encode()}
                kept.append({**completed(fields, self._lists), **more})
        self._records.add(kept)

    def _is_first(self, id_: str) -> bool:
        with self._guard:
            if id_ in self._once:
                return False
            self._once.add(id_)
            return True

    def _one(self, path: str, lane: str) -> Fields:
        """Return one object; raises MissingError when there is none."""
        where = self._lists.where(path)
        answer = self._client.get(
            path, {}, where=where, is_stopped=self._lists.is_stopped, lane=lane
        )
        return parse_record(answer.body, where)

    def _ask_events(self) -> datetime:
        """Return Stripe's clock, once it is known that events may be read."""
        where = self._lists.where("/v1/events")
        answer = self._client.get(
            "/v1/events", {"limit": 1}, where=where, is_stopped=self._lists.is_stopped
        )
        return answer.moment(self._client.address)


def cursor_at(moment: datetime) -> Cursor:
    """Return a moment as the cursor of a table that follows changes."""
    return Cursor(CursorType.TIMESTAMPTZ, moment.replace(microsecond=0))


def _is_deleted(fields: Fields) -> bool:
    """Whether an answer is the stub that stands for a deleted object."""
    return bytes(fields.get("deleted", b"")) == b"true"
