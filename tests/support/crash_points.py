"""Runs that die at a chosen moment: each a process of its own, forked where all is imported.

A step is a call that changes something outside the process, or asks someone else to: of the file
system, of a lock, of DuckDB, of a bucket. They count from the moment the run has its first lock,
and are named after the function of cdpsync that makes them. The process dies by SIGKILL before a
step; or, from a step on, by the kernel's own hand when a file passes so many bytes.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

from support.disk_state import DiskState, disk_state
from support.servers import read_models_once

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

_FILES = {
    *("open", "replace", "rename", "link", "unlink", "remove", "mkdir", "rmdir"),
    *("chmod", "fsync", "truncate", "flock", "lockf", "copy_file_range", "sendfile"),
}
_DUCKDB = {"execute", "begin", "commit", "rollback", "close"}
_HANDLES = {"write", "truncate", "close"}
_SOCKETS = {"send", "sendall", "connect"}
_OURS = ("cdpsync", "cdpsync_connectors")
_NEEDED = (
    *("boto3", "duckdb", "gcsfs", "pandas", "psycopg", "pyarrow", "pytz", "yaml"),
    *("cdpsync_connectors.postgres.connector", "cdpsync.maintain", "cdpsync.sync"),
    *("cdpsync.destinations", "pycurl"),
)
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # as cdpsync has it before it imports gcsfs
    "PYTHONPATH": str(Path(__file__).parents[1]),  # for `support`
}


Step = tuple[str, int]
"""A step's name, and the how manieth of this name."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: what it did until then, by which signal (0: by itself), what failed.

    Of a run that was watched there is the state of the disk before each of its steps.
    """

    steps: tuple[Step, ...]
    signal: int
    error: str
    states: tuple[DiskState, ...] = ()

    @property
    def killed(self) -> bool:
        """Whether the run did not end by itself."""
        return self.signal != 0


class Mortals:
    """A process that has everything imported, and lets runs begin and die."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | _ENVIRONMENT,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def run(
        self,
        project: Path,
        *,
        at: Step | None = None,
        limit: int | None = None,
        full: bool = False,
        act: str = "run",
        watched: bool = False,
        compacts: bool = False,
    ) -> Ended:
        """Run a project, and kill it before step `at`.

        With `limit` the kernel kills it, from that step on or from the start, when a file passes
        so many bytes; with `full` it refuses the write instead, as a full disk does. `act` may be
        `maintain` or `send`. With `watched` it waits at each step until its disk has been seen.
        With `compacts` it compacts a table of two files.
        """
        assert self._process.stdin
        assert self._process.stdout
        asked = {"project": str(project), "at": at, "limit": limit, "full": full, "act": act}
        asked |= {"watched": watched, "compacts": compacts}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        said = json.loads(self._process.stdout.readline())
        steps = tuple((name, number) for name, number in said["steps"])
        states = tuple(DiskState(*state) for state in said["states"])
        return Ended(steps, said["signal"], said["error"], states)


class _Steps:
    """Hears of every step of a run, in all its threads, and lets one of them be fatal."""

    def __init__(
        self, fatal: Step | None, kill: Callable[[], None], tell: int, go: int | None
    ) -> None:
        self._fatal = fatal
        self._kill = kill
        self._tell = tell
        self._go = go
        self._counts: Counter[str] = Counter()
        self._guard = threading.Lock()

    def watch(self) -> None:
        threading.setprofile(self.hear)
        sys.setprofile(self.hear)

    def hear(self, frame: FrameType, event: str, called: Any) -> None:  # any callable of C
        if event != "c_call" or not _is_step(called):
            return
        name = f"{called.__name__} in {_where(frame)}"
        with self._guard:
            if not self._counts and called.__name__ != "flock":
                return
            self._counts[name] += 1
            step = name, self._counts[name]
            os.write(self._tell, json.dumps(step).encode() + b"\n")
            if self._go is not None:
                os.read(self._go, 1)
            if step == self._fatal:
                self._kill()


def _is_step(called: Any) -> bool:
    name, owner = getattr(called, "__name__", ""), getattr(called, "__self__", None)
    if isinstance(owner, ModuleType):
        return name in _FILES
    kind = type(owner)
    if getattr(called, "__module__", "") == "_duckdb":
        return name in _DUCKDB
    if kind.__module__ == "_io":
        return name in _HANDLES
    return name in _SOCKETS and kind.__name__ == "socket"


def _where(frame: FrameType | None) -> str:
    while frame is not None:
        module: str = frame.f_globals.get("__name__", "")
        if module.split(".")[0] in _OURS:
            return f"{module}.{frame.f_code.co_qualname}"
        frame = frame.f_back
    return "another's thread"


def _live(asked: dict[str, Any], tell: int, go: int) -> None:
    """Be the run."""
    from cdpsync import destinations, maintain, project, sync
    from cdpsync.maintain import compact

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["limit"], resource.RLIM_INFINITY))

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN if asked["full"] else signal.SIG_DFL)
    if asked["limit"] is not None and asked["at"] is None:
        bound()
    if asked["compacts"]:
        compact._MIN_SMALL_FILES = 2
    fatal = tuple(asked["at"]) if asked["at"] else None
    fate = kill if asked["limit"] is None else bound
    _Steps(fatal, fate, tell, go if asked["watched"] else None).watch()
    try:
        if asked["act"] == "maintain":
            maintain.maintain(project.load(asked["project"]))
            error = ""
        elif asked["act"] == "send":
            sent = destinations.send(project.load(asked["project"]))
            error = "; ".join(one.error.message for one in sent.destinations if one.error)
        else:
            result = sync.run(asked["project"], threads=2)
            error = "; ".join(one.error.message for one in result.tables if one.error)
    except Exception as raised:  # noqa: BLE001 - told to whoever asked
        error = f"{type(raised).__name__}: {raised}"
    sys.setprofile(None)
    os.write(tell, json.dumps({"error": error}).encode() + b"\n")
    os._exit(0)


def load_extensions() -> None:
    """Map the code of DuckDB's extensions into this process, for the runs that it forks."""
    from cdpsync import engine

    extensions = ("ducklake", "httpfs", "postgres_scanner")
    engine.connect(threads=1, extensions=extensions).close()  # one thread: none is left to fork


def _serve() -> None:
    for name in _NEEDED:  # once, not by each run
        import_module(name)
    load_extensions()
    read_models_once()
    gc.collect()
    gc.freeze()  # so that no run looks through them, which copies their memory
    for line in sys.stdin:
        print(json.dumps(_ended(json.loads(line))), flush=True)


def _ended(asked: dict[str, Any]) -> dict[str, Any]:
    """Let a run begin, and return how it ended."""
    hear, tell = os.pipe()
    go, allow = os.pipe()
    folder = Path(asked["project"]).parent
    child = os.fork()
    if child == 0:
        os.close(hear)
        os.close(allow)
        _live(asked, tell, go)
    os.close(tell)
    os.close(go)
    steps, states, error = [], [], ""
    with os.fdopen(hear) as told:
        for line in told:
            one = json.loads(line)
            if isinstance(one, dict):
                error = one["error"]
                continue
            steps.append(one)
            if asked["watched"]:
                states.append(disk_state(folder))
                os.write(allow, b".")
    os.close(allow)
    _, status = os.waitpid(child, 0)
    return {"steps": steps, "states": states, "signal": status & 0x7F, "error": error}


if __name__ == "__main__":
    _serve()
