"""An authorization server as RFC 6749 has it, and a resource that takes its access tokens.

Sections 2.3.1 (the client's password), 4.4 (client credentials), 5 (answers) and 6 (refreshing):
https://datatracker.ietf.org/doc/html/rfc6749
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from support.destination_wire import Answer, Request, answer

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT, SECRET, REFRESH = "client-1", "client+secret/1", "refresh-secret-0"


@dataclass
class OAuthServer:
    """Both at `url`. An access token is good for so many `uses`, and until the next one is issued.

    `rotates`: a refresh token is good for one. `scripted` answers come first to token requests,
    those of `resource` to requests with a token.
    """

    url: str
    rotates: bool = False
    expires_in: Any = None
    uses: int | None = None
    refresh_token: str = REFRESH
    scripted: deque[Answer] = field(default_factory=deque)
    resource: deque[Answer] = field(default_factory=deque)
    token_requests: list[dict[str, str]] = field(default_factory=list)
    taken: list[Any] = field(default_factory=list)
    refused: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)
    _issued: int = 0
    _left: dict[str, int] = field(default_factory=dict)

    @property
    def token_url(self) -> str:
        return f"{self.url}/oauth/token"

    @property
    def access_tokens(self) -> list[str]:
        """All that were issued so far."""
        return [f"access-secret-{number}" for number in range(1, self._issued + 1)]

    def respond(self, request: Request) -> Answer:
        with self.guard:
            return self._token(request) if request.path == "/oauth/token" else self._take(request)

    def _token(self, request: Request) -> Answer:
        fields = dict(parse_qsl(request.body.decode(), strict_parsing=True))
        self.token_requests.append(fields)
        if self.scripted:
            return self.scripted.popleft()
        kind = request.headers.get("content-type")
        if request.method != "POST" or kind != "application/x-www-form-urlencoded":
            return answer(400, {"error": "invalid_request"})
        user, password = map(unquote_plus, request.basic())
        client = (
            (user, password) if user else (fields.get("client_id"), fields.get("client_secret"))
        )
        if client != (CLIENT, SECRET) or (user and "client_secret" in fields):
            return answer(401, {"error": "invalid_client"})
        match fields.get("grant_type"):
            case "client_credentials" if "refresh_token" not in fields:
                return answer(200, self._issue())
            case "refresh_token" if fields.get("refresh_token") == self.refresh_token:
                more = {}
                if self.rotates:
                    self.refresh_token = f"refresh-secret-{self._issued + 1}"
                    more = {"refresh_token": self.refresh_token}
                return answer(200, {**self._issue(), **more})
            case "refresh_token":
                words = "Token has been expired or revoked."
                return answer(400, {"error": "invalid_grant", "error_description": words})
        return answer(400, {"error": "unsupported_grant_type"})

    def _issue(self) -> dict[str, Any]:
        self._issued += 1
        token = f"access-secret-{self._issued}"
        self._left = {token: 10**9 if self.uses is None else self.uses}
        expires = {} if self.expires_in is None else {"expires_in": self.expires_in}
        return {"access_token": token, "token_type": "Bearer", **expires}

    def _take(self, request: Request) -> Answer:
        if self.resource:
            return self.resource.popleft()
        token = request.bearer()
        if self._left.get(token, 0) < 1:
            self.refused += 1
            return answer(401, {"error": "invalid_token"})
        self._left[token] -= 1
        self.taken.append(json.loads(request.body))
        return answer(200, {})


@contextlib.contextmanager
def oauth_server(**values: Any) -> Iterator[OAuthServer]:
    """Serve both on a port of their own."""
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    listener.daemon_threads = True
    server = OAuthServer(f"http://127.0.0.1:{listener.server_port}", **values)
    listener.oauth = server  # type: ignore[attr-defined]  # the handler's way to it
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, urlsplit(self.path).path, {}, headers, body)
        status, names, content = self.server.oauth.respond(request)  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in names.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing: a test's output is not a log."""
