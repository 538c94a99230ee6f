"""A program that runs cdpsync as a library and is interrupted: it sends nothing afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from support.deliveries import FakeClock, destination, ids, outbox, send, shape
from support.receiver import receiver
from support.sending import sending

if TYPE_CHECKING:
    from pathlib import Path

# The caller goes on after the interrupt, as a scheduler or a notebook does.
PROGRAM = """
import json, sys, threading
from pathlib import Path
from cdpsync import run
from cdpsync.system import locks

folder = Path(".cdpsync")
print("begun", flush=True)
try:
    run()
except KeyboardInterrupt:
    senders = [thread.name for thread in threading.enumerate() if "send" in thread.name]
    held = sorted(path.name for path in folder.rglob("*.lock") if locks.is_locked(path))
    print(json.dumps([senders, held]), flush=True)
    sys.stdin.read()
"""
ROWS = 400


class HurryingClock(FakeClock):
    """A clock that goes on by a second at each look."""

    def monotonic(self) -> float:
        self.seconds += 1
        return self.seconds


def test_interrupted_library_call_stops_its_senders(tmp_path: Path) -> None:
    """No thread sends once it has raised and let go of the locks; the next send has the rest."""
    with sending(tmp_path) as shop:
        shop.configure(body={"id": "{{ id }}"}, start="all", rate="40/s")
        shop.put(*((i, "x", "new", "1") for i in range(1, ROWS + 1)))
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            while len(shop.receiver.requests()) < 10:
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            assert json.loads(process.stdout.readline()) == [[], []]
            seen = len(shop.receiver.requests())
            assert 10 <= seen < ROWS
            shop.configure(body={"id": "{{ id }}"}, start="all")
            shop.cdpsync("send")  # the program is there, and holds nothing
            process.communicate("")
        taken = [body["id"] for body in shop.bodies()]
        assert set(taken) == set(range(1, ROWS + 1))
        assert len(taken) <= ROWS + 8  # connections
        assert process.returncode == 0


def test_interrupted_dispatch_waits_for_what_is_under_way(tmp_path: Path) -> None:
    """It starts nothing more, and its journal has the answers that came meanwhile."""
    with receiver(tmp_path / "receiver") as server:
        server.script(seconds=0.2)
        box = outbox(tmp_path, 100)
        with pytest.raises(KeyboardInterrupt):
            send(
                destination(connections=4),
                box,
                shape(server.url),
                is_stopped=lambda: len(server.requests()) >= 4,
            )
        assert sorted(ids(server.bodies())) == [1, 2, 3, 4]
        settlements = box.settlements()
        assert settlements.count(1) == 4


def test_interrupted_dispatch_does_not_wait_for_an_endpoint_that_hangs(tmp_path: Path) -> None:
    """After a moment it ends without the answer; the change is sent again by the next send."""
    with receiver(tmp_path / "receiver") as server:
        server.script(hangs=1)
        box = outbox(tmp_path, 1)
        asked = []

        def is_stopped() -> bool:
            asked.append(1)
            return len(asked) > 3

        with pytest.raises(KeyboardInterrupt):
            send(
                destination(), box, shape(server.url), is_stopped=is_stopped, clock=HurryingClock()
            )
        assert box.settlements().count(0) == 1
        assert send(destination(), box, shape(server.url)).delivered == 1
