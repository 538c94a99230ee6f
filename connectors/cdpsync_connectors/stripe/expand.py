"""Lists inside an object, such as the lines of an invoice, read to their end.

Stripe returns the first ten entries and a `url` for more:
https://docs.stripe.com/api/invoices/object.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

import msgspec

if TYPE_CHECKING:
    from cdpsync_connectors._shared.record_json import Fields
    from cdpsync_connectors.stripe.pages import ListReader

_IS_CUT = b'"has_more":true'
_SHORTEST = 40  # bytes of a list that was cut off


_QUERY = re.compile(r"\?(?=[\w\[\]]+=)")
_BARE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")


def split_url(url: str) -> tuple[str, dict[str, str]]:
    """Return the quoted path and the parameters of a list's `url`, whose ids may be unquoted."""
    path, _, query = _QUERY.sub("\0", url, count=1).partition("\0")
    return quote(_BARE_PERCENT.sub("%25", path), safe="/%"), dict(parse_qsl(query))


class _InnerList(msgspec.Struct):
    object: str
    url: str
    has_more: bool
    data: list[msgspec.Raw]


def expand_lists(fields: Fields, lists: ListReader) -> dict[str, Any]:  # Any: bytes or Raw
    """Return the fields, each list that was cut off read to its end."""
    cut = [name for name, raw in fields.items() if len(raw) > _SHORTEST and _IS_CUT in bytes(raw)]
    if not cut:
        return {**fields}
    return {**fields, **{name: _expand(bytes(fields[name]), lists) for name in cut}}


def _expand(raw: bytes, lists: ListReader) -> bytes:
    try:
        inner = msgspec.json.decode(raw, type=_InnerList)
    except msgspec.ValidationError:
        return raw  # the list is deeper inside, or it is not a list
    if inner.object != "list" or not inner.has_more:
        return raw
    entries = [bytes(entry) for entry in inner.data]
    ids = [msgspec.json.decode(entry, type=dict[str, msgspec.Raw])["id"] for entry in entries]
    last_ids = [msgspec.json.decode(id_, type=str) for id_ in ids]
    path, params = split_url(inner.url)
    has_more = True
    while has_more:
        page, has_more = lists.page_after(path, params, last_ids, "inner lists")
        entries += [msgspec.json.encode(entry) for entry in page]
        last_ids = [msgspec.json.decode(entry["id"], type=str) for entry in page]
    expanded: dict[str, msgspec.Raw] = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    data = msgspec.Raw(b"[" + b",".join(entries) + b"]")
    expanded |= {"data": data, "has_more": msgspec.Raw(b"false")}
    return msgspec.json.encode(expanded)
