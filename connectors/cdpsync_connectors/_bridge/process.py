"""A program as a child process: the lines that it writes, and how it ended.

It has a session of its own, a short environment, and is ended by KILL: see `launcher`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cdpsync.errors import ConfigError, ReadError
from cdpsync.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

log = logging.getLogger("cdpsync.bridge")

_LAUNCHER = str(Path(__file__).with_name("launcher.py"))
_TAIL = 200  # lines of stderr that are kept
_LONGEST = 2_000  # characters of one of them
_LONGEST_LINE = 512 << 20  # bytes of a line on stdout
_READ = 1 << 20
_LOOK = 0.25  # seconds between two looks at whether to stop
_KEPT = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. `tail` are the last lines of its stderr, without secrets.

    `is_cut`: its last line on stdout had no end. `was_killed`: we ended it.
    """

    code: int
    tail: tuple[str, ...]
    is_cut: bool
    was_killed: bool

    @property
    def is_clean(self) -> bool:
        """Whether the program ended by itself and reported no error."""
        return self.code == 0 and not self.is_cut and not self.was_killed


def _never() -> bool:
    return False


def _ignore(_: str) -> None:
    """Do nothing with a line of stderr but keep it."""


@dataclass(slots=True)
class Program:
    """A running program, whose lines are read by the thread that started it.

    `silence`: seconds after which a program that writes nothing is ended. `is_stopped` is asked
    while it runs. With `only_kill`, TERM and INT do not reach it. `on_error_line` takes each line
    of stderr. `rest` is what stdout had behind its last line. Leave the context to end it.
    """

    command: Sequence[str]
    folder: Path
    silence: float
    is_stopped: Callable[[], bool] = _never
    path: Path | None = None
    only_kill: bool = False
    on_error_line: Callable[[str], None] = _ignore
    rest: bytes = field(default=b"", init=False)
    was_killed: bool = field(default=False, init=False)
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _tail: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL), init=False)

    def __enter__(self) -> Self:
        program = shutil.which(self.command[0], path=self._environment()["PATH"])
        if program is None:
            raise ConfigError(
                f"{self.command[0]}: no such program, or it may not be executed. Correct command."
            )
        end = "kill" if self.only_kill else "term"
        launcher = [sys.executable, "-I", "-S", _LAUNCHER, end, str(os.getpid()), program]
        self._child = subprocess.Popen(  # noqa: S603 - the program that the user named
            [*launcher, *self.command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=self._environment(),
            start_new_session=True,
            bufsize=0,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        child = self._running()
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
        child.wait()

    def _environment(self) -> dict[str, str]:
        """Return what the program may see: nothing of other sources."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        path = kept.get("PATH", os.defpath)
        if self.path is not None:
            path = f"{self.path}{os.pathsep}{path}"
        return {**kept, "PATH": path, "TMPDIR": str(self.folder), "DO_NOT_TRACK": "1"}

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            raise AssertionError("the program was not started")
        return self._child

    def kill(self) -> None:
        """End the program and all that it started, unless it has ended."""
        child = self._running()
        if child.poll() is None:
            self.was_killed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)

    def lines(self) -> Iterator[list[bytes]]:
        """Go through the complete lines of stdout, as they arrive, some at a time.

        Raises ReadError where the program is silent for too long, or the read is to stop.
        """
        rest: list[bytes] = []
        for data in self._blocks():
            head, newline, tail = data.rpartition(b"\n")
            if not newline:
                rest.append(data)
                self._require_short(rest)
                continue
            lines = (b"".join(rest) + head).split(b"\n")
            rest = [tail] if tail else []
            yield lines
        self.rest = b"".join(rest)

    def _require_short(self, parts: list[bytes]) -> None:
        if sum(map(len, parts)) > _LONGEST_LINE:
            raise ReadError(f"the program wrote a line of more than {_LONGEST_LINE >> 20} MiB.")

    def _blocks(self) -> Iterator[bytes]:
        """Go through what the program writes to stdout; keep what it writes to stderr."""
        child = self._running()
        if child.stdout is None or child.stderr is None:
            raise AssertionError("the program has pipes")
        stdout, stderr = child.stdout.fileno(), child.stderr.fileno()
        heard_at = time.monotonic()
        unfinished = b""
        with selectors.DefaultSelector() as selector:
            for pipe in (stdout, stderr):
                selector.register(pipe, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(_LOOK)
                self._require_going(heard_at if not ready else None)
                for key, _ in ready:
                    heard_at = time.monotonic()
                    data = os.read(key.fd, _READ)
                    if not data:
                        selector.unregister(key.fd)
                    if key.fd == stderr:
                        unfinished = self._keep(unfinished + data, is_last=not data)
                    elif data:
                        yield data

    def _require_going(self, silent_since: float | None) -> None:
        if self.is_stopped():
            raise ReadError("stopped.")
        if silent_since is not None and time.monotonic() - silent_since > self.silence:
            raise ReadError(
                f"the program has written nothing for {self.silence:.0f} s, and was ended. If that "
                "is how it works, set a longer silence."
            )

    def _keep(self, text: bytes, *, is_last: bool) -> bytes:
        """Keep the lines of stderr; return what has no end yet."""
        *lines, rest = text.split(b"\n")
        if is_last or len(rest) > _LONGEST:
            lines, rest = [*lines, rest], b""
        for line in lines:
            self.on_error_line(line[:_LONGEST].decode(errors="replace"))
        for line in lines[-_TAIL:]:
            shown = redact(line[: 4 * _LONGEST].decode(errors="replace").rstrip())[:_LONGEST]
            if shown:
                self._tail.append(shown)
        return rest

    def wait(self) -> Ended:
        """Wait for the end, after all lines were read, and log what it wrote to stderr."""
        child = self._running()
        end = time.monotonic() + self.silence
        while child.poll() is None:
            if self.is_stopped() or time.monotonic() > end:
                self.kill()
            time.sleep(0.01)
        ended = Ended(child.returncode, tuple(self._tail), bool(self.rest), self.was_killed)
        for line in ended.tail:
            log.debug("%s: %s", Path(self.command[0]).name, line)
        return ended
