"""Reads the objects of one Stripe stream with several threads, and adds them to the records."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import msgspec

from cdpsync.connector.http.errors import StoppedError
from cdpsync.connector.records.parse import Fields, parse_record
from cdpsync.errors import ReadError
from cdpsync_connectors.stripe.client import object_path
from cdpsync_connectors.stripe.columns import DELETED, UPDATED
from cdpsync_connectors.stripe.errors import MissingError
from cdpsync_connectors.stripe.expand import entries_of, expand_lists
from cdpsync_connectors.stripe.pages import parse_object, second_of, text_of
from cdpsync_connectors.stripe.streams import STREAMS
from cdpsync_connectors.stripe.windows import WindowReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cdpsync.connector import ReadRequest
    from cdpsync.connector.records.records import Records
    from cdpsync_connectors.stripe.pages import ListReader
    from cdpsync_connectors.stripe.stream import StripeStream

_T = TypeVar("_T")


class _EnoughError(Exception):
    """As many objects were read as the request asks for: ends the read of every thread."""


class StreamReader:
    """One read of a stream: adds its objects to `records`, with at most `threads` threads.

    `since` is the start date: objects that were created before it are left out. `expand` are the
    fields that Stripe leaves out unless they are asked for. `own` are fields that each object gets.
    """

    def __init__(
        self,
        lists: ListReader,
        stream: StripeStream,
        request: ReadRequest,
        records: Records,
        *,
        threads: int,
        since: int | None,
        expand: Sequence[str] = (),
        own: Mapping[str, bytes] | None = None,
    ) -> None:
        self.client = lists.client
        self.stream = stream
        self.list_params = {**stream.list_params, **_expand_params(expand, "data.")}
        self._object_params = _expand_params(expand)
        self.request = request
        self.threads = threads
        self.since = since
        self.lists = lists
        self._own = own or {}
        self._records = records
        self._added_ids: set[str] = set()  # of lists per parent, between which objects may move
        self._added = 0
        self._guard = threading.Lock()

    def read_all(self, mark: Callable[[Fields], int] | None = None) -> None:
        """Read all objects; `mark` returns the second for an object's `_updated_at`."""
        with suppress(_EnoughError):
            self._read(self.since, mark)

    def read_created_since(self, low: int, mark: Callable[[Fields], int] | None = None) -> None:
        """Read the objects created from `low` on; `mark` is as in `read_all`."""
        if self.stream.created is None:
            raise ReadError(
                f"stream {self.stream.name}: Stripe cannot filter this list by time. "
                "Use mode: full_table."
            )
        with suppress(_EnoughError):
            self._read(max(low, self.since or low), mark)

    def _read(self, since: int | None, mark: Callable[[Fields], int] | None) -> None:
        stream = self.stream

        def on_page(page: list[Fields]) -> None:
            self.add(page, mark)

        if stream.is_single:
            on_page([self.fetch(stream.path, None)])
        elif stream.is_per_parent:
            self._read_all_children(mark)
        else:
            self._read_list(stream, self.list_params, since, on_page)

    def _read_list(
        self,
        stream: StripeStream,
        params: Mapping[str, str],
        since: int | None,
        on_page: Callable[[list[Fields]], None],
    ) -> None:
        if stream.created is not None:
            reader = WindowReader(self.lists, stream.path, params, stream.created, on_page)
            reader.read(since, self.threads)
        else:
            for page in self.lists.pages(stream.path, params):
                on_page(page)

    def _read_all_children(self, mark: Callable[[Fields], int] | None) -> None:
        stream = self.stream
        parent = STREAMS[stream.parent or ""]
        with ThreadPoolExecutor(self.threads, thread_name_prefix="stripe-children") as pool:

            def read_children(fields: Fields) -> None:
                id_ = text_of(fields, "id", self.lists.where(parent.path))
                if stream.inner:
                    self._add_inner(fields, id_, parent, mark)
                else:
                    owner = owner_params(fields, stream)
                    self.read_children(
                        id_, lambda page: self.add(page, mark, parent=id_), owner=owner
                    )

            self._read_list(
                parent,
                {**parent.list_params, **stream.parent_params},
                None,
                lambda page: self.for_each(pool, read_children, page),
            )

    def _add_inner(
        self,
        fields: Fields,
        id_: str,
        parent: StripeStream,
        mark: Callable[[Fields], int] | None,
    ) -> None:
        """Add the objects that a parent has in itself; none of one that was deleted meanwhile."""
        whole = self._expanded(fields, id_, parent)
        if whole is not None:
            where = self.lists.where(object_path(parent.path, id_))
            self.add(entries_of(whole, self.stream.inner, where), mark, parent=id_)

    def read_children(
        self,
        parent_id: str,
        on_page: Callable[[list[Fields]], None],
        *,
        has_deletion: bool = False,
        owner: Mapping[str, str] | None = None,
    ) -> None:
        """Read the stream's objects of one parent; none if the parent was deleted.

        That is proven by the stub of a deleted object, or by an event: `has_deletion`. `owner` has
        the parameters that name the parent's owner, where the list needs them.
        """
        path = self.stream.path.replace("{parent}", quote(parent_id, safe=""))
        params = {k: v.replace("{parent}", parent_id) for k, v in self.stream.params.items()}
        params |= owner or {}
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

    def fetch_own(self, id_: str) -> Fields:
        """Return the stream's object with this id, as its list has it; see `fetch`."""
        return self.fetch(self.stream.object_path, id_, self._object_params)

    def fetch(self, path: str, id_: str | None, params: Mapping[str, str] | None = None) -> Fields:
        """Return the object with this id, or the only object of a path.

        Raises MissingError if Stripe says that it does not exist, ReadError for another answer.
        """
        full_path = path if id_ is None else object_path(path, id_)
        where = self.lists.where(full_path)
        response = self.client.get(
            full_path,
            params or {},
            where=where,
            is_stopped=self.lists.is_stopped,
            endpoint=path if id_ is None else f"{path}/:id",
        )
        return parse_object(response.body, where, id_)

    def add(
        self,
        page: Sequence[Fields],
        mark: Callable[[Fields], int] | None,
        *,
        parent: str | None = None,
    ) -> None:
        """Add objects to the records; `mark` returns the second for an object's `_updated_at`.

        `parent` is the id of the parent, whose list the page is from.
        """
        where = self.lists.where(self.stream.path)
        own = self._own if parent is None else {**self._own, **self._parent_field(parent)}
        new_records = []
        for fields in page:
            id_ = text_of(fields, "id", where)
            if not self.stream.may_move or self._is_new(id_):
                marks = {} if mark is None else {UPDATED: str(mark(fields)).encode()}
                if (record := self._expanded(fields, id_, self.stream)) is not None:
                    new_records.append({**record, **own, **marks})
        self._records.add(new_records)
        with self._guard:
            self._added += len(new_records)
        if self.request.limit is not None and self._added >= self.request.limit:
            raise _EnoughError

    def _parent_field(self, parent: str) -> dict[str, bytes]:
        column = self.stream.parent_column
        return {column: msgspec.json.encode(parent)} if column else {}

    def _expanded(
        self, fields: Fields, id_: str, stream: StripeStream
    ) -> dict[str, Any] | None:  # Any: bytes or Raw
        """Return an object with its whole inner lists; None if it was deleted meanwhile."""
        try:
            return expand_lists(fields, self.lists)
        except StoppedError:
            raise
        except ReadError:
            if not self._left_list(fields, id_, stream):
                raise
            return None

    def _left_list(self, fields: Fields, id_: str, stream: StripeStream) -> bool:
        """Whether an object of a stream's list was deleted since.

        Stripe says that it has no such object, and the list of its second lacks it, too.
        """
        if stream.created is None:
            return False
        try:
            if is_deleted(self.fetch(stream.object_path, id_)):
                return True
        except MissingError:
            where = self.lists.where(stream.path)
            second = second_of(fields, stream.created, where)
            bounds: dict[str, str | int] = {"created[gte]": second, "created[lt]": second + 1}
            pages = self.lists.pages(stream.path, {**stream.list_params, **bounds})
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
            [{**fields, "id": msgspec.json.encode(id_), **self._own, UPDATED: time, DELETED: time}]
        )


def _expand_params(fields: Sequence[str], prefix: str = "") -> dict[str, str]:
    """Return the parameters of a request for these fields: docs.stripe.com/api/expanding_objects.

    `prefix` is the path from the answer to its objects.
    """
    return {f"expand[{number}]": prefix + field for number, field in enumerate(fields)}


def owner_params(fields: Fields, stream: StripeStream) -> dict[str, str]:
    """Return the parameter that names a parent's owner, for a list that needs it."""
    for name in stream.owner_fields:
        value = msgspec.json.decode(fields.get(name, b"null"))
        if isinstance(value, str):
            return {name: value}
    return {}


def is_deleted(fields: Fields) -> bool:
    """Whether an answer is the stub that Stripe returns for a deleted object."""
    return bytes(fields.get("deleted", b"")) == b"true"
