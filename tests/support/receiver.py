"""A receiver of HTTP requests for the tests and benchmarks, in a process of its own.

It answers by a script, which a test replaces at any time, and writes a line per request to a file.
It is a plain asyncio protocol, because a server of Python's library takes longer than the client
that is measured.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import signal
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Script:
    """How the receiver answers: `statuses` in turn (the last one for good), then by chance.

    `errors` and `limits` are shares of 503 and 429, drawn by the `seed`. `refuses`: the status for
    a body that contains the text. `most_bytes`: the status 413 for a longer body. `big`: bytes of
    the answer. `cut`: the connection is reset in place of an answer, for this share of requests.
    `hangs`: so many requests get no answer. `partial`: 400 with the items that contain the text.
    """

    statuses: list[int] = field(default_factory=lambda: [200])
    headers: dict[str, str] = field(default_factory=dict)
    body: str = "{}"
    content_type: str = "application/json"
    seconds: float = 0.0
    errors: float = 0.0
    limits: float = 0.0
    cut: float = 0.0
    seed: int = 0
    refuses: dict[str, int] = field(default_factory=dict)
    most_bytes: int | None = None
    big: int = 0
    hangs: int = 0
    bodies: dict[str, str] = field(default_factory=dict)  # answers by path
    paths: dict[str, int] = field(default_factory=dict)  # statuses by path
    raw: str | None = None  # in place of an answer, before the connection ends
    keeps: bool = True  # whether the requests are recorded


@dataclass
class Receiver:
    """A running receiver: its address, its file of requests, and its script."""

    url: str
    log: Path
    pid: int
    ca_file: str | None = None

    def script(self, **values: Any) -> None:
        """Answer like this from now on."""
        data = json.dumps(asdict(Script(**values))).encode()
        context = ssl.create_default_context(cafile=self.ca_file) if self.ca_file else None
        request = Request(f"{self.url}/_script", data, method="POST")  # noqa: S310 - our own address
        with urlopen(request, context=context, timeout=30):  # noqa: S310
            pass

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests in the order of their arrival, each with the status it was given."""
        if not self.log.exists():
            return []
        lines = self.log.read_text().splitlines()
        records = []
        for line in lines:
            with suppress(ValueError):  # the last line may be half written
                records.append(json.loads(line))
        return records

    def forget(self) -> None:
        """Forget the requests so far."""
        with suppress(FileNotFoundError):
            os.truncate(self.log, 0)

    def count(self) -> tuple[int, int, int]:
        """Return how many requests came since the script was set, their items, the most at once."""
        with urlopen(f"{self.url}/_count", timeout=30) as response:  # noqa: S310 - our own address
            requests, items, most_at_once = json.loads(response.read())
        return requests, items, most_at_once

    def bodies(self) -> list[str]:
        """Return the bodies of the requests that were taken."""
        return [r["body"] for r in self.requests() if 200 <= r["status"] < 300]


@contextmanager
def receiver(folder: Path, tls: tuple[Path, Path] | None = None) -> Iterator[Receiver]:
    """Start a receiver, and end it with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "requests.jsonl"
    command = [sys.executable, __file__, str(log), *map(str, tls or ())]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout, process.stdin:
        try:
            port = int(process.stdout.readline())
            scheme = "https" if tls else "http"
            yield Receiver(
                f"{scheme}://127.0.0.1:{port}", log, process.pid, str(tls[0]) if tls else None
            )
        finally:
            process.stdin.close()
            process.wait()


class _State:
    """The script, and what was asked so far."""

    def __init__(self, log: Path) -> None:
        self.file = log.open("a", buffering=1 << 16)
        self.use(Script())
        self.under_way = 0

    def use(self, script: Script) -> None:
        self.script = script
        self.random = random.Random(script.seed)  # noqa: S311 - reproducible
        self.requests = self.items = self.most_at_once = 0
        self.turn = 0
        self.hung = 0
        self.plain = _answer(script.statuses[-1], script) if not script.big else b""
        self.is_plain = not (
            script.errors
            or script.limits
            or script.cut
            or script.refuses
            or script.hangs
            or script.most_bytes
            or script.big
            or script.raw is not None
            or script.bodies
            or script.paths
            or len(script.statuses) > 1
            or script.seconds
        )

    def status(self, path: str, body: bytes) -> int:
        script = self.script
        for text, status in script.refuses.items():
            if text.encode() in body:
                return status
        if script.most_bytes is not None and len(body) > script.most_bytes:
            return 413
        if path in script.paths:
            return script.paths[path]
        chance = self.random.random()
        if chance < script.errors:
            return 503
        if chance < script.errors + script.limits:
            return 429
        if chance < script.errors + script.limits + script.cut:
            return 0
        if self.hung < script.hangs:
            self.hung += 1
            return -1
        status = script.statuses[min(self.turn, len(script.statuses) - 1)]
        self.turn += 1
        return status


def _answer(status: int, script: Script, body: str | None = None) -> bytes:
    content = (script.body if body is None else body).encode()
    headers = {"Content-Type": script.content_type, "Content-Length": str(len(content))}
    if status in (204, 304):
        content = b""
        del headers["Content-Length"]
    headers |= script.headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode() + content


class _Connection(asyncio.Protocol):
    def __init__(self, state: _State) -> None:
        self.state = state
        self.buffer = b""
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        if self.task:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            length = 0
            lowered = head.lower()
            if (at := lowered.find(b"content-length:")) >= 0:
                length = int(lowered[at + 15 :].split(b"\r\n", 1)[0])
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        state = self.state
        line, _, rest = head.partition(b"\r\n")
        method, path, _ = line.decode("latin-1").split(" ", 2)
        if path == "/_script":
            state.file.flush()
            state.use(Script(**json.loads(body)))
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        if path == "/_count":
            text = json.dumps([state.requests, state.items, state.most_at_once])
            self.transport.write(_answer(200, state.script, text))
            return
        state.requests += 1
        state.items += body.count(b'"id":')
        if state.is_plain:
            if state.script.keeps:
                self.record(method, path, rest, body, state.script.statuses[-1])
            self.transport.write(state.plain)
            return
        state.under_way += 1
        state.most_at_once = max(state.most_at_once, state.under_way)
        status = state.status(path, gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        if state.script.keeps:
            self.record(method, path, rest, body, status)
        if state.script.seconds and status > 0:
            loop = asyncio.get_running_loop()
            loop.call_later(state.script.seconds, self.reply, status, path)
        else:
            self.reply(status, path)

    def reply(self, status: int, path: str) -> None:
        self.state.under_way -= 1
        script = self.state.script
        if status == 0:
            self.transport.abort()
        elif status < 0:
            pass
        elif script.raw is not None:
            self.transport.write(script.raw.encode("latin-1"))
            self.transport.close()
        elif script.big:
            self.task = asyncio.get_running_loop().create_task(self.pour(status))
        elif not self.transport.is_closing():
            self.transport.write(_answer(status, script, script.bodies.get(path)))

    async def pour(self, status: int) -> None:
        size, piece = self.state.script.big, b"x" * (1 << 16)
        self.transport.write(f"HTTP/1.1 {status} Said\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // len(piece)):
            if self.transport.is_closing():
                return
            self.transport.write(piece)
            while self.transport.get_write_buffer_size() > 1 << 20:
                await asyncio.sleep(0.001)

    def record(self, method: str, path: str, rest: bytes, body: bytes, status: int) -> None:
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (
                text.partition(":") for text in rest.decode("latin-1").split("\r\n")
            )
        }
        content = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        entry = {
            "at": time.monotonic(),
            "method": method,
            "path": path,
            "headers": headers,
            "body": content.decode("utf-8", "replace"),
            "status": status,
            "size": len(body),
        }
        self.state.file.write(json.dumps(entry) + "\n")
        self.state.file.flush()


async def _serve(log: Path, tls: list[str]) -> None:
    state = _State(log)
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Connection(state), "127.0.0.1", 0, ssl=context, backlog=1024
    )
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2:]))
