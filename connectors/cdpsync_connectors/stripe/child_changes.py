"""Reads what changed in the lists of parents, such as the items of subscriptions.

The objects have no events of their own, or not for every change. So the list of each parent that
has an event is read again.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cdpsync_connectors._shared.record_json import parse_record
from cdpsync_connectors.stripe.errors import MissingError
from cdpsync_connectors.stripe.events import DELETIONS, EVENTS, EventReader, previous_items
from cdpsync_connectors.stripe.pages import text_of
from cdpsync_connectors.stripe.test_clocks import has_test_clock, is_of_test_clock

if TYPE_CHECKING:
    from cdpsync_connectors._shared.record_json import Fields
    from cdpsync_connectors.stripe.events import Event
    from cdpsync_connectors.stripe.reader import StreamReader


def read_children_since(reader: StreamReader, low: int) -> None:
    """Add the objects of each parent that has an event since `low`.

    Items of a subscription that an event had before, and that are in no list now, are added as
    deleted.
    """
    changed_at: dict[str, int] = {}  # by parent
    deleted: set[str] = set()
    earlier_items: dict[str, tuple[int, str, bytes]] = {}  # second, parent, content

    def on_event(event: Event, parent: str) -> None:
        if _is_left_out(reader, event, parent):
            return
        if event.type.endswith(DELETIONS):
            deleted.add(parent)
        changed_at[parent] = max(event.created, changed_at.get(parent, 0))
        if reader.stream.name == "subscription_items":
            for item, content in previous_items(event.data.previous_attributes).items():
                if item not in earlier_items or earlier_items[item][0] < event.created:
                    earlier_items[item] = (event.created, parent, content)

    EventReader(reader.lists, reader.stream).read(low, reader.threads, on_event)
    current_ids: set[str] = set()

    def read_list(changed: tuple[str, int]) -> None:
        parent, second = changed

        def on_page(page: list[Fields]) -> None:
            if earlier_items:
                current_ids.update(text_of(fields, "id", reader.stream.path) for fields in page)
            reader.add(page, lambda _: second, parent=parent)

        reader.read_children(parent, on_page, has_deletion=parent in deleted)

    with ThreadPoolExecutor(reader.threads, thread_name_prefix="stripe-children") as pool:
        reader.for_each(pool, read_list, changed_at.items())
    for item, (_, parent, content) in earlier_items.items():
        if item not in current_ids:
            reader.add_deleted(item, content, changed_at[parent])


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
