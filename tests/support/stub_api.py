"""A local service for programs that read GitHub, or a list of records."""

from __future__ import annotations

import json
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Service(ThreadingHTTPServer):
    """The service: `answers` by path. A list is cut by `since`, where the request has one."""

    answers: dict[str, Any]
    requests: list[str]
    tls: ssl.SSLContext | None = None
    """With it, the service is a proxy too, that answers for every host."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.requests.append(self.path)
        answer = self.server.answers.get(self.path.split("?")[0])
        body = json.dumps({"message": "Not Found"} if answer is None else answer).encode()
        self.send_response(404 if answer is None else 200)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "X-RateLimit-Limit": "5000",
            "X-RateLimit-Remaining": "4999",
            "X-RateLimit-Reset": "1999999999",
            "X-RateLimit-Used": "1",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815 - as http.server calls them

    def do_CONNECT(self) -> None:
        assert self.server.tls is not None
        self.send_response(200)
        self.end_headers()
        self.wfile.flush()
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def log_message(self, *_: object) -> None:
        pass


_USER = {
    "login": "octo",
    "id": 1,
    "node_id": "U1",
    "avatar_url": "",
    "html_url": "",
    "type": "User",
    "site_admin": False,
}


def issue(number: int, **more: Any) -> dict[str, Any]:
    """Return an issue of GitHub."""
    day = f"2024-01-{number:02d}T00:00:00Z"
    return {
        "id": number,
        "number": number,
        "title": f"t{number}",
        "state": "open",
        "type": None,
        "body": None,
        "created_at": day,
        "updated_at": day,
        "user": _USER,
        "comments": 0,
        "labels": [],
        "assignees": [],
        **more,
    }


def github(*issues: dict[str, Any]) -> dict[str, Any]:
    """Return the answers of GitHub for a repository with these issues."""
    repository = {
        "id": 1,
        "name": "hello",
        "full_name": "octo/hello",
        "owner": _USER,
        "updated_at": "2024-01-01T00:00:00Z",
        "permissions": {},
    }
    known = {"repo0": {"nameWithOwner": "octo/hello", "databaseId": 1}, "rateLimit": {"cost": 1}}
    return {
        "/repos/octo/hello": repository,
        "/repos/octo/hello/issues": list(issues),
        "/graphql": {"data": known},
    }


@contextmanager
def service(
    answers: dict[str, Any], certificate: tuple[Path, Path] | None = None
) -> Iterator[Service]:
    """Run a service with these answers; with a certificate, as a proxy for https too."""
    server = Service(("127.0.0.1", 0), _Handler)
    server.answers, server.requests = answers, []
    if certificate is not None:
        server.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.tls.load_cert_chain(*certificate)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
