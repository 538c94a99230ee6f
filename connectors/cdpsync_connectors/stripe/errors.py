"""Stripe's errors in plain words, with the next step and never with the key."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.connector.http.errors import unreachable_reason
from cdpsync.errors import ConnectError, ConnectorError, RateLimitError, ReadError

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY = re.compile(r"\b[a-z]{2,4}_(live|test)_[\w*]+")


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """A response that reports an error: https://docs.stripe.com/api/errors."""

    status: int
    message: str
    code: str
    param: str
    limit_reason: str
    is_from_stripe: bool

    @classmethod
    def of(cls, status: int, body: bytes, headers: Mapping[str, str]) -> ErrorResponse:
        """Parse a response, which a proxy or another server may have sent."""
        is_from_stripe = True
        try:
            error = json.loads(body)["error"]
            details = {name: str(error.get(name) or "") for name in ("message", "code", "param")}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            is_from_stripe = False
            beginning = body[:60].decode("utf-8", "replace")
            details = {
                "message": f"an answer that is not {_form(body)}: {beginning!r}",
                "code": "",
                "param": "",
            }
        message = _KEY.sub(r"***", " ".join(details["message"].split()))
        limit_reason = headers.get("Stripe-Rate-Limited-Reason", "")
        code, param = details["code"], details["param"]
        return cls(status, message, code, param, limit_reason, is_from_stripe)

    @property
    def is_missing(self) -> bool:
        """Whether Stripe itself says that an object does not exist, or no longer.

        A 404 alone may be a proxy's, or that of an endpoint which the version lacks.
        """
        return self.status in {400, 404} and self.code == "resource_missing"

    @property
    def is_locked(self) -> bool:
        """Whether only this object was busy: https://docs.stripe.com/rate-limits."""
        return self.code == "lock_timeout"

    @property
    def may_retry(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in {408, 409, 425, 429} or self.status >= 500


class MissingError(ReadError):
    """Stripe has no such object; `param` is the parameter that named it."""

    def __init__(self, response: ErrorResponse, where: str) -> None:
        super().__init__(f"{where}: not found: {response.message.rstrip('.')}. Run again.")
        self.param = response.param
        self.retryable = True


class ForeignAnswerError(ReadError):
    """An answer that is not from the API, or from a path that the API does not have."""


class ForbiddenError(ReadError):
    """The key is valid, but lacks the permission for this read."""


def error_of(response: ErrorResponse, where: str, address: str) -> ConnectorError:
    """Return the error for a response that no further try changes. `where`: stream and path."""
    message = response.message.rstrip(".")
    is_from_stripe = response.is_from_stripe or response.status == 429 or response.status >= 500
    if not is_from_stripe or response.status == 404:
        return ForeignAnswerError(
            f"{where}: refused with status {response.status}: {message}. This proves nothing of "
            f"the object, so nothing was changed. Is {address} Stripe, and does a proxy answer?"
        )
    if response.status == 401:
        return ConnectError(
            f"{address}: the API key was refused: {message}. Is it revoked, expired or cut short? "
            "See Developers, API keys in Stripe's Dashboard."
        )
    if response.status == 403:
        return ForbiddenError(
            f"{where}: the API key may not read this: {message}. Give a restricted key the "
            "permission under Developers, API keys; or set the table's enabled: false."
        )
    if response.status == 429:
        return RateLimitError(
            f"{where}: Stripe kept limiting the request rate: {message}. Set a lower max_rate, "
            "or run again when fewer programs read this account."
        )
    if response.status >= 500:
        return ReadError(
            f"{where}: Stripe kept failing with status {response.status}: {message}. Run again; "
            "see https://status.stripe.com.",
            retryable=True,
        )
    if "version" in message.lower() and response.status == 400:
        return ConnectError(
            f"{address}: {message}. Set api_version to one that Stripe knows, or leave it out."
        )
    return ReadError(f"{where}: refused with status {response.status}: {message}.")


def _form(body: bytes) -> str:
    """Return what an answer is not: JSON at all, or an error as Stripe writes it."""
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return "JSON"
    return "an error of Stripe"


def unreachable(error: Exception, address: str) -> ConnectError:
    """Return the error for a server that could not be reached or stopped responding."""
    return ConnectError(
        f"{address}: {unreachable_reason(error)}. Check api_base and this machine's network; then "
        "run again.",
        retryable=True,
    )
