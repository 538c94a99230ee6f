"""Lists inside an object, such as the lines of an invoice, read to their end.

Stripe returns the first ten entries and a `url` for more:
https://docs.stripe.com/api/invoices/object.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

import msgspec

from cdpsync.connector.records.parse import parse_records
from cdpsync.errors import ReadError
from cdpsync_connectors.stripe.pages import text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdpsync.connector.records.parse import Fields
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
    """Return the fields, each list that was cut off read to its end, however deep it is."""
    cut = [name for name, raw in fields.items() if _may_be_cut(bytes(raw))]
    try:
        return {**fields, **{name: _expand(bytes(fields[name]), lists) for name in cut}}
    except RecursionError as error:
        raise ReadError(
            f"{lists.where('inner lists')}: the values of an object are nested too deep to be "
            "read. Nothing was kept."
        ) from error


def entries_of(fields: Mapping[str, Any], name: str, where: str) -> list[Fields]:  # bytes or Raw
    """Return the objects of the list `name` in an object; raises ReadError if it has none."""
    try:
        inner = msgspec.json.decode(fields[name], type=_InnerList)
    except (KeyError, msgspec.MsgspecError) as error:
        raise ReadError(
            f"{where}: the object came without its list {name}, so its objects are not known. "
            "Nothing was kept; run again, or ask Stripe's support."
        ) from error
    return parse_records(inner.data, where)


def _may_be_cut(raw: bytes) -> bool:
    return len(raw) > _SHORTEST and _IS_CUT in raw


def _expand(raw: bytes, lists: ListReader) -> bytes:
    """Return a JSON value, each list in it that was cut off read to its end."""
    if not _may_be_cut(raw):
        return raw
    if raw.startswith(b"["):
        entries = msgspec.json.decode(raw, type=list[msgspec.Raw])
        return _array([_expand(bytes(entry), lists) for entry in entries])
    if not raw.startswith(b"{"):
        return raw  # a text that looks like a list
    members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    try:
        inner = msgspec.json.decode(raw, type=_InnerList)
    except msgspec.ValidationError:
        inner = None
    if inner is not None and inner.object == "list" and inner.has_more:
        members |= {"data": msgspec.Raw(_whole(inner, lists)), "has_more": msgspec.Raw(b"false")}
    else:
        members = {name: msgspec.Raw(_expand(bytes(v), lists)) for name, v in members.items()}
    return msgspec.json.encode(members)


def _whole(inner: _InnerList, lists: ListReader) -> bytes:
    """Return all entries of a list that was cut off, as a JSON array."""
    path, params = split_url(inner.url)
    where = lists.where(path)
    entries = [bytes(entry) for entry in inner.data]
    page, has_more = parse_records(inner.data, where), True
    while has_more:
        last_ids = [text_of(fields, "id", where) for fields in page]
        page, has_more = lists.page_after(path, params, last_ids, "inner lists")
        entries += [msgspec.json.encode(entry) for entry in page]
    return _array([_expand(entry, lists) for entry in entries])


def _array(entries: list[bytes]) -> bytes:
    return b"[" + b",".join(entries) + b"]"
