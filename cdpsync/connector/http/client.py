"""The HTTP client of one source: authorised, limited in rate, repeating what may pass."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import msgspec
import requests

from cdpsync.connector.http.errors import StoppedError, error_text, unreachable_reason
from cdpsync.connector.http.rate_limit import RequestLimiter
from cdpsync.connector.http.request import Answer, HttpRequest
from cdpsync.connector.http.retries import (
    TRIES,
    TRIES_FIRST,
    TRIES_LIMITED,
    pause_after,
    sleep,
)
from cdpsync.connector.http.waits import LONGEST_WAIT, is_rate_limited, wait_asked
from cdpsync.errors import ConnectError, ConnectorError, RateLimitError, ReadError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from cdpsync.connector.http.auth import Auth

_CONNECT_TIMEOUT = 15.0
_REDIRECTS = 5
_LARGEST = 512 << 20  # bytes of an answer
_REPEATABLE = {408, 425, 500, 502, 503, 504, 520, 522, 524, 529}
_REDIRECTING = {301, 302, 303, 307, 308}


class RefusedError(ReadError):
    """The API refused a request with this status.

    `is_own`: the answer is a JSON object, as the API's own are; a proxy's page is none, and proves
    nothing of what was asked for.
    """

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.status = answer.status
        self.is_own = _is_object(answer.body)


class HttpClient:
    """Sends requests to one API. Safe from many threads.

    `base_url` is where relative addresses start. Other hosts are asked only if they are among
    `hosts`, because each request has the credentials. `rate` is in requests a second; `concurrency`
    is how many are under way at once. `timeout`: seconds without a byte of an answer. With `public`
    no request has credentials, so redirects may lead to any server, though not from https to http.
    `named` is the option that has the address, for messages.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: Auth | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str | None] | None = None,
        hosts: Collection[str] = (),
        rate: float = 1000.0,
        concurrency: int = 4,
        timeout: float = 60.0,
        public: bool = False,
        named: str = "base_url",
    ) -> None:
        self.base_url = base_url.rstrip("/") + "/"
        self.concurrency = concurrency
        self._auth = auth
        self._headers = {"Accept": "application/json", "User-Agent": "cdpsync", **(headers or {})}
        self._params = dict(params or {})
        self._origins = {_origin(self.base_url), *hosts}
        self._limiter = RequestLimiter(rate, concurrency)
        self._timeout = (min(_CONNECT_TIMEOUT, timeout), timeout)
        self._public = public
        self._named = named
        self._has_answered = False
        self._session = requests.Session()
        self._session.trust_env = True
        self._session.auth = _no_auth  # so that no .netrc adds credentials
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=concurrency + 1)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def send(
        self, request: HttpRequest, *, where: str, is_stopped: Callable[[], bool] = lambda: False
    ) -> Answer:
        """Return a successful answer.

        Repeats the request after errors that pass: no connection, a server's own fault, a rate
        limit. Raises ConnectError, RateLimitError, ReadError, or RefusedError for a status that no
        repetition changes. `where` begins the message.
        """
        request = self._resolved(request, where)
        attempt, was_refused, redirects = 0, False, 0
        while True:
            attempt += 1
            try:
                answer = self._once(request, is_stopped)
            except (requests.RequestException, OSError) as error:
                tries = TRIES if self._has_answered else TRIES_FIRST
                if attempt >= tries or not request.is_repeatable:
                    raise self._unreachable(request, error) from error
                sleep(pause_after(attempt), is_stopped)
                continue
            self._has_answered = True
            if answer.is_ok:
                return answer
            if answer.status in _REDIRECTING and redirects < _REDIRECTS:
                redirects += 1
                request = self._redirected(request, answer, where)
                continue
            if answer.status == 401 and not was_refused and self._auth and self._auth.was_refused():
                was_refused = True
                continue
            self._wait_or_raise(request, answer, attempt, where, is_stopped)

    def limit(self, label: str, rate: float) -> None:
        """Send at most `rate` requests a second with this label."""
        self._limiter.limit_endpoint(label, rate)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    # ---- one request

    def _resolved(self, request: HttpRequest, where: str) -> HttpRequest:
        url = urljoin(
            self.base_url, request.url.lstrip("/") if _is_path(request.url) else request.url
        )
        if _origin(url) not in self._origins and not self._public:
            raise ReadError(
                f"{where}: the next page would be at {_origin(url)}, another server than "
                f"{_origin(self.base_url)}; it would get the credentials. If it belongs to the "
                "API, add it to hosts:."
            )
        in_url = {name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
        own_params = {name: value for name, value in self._params.items() if name not in in_url}
        return replace(
            request,
            url=url,
            params={**own_params, **request.params},
            headers={**self._headers, **request.headers},
            label=request.label or urlsplit(url).path,
        )

    def _once(self, request: HttpRequest, is_stopped: Callable[[], bool]) -> Answer:
        if self._auth is not None:
            request = self._auth.apply(request, self._fetch_token)
        with self._limiter.slot(request.label, is_stopped):
            return self._fetch(request, is_stopped)

    def _fetch_token(self, request: HttpRequest) -> Answer:
        """Send a token request, which has no authorisation itself."""
        try:
            return self._fetch(request)
        except (requests.RequestException, OSError) as error:
            raise ConnectError(
                f"{_origin(request.url)}: {unreachable_reason(error)}. Check token_url and this "
                "machine's network; then run again.",
                retryable=True,
            ) from error

    def _fetch(
        self, request: HttpRequest, is_stopped: Callable[[], bool] = lambda: False
    ) -> Answer:
        """Send one request; the answer may have any status."""
        data: bytes | None = None
        headers = dict(request.headers)
        if request.form is not None:
            data = urlencode(request.form).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        elif request.body is not None:
            data = msgspec.json.encode(request.body)
            headers.setdefault("Content-Type", "application/json")
        params = [(name, value) for name, value in request.params.items() if value is not None]
        response = self._session.request(
            request.method,
            request.url,
            params=params,
            headers={name: value.encode() for name, value in headers.items()},
            data=data,
            timeout=self._timeout,
            allow_redirects=False,
            stream=True,
        )
        with response:
            body = _body(response, is_stopped)
        names = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, body, names, response.url)

    def _redirected(self, request: HttpRequest, answer: Answer, where: str) -> HttpRequest:
        location = answer.headers.get("location", "")
        if not location:
            raise ReadError(f"{where}: status {answer.status} without a place to go on at.")
        is_same = answer.status in {307, 308} or request.method == "GET"
        if not is_same:
            raise ReadError(
                f"{where}: status {answer.status} leads a {request.method} elsewhere. Correct the "
                "address."
            )
        target = replace(request, url=urljoin(request.url, location), params={})
        if self._public:
            if _scheme(target.url) not in {"https", _scheme(request.url)}:
                raise ReadError(
                    f"{where}: the server leads from {_origin(request.url)} to "
                    f"{_origin(target.url)}, which is not https. Set {self._named} to the address "
                    "itself if you trust it."
                )
        elif _origin(target.url) not in self._origins:
            raise ReadError(
                f"{where}: the server leads to {_origin(target.url)}, which would get the "
                f"credentials. Set {self._named} to the address of the API itself."
            )
        return target

    # ---- what went wrong

    def _wait_or_raise(
        self,
        request: HttpRequest,
        answer: Answer,
        attempt: int,
        where: str,
        is_stopped: Callable[[], bool],
    ) -> None:
        limited = is_rate_limited(answer)
        wait = wait_asked(answer, time.time())
        may_repeat = limited or (answer.status in _REPEATABLE and request.is_repeatable)
        tries = TRIES_LIMITED if limited else TRIES
        if not may_repeat or attempt >= tries or (wait or 0.0) > LONGEST_WAIT:
            raise self._error(request, answer, where, wait if limited else None)
        pause = max(pause_after(attempt), wait or 0.0)
        if limited:
            self._limiter.pause(pause)
        sleep(pause, is_stopped)

    def _error(
        self, request: HttpRequest, answer: Answer, where: str, wait: float | None
    ) -> ConnectorError:
        address, status, text = _origin(request.url), answer.status, error_text(answer.body)
        if is_rate_limited(answer):
            when = f" for {wait:.0f} s more" if wait else ""
            return RateLimitError(
                f"{where}: the API limits the rate of requests{when}: {text}. Set a lower rate:, "
                "or run again later."
            )
        if status in {401, 402, 403} and self._public:
            return ReadError(
                f"{where}: {address} is not open to everybody (status {status}): {text}. Check "
                f"{self._named}, or set the table's enabled: false."
            )
        if status == 401:
            return ConnectError(
                f"{where}: {address} refused the credentials (status 401): {text}. Are they "
                "expired, revoked or cut short?"
            )
        if status in {402, 403}:
            return ReadError(
                f"{where}: {address} does not permit this (status {status}): {text}. Give the "
                "token the permission to read it, or set the table's enabled: false."
            )
        if status in {404, 410}:
            # The path of a public address may be what keeps it from others.
            place = self._named if self._public else urlsplit(request.url).path
            return RefusedError(
                f"{where}: there is nothing at {place} (status {status}): {text}. Check "
                f"{self._named}{' and path' if self._named == 'base_url' else ''}.",
                answer,
            )
        if status in _REPEATABLE:
            return ReadError(
                f"{where}: {address} kept failing with status {status}: {text}. Run again later.",
                retryable=True,
            )
        return RefusedError(
            f"{where}: {address} refused the request (status {status}): {text}.", answer
        )

    def _unreachable(self, request: HttpRequest, error: Exception) -> ConnectError:
        return ConnectError(
            f"{_origin(request.url)}: {unreachable_reason(error)}. Check {self._named} and this "
            "machine's network; then run again.",
            retryable=True,
        )


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(body), dict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def _body(response: requests.Response, is_stopped: Callable[[], bool]) -> bytes:
    parts: list[bytes] = []
    size = 0
    for part in response.iter_content(1 << 18):
        if is_stopped():
            raise StoppedError
        parts.append(part)
        size += len(part)
        if size > _LARGEST:
            raise ReadError(
                f"{_origin(response.url)}: an answer has more than {_LARGEST >> 20} MB. Ask for "
                "smaller pages."
            )
    return b"".join(parts)


def _is_path(url: str) -> bool:
    """Whether an address is a path, which stands below the base with or without a slash."""
    return not urlsplit(url).scheme and not url.startswith("//")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower()


def _scheme(url: str) -> str:
    return urlsplit(url).scheme.lower()
