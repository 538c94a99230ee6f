"""Lists inside an object, which Stripe cuts off: the lines of an invoice, completed.

https://docs.stripe.com/api/invoices/object: `lines` has the first ten, and a `url` for the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from cdpsync_connectors._shared.records import Fields
    from cdpsync_connectors.stripe.pages import Lists

_CUT = b'"has_more":true'
_SHORTEST = 40  # bytes of a list that was cut off


class _Inner(msgspec.Struct):
    object: str
    url: str
    has_more: bool
    data: list[msgspec.Raw]


def completed(fields: Fields, lists: Lists) -> dict[str, Any]:  # Any: bytes or Raw
    """Return the fields with each list that was cut off read to its end."""
    cut = [name for name, raw in fields.items() if len(raw) > _SHORTEST and _CUT in bytes(raw)]
    if not cut:
        return {**fields}
    return {**fields, **{name: _whole(bytes(fields[name]), lists) for name in cut}}


def _whole(raw: bytes, lists: Lists) -> bytes:
    try:
        inner = msgspec.json.decode(raw, type=_Inner)
    except msgspec.ValidationError:
        return raw  # the list is deeper inside, or it is no list
    if inner.object != "list" or not inner.has_more:
        return raw
    ids = [msgspec.json.decode(one, type=dict[str, msgspec.Raw])["id"] for one in inner.data]
    last = [msgspec.json.decode(one, type=str) for one in ids]
    whole = [bytes(one) for one in inner.data]
    more = True
    while more:
        page, more = lists.page_after(inner.url, {}, last, "inner lists")
        whole += [_object(one) for one in page]
        last = [msgspec.json.decode(one["id"], type=str) for one in page]
    said: dict[str, msgspec.Raw] = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    said |= {"data": msgspec.Raw(b"[" + b",".join(whole) + b"]"), "has_more": msgspec.Raw(b"false")}
    return msgspec.json.encode(said)


def _object(fields: Fields) -> bytes:
    return msgspec.json.encode(fields)
