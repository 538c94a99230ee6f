"""A proxy before a real S3 service, which replaces answers: errors in S3's own XML, and cuts.

It is a process of its own, for the same reason as `faults.FaultProxy`. Each request has its own
connection to the service, so that a test can match it as a whole: `METHOD /bucket/key?query`.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

PUT = r"PUT /"
PART = r"PUT .*partNumber="
COMPLETE = r"POST .*uploadId="
LIST = r"GET .*list-type=2"
DELETE = r"DELETE /"


class S3Faults:
    """Listens on 127.0.0.1:`port` and passes requests on, but those that it was told to spoil."""

    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._answer()["port"])

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def refuse(
        self, asked: str, status: int, code: str, *, after: int = 0, times: int | None = None
    ) -> None:
        """Answer requests that match with an error, `times` of them, from the one `after`."""
        self._tell(asked=asked, status=status, code=code, after=after, times=times)

    def cut(self, asked: str, *, after: int = 0, times: int | None = None) -> None:
        """Close the connection of requests that match, without an answer."""
        self._tell(asked=asked, status=None, code="", after=after, times=times)

    def mend(self) -> None:
        """Pass everything on again."""
        self._tell(mend=True)

    @property
    def spoiled(self) -> int:
        """How many requests were refused or cut."""
        return int(self._tell()["spoiled"])

    def _tell(self, **what: Any) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass
class _Rule:
    asked: str
    status: int | None
    code: str
    after: int
    times: int | None

    def spoils(self, request: str) -> bool:
        if not re.match(self.asked, request) or self.times == 0:
            return False
        if self.after:
            self.after -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def answer(self, request: str) -> bytes:
        body = ""
        if not request.startswith("HEAD "):
            body = (
                '<?xml version="1.0" encoding="UTF-8"?>'
                f"<Error><Code>{self.code}</Code><Message>told to say so</Message></Error>"
            )
        return (
            f"HTTP/1.1 {self.status} Said\r\nContent-Type: application/xml\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
        ).encode()


class _Gate:
    def __init__(self, port: int) -> None:
        self.target = port
        self.rules: list[_Rule] = []
        self.spoiled = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            request = head.split(b" HTTP/1.1\r\n", 1)[0].decode()
            rule = next((one for one in self.rules if one.spoils(request)), None)
            if rule is None:
                await self.pass_on(head, reader, writer)
                return
            self.spoiled += 1
            await self.swallow(head, reader)
            if rule.status is None:
                writer.transport.abort()
            else:
                writer.write(rule.answer(request))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def swallow(self, head: bytes, reader: asyncio.StreamReader) -> None:
        """Read the body that comes unasked; one announced with Expect does not come."""
        said = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if said and not re.search(rb"expect: 100", head, re.IGNORECASE):
            await reader.readexactly(int(said[1]))

    async def pass_on(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        service, to_service = await asyncio.open_connection("127.0.0.1", self.target)
        head = re.sub(rb"\r\nconnection: [^\r]*", b"", head, flags=re.IGNORECASE)
        to_service.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        body = asyncio.create_task(_pump(reader, to_service))
        try:
            await _pump(service, writer)
        finally:
            body.cancel()
            to_service.close()

    async def serve(self) -> None:
        server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            told = json.loads(line)
            if told.pop("mend", False):
                self.rules.clear()
            if told:
                self.rules.append(_Rule(**told))
            print(json.dumps({"spoiled": self.spoiled}), flush=True)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(1 << 18):
            sink.write(piece)
            await sink.drain()
    except OSError:
        pass


if __name__ == "__main__":
    asyncio.run(_Gate(int(sys.argv[1])).serve())
