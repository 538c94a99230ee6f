"""cdpsync's commands as processes of their own, forked where all that they import is at hand.

A command that begins as a new Python spends two thirds of its processor time on imports. One that
is forked has all else of a process: its number, its memory, its locks, its standard files, its
environment, signals that end it, and its exit code. Tests of the beginning itself, such as of an
interrupt during the imports, and of the installed program start a new Python.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NEEDED = (
    *("boto3", "duckdb", "gcsfs", "psycopg", "pyarrow.parquet", "pymysql", "pytz", "yaml"),
    *("encodings.utf_8_sig", "pydantic.type_adapter", "rich.cells", "xml.parsers.expat"),
    *("cdpsync.cli.main", "cdpsync.maintain", "cdpsync.sync", "cdpsync.verify"),
    *("cdpsync.cli.output.delivery_reports", "cdpsync.destinations", "pycurl"),
    *("cdpsync_connectors.mysql.connector", "cdpsync_connectors.postgres.connector"),
    *("cdpsync_connectors.files.connector", "cdpsync_connectors.stripe.connector"),
)
_PACKAGES = ("cdpsync", "cdpsync_connectors.files")  # each of their modules is needed
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # a process with threads does not fork well
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # as cdpsync has it before it imports gcsfs
    "PYDANTIC_DISABLE_PLUGINS": "__all__",  # as cdpsync has it before it imports pydantic
    "PYTHONPATH": str(Path(__file__).parents[1]),  # for `support`
}
_NUMBER = 4  # bytes of a number on the pipe that tells of a process


class Process:
    """A running command, seen as `subprocess.Popen` shows one; its files are binary."""

    def __init__(self, pid: int, status: int, files: Sequence[IO[bytes]]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdin, self.stdout, self.stderr = files
        self._status = status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until it has ended, as `subprocess.Popen` does."""
        self.stdin.close()
        self.communicate()

    def poll(self) -> int | None:
        """Return the exit code if the command has ended: -N after signal N."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self._read_status()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code as soon as the command has ended."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("cdpsync", timeout or 0)
            self._read_status()
        assert self.returncode is not None
        return self.returncode

    def _read_status(self) -> None:
        self.returncode = _number(self._status)
        os.close(self._status)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the command has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Let the kernel end the command at once."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, text: bytes = b"") -> tuple[bytes, bytes]:
        """Send this to stdin; return all of stdout and stderr when the command has ended."""
        if not self.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self.stdin.write(text)
                self.stdin.close()
        written: dict[IO[bytes], list[bytes]] = {self.stdout: [], self.stderr: []}
        with selectors.DefaultSelector() as selector:
            for file in written:
                if not file.closed:
                    selector.register(file, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select():
                    data = os.read(key.fd, 65536)
                    written[key.fileobj].append(data)  # type: ignore[index]  # it is the file
                    if not data:
                        selector.unregister(key.fileobj)
        for file in written:
            file.close()
        self.wait()
        return b"".join(written[self.stdout]), b"".join(written[self.stderr])


class Commands:
    """A process that has everything imported, and lets commands begin."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | _ENVIRONMENT,
            )

    def close(self) -> None:
        """End the process; commands that still run go on."""
        self._socket.close()
        self._process.wait()

    def start(self, request: dict[str, Any]) -> Process:
        """Let a command begin."""
        ours, theirs = _pipes()
        text = json.dumps(request).encode()
        socket.send_fds(self._socket, [len(text).to_bytes(_NUMBER, "big")], theirs)
        self._socket.sendall(text)
        for file in theirs:
            os.close(file)
        stdin, stdout, stderr, status = ours
        files = [os.fdopen(stdin, "wb", 0), os.fdopen(stdout, "rb", 0), os.fdopen(stderr, "rb", 0)]
        return Process(_number(status), status, files)


def _pipes() -> tuple[list[int], list[int]]:
    """Return our and their ends of stdin, stdout, stderr and the pipe that tells of the process."""
    ends = [os.pipe() for _ in range(4)]
    (their_stdin, our_stdin), *others = ends
    return [our_stdin, *(ours for ours, _ in others)], [
        their_stdin,
        *(their for _, their in others),
    ]


def _number(pipe: int) -> int:
    data = os.read(pipe, _NUMBER)
    if len(data) < _NUMBER:
        raise EOFError("the process that starts commands has ended")
    return int.from_bytes(data, "big", signed=True)


_commands: list[Commands] = []  # of this process, once it has asked for one


def start(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, first: str = ""
) -> Process:
    """Start `cdpsync` with these arguments; `first` is Python that the process runs before."""
    if not _commands:
        _commands.append(Commands())
    environment = dict(os.environ if env is None else env)
    request = {"arguments": arguments, "cwd": str(cwd), "env": environment, "first": first}
    return _commands[0].start(request)


def run(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `cdpsync` with these arguments until it ends."""
    process = start(*arguments, cwd=cwd, env=env)
    stdout, stderr = process.communicate(stdin.encode())
    code = process.wait()
    return subprocess.CompletedProcess(arguments, code, stdout.decode(), stderr.decode())


def stop() -> None:
    """End the process that starts this one's commands."""
    while _commands:
        _commands.pop().close()


def _next_command(asked: socket.socket) -> dict[str, Any]:
    """Return what a command is asked to do, in its own process.

    The first process goes on here, and tells the exit code of each command that ends.
    """
    running: dict[int, int] = {}  # the pipe that tells of each command

    def reap(*_: object) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                command, code = os.waitpid(-1, os.WNOHANG)
                if not command:
                    return
                status = running.pop(command)
                with contextlib.suppress(BrokenPipeError):  # nobody waits for it
                    _tell(status, os.waitstatus_to_exitcode(code))
                os.close(status)

    signal.signal(signal.SIGCHLD, reap)
    while True:
        size, files, _, _ = socket.recv_fds(asked, _NUMBER, 4)
        if not size:
            os._exit(0)
        text = asked.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
        *standard, status = files
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # until its pipe is known
        command = os.fork()
        if command == 0:
            break
        running[command] = status
        _tell(status, command)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        for file in standard:
            os.close(file)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    asked.close()
    for pipe in (status, *running.values()):
        os.close(pipe)
    for number, file in enumerate(standard):
        os.dup2(file, number)
        os.close(file)
    request: dict[str, Any] = json.loads(text)
    return request


def _tell(pipe: int, number: int) -> None:
    os.write(pipe, number.to_bytes(_NUMBER, "big", signed=True))


def _open_standard_files() -> None:
    """Open them as Python does when it starts: those that it has were opened for other files."""
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)


def _serve() -> None:
    from support.crash_points import load_extensions
    from support.servers import read_models_once

    for name in _NEEDED:  # once, not by each command
        import_module(name)
    for package in map(import_module, _PACKAGES):
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    load_extensions()
    read_models_once()
    gc.collect()
    gc.freeze()  # so that no command looks through them, which copies their memory
    asked = socket.socket(fileno=os.dup(0))
    request = _next_command(asked)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    tempfile.tempdir = None  # it is looked up anew
    os.chdir(request["cwd"])
    _open_standard_files()
    sys.path[0] = str(Path(sys.executable).parent)
    sys.argv = [str(Path(sys.executable).with_name("cdpsync")), *request["arguments"]]
    exec(request["first"], {})  # noqa: S102 - from a test
    from cdpsync.__main__ import main

    main()


if __name__ == "__main__":
    _serve()
