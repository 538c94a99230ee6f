"""What Stripe says when it refuses, in words that help; never with the key."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.errors import ConnectError, ConnectorError, RateLimitError, ReadError

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY = re.compile(r"\b[a-z]{2,4}_(live|test)_[\w*]+")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is an error: https://docs.stripe.com/api/errors."""

    status: int
    message: str
    code: str
    param: str
    reason: str

    @classmethod
    def of(cls, status: int, body: bytes, headers: Mapping[str, str]) -> Refusal:
        """Read an answer, which may be no JSON at all."""
        try:
            error = json.loads(body)["error"]
            said = {name: str(error.get(name) or "") for name in ("message", "code", "param")}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            beginning = body[:60].decode("utf-8", "replace")
            said = {
                "message": f"an answer that is not JSON: {beginning!r}",
                "code": "",
                "param": "",
            }
        message = _KEY.sub(r"***", " ".join(said["message"].split()))
        reason = headers.get("Stripe-Rate-Limited-Reason", "")
        return cls(status, message, said["code"], said["param"], reason)

    @property
    def is_missing(self) -> bool:
        """Whether an object that was named does not exist (any more)."""
        return self.status == 404 or self.code == "resource_missing"

    @property
    def is_locked(self) -> bool:
        """Whether only this object was busy: https://docs.stripe.com/rate-limits."""
        return self.code == "lock_timeout"

    @property
    def may_pass(self) -> bool:
        """Whether the same request may do better later."""
        return self.status in {408, 409, 425, 429} or self.status >= 500


class MissingError(Exception):
    """An object that was named does not exist: `param` tells which parameter named it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.param = refusal.param


class ForbiddenError(ReadError):
    """The key is good, but may not read this."""


class StoppedError(ReadError):
    """A read was told to stop, or another thread of it failed."""

    def __init__(self) -> None:
        super().__init__("stopped.")


def error_of(refusal: Refusal, where: str, address: str) -> ConnectorError:
    """Return the error for an answer that stays a refusal. `where` is the stream and path."""
    said = refusal.message.rstrip(".")
    if refusal.status == 401:
        return ConnectError(
            f"{address}: the API key was refused: {said}. Is it revoked, expired or cut short? "
            "See Developers, API keys in Stripe's Dashboard."
        )
    if refusal.status == 403:
        return ForbiddenError(
            f"{where}: the API key may not read this: {said}. Give a restricted key the "
            "permission under Developers, API keys; or set the table's enabled: false."
        )
    if refusal.status == 429:
        return RateLimitError(
            f"{where}: Stripe kept asking to be read more slowly: {said}. Set a lower max_rate, "
            "or run again when less else is reading."
        )
    if refusal.status >= 500:
        return ReadError(
            f"{where}: Stripe kept failing with status {refusal.status}: {said}. Run again; see "
            "https://status.stripe.com.",
            retryable=True,
        )
    if "version" in said.lower() and refusal.status == 400:
        return ConnectError(
            f"{address}: {said}. Set api_version to one that Stripe knows, or leave it out."
        )
    return ReadError(f"{where}: refused with status {refusal.status}: {said}.")


def unreachable(error: Exception, address: str) -> ConnectError:
    """Return the error for a server that was not reached or stopped answering."""
    text = " ".join(str(error).split())
    cases = (
        (r"NameResolution|getaddrinfo|Name or service|nodename", "the host name is not known"),
        (r"Connection refused|NewConnectionError", "nothing listens there"),
        (r"ConnectTimeout", "no connection within the timeout"),
        (r"[Tt]imed? ?out|Timeout", "no answer within the timeout"),
        (r"SSL|certificate", "the TLS certificate was not accepted"),
        (r"ProxyError", "the proxy did not let us through"),
    )
    what = next((words for pattern, words in cases if re.search(pattern, text)), "the line broke")
    return ConnectError(
        f"{address}: {what}. Check api_base and this machine's network; then run again.",
        retryable=True,
    )
