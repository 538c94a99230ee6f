"""Requests and answers of systems that take data, for the local checks that stand for them."""

from __future__ import annotations

import base64
import gzip
import json
import re
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Mapping

Answer = tuple[int, dict[str, str], bytes]


class RefusedError(Exception):
    """A request that the system does not take, with its answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer[0]} {answer[2]!r}")
        self.answer = answer


@dataclass(frozen=True)
class Request:
    """A request as it arrived. `headers` have lower-case names, `path` is without the query."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def basic(self) -> tuple[str, str]:
        """Return user and password, or two empty texts."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        if scheme != "Basic":
            return "", ""
        user, _, password = base64.b64decode(value).decode().partition(":")
        return user, password

    def bearer(self) -> str:
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        return value if scheme == "Bearer" else ""

    def form(self) -> dict[str, str]:
        """Return the fields of a form; RefusedError if it is none."""
        if self.headers.get("content-type") != "application/x-www-form-urlencoded":
            raise RefusedError(text(415, "unsupported media type"))
        return dict(parse_qsl(self.body.decode(), strict_parsing=True))

    def plain(self, *, takes_gzip: bool = False) -> bytes:
        """Return the body without compression; RefusedError if that is not known to the system."""
        encoding = self.headers.get("content-encoding", "identity")
        if encoding == "gzip" and takes_gzip:
            return gzip.decompress(self.body)
        if encoding != "identity":
            raise RefusedError(text(415, f"unsupported encoding {encoding}"))
        return self.body

    def json(self, *, takes_gzip: bool = False, media: str = "application/json") -> Any:
        """Return the body's JSON, strictly: no NaN, no key twice. RefusedError if it is none."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip()
        if kind != media:
            raise RefusedError(text(415, f"unsupported media type {kind!r}"))
        try:
            return json.loads(
                self.plain(takes_gzip=takes_gzip),
                object_pairs_hook=_once,
                parse_constant=_no_constant,
            )
        except ValueError as error:
            raise RefusedError(text(400, f"invalid JSON: {error}")) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = Counter(name for name, _ in pairs)
    if any(count > 1 for count in names.values()):
        raise ValueError(f"a key twice in {sorted(names)}")
    return dict(pairs)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


@dataclass
class Accepted:
    """What a system has taken: items by their idempotency key, or by a number of their own.

    `count` is of all that came: an item that came again under its key was dropped or overwritten.
    """

    items: dict[str, Any] = field(default_factory=dict)
    count: int = 0

    def add(self, item: Any, key: object = None) -> None:
        name = f"#{len(self.items)}" if key is None else str(key)
        self.count += 1
        self.items[name] = item


def answer(status: int, body: object = None, **headers: str) -> Answer:
    """Return an answer in JSON; without a body if that is None."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is None:
        return status, names, b""
    return status, {"Content-Type": "application/json", **names}, json.dumps(body).encode()


def text(status: int, body: str, **headers: str) -> Answer:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"Content-Type": "text/plain", **names}, body.encode()


def require(condition: object, refusal: Answer) -> None:
    """Raise RefusedError unless the condition holds."""
    if not condition:
        raise RefusedError(refusal)


_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


def is_rfc3339(value: object) -> bool:
    return isinstance(value, str) and bool(_RFC_3339.fullmatch(value))


def is_email(value: object) -> bool:
    return isinstance(value, str) and bool(_EMAIL.fullmatch(value))


def is_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


def is_sha256(value: object) -> bool:
    return isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value))


def is_text(value: object, most: int = 10**9) -> bool:
    """Whether it is a text that is not empty and not longer than `most` bytes."""
    return isinstance(value, str) and 0 < len(value.encode()) <= most


def is_epoch_seconds(value: object) -> bool:
    """Whether it is a whole number of seconds; milliseconds would be far in the future."""
    return isinstance(value, int) and not isinstance(value, bool) and 10**8 < value < 10**11


def is_epoch_ms(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 10**11 < value < 10**14


def size(value: object) -> int:
    """Return the bytes of a value as JSON without spaces."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def age_seconds(epoch: int) -> float:
    return datetime.now(UTC).timestamp() - epoch
