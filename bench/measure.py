"""Whole processes, measured as the operating system accounts for them, and how that is shown."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "bench" / ".work"
CDPSYNC = Path(sys.executable).with_name("cdpsync")


@dataclass(frozen=True)
class Figure:
    """One whole process: wall seconds, peak resident memory, and seconds of a processor."""

    seconds: float
    rss_mb: float
    cpu: float = 0.0


@dataclass(frozen=True)
class Line:
    """One line of the table: what was done, how long it took, against what limit."""

    what: str
    figures: tuple[Figure, ...]
    limit: str = ""
    ratio: float | None = None  # to what it is compared with, the median of pairs

    @property
    def seconds(self) -> float:
        return statistics.median(figure.seconds for figure in self.figures)

    @property
    def rss_mb(self) -> float:
        return max(figure.rss_mb for figure in self.figures)


def measure(command: list[str | Path], env: dict[str, str] | None = None) -> Figure:
    """Run a command to its end, its output thrown away; fail when it fails."""
    start = time.monotonic()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )
    said = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    if status != 0:
        sys.exit(f"{command[0]} failed:\n{said.decode()}")
    return Figure(seconds, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime)


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


def ratio(figures: list[Figure], to: list[Figure]) -> float:
    """Return how many times longer the one takes than the other, run beside run."""
    pairs = zip(figures, to, strict=True)
    return statistics.median(one.seconds / other.seconds for one, other in pairs)


def table(lines: list[Line]) -> str:
    """Return the figures as a Markdown table, medians with their range."""
    rows = [
        "| what | median s | min - max s | x line above | peak RSS MB | limit |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for line in lines:
        seconds = [figure.seconds for figure in line.figures]
        ratio = f"{line.ratio:.2f}" if line.ratio else ""
        rows.append(
            f"| {line.what} | {line.seconds:.2f} | {min(seconds):.2f} - {max(seconds):.2f} "
            f"| {ratio} | {line.rss_mb:.0f} | {line.limit} |"
        )
    return "\n".join(rows)
