"""100,000 rows sent as HTTP requests, one by one and in batches, beside drt and syslog-ng.

The receiver is a process of its own and answers at once. Figures are processor time and memory of
the sending process, because wall time depends on the receiver too. A further figure is the rate
with 64 connections where each answer takes 50 ms; that one needs an idle machine.

    python bench/bench_send.py [--rows 100000] [--runs 3] [--without-peers]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path

from measure import ROOT, WORK, Figure, measure, output

sys.path[:0] = [str(ROOT / "tests")]

import send_peers  # noqa: E402
from support.receiver import Receiver, receiver  # noqa: E402

_OURS = Path(__file__).with_name("send_ours.py")
_TABLE = """
    create table people as
    select
        i as id,
        'user' || i || '@example.com' as email,
        'Name of ' || i as name,
        repeat('n', 150) as note
    from range(1, {rows} + 1) as t (i)
"""
_LIMITS = {"single": (6.0, 250), "batch": (1.5, 250)}
_ANSWER_SECONDS, _CONNECTIONS, _SLOW_ROWS = 0.05, 64, 10_000
_REPORT = """# Measured: destinations

{day}, {cores} cores, load {load} at the start, Python {python}, {rows:,} rows with bodies of some
230 bytes; medians of {runs} runs of the whole process. Written by `python bench/bench_send.py`.
Processor seconds are those of the sender alone. cdpsync renders from a DuckDB file into its outbox
and sends with its journal; drt renders from the same file; syslog-ng reads rendered lines.

| what | processor s | peak RSS MB | wall s | limit |
| --- | --- | --- | --- | --- |
{lines}

{slow}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--without-peers", action="store_true")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    load = f"{os.getloadavg()[0]:.1f}"
    file, lines = _rows(options.rows)
    if not options.without_peers:
        send_peers.install()
    with receiver(WORK / "receiver") as server:
        table = []
        for kind, batch in (("single", 0), ("batch", 500)):
            work = send_peers.Work(file, lines, batch)
            table.append(_line("cdpsync", kind, _ours(server, work, options), _LIMITS[kind]))
            if not options.without_peers:
                figures = [_syslog_ng(server, work, options.rows) for _ in range(options.runs)]
                table.append(_line("syslog-ng (C)", kind, figures))
                table.append(_line("drt", kind, [_drt(server, work, options.rows)]))
        slow = _slow(server, file)
    report = _REPORT.format(
        day=f"{datetime.now(UTC):%Y-%m-%d}",
        cores=os.cpu_count(),
        load=load,
        python=platform.python_version(),
        rows=options.rows,
        runs=options.runs,
        lines="\n".join(table),
        slow=slow,
    )
    print(report)
    if options.rows == 100_000 and not options.without_peers:
        (ROOT / "bench" / "RESULTS_SEND.md").write_text(report)


def _rows(rows: int) -> tuple[Path, Path]:
    """Write the DuckDB file and the rendered lines."""
    file, lines = WORK / "people.duckdb", WORK / "people.jsonl"
    file.unlink(missing_ok=True)
    script = (
        "import duckdb, sys; con = duckdb.connect(sys.argv[1]); con.execute(sys.argv[2]);"
        "con.execute(f\"copy people to '{sys.argv[3]}' (format json)\")"
    )
    output([sys.executable, "-c", script, str(file), _TABLE.format(rows=rows), str(lines)])
    return file, lines


def _ours(server: Receiver, work: send_peers.Work, options: argparse.Namespace) -> list[Figure]:
    words = [sys.executable, _OURS, work.file, server.url, WORK / "ours", str(work.batch), "32"]
    return [_measured(server, words, {}, options.rows) for _ in range(options.runs)]


def _drt(server: Receiver, work: send_peers.Work, rows: int) -> Figure:
    words, environment = send_peers.drt(server, work)
    return _measured(server, words, environment, rows)


def _syslog_ng(server: Receiver, work: send_peers.Work, rows: int) -> Figure:
    server.script(keeps=False)
    return send_peers.syslog_ng(server, work, rows)


def _measured(
    server: Receiver, words: list[str | Path], environment: dict[str, str], rows: int
) -> Figure:
    server.script(keeps=False)
    figure = measure(words, environment)
    if server.count()[1] != rows:
        sys.exit(f"{words[0]}: {server.count()[1]:,} of {rows:,} rows came")
    return figure


def _line(
    name: str, kind: str, figures: list[Figure], limits: tuple[float, int] | None = None
) -> str:
    print(f"  {name}, {kind}: {[round(f.cpu, 2) for f in figures]}", file=sys.stderr, flush=True)
    cpu = statistics.median(figure.cpu for figure in figures)
    memory = max(figure.rss_mb for figure in figures)
    wall = statistics.median(figure.seconds for figure in figures)
    limit = f"{limits[0]} s, {limits[1]} MB" if limits else ""
    what = "one row a request" if kind == "single" else "500 rows a request"
    return f"| {name}, {what} | {cpu:.2f} | {memory:.0f} | {wall:.1f} | {limit} |"


def _slow(server: Receiver, file: Path) -> str:
    """Return a sentence on the rate where each answer takes 50 ms."""
    server.script(keeps=False, seconds=_ANSWER_SECONDS)
    script = (
        "import duckdb, sys; con = duckdb.connect(sys.argv[1]);"
        "con.execute(f'create or replace table people as select * from people limit {sys.argv[2]}')"
    )
    few = WORK / "few.duckdb"
    few.write_bytes(file.read_bytes())
    output([sys.executable, "-c", script, str(few), str(_SLOW_ROWS)])
    words = [sys.executable, _OURS, few, server.url, WORK / "ours", "0", str(_CONNECTIONS)]
    rate = float(output(words))
    possible = _CONNECTIONS / _ANSWER_SECONDS
    return (
        f"Answers after {_ANSWER_SECONDS * 1000:.0f} ms, {_CONNECTIONS} connections: {rate:,.0f} "
        f"requests/s of {possible:,.0f} possible, {rate / possible:.0%}; limit: 85 % on an idle "
        "machine."
    )


if __name__ == "__main__":
    main()
