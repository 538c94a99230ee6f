"""Stripe's events: the parts that a read needs, and the ids of the objects that they concern.

https://docs.stripe.com/api/events/object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cdpsync.errors import ReadError
from cdpsync_connectors.stripe.pages import second_of, text_of

if TYPE_CHECKING:
    from cdpsync_connectors._shared.record_json import Fields


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
