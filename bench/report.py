"""The report of the benchmark: lines with their limits, parts, and their stored form."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from measure import ROOT, Figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STORED = ROOT / "bench" / "results"
RESULTS = ROOT / "bench" / "RESULTS.md"

_HEAD = """| what | runs | median s | min - max s | x ours | CPU s | peak RSS MB | limit |
| --- | --- | --- | --- | --- | --- | --- | --- |"""


_METHOD = (
    "Whole processes with their children, in turns, medians; a ratio is the median of pairs, run "
    "beside run; CPU seconds are the process's own, not the server's. Each run's rows were held "
    "against the source's. Written by `make bench`; a part can be measured alone: "
    "`python bench/bench.py --only NAME`."
)


@dataclass(frozen=True)
class Limit:
    """A bound on one figure: an upper one, or a lower one if `least`."""

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
        figure = self.what.format(f"{self.measured:.{places}f}")
        verdict = "met" if self.met else "**missed**"
        return f"{figure}, {side} {self.bound:g}: {verdict}"


@dataclass(frozen=True)
class Line:
    """One line of the table; `ratio` is its time divided by ours, the median over pairs of runs."""

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
    """One part of the benchmark: its lines, and when, how long and under what load it ran."""

    name: str
    about: str
    when: str
    minutes: float
    load: str
    where: str
    lines: tuple[Line, ...]

    def __str__(self) -> str:
        circumstances = f"{self.when}, {self.minutes:.1f} minutes, load average {self.load}."
        return "\n".join(
            [f"## {self.name}", "", f"{self.about} {circumstances}", "", table(self.lines)]
        )

    def store(self, folder: Path = STORED) -> None:
        """Write the part to its file, in place of an earlier result."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")


def read(path: Path) -> Part:
    """Return a part from its file."""
    content = json.loads(path.read_text())
    lines = [
        Line(
            line["what"],
            tuple(Figure(**figure) for figure in line["figures"]),
            tuple(Limit(**limit) for limit in line["limits"]),
            line["ratio"],
        )
        for line in content.pop("lines")
    ]
    return Part(**content, lines=tuple(lines))


def table(lines: Sequence[Line]) -> str:
    """Return lines as a Markdown table."""
    return "\n".join([_HEAD, *map(str, lines)])


def render(parts: Sequence[Part]) -> str:
    """Return the report as Markdown, with the missed limits first."""
    machines = list(dict.fromkeys(part.where for part in parts))
    lines = [line for part in parts for line in part.lines]
    limits = [(line, limit) for line in lines for limit in line.limits]
    missed = [f"- {line.what}: {limit}" for line, limit in limits if not limit.met]
    return "\n\n".join(
        [
            "# Measured",
            *(
                f"{where}{_parts_on(where, parts) if len(machines) > 1 else ''}."
                for where in machines
            ),
            _METHOD,
            "\n".join([_verdict(len(limits), len(missed)), *missed]),
            *map(str, parts),
        ]
    )


def _verdict(limits: int, missed: int) -> str:
    if not limits:
        return "This run shows only that the benchmark works: the limits apply to the full size."
    return f"{limits - missed} of {limits} limits met."


def _parts_on(where: str, parts: Sequence[Part]) -> str:
    """Return the names of the parts that were measured on this machine."""
    return f" ({', '.join(part.name for part in parts if part.where == where)})"
