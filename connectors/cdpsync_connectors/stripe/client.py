"""GET requests to Stripe: paced, retried where that is safe and useful, errors in plain words."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import stripe
import urllib3

from cdpsync.errors import ReadError
from cdpsync_connectors.stripe.errors import (
    MissingError,
    Refusal,
    StoppedError,
    error_of,
    unreachable,
)
from cdpsync_connectors.stripe.options import ENDPOINT_RATE
from cdpsync_connectors.stripe.rate_limit import RequestLimiter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cdpsync_connectors.stripe.options import StripeOptions

_TRIES = 6  # a failing server is given 15 seconds
_TRIES_FIRST = 3  # of a server that never answered yet: the address may be wrong
_TRIES_LIMITED = 12  # a rate limit passes
_FIRST_PAUSE = 0.5  # seconds; doubled before each further try
_LONGEST_PAUSE = 8.0
_LONGEST_RETRY_AFTER = 60.0
_CONNECT_TIMEOUT = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer: its bytes, and Stripe's clock."""

    body: bytes
    at: datetime | None

    def moment(self, address: str) -> datetime:
        """Return Stripe's clock; raises ReadError when the answer did not tell it."""
        if self.at is None:
            raise ReadError(
                f"{address}: answers tell no Date, which changes are followed by. "
                "Use mode: full_table."
            )
        return self.at


class Client:
    """One source's line to Stripe. Every request is a GET, so each may be sent again."""

    def __init__(self, options: StripeOptions) -> None:
        self.address = options.api_base
        self._pace = RequestLimiter(options.rate, options.concurrency)
        timeout = (min(_CONNECT_TIMEOUT, options.timeout), options.timeout)
        self._http = stripe.RequestsClient(timeout=timeout)
        self._has_answered = False
        self._headers = {
            "Authorization": f"Bearer {options.api_key.get_secret_value()}",
            "Stripe-Version": options.api_version,
            "User-Agent": f"cdpsync Stripe/v1 PythonBindings/{stripe.VERSION}",
        }
        if options.stripe_account:
            self._headers["Stripe-Account"] = options.stripe_account

    def get(
        self,
        path: str,
        params: Mapping[str, str | int],
        *,
        where: str,
        is_stopped: Callable[[], bool],
        lane: str | None = None,
    ) -> Answer:
        """Return a good answer. Raises ConnectorError, or MissingError for an object that is gone.

        `lane` is the endpoint that limits are counted for, where it is not the path.
        """
        url = f"{self.address}{path}"
        if params:
            url += "?" + urlencode(params, safe="[]")
        lane = lane or path
        attempt = 0
        while True:
            attempt += 1
            try:
                body, status, headers = self._ask(url, lane, is_stopped)
            except (stripe.APIConnectionError, urllib3.exceptions.HTTPError) as error:
                most = _TRIES if self._has_answered else _TRIES_FIRST
                if attempt >= most or not _may_pass(error):
                    raise unreachable(error, self.address) from error
                _sleep(_pause(attempt), is_stopped)
                continue
            self._has_answered = True
            if 200 <= status < 300:
                return Answer(body, _date(headers))
            refusal = Refusal.of(status, body, headers)
            if refusal.is_missing:
                raise MissingError(refusal)
            self._wait_or_raise(refusal, headers, attempt, lane, where, is_stopped)

    def _ask(
        self, url: str, lane: str, is_stopped: Callable[[], bool]
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send one request. Its turn ends with the answer's head: Stripe has counted it then."""
        with self._pace.turn(lane, is_stopped):
            answer, status, headers = self._http.request_stream("get", url, self._headers)
        return answer.read(decode_content=True), status, headers

    def _wait_or_raise(
        self,
        refusal: Refusal,
        headers: Mapping[str, str],
        attempt: int,
        lane: str,
        where: str,
        is_stopped: Callable[[], bool],
    ) -> None:
        """Wait before the next try, as https://docs.stripe.com/rate-limits asks; or give up."""
        limited = refusal.status == 429 and not refusal.is_locked
        most = _TRIES_LIMITED if limited else _TRIES
        advice = headers.get("Stripe-Should-Retry")
        may_pass = refusal.may_pass if advice is None or limited else advice == "true"
        if attempt >= most or not may_pass:
            raise error_of(refusal, where, self.address)
        pause = max(_pause(attempt), _retry_after(headers))
        if limited:
            everything = refusal.reason.startswith("global")
            self._pace.rest(pause, None if everything else lane)
            if not everything:
                self._pace.slow(lane, ENDPOINT_RATE)
        _sleep(pause, is_stopped)

    def has_room(self) -> bool:
        """Whether more threads would get more answers."""
        return self._pace.has_room()

    def close(self) -> None:
        """Let go of this thread's connections; those of threads that ended are gone already."""
        self._http.close()  # type: ignore[no-untyped-call]  # the library's own


def _may_pass(error: stripe.APIConnectionError | urllib3.exceptions.HTTPError) -> bool:
    """Whether the line may hold next time: an answer that broke off is none, for a GET."""
    return not isinstance(error, stripe.APIConnectionError) or bool(error.should_retry)


def _pause(attempt: int) -> float:
    longest = min(_FIRST_PAUSE * 2.0 ** (attempt - 1), _LONGEST_PAUSE)
    return longest * random.uniform(0.75, 1.0)  # noqa: S311 - spreads the tries of many threads


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)


def _date(headers: Mapping[str, str]) -> datetime | None:
    try:
        return parsedate_to_datetime(headers.get("Date", "")).astimezone(UTC)
    except (TypeError, ValueError):
        return None


def _sleep(seconds: float, is_stopped: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if is_stopped():
            raise StoppedError
        time.sleep(min(left, 0.1))
