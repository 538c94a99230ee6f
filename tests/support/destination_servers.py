"""Local servers that accept what the systems behind the presets would accept, and nothing else.

Each check is written from the system's documentation or public source, not from its preset, and
gives that system's own answers to what it refuses, partial ones too.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from support import destination_ads as ads
from support import destination_crm as crm
from support import destination_events as events
from support import destination_marketing as marketing
from support import destination_messages as messages
from support.destination_wire import Accepted, Answer, RefusedError, Request, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHECKS: dict[str, Callable[[Request, Accepted], Answer]] = {
    "amplitude": events.amplitude,
    "attio": crm.attio,
    "braze": marketing.braze,
    "clevertap": events.clevertap,
    "customerio": marketing.customerio,
    "discord": messages.discord,
    "google_ads": ads.google_ads,
    "hubspot": crm.hubspot,
    "intercom": crm.intercom,
    "klaviyo": marketing.klaviyo,
    "loops": marketing.loops,
    "mailchimp": marketing.mailchimp,
    "meta": ads.meta,
    "mixpanel": events.mixpanel,
    "posthog": events.posthog,
    "rudderstack": events.rudderstack,
    "salesforce": crm.salesforce,
    "segment": events.segment,
    "sendgrid": marketing.sendgrid,
    "slack": messages.slack,
    "teams": messages.teams,
    "webhook": messages.webhook,
    "zapier": messages.zapier,
    "zendesk": crm.zendesk,
}

# How a system says that it was too much at once, where it has a manner of its own.
THROTTLED: dict[str, Callable[[], Answer]] = {
    "attio": crm.attio_throttled,
    "discord": messages.discord_throttled,
    "salesforce": crm.salesforce_throttled,
    "slack": messages.slack_throttled,
}


def throttled(preset: str) -> Answer:
    """Return the system's answer to too many requests."""
    in_general = answer(429, {"message": "Too Many Requests"}, Retry_After="0")
    return THROTTLED[preset]() if preset in THROTTLED else in_general


def check(preset: str, request: Request, accepted: Accepted) -> Answer:
    """Return the system's answer to a request, and keep what it has taken of it."""
    try:
        return CHECKS[preset](request, accepted)
    except RefusedError as refusal:
        return refusal.answer


@dataclass
class DestinationServer:
    """A system at `url`. `scripted` answers come first, whatever the request."""

    preset: str
    url: str
    accepted: Accepted = field(default_factory=Accepted)
    requests: list[Request] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    scripted: deque[Answer] = field(default_factory=deque)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def respond(self, request: Request) -> Answer:
        with self.guard:
            self.requests.append(request)
            if self.scripted:
                reply = self.scripted.popleft()
            else:
                reply = check(self.preset, request, self.accepted)
            self.answers.append(reply)
            return reply


@contextlib.contextmanager
def serve(preset: str) -> Iterator[DestinationServer]:
    """Serve the system of a preset on a port of its own."""
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    listener.daemon_threads = True
    server = DestinationServer(preset, f"http://127.0.0.1:{listener.server_port}")
    listener.destination = server  # type: ignore[attr-defined]  # the handler's way to it
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

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        request = Request(self.command, unquote(parts.path), query, headers, body)
        status, names, content = self.server.destination.respond(request)  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in names.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Say nothing: a test's output is not a log."""
