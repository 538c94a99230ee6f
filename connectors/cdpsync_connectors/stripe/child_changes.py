"""Reads what changed in the lists of parents, such as the items of subscriptions.

The objects have no events of their own, or not for every change. So the list of each parent that
has an event is read again.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cdpsync.connector.records.parse import parse_record
from cdpsync_connectors.stripe.clocks import has_test_clock, is_of_test_clock
from cdpsync_connectors.stripe.errors import MissingError
from cdpsync_connectors.stripe.events import DELETIONS, EVENTS, EventReader, previous_items
from cdpsync_connectors.stripe.pages import text_of

if TYPE_CHECKING:
    from cdpsync.connector.records.parse import Fields
    from cdpsync_connectors.stripe.events import Event
    from cdpsync_connectors.stripe.reader import StreamReader


class _Parents:
    """The parents that have an event: when it was, and what the event says of their objects.

    `earlier_items` are items that a subscription had before: second, parent and content, by id.
    """

    def __init__(self, reader: StreamReader) -> None:
        self._has_items = reader.stream.name == "subscription_items"
        self.changed_at: dict[str, int] = {}
        self.deleted: set[str] = set()
        self.earlier_items: dict[str, tuple[int, str, bytes]] = {}

    def add(self, event: Event, parent: str) -> None:
        """Add an event of a parent."""
        if event.type.endswith(DELETIONS):
            self.deleted.add(parent)
        self.changed_at[parent] = max(event.created, self.changed_at.get(parent, 0))
        if self._has_items:
            for item, content in previous_items(event.data.previous_attributes).items():
                known = self.earlier_items.get(item)
                if known is None or known[0] < event.created:
                    self.earlier_items[item] = (event.created, parent, content)


def read_children_since(reader: StreamReader, low: int, *, is_new: bool = False) -> None:
    """Add the objects of each parent that has an event since `low`; with `is_new`, of every parent.

    Items of a subscription that an event had before, and that are in no list now, are added as
    deleted.
    """
    parents = _Parents(reader)

    def on_event(event: Event, parent: str) -> None:
        if not _is_left_out(reader, event, parent):
            parents.add(event, parent)

    EventReader(reader.lists, reader.stream).read(low, reader.threads, on_event)
    current_ids: set[str] = set()

    def note(fields: Fields) -> None:
        if parents.earlier_items:
            current_ids.add(text_of(fields, "id", reader.stream.path))

    def read_list(changed: tuple[str, int]) -> None:
        parent, second = changed

        def mark(fields: Fields) -> int:
            note(fields)
            return second

        reader.read_children(
            parent,
            lambda page: reader.add(page, mark, parent=parent),
            has_deletion=parent in parents.deleted,
        )

    def mark_listed(fields: Fields) -> int:
        note(fields)
        return low

    if is_new:
        reader.read_all(mark_listed)
    else:
        with ThreadPoolExecutor(reader.threads, thread_name_prefix="stripe-children") as pool:
            reader.for_each(pool, read_list, parents.changed_at.items())
    for item, (_, parent, content) in parents.earlier_items.items():
        if item not in current_ids:
            reader.add_deleted(item, content, parents.changed_at[parent])


def _is_left_out(reader: StreamReader, event: Event, parent: str) -> bool:
    """Whether the parents' list leaves this parent out, because of a test clock."""
    fields = parse_record(bytes(event.data.object), reader.lists.where(EVENTS))
    if has_test_clock(fields):
        return True
    if reader.stream.parent != "customers":
        return False
    try:
        return is_of_test_clock(parent, fields, reader.fetch)
    except MissingError:  # a deleted customer has no list to read either
        return False
