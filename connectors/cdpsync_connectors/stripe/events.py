"""Stripe's events: the parts that a read needs, and the ids of the objects that they concern.

https://docs.stripe.com/api/events/object.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec

from cdpsync.errors import ReadError
from cdpsync_connectors.stripe.pages import second_of, text_of
from cdpsync_connectors.stripe.windows import WindowReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from cdpsync.connector.records.parse import Fields
    from cdpsync_connectors.stripe.pages import ListReader
    from cdpsync_connectors.stripe.stream import StripeStream

EVENTS = "/v1/events"
DELETIONS = (".deleted", ".detached")
"""The ends of types of events that report that an object left its list."""

_MAX_TYPES = 20  # of one request: https://docs.stripe.com/api/events/list


class _Data(msgspec.Struct):
    object: msgspec.Raw
    previous_attributes: msgspec.Raw = msgspec.Raw(b"null")


class _Items(msgspec.Struct):
    data: list[msgspec.Raw]


class _Previous(msgspec.Struct):
    items: _Items


class Event(msgspec.Struct):
    """The parts of an event that a read needs."""

    id: str
    type: str
    created: int
    data: _Data


def parse_event(fields: Fields, where: str) -> Event:
    """Return an event; raises ReadError for one that is not as documented."""
    try:
        return Event(
            text_of(fields, "id", where),
            msgspec.json.decode(fields["type"], type=str),
            second_of(fields, "created", where),
            msgspec.json.decode(fields["data"], type=_Data),
        )
    except (KeyError, msgspec.MsgspecError) as error:
        raise ReadError(f"{where}: an event is not as documented: {error}. Run again.") from error


def related_id(content: msgspec.Raw, path: str | None) -> str | None:
    """Return the id at `path` in an event's object, or its own id; None if it has none.

    `a.b|c` means `b` of the object `a`, or else `c`.
    """
    object_: Any = msgspec.json.decode(content)  # Any: JSON
    for alternative in (path or "id").split("|"):
        value = object_
        for name in alternative.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, dict):  # expanded
            value = value.get("id")
        if isinstance(value, str) and value:
            return value
    return None


def previous_items(previous: msgspec.Raw) -> dict[str, bytes]:
    """Return the items that a subscription had before the event, by id."""
    attributes: Any = msgspec.json.decode(previous)  # Any: JSON
    items = attributes.get("items") if isinstance(attributes, dict) else None
    data = items.get("data") if isinstance(items, dict) else None
    if not isinstance(data, list):
        return {}

    raws = msgspec.json.decode(previous, type=_Previous).items.data
    pairs = ((related_id(raw, None), bytes(raw)) for raw in raws)
    return {id_: raw for id_, raw in pairs if id_ is not None}


class EventReader:
    """Reads the events of a stream's objects, or of their parents, from a second on."""

    def __init__(self, lists: ListReader, stream: StripeStream) -> None:
        self._lists = lists
        self._stream = stream
        self._guard = threading.Lock()

    def read(self, low: int, threads: int, on_event: Callable[[Event, str], None]) -> None:
        """Call `on_event` with each event, one at a time, and the id that it concerns.

        An event of another object that names none of ours is left out. Raises ReadError for an
        event of our own object without an id.
        """
        types = self._stream.event_types
        where = self._lists.where(EVENTS)

        def on_page(page: list[Fields]) -> None:
            events = [parse_event(fields, where) for fields in page]
            with self._guard:
                for event in events:
                    id_ = self._id_of(event, where) if event.type in types else None
                    if id_ is not None:
                        on_event(event, id_)

        for start in range(0, len(types), _MAX_TYPES):
            batch = types[start : start + _MAX_TYPES]
            params = {f"types[{number}]": type_ for number, type_ in enumerate(batch)}
            WindowReader(self._lists, EVENTS, params, "created", on_page).read(low, threads)

    def _id_of(self, event: Event, where: str) -> str | None:
        path = self._stream.id_path(event.type)
        id_ = related_id(event.data.object, path)
        if id_ is None and path is None:
            raise ReadError(f"{where}: event {event.id} has an object without an id. Run again.")
        return id_
