"""Reads the objects of one Stripe stream with several threads, and adds them to the records."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import msgspec

from cdpsync.errors import ReadError
from cdpsync_connectors._shared.record_json import Fields, parse_record
from cdpsync_connectors.stripe.client import object_path
from cdpsync_connectors.stripe.columns import DELETED, UPDATED
from cdpsync_connectors.stripe.errors import MissingError, StoppedError
from cdpsync_connectors.stripe.expand import expand_lists
from cdpsync_connectors.stripe.pages import ListReader, parse_object, second_of, text_of
from cdpsync_connectors.stripe.streams import STREAMS
from cdpsync_connectors.stripe.windows import WindowReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cdpsync.connector import ReadRequest
    from cdpsync_connectors._shared.records import Records
    from cdpsync_connectors.stripe.client import Client
    from cdpsync_connectors.stripe.streams import StripeStream

_T = TypeVar("_T")


class _EnoughError(Exception):
    """As many objects were read as the request asks for: ends the read of every thread."""


class StreamReader:
    """One read of a stream: adds its objects to `records`, with at most `threads` threads.

    `since` is the start date: objects that were created before it are left out.
    """

    def __init__(
        self,
        client: Client,
        stream: StripeStream,
        request: ReadRequest,
        records: Records,
        *,
        threads: int,
        since: int | None,
    ) -> None:
        self.client = client
        self.stream = stream
        self.request = request
        self.threads = threads
        self.since = since
        self.lists = ListReader(client, stream.name, request.is_stopped)
        self._records = records
        self._added_ids: set[str] = set()  # of lists per parent, between which objects may move
        self._added = 0
        self._guard = threading.Lock()

    def read_all(self, mark: Callable[[Fields], int] | None = None) -> None:
        """Read all objects; `mark` returns the second for an object's `_updated_at`."""
        with suppress(_EnoughError):
            self._read(self.since, mark)

    def read_created_since(self, low: int) -> None:
        """Read the objects created from `low` on."""
        if self.stream.created is None:
            raise ReadError(
                f"stream {self.stream.name}: Stripe cannot filter this list by time. "
                "Use mode: full_table."
            )
        with suppress(_EnoughError):
            self._read(max(low, self.since or low), None)

    def _read(self, since: int | None, mark: Callable[[Fields], int] | None) -> None:
        stream = self.stream

        def on_page(page: list[Fields]) -> None:
            self.add(page, mark)

        if stream.is_single:
            on_page([self.fetch(stream.path, None)])
        elif stream.parent is not None:
            self._read_all_children(on_page)
        elif stream.created is not None:
            WindowReader(self.lists, stream.path, stream.params, stream.created, on_page).read(
                since, self.threads
            )
        else:
            for page in self.lists.pages(stream.path, stream.params):
                on_page(page)

    def _read_all_children(self, on_page: Callable[[list[Fields]], None]) -> None:
        parent = STREAMS[self.stream.parent or ""]
        with ThreadPoolExecutor(self.threads, thread_name_prefix="stripe-children") as pool:

            def on_parents(page: list[Fields]) -> None:
                where = self.lists.where(parent.path)
                ids = [text_of(fields, "id", where) for fields in page]
                self.for_each(pool, lambda id_: self.read_children(id_, on_page), ids)

            WindowReader(
                self.lists, parent.path, parent.params, parent.created or "created", on_parents
            ).read(None, self.threads)

    def read_children(
        self,
        parent_id: str,
        on_page: Callable[[list[Fields]], None],
        *,
        has_deletion: bool = False,
    ) -> None:
        """Read the stream's objects of one parent; none if the parent was deleted.

        That is proven by the stub of a deleted object, or by an event: `has_deletion`.
        """
        path = self.stream.path.replace("{parent}", quote(parent_id, safe=""))
        params = {k: v.replace("{parent}", parent_id) for k, v in self.stream.params.items()}
        try:
            for page in self.lists.pages(path, params, self.stream.path):
                on_page(page)
        except MissingError:
            path = STREAMS[self.stream.parent or ""].object_path
            try:
                is_gone = is_deleted(self.fetch(path, parent_id))
            except MissingError:
                is_gone = has_deletion
            if not is_gone:
                raise

    def for_each(
        self, pool: ThreadPoolExecutor, task: Callable[[_T], None], items: Iterable[_T]
    ) -> None:
        """Run a task for every item; the first error stops the others and is raised."""
        try:
            for _ in pool.map(task, items):
                pass
        except BaseException:
            self.lists.failed.set()
            raise

    def fetch(self, path: str, id_: str | None) -> Fields:
        """Return the object with this id, or the only object of a path.

        Raises MissingError if Stripe says that it does not exist, ReadError for another answer.
        """
        full_path = path if id_ is None else object_path(path, id_)
        where = self.lists.where(full_path)
        response = self.client.get(
            full_path,
            {},
            where=where,
            is_stopped=self.lists.is_stopped,
            endpoint=path if id_ is None else f"{path}/:id",
        )
        return parse_object(response.body, where, id_)

    def add(self, page: list[Fields], mark: Callable[[Fields], int] | None) -> None:
        """Add objects to the records; `mark` returns the second for an object's `_updated_at`."""
        where = self.lists.where(self.stream.path)
        new_records = []
        for fields in page:
            id_ = text_of(fields, "id", where)
            if self.stream.parent is None or self._is_new(id_):
                marks = {} if mark is None else {UPDATED: str(mark(fields)).encode()}
                if (record := self._expanded(fields, id_)) is not None:
                    new_records.append({**record, **marks})
        self._records.add(new_records)
        with self._guard:
            self._added += len(new_records)
        if self.request.limit is not None and self._added >= self.request.limit:
            raise _EnoughError

    def _expanded(self, fields: Fields, id_: str) -> dict[str, Any] | None:  # Any: bytes or Raw
        """Return an object with its whole inner lists; None if it was deleted meanwhile."""
        try:
            return expand_lists(fields, self.lists)
        except StoppedError:
            raise
        except ReadError:
            if not self._left_list(fields, id_):
                raise
            return None

    def _left_list(self, fields: Fields, id_: str) -> bool:
        """Whether an object of a list was deleted since.

        Stripe says that it has no such object, and the list of its second lacks it, too.
        """
        stream = self.stream
        if stream.created is None:
            return False
        try:
            if is_deleted(self.fetch(stream.object_path, id_)):
                return True
        except MissingError:
            where = self.lists.where(stream.path)
            second = second_of(fields, stream.created, where)
            bounds: dict[str, str | int] = {"created[gte]": second, "created[lt]": second + 1}
            pages = self.lists.pages(stream.path, {**stream.params, **bounds})
            return all(text_of(other, "id", where) != id_ for page in pages for other in page)
        return False

    def _is_new(self, id_: str) -> bool:
        with self._guard:
            if id_ in self._added_ids:
                return False
            self._added_ids.add(id_)
            return True

    def add_deleted(self, id_: str, content: bytes | None, second: int) -> None:
        """Add a deleted object with its last content, if the table records deletions."""
        if not self.request.include_deletes:
            return
        where = self.lists.where(self.stream.object_path)
        fields = parse_record(content, where) if content else {}
        time = str(second).encode()
        self._records.add(
            [{**fields, "id": msgspec.json.encode(id_), UPDATED: time, DELETED: time}]
        )


def is_deleted(fields: Fields) -> bool:
    """Whether an answer is the stub that Stripe returns for a deleted object."""
    return bytes(fields.get("deleted", b"")) == b"true"
