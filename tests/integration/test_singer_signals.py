"""Signals at random moments, at a tap, at the run beside it, at both: nothing partial is committed.

A seed decides moment, signal and target. `make test` sends some; `make signals` 200.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from random import Random
from typing import TYPE_CHECKING

import pytest
from support import commands
from support.tapped import FULL_TABLE, INCREMENTAL, Tapped, orders

if TYPE_CHECKING:
    from pathlib import Path

_SIGNALS = int(os.environ.get("CDPSYNC_SIGNALS", "20"))
_PARTS = 4  # tests, so that workers share them
_ROWS = 60
_PAUSE = 0.004


def _pid_in(file: Path) -> int | None:
    with contextlib.suppress(FileNotFoundError, ValueError):
        return int(file.read_text())
    return None


def _send(process: commands.Process, tap: int | None, target: str, number: int) -> None:
    if target in {"tap", "both"} and tap is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(tap, number)
    if target in {"run", "both"}:
        process.send_signal(number)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(_PARTS))
def test_a_signal_at_any_moment_leaves_nothing_partial(tmp_path: Path, part: int) -> None:
    """A full table is the old one or the new one; an incremental one equals a clean run after."""
    chance = Random(part)  # noqa: S311 - a moment, not a secret
    tapped = Tapped(tmp_path)
    tapped.tables = {"orders": INCREMENTAL, "lists": FULL_TABLE}
    pid_file = tmp_path / "pid"
    behave = "ends_well_on_term"
    tapped.configure(pause=_PAUSE, pid_file=str(pid_file), behave=behave, compact=True)
    tapped.stream("orders", orders(1))
    tapped.stream("lists", orders(1), cursor=None)
    assert commands.run("run", cwd=tmp_path).returncode == 0
    top, hits = 1, 0
    for _ in range(_SIGNALS // _PARTS):
        before = tapped.rows("lists", "id")
        expected = orders(*range(top + 1, top + _ROWS + 1))
        top += _ROWS
        tapped.stream("orders", [*orders(1), *expected])
        tapped.stream("lists", expected, cursor=None)
        new = [(row["id"],) for row in expected]
        pid_file.unlink(missing_ok=True)
        process = commands.start("run", cwd=tmp_path)
        while process.poll() is None and (tap := _pid_in(pid_file)) is None:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 2.6 * _ROWS * _PAUSE))
        number = chance.choice([signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
        target = chance.choice(["tap", "run", "both"])
        _send(process, tap, target, number)
        process.communicate()
        hits += process.wait() != 0
        assert tapped.rows("lists", "id") in (before, new), (number, target)
        assert not _is_running(tap), "the tap outlived its run"
        again = commands.run("run", cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert tapped.rows("lists", "id") == new
        assert {row[0] for row in tapped.rows("orders", "id")} == set(range(1, top + 1))
        state = tapped.states()["orders"]["bookmarks"]["orders"]
        assert state == {"value": top}
        work = tmp_path / ".cdpsync/sources/svc/work"
        assert not list(work.glob("work-*"))
    assert hits


def _is_running(pid: int | None) -> bool:
    """Whether a process lives a second after its run has ended."""
    for _ in range(100):
        if pid is None or not os.path.exists(f"/proc/{pid}/stat"):  # noqa: PTH110
            return False
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            if stat.read().rpartition(")")[2].split()[0] == "Z":
                return False
        time.sleep(0.05)
    return True
