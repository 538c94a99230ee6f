"""Rows of an HTTP API into the lake: `python bench/bench_rest.py [--rows 500000] [--runs 3]`.

A server in a process of its own has pages of 1,000 records with 15 fields: texts, integers,
decimals of 26 digits, times, nulls, objects and lists. `cdpsync run` loads them as a `full_table`.
The figure is processor time of that process, from its start to the commit, because wall time
depends on the server, too. The limit is 25,000 rows a second and core.
"""

from __future__ import annotations

import argparse
import http.server
import multiprocessing
import platform
import shutil
import statistics
import sys
from datetime import date
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from measure import CDPSYNC, ROOT, WORK, measure, output

_FOLDER = WORK / "rest"
_PAGE = 1000
_LIMIT = 25_000
_RECORD = (
    '{{"id": {0}, "name": "customer {0}", "email": "c{0}@example.com", "amount": {0}.{1:02d}, '
    '"exact": 12345678901234567890.{1:06d}, "flag": true, "nothing": null, '
    '"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-02T00:{1:02d}:00Z", '
    '"tags": ["a", "b"], "address": {{"city": "Berlin", "zip": "10115"}}, "visits": {2}, '
    '"points": {3}, "status": "open", "note": "a note of some thirty letters or so"}}'
)


def page(number: int, rows: int) -> bytes:
    """Return a page; the pages after the last are empty."""
    ids = range((number - 1) * _PAGE, min(number * _PAGE, rows))
    records = ", ".join(_RECORD.format(i, i % 60, i * 3, i * 7) for i in ids)
    return f'{{"items": [{records}]}}'.encode()


def serve(rows: int, ready: multiprocessing.SimpleQueue[int]) -> None:
    """Serve the pages until the process is ended."""
    pages = [page(number, rows) for number in range(1, rows // _PAGE + 2)]

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            number = int(parse_qs(urlsplit(self.path).query)["page"][0])
            self.send_response(200)
            self.send_header("Content-Length", str(len(pages[number - 1])))
            self.end_headers()
            self.wfile.write(pages[number - 1])

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ready.put(server.server_address[1])
    server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    ready = multiprocessing.SimpleQueue()
    server = multiprocessing.Process(target=serve, args=(options.rows, ready), daemon=True)
    server.start()
    port = ready.get()
    figures = []
    for _ in range(options.runs):
        shutil.rmtree(_FOLDER, ignore_errors=True)
        _FOLDER.mkdir(parents=True)
        config = _FOLDER / "cdpsync.yml"
        config.write_text(
            f"sources:\n  api:\n    type: rest\n    client: {{base_url: 'http://127.0.0.1:{port}'}}\n"
            "    resources:\n      rows: {path: rows, records: items, primary_key: [id], "
            "paginator: page_number}\n    tables: {rows: {mode: full_table}}\n"
        )
        figures.append(measure([CDPSYNC, "-c", config, "run", "-q"]))
        count = output(
            [CDPSYNC, "-c", config, "query", "-o", "csv", "select count(*) from api.rows"]
        )
        if count.split()[-1] != str(options.rows):
            sys.exit(f"the lake has {count.split()[-1]} rows, the API {options.rows}")
    server.terminate()
    report(options.rows, figures)


def report(rows: int, figures: list) -> None:
    """Write the figures to RESULTS_REST.md, and print them."""
    cpu = statistics.median(figure.cpu for figure in figures)
    memory = max(figure.rss_mb for figure in figures)
    load = Path("/proc/loadavg").read_text().split()[0]
    text = (
        "# Measured: an HTTP API\n\n"
        f"{date.today():%Y-%m-%d}, 2 cores, load {load} at the end, Python "  # noqa: DTZ011
        f"{platform.python_version()}; median of {len(figures)} runs of the whole process. Written "
        "by `python bench/bench_rest.py`.\n\n"
        "| what | processor s | rows a second and core | peak RSS MB | limit |\n"
        "| --- | --- | --- | --- | --- |\n"
        f"| `cdpsync run`, {rows:,} records of 15 fields, pages of 1,000 | {cpu:.1f} | "
        f"{rows / cpu:,.0f} | {memory:.0f} | {_LIMIT:,} |\n"
    )
    (ROOT / "bench/RESULTS_REST.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
