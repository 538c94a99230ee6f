"""Reads one resource: its pages, one after the other, and its records into the files of a read."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from cdpsync.connector.http.client import RefusedError
from cdpsync.connector.http.filling import first_request
from cdpsync.connector.http.pages import (
    HeaderLink,
    Offset,
    Page,
    PageNumber,
)
from cdpsync.connector.http.paths import require_path
from cdpsync.connector.http.records_in import records_of, require_end
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
    from cdpsync.connector.http.resource import Resource
    from cdpsync.connector.records import Records

_raw = msgspec.json.Decoder(msgspec.Raw)


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
        config = self._resource.parent
        try:
            self._read_pages(parent)
        except RefusedError as error:
            if config is None or not error.is_own or error.status not in config.empty_on:
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
        request = paginator.first(first_request(resource, parent, cursor))
        count, previous = 0, b""
        number = 0
        while True:
            number += 1
            answer = self._send(request, where)
            raw = bytes(decode_json(_raw, answer.body, where, "the records"))
            records = records_of(resource, raw, where)
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
                require_end(resource, page)
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


def _required(value: str | None, name: str, where: str) -> str:
    if value is None:
        raise ReadError(
            f"{where}: a record has no {name}, which the requests for its children need."
        )
    return value
