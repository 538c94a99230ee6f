"""A TCP proxy that fails on demand: it cuts, holds, refuses, delays or closes connections.

It is a process of its own, because DuckDB holds Python's lock while it waits for a server's answer:
a proxy in a thread of the same process would wait for ever.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType


class FaultProxy:
    """Listens on 127.0.0.1:`port` and passes bytes to the target until told otherwise.

    `cut_after`: bytes from the server, over all connections, after which everything is cut.
    `cut_every`: the same, again and again, counted from the last cut.
    `hold_after`: bytes from the clients, after which nothing of theirs is passed on until it is
    set anew. `refuse`: new connections are closed at once. `delay`: seconds before each piece.
    `rate`: bytes that the server may send in a second, over each connection.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, host, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._answer()["port"])

    cut_after = property(fset=lambda self, value: self._tell(cut_after=value))
    cut_every = property(fset=lambda self, value: self._tell(cut_every=value))
    hold_after = property(fset=lambda self, value: self._tell(hold_after=value))
    refuse = property(fset=lambda self, value: self._tell(refuse=value))
    delay = property(fset=lambda self, value: self._tell(delay=value))
    rate = property(fset=lambda self, value: self._tell(rate=value))

    @property
    def endpoint(self) -> str:
        """The proxy's address, for those who speak HTTP."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def passed(self) -> int:
        """How many bytes the server has sent so far."""
        return int(self._tell()["passed"])

    @property
    def sent(self) -> int:
        """How many bytes the clients have sent so far."""
        return int(self._tell()["sent"])

    @property
    def cuts(self) -> int:
        """How often everything was cut."""
        return int(self._tell()["cuts"])

    @property
    def holding(self) -> bool:
        """Whether a client waits, held back."""
        return bool(self._tell()["holding"])

    def kill_all(self) -> None:
        """Cut every connection there is; new ones are welcome."""
        self._tell(kill=True)

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


class _Proxy:
    def __init__(self, host: str, port: int) -> None:
        self.target = host, port
        self.settings: dict[str, Any] = {
            "cut_after": None,
            "cut_every": None,
            "hold_after": None,
            "refuse": False,
            "delay": 0,
            "rate": None,
        }
        self.open: set[asyncio.StreamWriter] = set()
        self.passed = 0
        self.since_cut = 0
        self.cuts = 0
        self.sent = 0
        self.holding = False
        self.changed = asyncio.Event()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.settings["refuse"]:
            writer.close()
            return
        server, to_server = await asyncio.open_connection(*self.target)
        self.open |= {writer, to_server}
        await asyncio.gather(
            self.pump(reader, to_server, counted=False), self.pump(server, writer, counted=True)
        )

    async def pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counted: bool
    ) -> None:
        try:
            while piece := await source.read(65536):
                await asyncio.sleep(self.settings["delay"])
                self.passed += len(piece) if counted else 0
                self.since_cut += len(piece) if counted else 0
                if counted and self.is_over():
                    self.kill()
                    return
                if not counted:
                    piece = await self.held_back(piece, sink)
                rate = self.settings["rate"]
                if counted and rate is not None:
                    await asyncio.sleep(len(piece) / rate)
                sink.write(piece)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()

    def is_over(self) -> bool:
        after, every = self.settings["cut_after"], self.settings["cut_every"]
        return (after is not None and self.passed > after) or (
            every is not None and self.since_cut > every
        )

    async def held_back(self, piece: bytes, sink: asyncio.StreamWriter) -> bytes:
        """Pass on what of a client's piece is within the limit; return the rest once it may go."""
        self.sent += len(piece)
        while (limit := self.settings["hold_after"]) is not None and self.sent > limit:
            within = max(0, len(piece) - (self.sent - limit))
            sink.write(piece[:within])
            piece = piece[within:]
            self.sent -= len(piece)
            self.holding = True
            await self.changed.wait()
            self.sent += len(piece)
        return piece

    def kill(self) -> None:
        for end in self.open:
            end.transport.abort()
        self.open.clear()
        self.since_cut = 0
        self.cuts += 1

    async def serve(self) -> None:
        server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            told = json.loads(line)
            if told.pop("kill", False):
                self.kill()
            if told:
                self.settings |= told
                self.holding = False
                self.changed.set()
                self.changed = asyncio.Event()
            said = {
                "passed": self.passed,
                "sent": self.sent,
                "cuts": self.cuts,
                "holding": self.holding,
            }
            print(json.dumps(said), flush=True)


if __name__ == "__main__":
    asyncio.run(_Proxy(sys.argv[1], int(sys.argv[2])).serve())
