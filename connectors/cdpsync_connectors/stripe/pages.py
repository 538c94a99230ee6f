"""Lists of Stripe's objects, read page by page.

https://docs.stripe.com/api/pagination: newest first, up to 100 a page, `starting_after` is the id
of the previous page's last object.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from cdpsync.connector.records.parse import Fields, decode_json, parse_record, parse_records
from cdpsync.errors import ReadError
from cdpsync_connectors.stripe.errors import MissingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cdpsync_connectors.stripe.client import Client

PAGE = 100

_text = msgspec.json.Decoder(str)
_second = msgspec.json.Decoder(int)


class _List(msgspec.Struct):
    object: Literal["list"]
    data: list[msgspec.Raw]
    has_more: bool
    error: msgspec.Raw = msgspec.Raw(b"null")


_list = msgspec.json.Decoder(_List)


def parse_list(body: bytes, where: str) -> tuple[list[Fields], bool]:
    """Return a page's objects, and whether more follow: https://docs.stripe.com/api/pagination.

    Raises ReadError for an answer that is not a list of objects as documented: the objects that
    another answer lacks are not absent.
    """
    page = decode_json(_list, body, where, "a list of objects")
    if bytes(page.error) != b"null":
        raise ReadError(f"{where}: the answer has an error in it: {bytes(page.error)[:200]!r}.")
    return parse_records(page.data, where), page.has_more


def parse_object(body: bytes, where: str, id_: str | None) -> Fields:
    """Return the object that was asked for: by its id, or the account if that is None.

    Raises ReadError for any other answer.
    """
    fields = parse_record(body, where)
    kind = text_of(fields, "object", where) if "object" in fields else ""
    if "error" in fields or kind == "" or (id_ is None and kind != "account"):
        raise ReadError(f"{where}: the answer is not an object of Stripe: {body[:60]!r}.")
    if (answered_id := text_of(fields, "id", where)) != (id_ or answered_id):
        raise ReadError(f"{where}: the answer is another object, with the id {answered_id!r}.")
    return fields


def text_of(fields: Mapping[str, Any], name: str, where: str) -> str:  # Any: bytes or Raw
    """Return the text of a required field; raises ReadError if there is none."""
    try:
        text = _text.decode(fields[name])
    except (KeyError, msgspec.MsgspecError):
        text = ""
    if not text:
        raise ReadError(
            f"{where}: an object came without its {name}, so it cannot be distinguished from "
            "others. Nothing was kept; run again, or ask Stripe's support."
        )
    return text


def second_of(fields: Mapping[str, Any], name: str, where: str) -> int:  # Any: bytes or Raw
    """Return the seconds since 1970 of a required field; raises ReadError if there are none."""
    try:
        return _second.decode(fields[name])
    except (KeyError, msgspec.MsgspecError) as error:
        raise ReadError(
            f"{where}: an object came without its time {name}, by which the list is read. "
            "Nothing was kept; run again, or ask Stripe's support."
        ) from error


@dataclass(frozen=True, slots=True)
class ListReader:
    """Reads the pages of lists for one read of a stream, until the read is stopped or fails."""

    client: Client
    stream: str
    stop_requested: Callable[[], bool]
    failed: threading.Event = field(default_factory=threading.Event)

    def is_stopped(self) -> bool:
        """Whether the run stopped the read, or another of its threads failed."""
        return self.failed.is_set() or self.stop_requested()

    def where(self, path: str) -> str:
        """Return stream and path, for a message."""
        return f"stream {self.stream}: {path}"

    def pages(
        self, path: str, params: Mapping[str, str | int], endpoint: str | None = None
    ) -> Iterator[list[Fields]]:
        """Return a list's pages, one after the other."""
        last_ids: list[str] = []
        while True:
            page, has_more = self.page_after(path, params, last_ids, endpoint)
            yield page
            if not has_more:
                return
            last_ids = self._ids(path, page) or last_ids

    def page_after(
        self,
        path: str,
        params: Mapping[str, str | int],
        last_ids: Sequence[str],
        endpoint: str | None = None,
    ) -> tuple[list[Fields], bool]:
        """Return the page that follows the objects `last_ids`, and whether more follow it.

        Stripe refuses `starting_after` for an object that was deleted meanwhile. So the objects
        before it are tried in turn, and those of `last_ids` are dropped from the page.
        """
        for last_id in reversed(last_ids):
            try:
                page, has_more = self._page(path, {**params, "starting_after": last_id}, endpoint)
            except MissingError as missing:
                if missing.param not in {"starting_after", ""}:
                    raise
                continue
            page_ids, earlier_ids = self._ids(path, page), set(last_ids)
            pairs = zip(page, page_ids, strict=True)
            new = [fields for fields, id_ in pairs if id_ not in earlier_ids]
            if has_more and not new:
                return self.page_after(path, params, page_ids, endpoint)
            return new, has_more
        if last_ids:
            raise ReadError(
                f"{self.where(path)}: all objects of a page were deleted while it was read. "
                "Run again.",
                retryable=True,
            )
        return self._page(path, params, endpoint)

    def _page(
        self, path: str, params: Mapping[str, str | int], endpoint: str | None
    ) -> tuple[list[Fields], bool]:
        where = self.where(path)
        response = self.client.get(
            path,
            {"limit": PAGE, **params},
            where=where,
            is_stopped=self.is_stopped,
            endpoint=endpoint,
        )
        page, has_more = parse_list(response.body, where)
        if has_more and not page:
            raise ReadError(
                f"{where}: a page is empty, but Stripe says that more follow. Run again.",
                retryable=True,
            )
        return page, has_more

    def _ids(self, path: str, page: Sequence[Fields]) -> list[str]:
        where = self.where(path)
        return [text_of(fields, "id", where) for fields in page]
