"""Reads one resource: its pages, one after the other, and its records into the files of a read."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from cdpsync.connector.http.client import MissingError
from cdpsync.connector.http.errors import said
from cdpsync.connector.http.pages import (
    HeaderLink,
    Offset,
    Page,
    PageNumber,
    SinglePage,
    header_link,
    says_end,
)
from cdpsync.connector.http.paths import items_of, names_in, require_path
from cdpsync.connector.http.request import Answer, HttpRequest
from cdpsync.connector.http.safe_cursor import began_at
from cdpsync.connector.records import Fields, decode_json, parse_records
from cdpsync.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from cdpsync.connector import ReadRequest
    from cdpsync.connector.http.client import HttpClient
    from cdpsync.connector.http.pages import Paginator
    from cdpsync.connector.http.request import Json
    from cdpsync.connector.http.resource import Resource
    from cdpsync.connector.records import Records

_NULLS = {b"null", b"false", b'""', b"[]", b"{}", b"0"}
_raw = msgspec.json.Decoder(msgspec.Raw)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MORE = (
    *("next", "next_page", "nextPage", "next_page_url", "nextPageUrl", "next_url", "nextUrl"),
    *("next_cursor", "nextCursor", "next_page_token", "nextPageToken", "next_link", "nextLink"),
    *("@odata.nextLink", "has_more", "hasMore", "has_next", "hasNext", "has_next_page"),
    *("hasNextPage", "more_results"),
)
"""Names under which answers say that more pages follow."""

_HOLDERS = ("meta", "paging", "pagination", "links", "_links", "page_info", "pageInfo", "pages")


class _EnoughError(Exception):
    """As many records were read as the request asks for: ends the read of every thread."""


@dataclass(frozen=True, slots=True)
class _ParentRecord:
    """The values of a parent's record: for the request, and as columns."""

    values: Mapping[str, str]
    fields: Mapping[str, bytes]


_NO_PARENT = _ParentRecord({}, {})


class ResourceReader:
    """One read of a resource. `resources` has its parent, and that one's."""

    def __init__(
        self,
        client: HttpClient,
        resources: Mapping[str, Resource],
        request: ReadRequest,
        records: Records,
    ) -> None:
        self._client = client
        self._resources = resources
        self._request = request
        self._records = records
        self._resource = resources[request.stream.name]
        self.began_at: datetime | None = None
        self._failed = threading.Event()
        self._keys: set[bytes] = set()
        self._guard = threading.Lock()
        self._repeated = 0
        self._added = 0

    def read(self) -> None:
        """Add all requested records. Raises ConnectorError."""
        with suppress(_EnoughError):
            self._read()
        if self._repeated:
            self._request.on_notice(
                f"{self._repeated} records came twice, because the list changed while it was read; "
                "each was kept once."
            )

    def _read(self) -> None:
        resource = self._resource
        if resource.parent is None:
            self._read_pages(_NO_PARENT)
            return
        with ThreadPoolExecutor(self._client.concurrency, "children") as pool:
            for parents in self._parent_pages(resource):
                try:
                    for _ in pool.map(self._read_child, parents):
                        pass
                except BaseException:
                    self._failed.set()
                    raise

    def _read_child(self, parent: _ParentRecord) -> None:
        resource = self._resource
        try:
            self._read_pages(parent)
        except MissingError:
            if resource.parent is None or resource.parent.on_missing != "empty":
                raise

    def _read_pages(self, parent: _ParentRecord) -> None:
        resource, window = self._resource, self._request.window
        where = self._where(resource)
        low = resource.cursor_text(window.low if window else None, where)
        for page in self._pages(resource, parent.values, low):
            self._add(page, parent)
            if self._is_below(page):
                return

    # ---- pages

    def _pages(
        self, resource: Resource, parent: Mapping[str, str], cursor: str | None
    ) -> Iterator[Page]:
        """Return the pages of a resource, for one record of its parent if it has one."""
        where = self._where(resource)
        if resource.items is not None:
            records = [msgspec.json.encode({"value": item}) for item in resource.items]
            yield Page(Answer(200, b"", {}, ""), b"", records, 1, len(records), where)
            return
        paginator: Paginator = resource.paginator or HeaderLink()
        request = paginator.first(_first_request(resource, parent, cursor))
        count, previous = 0, b""
        number = 0
        while True:
            number += 1
            answer = self._send(request, where)
            raw = bytes(decode_json(_raw, answer.body, where, "the records"))
            records = _records_of(resource, raw, where)
            count += len(records)
            page = Page(answer, raw, records, number, count, where)
            if records and raw == previous:
                raise ReadError(
                    f"{where}: page {number} is the same as the page before it, so the list would "
                    "never end. Does the API know the paginator's parameter?"
                )
            previous = raw
            yield page
            following = paginator.following(request, page)
            if following is None:
                _require_end(resource, page)
                return
            request = following

    def _send(self, request: HttpRequest, where: str) -> Answer:
        """Return the answer; note when the read began, by the API's clock."""
        sent = time.monotonic()
        answer = self._client.send(request, where=where, is_stopped=self._is_stopped)
        if self.began_at is None:
            self.began_at = began_at(answer, time.monotonic() - sent)
        return answer

    def _parent_pages(self, resource: Resource) -> Iterator[list[_ParentRecord]]:
        """Return the parents' values, a list for each page of them; joined, one for all."""
        pages = self._each_parent_page(resource)
        if resource.parent is None or not resource.parent.join:
            yield from pages
            return
        records = [record for page in pages for record in page]
        names = [f"parent.{path}" for path in resource.parent_paths()]
        values = {name: ",".join(record.values[name] for record in records) for name in names}
        yield [_ParentRecord(values, {})]

    def _each_parent_page(self, resource: Resource) -> Iterator[list[_ParentRecord]]:
        config = resource.parent
        if config is None:
            yield [_NO_PARENT]
            return
        parent = self._resources[config.resource]
        where = self._where(parent)
        paths = {name: require_path(name, where) for name in resource.parent_paths()}
        columns = {name: require_path(path, where) for name, path in config.fields.items()}
        for grandparents in self._parent_pages(parent):
            for grandparent in grandparents:
                for page in self._pages(parent, grandparent.values, parent.cursor_initial):
                    yield [
                        _ParentRecord(
                            {
                                f"parent.{name}": _required(path.text_in(raw), name, where)
                                for name, path in paths.items()
                            },
                            {
                                name: value
                                for name, path in columns.items()
                                if (value := path.first(raw)) is not None
                            },
                        )
                        for raw in page.records
                    ]

    def _is_below(self, page: Page) -> bool:
        """Whether a list that has its newest records first has come below the cursor."""
        window = self._request.window
        if not self._resource.newest_first or window is None or not page.records:
            return False
        from cdpsync.connector.http.cursors import is_below

        name = self._resource.cursor_field or ""
        value = require_path(f'"{name}"', page.where).first(page.records[-1])
        return value is not None and is_below(value, window.low, self._resource.types.get(name))

    # ---- records

    def _add(self, page: Page, parent: _ParentRecord) -> None:
        fields = parse_records([msgspec.Raw(raw) for raw in page.records], page.where)
        if self._resource.fields:
            fields = self._with_inner(fields, page)
        if parent.fields:
            own = {name: msgspec.Raw(value) for name, value in parent.fields.items()}
            fields = [{**record, **own} for record in fields]
        self._records.add(self._new(fields, page) if self._drops_repeated else fields)
        with self._guard:
            self._added += len(fields)
        limit = self._request.limit
        if limit is not None and self._added >= limit:
            raise _EnoughError

    def _with_inner(self, records: Sequence[Fields], page: Page) -> list[Fields]:
        """Return the records with the columns that stand inside an object of them."""
        paths = {n: require_path(p, page.where) for n, p in self._resource.fields.items()}
        return [
            {
                **record,
                **{
                    name: msgspec.Raw(value)
                    for name, path in paths.items()
                    if (value := path.first(raw)) is not None
                },
            }
            for record, raw in zip(records, page.records, strict=True)
        ]

    @property
    def _drops_repeated(self) -> bool:
        """Whether a record that comes twice is kept once by its key.

        A list that is cut by numbers moves when a record is added in front. With `incremental`
        both come through, because the commit keeps the later one.
        """
        is_numbered = isinstance(self._resource.paginator, PageNumber | Offset)
        may_repeat = is_numbered or self._resource.may_repeat
        has_key = bool(self._resource.primary_key)
        return may_repeat and has_key and self._request.cursor_field is None

    def _new(self, records: Sequence[Fields], page: Page) -> list[Fields]:
        new = []
        with self._guard:
            for record in records:
                key = self._key(record, page.where)
                if key not in self._keys:
                    self._keys.add(key)
                    new.append(record)
        if records and not new and not self._resource.may_repeat:
            raise ReadError(
                f"{page.where}: each record of page {page.number} came before, so the list would "
                "never end. Does the API know the paginator's parameter?"
            )
        self._repeated += len(records) - len(new)
        return new

    def _key(self, record: Fields, where: str) -> bytes:
        digest = blake2b(digest_size=16)
        for name in self._resource.primary_key:
            value = record.get(name)
            if value is None:
                raise ReadError(f'{where}: a record lacks "{name}", which is in the primary_key.')
            digest.update(bytes(value) + b"\0")
        return digest.digest()

    def _is_stopped(self) -> bool:
        return self._failed.is_set() or self._request.is_stopped()

    def _where(self, resource: Resource) -> str:
        return f"stream {self._request.stream.name}: {resource.method} {resource.path}"


def _first_request(
    resource: Resource, parent: Mapping[str, str], cursor: str | None
) -> HttpRequest:
    """Return the request of a resource with its placeholders and cursor filled in."""
    quoted = {name: quote(value, safe="") for name, value in parent.items()}
    quoted |= {f"+{name}": quote(value, safe="/") for name, value in parent.items()}
    params = {
        name: None if value is None else resource.filled(value, parent, cursor)
        for name, value in resource.params.items()
    }
    headers = {
        name: filled
        for name, value in resource.headers.items()
        if (filled := resource.filled(value, parent, cursor)) is not None
    }
    body = _filled_body(resource, parent, cursor)
    path = resource.filled(resource.path, quoted, cursor) or resource.path
    request = HttpRequest(resource.method, path, params, headers, body, label=resource.path)
    if cursor is None:
        return request
    request = request.with_params(resource.cursor_params)
    if resource.cursor_param is None:
        return request
    if resource.cursor_in_body:
        json = resource.cursor_json(cursor)
        return request.with_body_value(tuple(resource.cursor_param.split(".")), json)
    return request.with_params({resource.cursor_param: cursor})


def _filled_body(resource: Resource, parent: Mapping[str, str], cursor: str | None) -> Json:
    if not isinstance(resource.body, dict):
        return _filled(resource.body, resource, parent, cursor)
    return {
        name: value if name in resource.verbatim else _filled(value, resource, parent, cursor)
        for name, value in resource.body.items()
        if name in resource.verbatim or _is_fillable(value, cursor)
    }


def _filled(value: Json, resource: Resource, parent: Mapping[str, str], cursor: str | None) -> Json:
    """Return a value of the body, without the members that need a cursor that is not there."""
    if value == "{cursor}" and cursor is not None:
        return resource.cursor_json(cursor)
    if isinstance(value, str):
        return resource.filled(value, parent, cursor)
    if isinstance(value, list):
        items = [item for item in value if _is_fillable(item, cursor)]
        return [_filled(item, resource, parent, cursor) for item in items]
    if isinstance(value, dict):
        return {
            name: _filled(inner, resource, parent, cursor)
            for name, inner in value.items()
            if _is_fillable(inner, cursor)
        }
    return value


def _is_fillable(value: Json, cursor: str | None) -> bool:
    """Whether a value needs no cursor, or there is one. An object that needs one goes as a whole.

    A filter such as {field: updated, operator: gte, value: "{cursor}"} means nothing without it.
    """
    if cursor is not None:
        return True
    if isinstance(value, str):
        return "{cursor}" not in value
    if isinstance(value, dict):
        return not any(isinstance(v, str) and "{cursor}" in v for v in value.values())
    return True


def _records_of(resource: Resource, raw: bytes, where: str) -> list[bytes]:
    """Return the JSON of an answer's records. Raises ReadError where the answer has none."""
    for name in resource.errors:
        value = require_path(name, where).first(raw)
        if value is not None and value not in _NULLS:
            raise ReadError(f"{where}: the answer reports an error: {said(value)}.")
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


def _require_end(resource: Resource, page: Page) -> None:
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


def _required(value: str | None, name: str, where: str) -> str:
    if value is None:
        raise ReadError(
            f"{where}: a record has no {name}, which the requests for its children need."
        )
    return value
