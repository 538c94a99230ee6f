"""How requests to an API are authorised: tokens, keys, passwords, OAuth.

An OAuth access token is fetched when the first request needs it, and again shortly before it ends
or once the API refuses it. Grants: RFC 6749, sections 4.4 and 6. Errors: its section 5.2.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pydantic import SecretStr

from cdpsync.connector.http.errors import error_text
from cdpsync.connector.http.grants import (
    basic_credentials,
    client_credentials,
    granted,
    renewal_after,
)
from cdpsync.connector.http.request import HttpRequest
from cdpsync.errors import ConnectError
from cdpsync.redact import remember

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cdpsync.connector.http.request import Answer

_EMPTY = SecretStr("")


class Auth(Protocol):
    """Adds what authorises a request."""

    def apply(self, request: HttpRequest, fetch: Fetch) -> HttpRequest:
        """Return the request with its authorisation; `fetch` sends a request without one."""

    def was_refused(self) -> bool:
        """Forget a token that the API refused; whether another one can be had."""


class Fetch(Protocol):
    """Sends a request and returns the answer, whatever its status."""

    def __call__(self, request: HttpRequest) -> Answer:
        """Return the answer. Raises ConnectError if there is none."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """`Authorization: Bearer TOKEN`; `prefix` replaces the word, and may be empty."""

    token: SecretStr
    prefix: str = "Bearer"
    header: str = "Authorization"

    def apply(self, request: HttpRequest, fetch: Fetch) -> HttpRequest:
        """Return the request with the token."""
        del fetch
        value = f"{self.prefix} {self.token.get_secret_value()}".strip()
        return request.with_headers({self.header: value})

    def was_refused(self) -> bool:
        """Return that there is no other token."""
        return False


@dataclass(frozen=True, slots=True)
class Basic:
    """HTTP basic authentication."""

    username: SecretStr
    password: SecretStr = _EMPTY

    def apply(self, request: HttpRequest, fetch: Fetch) -> HttpRequest:
        """Return the request with user and password."""
        del fetch
        return request.with_headers(
            {"Authorization": basic_credentials(*map(_secret, (self.username, self.password)))}
        )

    def was_refused(self) -> bool:
        """Return that there is no other password."""
        return False


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key under a name of the API's own, in a header or in the query."""

    name: str
    key: SecretStr
    in_query: bool = False

    def apply(self, request: HttpRequest, fetch: Fetch) -> HttpRequest:
        """Return the request with the key."""
        del fetch
        value = {self.name: self.key.get_secret_value()}
        return request.with_params(value) if self.in_query else request.with_headers(value)

    def was_refused(self) -> bool:
        """Return that there is no other key."""
        return False


class TokenStore(Protocol):
    """Keeps a refresh token that the token endpoint exchanged for another."""

    def load(self) -> str | None:
        """Return the last token that was kept; None if the configured one is still good."""

    def save(self, token: str) -> None:
        """Keep a token, so that the next run starts with it."""


@dataclass(slots=True)
class OAuth:
    """An access token by OAuth: client credentials, or a refresh token.

    With `refresh_token` the grant is `refresh_token`, else `client_credentials`. `basic`: client id
    and secret go into the header instead of the body. `fields` are additional fields of the token
    request (`audience`, `scope`). `store` keeps a refresh token that was exchanged.
    """

    token_url: str
    client_id: SecretStr
    client_secret: SecretStr = _EMPTY
    refresh_token: SecretStr | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    basic: bool = False
    store: TokenStore | None = None
    clock: Callable[[], float] = time.monotonic
    _token: str | None = field(default=None, init=False, repr=False)
    _renew_at: float = field(default=0.0, init=False, repr=False)
    _guard: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def apply(self, request: HttpRequest, fetch: Fetch) -> HttpRequest:
        """Return the request with an access token. Raises ConnectError if none can be had."""
        with self._guard:
            if self._token is None or self.clock() >= self._renew_at:
                self._renew(fetch)
            token = self._token
        return request.with_headers({"Authorization": f"Bearer {token}"})

    def was_refused(self) -> bool:
        """Forget the access token, because the API may have ended it early."""
        with self._guard:
            self._token = None
        return True

    def _renew(self, fetch: Fetch) -> None:
        answer = fetch(self._token_request())
        content = granted(answer.body)
        token = content.get("access_token")
        if not answer.is_ok or not isinstance(token, str) or not token:
            raise ConnectError(
                f"{self.token_url} gave no access token (status {answer.status}): "
                f"{error_text(answer.body)}. {self._advice(answer.status)}",
                retryable=answer.status >= 500 or answer.status == 429,
            )
        remember(token)
        self._token = token
        self._renew_at = self.clock() + renewal_after(content.get("expires_in"))
        self._keep(content.get("refresh_token"))

    def _token_request(self) -> HttpRequest:
        fields = dict(self.fields)
        headers = {"Accept": "application/json"}
        if self.refresh_token is None:
            fields["grant_type"] = "client_credentials"
        else:
            fields["grant_type"] = "refresh_token"
            fields["refresh_token"] = self._refresh_token()
        if self.basic:
            headers["Authorization"] = client_credentials(
                _secret(self.client_id), _secret(self.client_secret)
            )
        else:
            fields["client_id"] = self.client_id.get_secret_value()
            if self.client_secret.get_secret_value():
                fields["client_secret"] = self.client_secret.get_secret_value()
        return HttpRequest("POST", self.token_url, headers=headers, form=fields)

    def _refresh_token(self) -> str:
        kept = self.store.load() if self.store else None
        if kept is not None:
            remember(kept)
            return kept
        return "" if self.refresh_token is None else self.refresh_token.get_secret_value()

    def _keep(self, token: object) -> None:
        """Keep a refresh token that replaces the one that was used: that one may be void now."""
        if self.refresh_token is None or not isinstance(token, str) or not token:
            return
        remember(token)
        if token != self._refresh_token() and self.store:
            self.store.save(token)

    def _advice(self, status: int) -> str:
        if status >= 500 or status == 429:
            return "Run again later."
        if self.refresh_token is not None:
            return "Is the refresh token revoked, expired or used up? Authorise the client again."
        return "Check token_url, client_id, client_secret and scope."


def _secret(value: SecretStr) -> str:
    return value.get_secret_value()
