"""The records in an answer, and whether a list may end with it.

An answer that is not what its resource says is refused: rows would be lost in silence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cdpsync.connector.http.errors import error_text
from cdpsync.connector.http.pages import Page, SinglePage, header_link, says_end
from cdpsync.connector.http.paths import items_of, names_in, require_path
from cdpsync.errors import ReadError

if TYPE_CHECKING:
    from cdpsync.connector.http.resource import Resource

_NULLS = {b"null", b"false", b'""', b"[]", b"{}", b"0"}
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MORE = (
    *("next", "next_page", "nextPage", "next_page_url", "nextPageUrl", "next_url", "nextUrl"),
    *("next_cursor", "nextCursor", "next_page_token", "nextPageToken", "next_link", "nextLink"),
    *("@odata.nextLink", "has_more", "hasMore", "has_next", "hasNext", "has_next_page"),
    *("hasNextPage", "more_results"),
)
"""Names under which answers say that more pages follow."""

_HOLDERS = ("meta", "paging", "pagination", "links", "_links", "page_info", "pageInfo", "pages")


def records_of(resource: Resource, raw: bytes, where: str) -> list[bytes]:
    """Return the JSON of an answer's records. Raises ReadError where the answer has none."""
    for name in resource.errors:
        value = require_path(name, where).first(raw)
        if value is not None and value not in _NULLS:
            raise ReadError(f"{where}: the answer reports an error: {error_text(value)}.")
    path = require_path(resource.records, where)
    values = path.find(raw)
    if not values:
        if _is_empty_list(resource.records, raw, where):
            return []
        names = ", ".join(names_in(raw)) or "no names"
        raise ReadError(
            f"{where}: the answer has nothing at {resource.records}; it has: {names}. "
            f"It begins with {raw[:60]!r}. Correct records:."
        )
    records: list[bytes] = []
    for value in values:
        items = items_of(value)
        if items is not None:
            records += map(bytes, items)
        elif value != b"null":
            records.append(value)
    if not resource.records and len(values) == 1 and raw[:1] == b"{":
        _require_object(resource, raw, where)
    return records


def _is_empty_list(records: str, raw: bytes, where: str) -> bool:
    """Whether a path with `[*]` leads to no record because the list that it goes through is empty.

    A list that is not there, or whose items have no such record, is no empty list.
    """
    head, wrapped, _ = records.partition("[*]")
    value = require_path(head, where).first(raw) if wrapped else None
    return value is not None and items_of(value) == []


def _require_object(resource: Resource, raw: bytes, where: str) -> None:
    """Raise ReadError if an answer that should be the record looks like one with a list in it."""
    if isinstance(resource.paginator, SinglePage):
        return
    lists = [name for name in names_in(raw) if _is_list_of_objects(raw, name, where)]
    if lists:
        raise ReadError(
            f"{where}: the answer is an object with a list in it: {', '.join(lists)}. If that is "
            f"the list of records, set records: {lists[0]}. If the object is the one record, set "
            "paginator: single_page."
        )


def _is_list_of_objects(raw: bytes, name: str, where: str) -> bool:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    value = require_path(f'"{quoted}"', where).first(raw) if name else None
    items = None if value is None else items_of(value)
    return bool(items) and bytes(items[0])[:1] == b"{" if items else False


def require_end(resource: Resource, page: Page) -> None:
    """Raise ReadError where a list ended, and its last answer says that there is more."""
    paginator = resource.paginator
    if isinstance(paginator, SinglePage):
        return
    total = paginator.total(page) if paginator else None
    if total is not None and page.records_so_far < total:
        raise ReadError(
            f"{page.where}: the API says that there are {total} records, and {page.records_so_far} "
            "came. The list changed while it was read, or the API ends it early. Run again.",
            retryable=True,
        )
    more = "" if says_end(paginator, page) else _says_more(page)
    if more:
        advice = "Set a paginator" if paginator is None else "Correct the paginator"
        raise ReadError(
            f"{page.where}: the last page says that more follow ({more}), but how to ask for them "
            f"is not configured. {advice}, or set paginator: single_page."
        )


def _says_more(page: Page) -> str:
    """Return the name under which an answer says that more pages follow; empty if it does not."""
    if page.answer.headers.get("link") and header_link(page.answer, "next"):
        return "the header Link"
    if not page.records:
        return ""
    for holder in ("", *_HOLDERS):
        for name in _MORE:
            path = f'{holder}."{name}"' if holder else f'"{name}"'
            value = require_path(path, page.where).first(page.raw)
            if value is not None and _has_value(value):
                return path.replace('"', "")
    return ""


def _has_value(value: bytes) -> bool:
    """Whether a JSON value is neither empty nor an object of nothing else."""
    if value[:1] == b"{":
        return any(_has_value(bytes(inner)) for inner in _object.decode(value).values())
    return value not in _NULLS
