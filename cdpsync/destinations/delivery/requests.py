"""Requests of a destination: their shapes, what a row adds, and the HTTP request of both."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from cdpsync.destinations.delivery import addresses
from cdpsync.destinations.delivery.connections import HttpRequest
from cdpsync.destinations.delivery.signature import signature_headers
from cdpsync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cdpsync.model.destinations import OAuth

_CONTENT_TYPES = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "text": "text/plain; charset=utf-8",
    "ndjson": "application/x-ndjson",
}


@dataclass(frozen=True, slots=True)
class RequestShape:
    """What all requests of one kind share; what a row has of its own stands in the outbox.

    `url` None: each row has its own. Its host is `host`, as `addresses.literal_host` finds it in
    the template; if that is None too, any host that is allowed.
    `around` is the text before and after the items of a batch; None: a request has one change.
    Texts may have marks.
    """

    method: str
    url: str | None
    location: str
    headers: Mapping[str, str] = field(default_factory=dict)
    host: str | None = None
    body: str | None = None
    around: tuple[str, str] | None = None
    separator: str = ","
    format: str = "json"
    gzip: bool = False
    basic: tuple[str, str] | None = field(default=None, repr=False)
    oauth: OAuth | None = field(default=None, repr=False)
    sign: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class FindShape:
    """A request that looks for a record, and those that create or update it.

    `id` is SQL over the answer; where it is NULL, the record is created; without a `create`
    nothing is sent. `mark` stands for the id in the texts of `update`.
    """

    find: RequestShape
    id: str
    create: RequestShape | None
    update: RequestShape
    mark: str


@dataclass(slots=True)
class Parcel:
    """What one request has of the outbox: one change, or those of a batch, and how it fared.

    `parts` are url, headers and body of the row, under the prefixes of `outbox.STEPS`. `attempts`
    are those of this run, `earlier` those before it. A part of a batch that was cut has the
    `whole`, and the parts to be sent after it, where the order of changes counts.
    """

    first: int
    last: int
    rows: int
    route: str
    event_id: str
    parts: Mapping[str, tuple[str | None, str | None, str | None]]
    keys: Sequence[str] = ()
    attempts: int = 0
    earlier: int = 0
    first_at: str | None = None
    step: str = ""
    record_id: str | None = None
    token: int = 0  # the number of the access token that it was sent with
    is_renewed: bool = False  # whether it was sent again with another one
    whole: Parcel | None = None
    then: tuple[Parcel, ...] = ()


class Marks:
    """The marks of a template, and the values from outside the file that stand for them."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)
        longest_first = sorted(self._values, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if values else None

    def fill(self, text: str, escape: Callable[[str], str]) -> str:
        """Return the text with the values, each escaped for its place."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: escape(self._values[match[0]]), text)

    def fill_url(self, url: str) -> str:
        """Return the URL with the values. One before the query may have slashes, or be a URL."""
        path, mark, query = url.partition("?")
        return self.fill(path, in_path) + mark + self.fill(query, in_url)

    def hide(self, text: str) -> str:
        """Return the text with `***` for each mark."""
        return self._pattern.sub("***", text) if self._pattern else text


def in_json(value: str) -> str:
    """Escape a value for a string of JSON."""
    return json.dumps(value, ensure_ascii=False)[1:-1]


def in_url(value: str) -> str:
    """Escape a value for one part of a URL: a member of the path, or a value of the query."""
    return quote(value, safe="")


def in_path(value: str) -> str:
    """Escape a value that may be several parts of a URL, or a whole one."""
    return quote(value, safe="%:/?#[]@!$&'()*+,;=~")


_ESCAPES: dict[str, Callable[[str], str]] = {
    "json": in_json,
    "ndjson": in_json,
    "form": in_url,
    "text": str,
}


class Composer:
    """Makes the HTTP requests of one shape."""

    def __init__(
        self,
        shape: RequestShape,
        marks: Marks,
        *,
        idempotency: str | None = None,
        allowed: Sequence[str] = (),
        found: str | None = None,
    ) -> None:
        self._shape, self._marks, self._allowed = shape, marks, allowed
        self._idempotency, self._found = idempotency, found
        self._escape = _ESCAPES[shape.format]
        self.is_signed = shape.sign is not None
        self.deletes = shape.method == "DELETE"
        self.oauth = shape.oauth
        self._token = 0
        self._host = shape.host
        self._headers = self._shared_headers()
        self._url = None
        if shape.url is not None:
            url = marks.fill_url(shape.url)
            self._host = addresses.literal_host(url)
            if not (found and found in url):
                self._url = url
                self._refuse(addresses.url_fault(url, None, ("*",)))
        self._around = shape.around and tuple(marks.fill(t, self._escape) for t in shape.around)

    @property
    def is_one_url(self) -> bool:
        """Whether all requests go to the same URL."""
        return self._url is not None

    def _refuse(self, fault: str | None) -> None:
        if fault is not None:
            raise ConfigError(f"{self._shape.location}: {fault}. Check its value.")

    def log_in(self, token: str, number: int) -> None:
        """Send requests with this access token from now on."""
        if number != self._token:
            self._token = number
            self._headers = [*self._shared_headers(), f"Authorization: Bearer {token}"]

    def _shared_headers(self) -> list[str]:
        """Return the headers of all requests. An empty `Expect:` is one that curl leaves out."""
        shape = self._shape
        names = {name.lower() for name in shape.headers}
        lines = [f"{name}: {self._marks.fill(text, str)}" for name, text in shape.headers.items()]
        if "content-type" not in names:
            lines.append(f"Content-Type: {_CONTENT_TYPES[shape.format]}")
        if "user-agent" not in names:
            lines.append("User-Agent: cdpsync")
        if shape.gzip:
            lines.append("Content-Encoding: gzip")
        if shape.basic is not None:
            pair = ":".join(self._marks.fill(text, str) for text in shape.basic)
            lines.append(f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}")
        for line in lines:
            self._refuse(addresses.header_fault(line))
        return [*lines, "Expect:"]

    def compose(self, parcel: Parcel, seconds: int) -> HttpRequest | str:
        """Return the request of a parcel, or why it cannot be sent; `seconds` is the time."""
        shape = self._shape
        parcel.token = self._token
        row_url, row_headers, row_body = parcel.parts[parcel.step]
        url, is_guarded = self._url, False
        if url is None:
            url = self._marks.fill_url(row_url or shape.url or "")
            url = self._with_record(url, in_url, parcel)
            if fault := addresses.url_fault(url, self._host, self._allowed):
                return fault
            is_guarded = self._host is None
        body = self._body(shape.body if row_body is None else row_body, parcel)
        headers = self._headers
        if row_headers or self._idempotency or shape.sign is not None:
            headers = [*headers, *self._row_headers(row_headers, parcel)]
            if fault := next(filter(None, map(addresses.header_fault, headers)), None):
                return fault
            if shape.sign is not None:
                headers += signature_headers(shape.sign, parcel.event_id, seconds, body or b"")
        return HttpRequest(shape.method, url, headers, body, is_guarded)

    def _row_headers(self, texts: str | None, parcel: Parcel) -> list[str]:
        lines = [
            f"{name}: {self._filled(str(text), str, parcel)}"
            for name, text in json.loads(texts or "{}").items()
        ]
        if self._idempotency:
            lines.append(f"{self._idempotency}: {parcel.event_id}")
        return lines

    def _body(self, text: str | None, parcel: Parcel) -> bytes | None:
        if text is None:
            return None
        text = self._filled(text, self._escape, parcel)
        if self._around is not None:
            text = f"{self._around[0]}{text}{self._around[1]}"
        body = text.encode()
        return gzip.compress(body, compresslevel=6, mtime=0) if self._shape.gzip else body

    def _filled(self, text: str, escape: Callable[[str], str], parcel: Parcel) -> str:
        return self._with_record(self._marks.fill(text, escape), escape, parcel)

    def _with_record(self, text: str, escape: Callable[[str], str], parcel: Parcel) -> str:
        """Return the text with the id of the record that was found."""
        if self._found and parcel.record_id is not None:
            return text.replace(self._found, escape(parcel.record_id))
        return text
