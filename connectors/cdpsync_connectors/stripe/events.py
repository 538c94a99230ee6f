"""Stripe's events, as far as a read looks at them: https://docs.stripe.com/api/events/object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cdpsync.errors import ReadError
from cdpsync_connectors.stripe.pages import second_of, text_of

if TYPE_CHECKING:
    from cdpsync_connectors._shared.records import Fields


class _Data(msgspec.Struct):
    object: msgspec.Raw
    previous_attributes: msgspec.Raw = msgspec.Raw(b"null")


class _Items(msgspec.Struct):
    data: list[msgspec.Raw]


class _Previous(msgspec.Struct):
    items: _Items


class Event(msgspec.Struct):
    """What is looked at of an event."""

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


def pointed(content: msgspec.Raw, pointer: str | None) -> str | None:
    """Return the id in an event's object, or where the pointer says; None when it has none.

    `a.b|c` is looked up in `a`'s `b`, and failing that in `c`.
    """
    found: Any = msgspec.json.decode(content)  # Any: JSON
    for path in (pointer or "id").split("|"):
        value = found
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, dict):  # expanded
            value = value.get("id")
        if isinstance(value, str) and value:
            return value
    return None


def items_before(previous: msgspec.Raw) -> dict[str, bytes]:
    """Return the items that a subscription had before, by id."""
    found: Any = msgspec.json.decode(previous)  # Any: JSON
    items = found.get("items") if isinstance(found, dict) else None
    data = items.get("data") if isinstance(items, dict) else None
    if not isinstance(data, list):
        return {}

    raws = msgspec.json.decode(previous, type=_Previous).items.data
    pairs = ((pointed(raw, None), bytes(raw)) for raw in raws)
    return {id_: raw for id_, raw in pairs if id_ is not None}
