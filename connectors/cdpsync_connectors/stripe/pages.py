"""Lists of Stripe's objects, page by page, and in windows of `created` that are read at once.

https://docs.stripe.com/api/pagination: newest first, up to 100 a page, `starting_after` names the
last object of the page before.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from cdpsync.errors import ReadError
from cdpsync_connectors._shared.records import Fields, parse_list
from cdpsync_connectors.stripe.errors import MissingError, StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cdpsync_connectors.stripe.client import Client

PAGE = 100
_FIRST_OBJECT = 1_262_304_000  # 2010-01-01, before Stripe's first: where halving begins
_FEWEST_SECONDS = 2  # of a window worth cutting
_FEWEST_PAGES = 4  # of a part, were it as dense as the page that was just read

_id = msgspec.json.Decoder(str)
_second = msgspec.json.Decoder(int)


def text_of(fields: Mapping[str, Any], name: str, where: str) -> str:  # Any: bytes or Raw
    """Return a field that must be there and be a text; raises ReadError."""
    try:
        text = _id.decode(fields[name])
    except (KeyError, msgspec.MsgspecError):
        text = ""
    if not text:
        raise ReadError(
            f"{where}: an object came without its {name}, so it cannot be told from others. "
            "Nothing was kept; run again, or ask Stripe's support."
        )
    return text


def second_of(fields: Mapping[str, Any], name: str, where: str) -> int:  # Any: bytes or Raw
    """Return a field that must be there and be seconds since 1970; raises ReadError."""
    try:
        return _second.decode(fields[name])
    except (KeyError, msgspec.MsgspecError) as error:
        raise ReadError(
            f"{where}: an object came without its time {name}, which the list is read by. "
            "Nothing was kept; run again, or ask Stripe's support."
        ) from error


@dataclass(frozen=True, slots=True)
class Lists:
    """How a read asks for lists: over which line, for which stream, until when."""

    client: Client
    stream: str
    stopping: Callable[[], bool]
    failed: threading.Event = field(default_factory=threading.Event)

    def is_stopped(self) -> bool:
        """Whether to give up: told to, or since another thread of the read failed."""
        return self.failed.is_set() or self.stopping()

    def where(self, path: str) -> str:
        """Return stream and path, for a message."""
        return f"stream {self.stream}: {path}"

    def pages(
        self, path: str, params: Mapping[str, str | int], lane: str | None = None
    ) -> Iterator[list[Fields]]:
        """Return a list's pages, one after the other."""
        last: list[str] = []
        while True:
            records, more = self.page_after(path, params, last, lane)
            yield records
            if not more:
                return
            last = [text_of(record, "id", self.where(path)) for record in records] or last

    def page_after(
        self,
        path: str,
        params: Mapping[str, str | int],
        last: Sequence[str],
        lane: str | None = None,
    ) -> tuple[list[Fields], bool]:
        """Return the page behind the ids of `last`, and whether there are more.

        An object that was deleted meanwhile names no place any more: then the one before does,
        and what came already is left out.
        """
        for place in reversed(last):
            try:
                records, more = self._page(path, {**params, "starting_after": place}, lane)
            except MissingError as missing:
                if missing.param not in {"starting_after", ""}:
                    raise self._refused(path, missing) from missing
                continue
            known = set(last)
            where = self.where(path)
            fresh = [one for one in records if text_of(one, "id", where) not in known]
            if more and not fresh:
                last = [text_of(one, "id", where) for one in records]
                return self.page_after(path, params, last, lane)
            return fresh, more
        if last:
            raise ReadError(
                f"{self.where(path)}: all objects of a page were deleted while it was read. "
                "Run again.",
                retryable=True,
            )
        try:
            return self._page(path, params, lane)
        except MissingError as missing:
            raise self._refused(path, missing) from missing

    def _page(
        self, path: str, params: Mapping[str, str | int], lane: str | None
    ) -> tuple[list[Fields], bool]:
        where = self.where(path)
        answer = self.client.get(
            path,
            {"limit": PAGE, **params},
            where=where,
            is_stopped=self.is_stopped,
            lane=lane,
        )
        records, more = parse_list(answer.body, where)
        if more and not records:
            raise ReadError(f"{where}: an empty page promises more. Run again.", retryable=True)
        return records, more

    def _refused(self, path: str, missing: MissingError) -> ReadError:
        return ReadError(f"{self.where(path)}: not found: {missing}.")


@dataclass(frozen=True, slots=True)
class _Span:
    """Objects created from `low` on, and before `high`; None is the open end."""

    low: int | None
    high: int | None

    def params(self) -> dict[str, int]:
        ends = {"created[gte]": self.low, "created[lt]": self.high}
        return {name: end for name, end in ends.items() if end is not None}


class Windows:
    """A list read by many threads at once, each object by exactly one of them.

    Nobody knows how the objects lie in time. So one thread begins with everything; whenever
    others are idle, whoever has a page with more behind it keeps the newest part of what is
    left and cuts the rest up for them. The upper end is open: what is created meanwhile is
    newer than the first page, and left to the next run.
    """

    def __init__(
        self,
        lists: Lists,
        path: str,
        params: Mapping[str, str | int],
        created: str,
        keep: Callable[[list[Fields]], None],
    ) -> None:
        self._lists = lists
        self._path = path
        self._params = params
        self._created = created
        self._keep = keep
        self._waiting: deque[_Span] = deque()
        self._idle = 0
        self._threads = 0
        self._failed: BaseException | None = None
        self._changed = threading.Condition()

    def read(self, low: int | None, threads: int) -> None:
        """Read everything created from `low` on; the first error of any thread is raised."""
        self._waiting.append(_Span(low, None))
        self._threads = threads
        crew = [
            threading.Thread(target=self._work, name=f"stripe-{self._lists.stream}-{number}")
            for number in range(threads)
        ]
        for one in crew:
            one.start()
        try:
            for one in crew:
                one.join()
        except BaseException:  # an interrupt: the others end with it
            self._fail(StoppedError())
            raise
        if self._failed is not None:
            raise self._failed

    def _work(self) -> None:
        try:
            while (span := self._next()) is not None:
                self._read(span)
        except BaseException as error:  # noqa: BLE001 - raised again by `read`
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if self._failed is None or isinstance(self._failed, StoppedError):
                self._failed = error
            self._lists.failed.set()
            self._changed.notify_all()

    def _next(self) -> _Span | None:
        with self._changed:
            self._idle += 1
            self._changed.notify_all()
            while not self._waiting:
                if self._failed is not None or self._idle == self._threads:
                    return None
                self._changed.wait()
            if self._failed is not None:
                return None
            self._idle -= 1
            return self._waiting.popleft()

    def _read(self, span: _Span) -> None:
        last: list[str] = []
        low, where = span.low, self._lists.where(self._path)
        oldest: int | None = None  # of all pages: nothing that came already may be cut off
        while self._failed is None:
            params = {**self._params, **_Span(low, span.high).params()}
            records, more = self._lists.page_after(self._path, params, last)
            self._keep(records)
            if not more:
                return
            last = [text_of(record, "id", where) for record in records]
            times = [second_of(record, self._created, where) for record in records]
            oldest = min(times) if oldest is None else min(oldest, *times)
            low = self._share(low, oldest, max(times) - min(times))

    def _share(self, low: int | None, oldest: int, width: int) -> int | None:
        """Cut off what idle threads may take, and return the new lower end of the own part.

        Each part costs a request that may find nothing, and ends with a page that is not full;
        so none is made that seems to have only a few pages.
        """
        if not self._lists.client.has_room():
            return low
        start = low if low is not None else min(_FIRST_OBJECT, oldest)
        with self._changed:
            room = (oldest - start) // max(width * _FEWEST_PAGES, 1)
            parts = min(self._idle - len(self._waiting) + 1, room)
            if parts < 2 or oldest - start < _FEWEST_SECONDS:
                return low
            cuts = [start + (oldest - start) * part // parts for part in range(1, parts)]
            for lower, upper in zip([low, *cuts[:-1]], cuts, strict=True):
                if lower is None or lower < upper:
                    self._waiting.append(_Span(lower, upper))
            self._changed.notify_all()
            return cuts[-1]
