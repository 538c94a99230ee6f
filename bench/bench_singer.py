"""What cdpsync adds to a Singer tap: processor time a record, and memory; `cat` is the tap.

The records have 15 fields: a decimal of 26 digits, an integer beyond 64 bits, times, nested values,
nulls. Each figure is of a process of its own, which reads to Parquet. `--rows` sets the larger one.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "bench/RESULTS_SINGER.md"
LIMIT_CPU, LIMIT_MB, LIMIT_RATE = 25.0, 60.0, 40_000
_FEW = 10_000
_FIELDS = {
    "id": {"type": "integer"},
    "name": {"type": ["null", "string"]},
    "email": {"type": "string"},
    "amount": {"type": "number"},
    "rate": {"type": "number"},
    "big": {"type": "integer"},
    "created_at": {"type": "string", "format": "date-time"},
    "updated_at": {"type": "string", "format": "date-time"},
    "day": {"type": "string", "format": "date"},
    "active": {"type": "boolean"},
    "tags": {"type": "array"},
    "address": {"type": "object"},
    "note": {"type": ["null", "string"]},
    "score": {"type": "number"},
    "parent_id": {"type": ["null", "integer"]},
}
_RECORD = (
    '{"type":"RECORD","stream":"items","record":{"id":%d,"name":"Customer number %d",'
    '"email":"customer%d@example.com","amount":12345678901234567890.%06d,"rate":0.10,'
    '"big":98765432109876543%03d,"created_at":"2024-05-01T10:00:00.123456Z",'
    '"updated_at":"2024-05-02T11:30:00Z","day":"2024-05-01","active":true,'
    '"tags":["a","b","c"],"address":{"street":"Main Street %d","city":"Springfield","zip":"12345"},'
    '"note":null,"score":3.25,"parent_id":null},"time_extracted":"2024-05-01T10:00:00Z"}\n'
)
_TAP = """#!/bin/sh
case "$*" in
  *--discover*) cat {catalog} ;;
  *--help*) ;;
  *) cat {lines} ;;
esac
"""


def write_tap(folder: Path, rows: int) -> Path:
    """Write a tap of so many records; return its command."""
    schema = {"type": "object", "properties": _FIELDS}
    stream = {"tap_stream_id": "items", "stream": "items", "key_properties": ["id"]}
    stream |= {"schema": schema, "replication_key": "updated_at"}
    (folder / "catalog.json").write_text(json.dumps({"streams": [stream]}))
    with (folder / "lines").open("w") as file:
        message = {"type": "SCHEMA", "stream": "items", "schema": schema, "key_properties": ["id"]}
        file.write(json.dumps(message) + "\n")
        for n in range(rows):
            file.write(_RECORD % (n, n, n, n % 1_000_000, n % 1000, n))
        state = {"bookmarks": {"items": {"replication_key_value": "2024-05-02T11:30:00Z"}}}
        file.write(json.dumps({"type": "STATE", "value": state}) + "\n")
    tap = folder / "tap"
    tap.write_text(_TAP.format(catalog=folder / "catalog.json", lines=folder / "lines"))
    tap.chmod(0o755)
    return tap


def read(command: str) -> None:
    """Read the tap to Parquet in this process, and print what it took."""
    import duckdb  # noqa: F401 - its memory belongs to any run
    import msgspec  # noqa: F401

    from cdpsync.connector import SourcePlace
    from cdpsync.extract.table import extract
    from cdpsync.extract.workers import Workers
    from cdpsync.model import SyncMode, TableName, TablePlan
    from cdpsync_connectors.singer import SingerConnector

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        connector = SingerConnector(SingerConnector.Options.model_validate({"command": command}))
        connector.place = SourcePlace("svc", folder, folder / "state", folder / "shared")
        (stream,) = connector.discover()
        table = TableName("svc", "items")
        plan = TablePlan("svc", stream, table, SyncMode.FULL_TABLE, stream.columns)
        workers = Workers(1, folder / "spill")
        workers_folder = folder / "spool"
        workers_folder.mkdir()
        before = resource.getrusage(resource.RUSAGE_SELF)
        start = time.monotonic()
        extracted = extract(plan, connector, workers, workers_folder)
        seconds = time.monotonic() - start
        after = resource.getrusage(resource.RUSAGE_SELF)
        workers.close()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    grown = (after.ru_maxrss - before.ru_maxrss) / 1024
    figures = {"rows": extracted.rows, "cpu": cpu, "seconds": seconds, "grown": grown}
    print(json.dumps(figures))


def measured(rows: int) -> dict[str, float]:
    """Return the figures of a process that reads so many rows."""
    with tempfile.TemporaryDirectory(dir=ROOT / "bench") as name:
        tap = write_tap(Path(name), rows)
        done = subprocess.run(
            [sys.executable, __file__, "--read", str(tap)],
            capture_output=True,
            text=True,
            check=True,
        )
    return json.loads(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--read")
    options = parser.parse_args()
    if options.read:
        read(options.read)
        return 0
    lines = []
    failed = False
    for rows in (_FEW, options.rows):
        figures = measured(rows)
        if figures["rows"] != rows:
            raise AssertionError(figures)
        each = figures["cpu"] / rows * 1e6
        rate = rows / figures["cpu"]
        failed |= rows > _FEW and (each > LIMIT_CPU or figures["grown"] > LIMIT_MB)
        lines.append(
            f"| {rows:,} | {each:.1f} | {rate:,.0f} | {rows / figures['seconds']:,.0f} | "
            f"{figures['grown']:.0f} |"
        )
    today = datetime.now(UTC).date()
    REPORT.write_text(
        f"# Measured: Singer\n\n{today}, Python {platform.python_version()}. The tap is `cat`, of "
        "records of 15 fields; from its start to\nParquet, on one worker. Limits: "
        f"{LIMIT_CPU:.0f} us and {LIMIT_MB:.0f} MB. Written by `make bench`.\n\n"
        "| records | us of processor time each | records a processor second | a second | "
        "MB of memory more |\n| --- | --- | --- | --- | --- |\n" + "\n".join(lines) + "\n"
    )
    print(REPORT.read_text())
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
