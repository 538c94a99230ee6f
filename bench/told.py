"""What was measured, as it is kept and shown: lines with their limits, parts, the whole table."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from measure import ROOT, Figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KEPT = ROOT / "bench" / "results"
RESULTS = ROOT / "bench" / "RESULTS.md"

_HEAD = """| what | runs | median s | min - max s | x ours | CPU s | peak RSS MB | limit |
| --- | --- | --- | --- | --- | --- | --- | --- |"""


_HOW = (
    "Whole processes with their children, in turns, medians; a ratio is the median of pairs, run "
    "beside run; CPU seconds are the process's own, not the server's. Each run's rows were held "
    "against the source's. Written by `make bench`; a part can be measured alone: "
    "`python bench/bench.py --only NAME`."
)


@dataclass(frozen=True)
class Limit:
    """A bound on one figure: at most so much, or at least where `least`."""

    what: str  # with {} for the figure
    measured: float
    bound: float
    least: bool = False

    @property
    def met(self) -> bool:
        return self.measured >= self.bound if self.least else self.measured <= self.bound

    def __str__(self) -> str:
        side = "at least" if self.least else "at most"
        places = 0 if self.bound >= 100 else 2
        said = self.what.format(f"{self.measured:.{places}f}")
        verdict = "met" if self.met else "**missed**"
        return f"{said}, {side} {self.bound:g}: {verdict}"


@dataclass(frozen=True)
class Line:
    """One line of the table. `ratio`: how many times longer than ours, run beside run."""

    what: str
    figures: tuple[Figure, ...]
    limits: tuple[Limit, ...] = ()
    ratio: float | None = None

    def __str__(self) -> str:
        seconds = [figure.seconds for figure in self.figures]
        cpu = statistics.median(figure.cpu for figure in self.figures)
        rss = max(figure.rss_mb for figure in self.figures)
        ratio = f"{self.ratio:.2f}" if self.ratio else ""
        return (
            f"| {self.what} | {len(seconds)} | {statistics.median(seconds):.2f} "
            f"| {min(seconds):.2f} - {max(seconds):.2f} | {ratio} | {cpu:.2f} | {rss:.0f} "
            f"| {'; '.join(map(str, self.limits))} |"
        )


@dataclass(frozen=True)
class Part:
    """One part of the bench: its lines, and when, for how long and beside what it was measured."""

    name: str
    about: str
    when: str
    minutes: float
    load: str
    where: str
    lines: tuple[Line, ...]

    def __str__(self) -> str:
        told = f"{self.when}, {self.minutes:.1f} minutes, load average {self.load}."
        return "\n".join([f"## {self.name}", "", f"{self.about} {told}", "", table(self.lines)])

    def keep(self, folder: Path = KEPT) -> None:
        """Write it down, in place of what was measured before."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")


def read(path: Path) -> Part:
    """Return a part that was measured earlier."""
    said = json.loads(path.read_text())
    lines = [
        Line(
            one["what"],
            tuple(Figure(**figure) for figure in one["figures"]),
            tuple(Limit(**limit) for limit in one["limits"]),
            one["ratio"],
        )
        for one in said.pop("lines")
    ]
    return Part(**said, lines=tuple(lines))


def table(lines: Sequence[Line]) -> str:
    """Return lines as a Markdown table."""
    return "\n".join([_HEAD, *map(str, lines)])


def whole(parts: Sequence[Part]) -> str:
    """Return the whole report, what was missed first."""
    machines = list(dict.fromkeys(part.where for part in parts))
    limits = [(part, limit) for part in parts for line in part.lines for limit in line.limits]
    missed = [f"- {part.name}: {limit}" for part, limit in limits if not limit.met]
    return "\n\n".join(
        [
            "# Measured",
            *(f"{where}{_of(where, parts) if len(machines) > 1 else ''}." for where in machines),
            _HOW,
            "\n".join([_verdict(len(limits), len(missed)), *missed]),
            *map(str, parts),
        ]
    )


def _verdict(limits: int, missed: int) -> str:
    if not limits:
        return "Whether it runs, not how fast: the limits are those of the full size."
    return f"{limits - missed} of {limits} limits met."


def _of(where: str, parts: Sequence[Part]) -> str:
    """Return which parts were measured there."""
    return f" ({', '.join(part.name for part in parts if part.where == where)})"
