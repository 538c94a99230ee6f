"""Sends as processes of their own, forked where all is imported, each killed after some work.

A process dies by the kernel's hand once it has used so many seconds of processor time, wherever it
is then: while it writes its outbox, sends, or notes an answer. So the moment does not depend on how
busy the machine is.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import traceback
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Job:
    """A send: its outbox is the one that an earlier process left, or a new one.

    `dies_after`: seconds of processor time; None: it ends by itself.
    """

    folder: str
    url: str
    rows: int
    keys: int
    order: str = "last"
    batch: int | None = None
    connections: int = 8
    dies_after: float | None = None


@dataclass(frozen=True)
class Ended:
    """How a process ended: by itself with counts, or killed. `cpu` is its processor time."""

    was_killed: bool
    cpu: float
    delivered: int = 0
    held: int = 0


class Sender:
    """The process that the others are forked from."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def send(self, job: Job) -> Ended:
        """Run a send to its end."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(asdict(job)) + "\n")
        stdin.flush()
        return Ended(**json.loads(stdout.readline()))


@contextmanager
def sender() -> Iterator[Sender]:
    """Start the process that forks; it ends with the block."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        yield Sender(process)
        assert process.stdin is not None
        process.stdin.close()


def _serve() -> None:
    import duckdb  # noqa: F401 - so that the children have it
    import pycurl  # noqa: F401 - so that the children have it
    import support.deliveries  # noqa: F401 - so that the children have it

    for line in sys.stdin:
        job = Job(**json.loads(line))
        report, answer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(report)
            _child(job, answer)
        os.close(answer)
        with os.fdopen(report) as pipe:
            text = pipe.read()
        _, status, usage = os.wait4(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, -signal.SIGPROF):
            sys.exit(f"a send ended with {code}")
        counts = json.loads(text) if code == 0 else {}
        ended = Ended(code != 0, usage.ru_utime + usage.ru_stime, **counts)
        sys.stdout.write(json.dumps(asdict(ended)) + "\n")
        sys.stdout.flush()


def _child(job: Job, answer: int) -> None:
    try:
        if job.dies_after is not None:
            signal.setitimer(signal.ITIMER_PROF, job.dies_after)
        os.write(answer, json.dumps(_send(job)).encode())
    except BaseException:  # noqa: BLE001 - it is told, and ends the process
        traceback.print_exc()
        os._exit(3)
    os._exit(0)


def _send(job: Job) -> dict[str, int]:
    from support.deliveries import changes, destination, shape

    from cdpsync.destinations.delivery.clock import SystemClock
    from cdpsync.destinations.delivery.dispatch import Dispatcher
    from cdpsync.destinations.delivery.outbox import Outbox, pending
    from cdpsync.engine import connect
    from cdpsync.model.deliveries import Health
    from cdpsync.model.destinations import Batch, ChangeOrder

    folder = Path(job.folder)
    boxes = pending(folder)
    if not boxes:
        con = connect(threads=1)
        order = ChangeOrder(job.order)
        select = changes(job.rows, job.keys)
        boxes = [Outbox.create(con, select, folder / "1", nonce="n0nce", order=order)]
        con.close()
    result = Dispatcher(
        destination(
            batch=Batch(job.batch) if job.batch else None,
            connections=job.connections,
            idempotency="webhook-id",
        ),
        boxes[0],
        {"request": shape(job.url, around=("[", "]") if job.batch else None)},
        marks={},
        health=Health(),
        clock=SystemClock(),
        retry_seconds=0.001,
    ).send()
    return {"delivered": result.delivered, "held": result.held}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _serve()
