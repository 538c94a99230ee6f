"""Paging: how the request of the next page follows from a page.

Each paginator ends where the API says so, or at an empty page; never at a page that is merely
shorter than it might be, because APIs cap the size of pages below what is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urljoin

from requests.utils import parse_header_links

from cdpsync.connector.http.paths import as_text, require_path
from cdpsync.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdpsync.connector.http.request import Answer, HttpRequest, Json


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was read: its answer, its JSON without spaces, and the JSON of its records.

    `number` counts from 1, `records_so_far` includes this page's. `where` begins a message.
    """

    answer: Answer
    raw: bytes
    records: Sequence[bytes]
    number: int
    records_so_far: int
    where: str


class Paginator(Protocol):
    """Gives the request of each page. Has no state: the last request and its page are enough."""

    def first(self, request: HttpRequest) -> HttpRequest:
        """Return the request of the first page."""

    def following(self, request: HttpRequest, page: Page) -> HttpRequest | None:
        """Return the request of the page after this one, or None after the last."""

    def total(self, page: Page) -> int | None:
        """Return how many records the API says there are; None if it does not say."""


@dataclass(frozen=True, slots=True)
class SinglePage:
    """There is one page, whatever the answer says."""

    def first(self, request: HttpRequest) -> HttpRequest:
        """Return the request as it is."""
        return request

    def following(self, request: HttpRequest, page: Page) -> HttpRequest | None:
        """Return that nothing follows."""
        del request, page
        return None

    def total(self, page: Page) -> int | None:
        """Return None."""
        del page
        return None


@dataclass(frozen=True, slots=True)
class HeaderLink:
    """The next page's address is in the header `Link`, with `rel="next"`: RFC 8288."""

    rel: str = "next"

    def first(self, request: HttpRequest) -> HttpRequest:
        """Return the request as it is."""
        return request

    def following(self, request: HttpRequest, page: Page) -> HttpRequest | None:
        """Return the request of the link."""
        link = header_link(page.answer, self.rel)
        return None if link is None else _at(request, page, link)

    def total(self, page: Page) -> int | None:
        """Return None."""
        del page
        return None


@dataclass(frozen=True, slots=True)
class JsonLink:
    """The next page's address is in the answer, at the path `next`; absolute or relative.

    `has_more` is the path of a boolean that says whether a page follows, and `end` of one that says
    that none does, for APIs that give an address on the last page, too.
    """

    next: str = "next"
    has_more: str | None = None
    end: str | None = None

    def first(self, request: HttpRequest) -> HttpRequest:
        """Return the request as it is."""
        return request

    def following(self, request: HttpRequest, page: Page) -> HttpRequest | None:
        """Return the request of the link."""
        if _is_end(page, self.has_more, self.end):
            return None
        link = require_path(self.next, page.where).text_in(page.raw)
        if link in {None, "", "false"}:
            if _must_follow(page, self.has_more, self.end):
                raise _no_next(page, "address", self.next)
            return None
        return _at(request, page, link or "")

    def total(self, page: Page) -> int | None:
        """Return None."""
        del page
        return None


@dataclass(frozen=True, slots=True)
class NextToken:
    """The answer has a token at the path `next`, which the next request has as `param`.

    `in_body`: the parameter is a path in the JSON body (`variables.after`). `has_more` is the path
    of a boolean that says whether a page follows, and `end` of one that says that none does, for
    APIs that give a token on the last page, too. `until_empty`: a scroll, which ends at an empty
    page. Its token may stay the same from page to page, so that no request is sent twice: the next
    answer would be that of the page after.
    """

    next: str
    param: str
    in_body: bool = False
    has_more: str | None = None
    end: str | None = None
    until_empty: bool = False

    def first(self, request: HttpRequest) -> HttpRequest:
        """Return the request without a token."""
        return replace(request, is_repeatable=not self.until_empty)

    def following(self, request: HttpRequest, page: Page) -> HttpRequest | None:
        """Return the request with the token. Raises ReadError for the token of this very page."""
        if _is_end(page, self.has_more, self.end) or (self.until_empty and not page.records):
            return None
        token = require_path(self.next, page.where).text_in(page.raw)
        if token in {None, "", "false"}:
            if _must_follow(page, self.has_more, self.end) or self.until_empty:
                raise _no_next(page, "token", self.next)
            return None
        following = _with_param(request, self.param, token, in_body=self.in_body)
        if following == request and not self.until_empty:
            raise ReadError(
                f"{page.where}: page {page.number} names itself as the next page ({self.next}), so "
                "the list would never end. Is next: the token of the next page?"
            )
        return following

    def total(self, page: Page) -> int | None:
        """Return None."""
        del page
        return None


@dataclass(frozen=True, slots=True)
class PageNumber:
    """Pages are numbered from `start`; `size` is sent as `size_param`.

    The list ends at an empty page, or at the number that stands at the path `pages`. `count` is the
    path of the number of all records: fewer than these are an error.
    """

    param: str = "page"
    start: int = 1
    size_param: str | None = None
    size: int | None = None
    pages: str | None = None
    count: str | None = None
    in_body: bool = False

    def first(self, request: HttpRequest) -> HttpRequest:
        """Return the request of the first number."""
        if self.size_param is not None and self.size is not None:
            request = _with_param(request, self.size_param, self.size, in_body=self.in_body)
        return _with_param(request, self.param, self.start, in_body=self.in_body)

    def following(self, request: HttpRequest, page: Page) -> HttpRequest | None:
        """Return the request of the next number."""
        if not page.records:
            return None
        if self.pages is not None and page.number >= _number_at(page, self.pages):
            return None
        return _with_param(request, self.param, self.start + page.number, in_body=self.in_body)

    def total(self, page: Page) -> int | None:
        """Return the number at `count`."""
        return None if self.count is None else _number_at(page, self.count)


@dataclass(frozen=True, slots=True)
class Offset:
    """Pages begin at a number of records, which is sent as `param`; `limit` as `limit_param`.

    The next offset counts the records that came, so that an API may cap `limit`. `count` is the
    path of the number of all records, where the list ends; else it ends at an empty page.
    """

    param: str = "offset"
    limit_param: str | None = "limit"
    limit: int | None = 100
    count: str | None = None
    in_body: bool = False

    def first(self, request: HttpRequest) -> HttpRequest:
        """Return the request of offset 0."""
        if self.limit_param is not None and self.limit is not None:
            request = _with_param(request, self.limit_param, self.limit, in_body=self.in_body)
        return _with_param(request, self.param, 0, in_body=self.in_body)

    def following(self, request: HttpRequest, page: Page) -> HttpRequest | None:
        """Return the request of the next offset."""
        if not page.records:
            return None
        total = self.total(page)
        if total is not None and page.records_so_far >= total:
            return None
        return _with_param(request, self.param, page.records_so_far, in_body=self.in_body)

    def total(self, page: Page) -> int | None:
        """Return the number at `count`."""
        return None if self.count is None else _number_at(page, self.count)


@dataclass(frozen=True, slots=True)
class LastRecord:
    """The next page starts behind the last record: its `field` is sent as `param`.

    The list ends where `has_more` is false, or at an empty page.
    """

    param: str
    field: str = "id"
    has_more: str | None = None
    in_body: bool = False

    def first(self, request: HttpRequest) -> HttpRequest:
        """Return the request as it is."""
        return request

    def following(self, request: HttpRequest, page: Page) -> HttpRequest | None:
        """Return the request with the last record's value."""
        if not page.records or (self.has_more is not None and not _is_true(page, self.has_more)):
            return None
        value = require_path(self.field, page.where).text_in(page.records[-1])
        if value is None:
            raise ReadError(
                f"{page.where}: the last record of a page has no {self.field}, behind which the "
                "next page starts. Correct the paginator's field:."
            )
        return _with_param(request, self.param, value, in_body=self.in_body)

    def total(self, page: Page) -> int | None:
        """Return None."""
        del page
        return None


def says_end(paginator: Paginator | None, page: Page) -> bool:
    """Whether an answer says, where the paginator looks for it, that no page follows."""
    has_more = getattr(paginator, "has_more", None)
    end = getattr(paginator, "end", None)
    return (has_more is not None and _is_false(page, has_more)) or (
        end is not None and _is_true(page, end)
    )


def header_link(answer: Answer, rel: str) -> str | None:
    """Return the address of a relation in the header `Link`, or None."""
    links = parse_header_links(answer.headers.get("link", ""))
    return next((link["url"] for link in links if link.get("rel") == rel), None)


def _at(request: HttpRequest, page: Page, link: str) -> HttpRequest:
    """Return the request of a link. Raises ReadError for a page that links to itself."""
    url = urljoin(page.answer.url, link)
    if url == page.answer.url:
        raise ReadError(
            f"{page.where}: page {page.number} names itself as the next page, so the list would "
            "never end."
        )
    return replace(request, url=url, params={})


def _with_param(request: HttpRequest, name: str, value: str | int, *, in_body: bool) -> HttpRequest:
    if in_body:
        in_json: Json = value
        return request.with_body_value(tuple(name.split(".")), in_json)
    return request.with_params({name: str(value)})


def _is_end(page: Page, has_more: str | None, end: str | None) -> bool:
    """Whether a page says that it is the last."""
    return (has_more is not None and not _is_true(page, has_more)) or (
        end is not None and _is_true(page, end)
    )


def _must_follow(page: Page, has_more: str | None, end: str | None) -> bool:
    """Whether a page that is not the last says that another one follows."""
    return has_more is not None or (end is not None and _is_false(page, end))


def _no_next(page: Page, what: str, path: str) -> ReadError:
    return ReadError(
        f"{page.where}: more records follow page {page.number}, but its answer has no {what} at "
        f"{path}. Correct the paginator's next:."
    )


def _is_true(page: Page, path: str) -> bool:
    value = require_path(path, page.where).first(page.raw)
    if value is not None and value not in {b"true", b"false"}:
        return as_text(value) not in {"", "0", "false", "[]", "{}"}
    return value == b"true"


def _is_false(page: Page, path: str) -> bool:
    return require_path(path, page.where).first(page.raw) == b"false"


def _number_at(page: Page, path: str) -> int:
    text = require_path(path, page.where).text_in(page.raw)
    try:
        return int(text or "")
    except ValueError as error:
        raise ReadError(
            f"{page.where}: the answer has no whole number at {path}, which the paginator needs to "
            "know the end. Correct the path, or leave it out: then the list ends at an empty page."
        ) from error
