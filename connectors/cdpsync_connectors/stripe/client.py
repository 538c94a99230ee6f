"""HTTP client of Stripe's API: GET requests with a rate limit and retries."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import requests
import stripe
import urllib3

from cdpsync.connector.http.rate_limit import RequestLimiter
from cdpsync.connector.http.retries import (
    TRIES,
    TRIES_FIRST,
    TRIES_LIMITED,
    pause_after,
    sleep,
)
from cdpsync.connector.http.waits import http_date
from cdpsync.errors import ReadError
from cdpsync_connectors.stripe.errors import (
    ErrorResponse,
    MissingError,
    error_of,
    unreachable,
)
from cdpsync_connectors.stripe.options import ENDPOINT_RATE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from cdpsync_connectors.stripe.options import StripeOptions

_LONGEST_RETRY_AFTER = 60.0
_CONNECT_TIMEOUT = 15.0


@dataclass(frozen=True, slots=True)
class Response:
    """A successful response: its bytes, and the time of Stripe's clock."""

    body: bytes
    at: datetime | None

    def server_time(self, address: str) -> datetime:
        """Return the time of Stripe's clock; raises ReadError if the response has none."""
        if self.at is None:
            raise ReadError(
                f"{address}: responses have no Date header, which a read of changes needs. "
                "Use mode: full_table."
            )
        return self.at


def object_path(path: str, id_: str) -> str:
    """Return the path of one object under `path`, its id quoted: merchants choose some ids.

    Raises ReadError for an id that no URL can have as a part of its path.
    """
    if id_ in {".", ".."}:
        raise ReadError(
            f"{path}: the object with the id {id_!r} cannot be asked for, because no URL can "
            "have this id. Set the table's mode to full_table, which reads lists alone."
        )
    return f"{path}/{quote(id_, safe='')}"


class _Session(requests.Session):
    """A session that follows no redirect: Stripe sends none, so it leads to another server."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return that a response leads nowhere, so that it is an answer like any other."""
        del resp


class Client:
    """The connection of one source to Stripe. It only sends GET, so each request may be retried."""

    def __init__(self, options: StripeOptions) -> None:
        self.address = options.api_base
        self._limiter = RequestLimiter(options.rate, options.concurrency)
        timeout = (min(_CONNECT_TIMEOUT, options.timeout), options.timeout)
        session = _Session()
        session.mount(
            self.address, requests.adapters.HTTPAdapter(pool_maxsize=options.concurrency + 1)
        )
        self._http = stripe.RequestsClient(timeout=timeout, session=session)
        self._has_answered = False
        self.answered_at: datetime | None = None
        self._headers = {
            "Authorization": f"Bearer {options.api_key.get_secret_value()}",
            "Stripe-Version": options.api_version,
            "User-Agent": f"cdpsync Stripe/v1 PythonBindings/{stripe.VERSION}",
        }
        if options.stripe_account and not options.reads_all_accounts:
            self._headers["Stripe-Account"] = options.stripe_account

    def get(
        self,
        path: str,
        params: Mapping[str, str | int],
        *,
        where: str,
        is_stopped: Callable[[], bool],
        endpoint: str | None = None,
    ) -> Response:
        """Return a successful response. Raises ConnectorError; MissingError for no such object.

        Each part of `path` is quoted already: see `object_path`.
        `endpoint` is the name under which limits are counted, if it is not the path.
        """
        url = f"{self.address}{path}"
        if params:
            url += "?" + urlencode(params, safe="[]")
        endpoint = endpoint or path
        attempt = 0
        while True:
            attempt += 1
            try:
                body, status, headers = self._send(url, endpoint, is_stopped)
            except (stripe.APIConnectionError, urllib3.exceptions.HTTPError) as error:
                max_tries = TRIES if self._has_answered else TRIES_FIRST
                if attempt >= max_tries or not _may_retry(error):
                    raise unreachable(error, self.address) from error
                sleep(pause_after(attempt), is_stopped)
                continue
            self._has_answered = True
            if 200 <= status < 300:
                return Response(body, self._dated(headers))
            response = ErrorResponse.of(status, body, headers)
            if response.is_from_stripe:
                self._dated(headers)
            if response.is_missing:
                raise MissingError(response, where)
            self._wait_or_raise(response, headers, attempt, endpoint, where, is_stopped)

    def _send(
        self, url: str, endpoint: str, is_stopped: Callable[[], bool]
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send one request. Its slot ends with the headers, because Stripe has counted it then."""
        with self._limiter.slot(endpoint, is_stopped):
            answer, status, headers = self._http.request_stream("get", url, self._headers)
        return answer.read(decode_content=True), status, headers

    def _wait_or_raise(
        self,
        response: ErrorResponse,
        headers: Mapping[str, str],
        attempt: int,
        endpoint: str,
        where: str,
        is_stopped: Callable[[], bool],
    ) -> None:
        """Wait before the next try, as https://docs.stripe.com/rate-limits asks; or raise."""
        limited = response.status == 429 and not response.is_locked
        max_tries = TRIES_LIMITED if limited else TRIES
        advice = headers.get("Stripe-Should-Retry")
        may_retry = response.may_retry if advice is None or limited else advice == "true"
        if attempt >= max_tries or not may_retry:
            raise error_of(response, where, self.address)
        pause = max(pause_after(attempt), _retry_after(headers))
        if limited:
            is_global = response.limit_reason.startswith("global")
            self._limiter.pause(pause, None if is_global else endpoint)
            if not is_global:
                self._limiter.limit_endpoint(endpoint, ENDPOINT_RATE)
        sleep(pause, is_stopped)

    def _dated(self, headers: Mapping[str, str]) -> datetime | None:
        """Return the time of the server's clock, and keep it as that of the last answer."""
        self.answered_at = http_date(headers.get("Date", ""))
        return self.answered_at

    def for_account(self, account: str) -> Client:
        """Return this client for a connected account: with the same connections and limits."""
        client = copy.copy(self)
        client._headers = {**self._headers, "Stripe-Account": account}  # noqa: SLF001 - our own class
        return client

    def has_capacity(self) -> bool:
        """Whether more threads would get more responses."""
        return self._limiter.has_capacity()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()  # type: ignore[no-untyped-call]  # the library's own


def _may_retry(error: stripe.APIConnectionError | urllib3.exceptions.HTTPError) -> bool:
    """Whether another try may succeed; a response that broke off counts as none, for a GET."""
    return not isinstance(error, stripe.APIConnectionError) or bool(error.should_retry)


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)
