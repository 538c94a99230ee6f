"""Whole processes, measured as the operating system accounts for them, in turns."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "bench" / ".work"
CDPSYNC = Path(sys.executable).with_name("cdpsync")

_LOOK_EVERY = 0.05  # seconds
# As installed: everybody's modules are compiled once, not at each start.
_USUAL = {name: said for name, said in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True)
class Figure:
    """One whole process with its children: wall seconds, those of a core, and peak memory."""

    seconds: float
    rss_mb: float
    cpu: float


@dataclass(frozen=True)
class Command:
    """What is typed, and what stands in its environment beside the usual."""

    words: Sequence[str | Path]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """Somebody in a comparison.

    `begin` clears away what the last run left and says what is typed. `answer` says what there is
    afterwards: it must be the same of everybody. `runs`: fewer than the others', where it is slow.
    """

    name: str
    begin: Callable[[], Command]
    answer: Callable[[], str] | None = None
    runs: int | None = None


def measure(words: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Figure:
    """Run a command to its end, its output thrown away; fail when it fails.

    Its memory is that of its largest process, or what all had at once, shared pages counted once,
    if that is more; the latter is looked at twenty times a second.
    """
    start = time.monotonic()
    process = subprocess.Popen(
        words,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**_USUAL, **(env or {})},
    )
    done, together = threading.Event(), [0.0]
    watcher = threading.Thread(target=_watch, args=(process.pid, done, together))
    watcher.start()
    said = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    done.set()
    watcher.join()
    if process.stderr:
        process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if status != 0:
        sys.exit(f"{' '.join(map(str, words))} failed:\n{said.decode()}")
    busy = usage.ru_utime + usage.ru_stime
    return Figure(seconds, max(usage.ru_maxrss / 1024, together[0]), busy)


def _watch(pid: int, done: threading.Event, together: list[float]) -> None:
    """Keep the most that a process and its children had at once, in MB; alone it is not asked."""
    while not done.wait(_LOOK_EVERY):
        if len(family := [pid, *_children(pid)]) > 1:
            together[0] = max(together[0], sum(map(_proportional_mb, family)))


def _children(pid: int) -> Iterator[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        found = [int(one) for task in tasks for one in (task / "children").read_text().split()]
    except OSError:  # it ended meanwhile, or this is no Linux
        return
    for child in found:
        yield child
        yield from _children(child)


def _proportional_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def in_turns(
    contenders: Sequence[Contender], runs: int, truths: Sequence[str]
) -> list[list[Figure]]:
    """Measure them one after the other, again and again; the first turn only warms the caches.

    Fails where what one of them has afterwards is not the truth about it.
    """
    figures: list[list[Figure]] = [[] for _ in contenders]
    for turn in range(runs + 1):
        for contender, taken, truth in zip(contenders, figures, truths, strict=True):
            if contender.runs is not None and not 0 < turn <= contender.runs:
                continue
            command = contender.begin()
            figure = measure(command.words, command.env)
            if contender.answer:
                agree(contender.name, contender.answer(), truth)
            if turn:
                taken.append(figure)
                print(f"  {contender.name}: {figure.seconds:.2f} s", file=sys.stderr, flush=True)
    return figures


def agree(name: str, found: str, truth: str) -> None:
    """Fail where rows are missing, or there are too many: then no figure is worth anything."""
    if found != truth:
        sys.exit(f"{name}: has {found!r}, the source has {truth!r}")


def output(words: Sequence[str | Path]) -> str:
    """Return what a command prints, without the last line's end; fail when it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{words[0]} failed:\n{done.stderr}")
    return done.stdout.strip()


def aside(work: Callable[..., None], *given: object) -> None:
    """Do something in a process of its own.

    A command's peak memory, as it is accounted, begins with what its parent held when it was
    started: so this process stays small.
    """
    process = multiprocessing.get_context("spawn").Process(target=work, args=given)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"{work.__name__} failed")


def ratio(figures: Sequence[Figure], to: Sequence[Figure]) -> float:
    """Return how many times longer the one takes than the other, run beside run."""
    pairs = zip(figures, to, strict=False)  # a slow one has fewer runs, in the first turns
    return statistics.median(one.seconds / other.seconds for one, other in pairs)


def median(figures: Sequence[Figure]) -> float:
    """Return the seconds in the middle."""
    return statistics.median(figure.seconds for figure in figures)


def peak(figures: Sequence[Figure]) -> float:
    """Return the most memory of all runs, in MB."""
    return max(figure.rss_mb for figure in figures)
