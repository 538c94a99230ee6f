"""Measures whole processes in turns, by the operating system's accounting."""

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

_INTERVAL = 0.05  # seconds between two looks at a process's memory
# Without this variable modules are compiled once, as in an installation, and not at each start.
_ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}


@dataclass(frozen=True)
class Figure:
    """One whole process with its children: wall seconds, those of a core, and peak memory."""

    seconds: float
    rss_mb: float
    cpu: float


@dataclass(frozen=True)
class Command:
    """The words of a command, and additional environment variables."""

    words: Sequence[str | Path]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """One command in a comparison.

    `begin` removes the results of the last run and returns the command. `answer` returns a value
    of the result, which must equal the truth. `runs` limits the runs of a slow contender.
    """

    name: str
    begin: Callable[[], Command]
    answer: Callable[[], str] | None = None
    runs: int | None = None


def measure(words: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Figure:
    """Run a command to its end without its output; exit if it fails.

    Its memory is that of its largest process. It is the sum over all its processes, with shared
    pages counted once, if that is more; the sum is taken twenty times a second.
    """
    start = time.monotonic()
    process = subprocess.Popen(
        words,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**_ENVIRONMENT, **(env or {})},
    )
    done, highest_sum = threading.Event(), [0.0]
    watcher = threading.Thread(target=_watch, args=(process.pid, done, highest_sum))
    watcher.start()
    messages = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    done.set()
    watcher.join()
    if process.stderr:
        process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if status != 0:
        sys.exit(f"{' '.join(map(str, words))} failed:\n{messages.decode()}")
    busy = usage.ru_utime + usage.ru_stime
    return Figure(seconds, max(usage.ru_maxrss / 1024, highest_sum[0]), busy)


def _watch(pid: int, done: threading.Event, highest_sum: list[float]) -> None:
    """Record the highest memory of a process with its children, in MB; not of one alone."""
    while not done.wait(_INTERVAL):
        if len(family := [pid, *_children(pid)]) > 1:
            highest_sum[0] = max(highest_sum[0], sum(map(_proportional_mb, family)))


def _children(pid: int) -> Iterator[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        pids = [int(word) for task in tasks for word in (task / "children").read_text().split()]
    except OSError:  # because it ended meanwhile, or this is not Linux
        return
    for child in pids:
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
    """Measure the contenders one after the other, in turns; the first turn only warms the caches.

    Exits if the answer of one of them is not the truth.
    """
    figures: list[list[Figure]] = [[] for _ in contenders]
    for turn in range(runs + 1):
        for contender, own_figures, truth in zip(contenders, figures, truths, strict=True):
            if contender.runs is not None and not 0 < turn <= contender.runs:
                continue
            command = contender.begin()
            figure = measure(command.words, command.env)
            if contender.answer:
                agree(contender.name, contender.answer(), truth)
            if turn:
                own_figures.append(figure)
                print(f"  {contender.name}: {figure.seconds:.2f} s", file=sys.stderr, flush=True)
    return figures


def agree(name: str, answer: str, truth: str) -> None:
    """Exit if rows are missing or too many, because the figures would mean nothing."""
    if answer != truth:
        sys.exit(f"{name}: has {answer!r}, the source has {truth!r}")


def output(words: Sequence[str | Path]) -> str:
    """Return the output of a command, without the last line end; exit if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{words[0]} failed:\n{done.stderr}")
    return done.stdout.strip()


def aside(work: Callable[..., None], *arguments: object) -> None:
    """Do the work in another process.

    The system's figure for a command's peak memory begins with the memory of its parent. So this
    process must stay small.
    """
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"{work.__name__} failed")


def ratio(figures: Sequence[Figure], to: Sequence[Figure]) -> float:
    """Return how many times longer `figures` take than `to`: the median over pairs of runs."""
    pairs = zip(
        figures, to, strict=False
    )  # because a slow contender has fewer runs, in the first turns
    return statistics.median(figure.seconds / base.seconds for figure, base in pairs)


def median(figures: Sequence[Figure]) -> float:
    """Return the median of the seconds."""
    return statistics.median(figure.seconds for figure in figures)


def peak(figures: Sequence[Figure]) -> float:
    """Return the highest memory of all runs, in MB."""
    return max(figure.rss_mb for figure in figures)
