"""A local HTTP server for an API that a test writes down as functions."""

from __future__ import annotations

import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Number(str):
    """A number exactly as it is to stand in the JSON: `Number("1.10")`."""

    __slots__ = ()


@dataclass(frozen=True)
class ApiRequest:
    """A request as it came; `parts` are what the groups of the route matched, unquoted."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    parts: tuple[str, ...] = ()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))


@dataclass(frozen=True)
class Reply:
    """An answer: any JSON value, or bytes as they are."""

    content: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else written(self.content)


def written(value: Any) -> bytes:
    """Return a value as JSON, each `Number` as it is written."""
    text = json.dumps(_marked(value), default=str, ensure_ascii=False)
    return re.sub(r'"\\u0000number:([^"]*)"', r"\1", text).encode()


def _marked(value: Any) -> Any:
    if isinstance(value, Number):
        return f"\0number:{value}"
    if isinstance(value, dict):
        return {name: _marked(inner) for name, inner in value.items()}
    return [_marked(inner) for inner in value] if isinstance(value, list) else value


class ApiServer:
    """Answers by its routes: `GET /orders/(\\d+)` to a function of the request.

    A function returns a Reply, or the content of one with status 200. `requests` has all requests
    in order. `before` may answer in place of the routes: for credentials, limits and faults.
    """

    def __init__(self, routes: Mapping[str, Callable[[ApiRequest], Any]]) -> None:
        self.routes = dict(routes)
        self.requests: list[ApiRequest] = []
        self.before: Callable[[ApiRequest], Reply | None] = lambda _: None
        self.url = ""
        self._guard = threading.Lock()

    def answer(self, request: ApiRequest) -> Reply:
        with self._guard:
            self.requests.append(request)
        early = self.before(request)
        if early is not None:
            return early
        for route, handler in self.routes.items():
            method, _, path = route.partition(" ")
            match = re.fullmatch(path, request.path)
            if method == request.method and match:
                parts = tuple(unquote(part or "") for part in match.groups())
                reply = handler(ApiRequest(**{**request.__dict__, "parts": parts}))
                return reply if isinstance(reply, Reply) else Reply(reply)
        return Reply({"message": "Not Found"}, 404)


@contextmanager
def serving(server: ApiServer) -> Iterator[ApiServer]:
    """Serve until the block ends; `url` is the server's address."""

    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            request = ApiRequest(self.command, parts.path, query, self.headers, body)
            reply = server.answer(request)
            content = reply.encoded()
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            if "Content-Length" not in reply.headers:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _handle  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    http = ThreadingHTTPServer(("127.0.0.1", 0), Requests)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
