"""A Snowflake result of many slow parts: downloaded in parallel, written as they arrive.

A local Snowflake returns a result in one part, so the connection is a fake. The parts are the
driver's own batches, downloaded over HTTP from a process that delays each of them.

    python bench/snowflake_parts.py [--parts 64] [--rows 50000] [--delay 1.0] [--threads 4]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.snowflake_fake import (  # noqa: E402 - from tests/, put on the path above
    OPTIONS,
    StandIn,
    Storage,
    remote_batch,
    stream,
)

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

COLUMNS = [
    ("ID", "NUMBER", 38, 0),
    ("AMOUNT", "NUMBER", 12, 2),
    ("AT", "TIMESTAMP_NTZ", None, None),
    ("NOTE", "TEXT", None, None),
]


def part(rows: int) -> bytes:
    """Return rows in Snowflake's encoding."""
    numbers = pa.array(range(rows), pa.int64())
    seconds = pa.array((1_700_000_000 + n for n in range(rows)), pa.int64())
    fractions = pa.array((n % 1000 * 1000 for n in range(rows)), pa.int32())
    moments = pa.StructArray.from_arrays([seconds, fractions], ["epoch", "fraction"])
    notes = pa.array(f"note {n * 2654435761 % 2**32:032x} of a row" for n in range(rows))
    return stream(
        ID=(numbers, "FIXED", 0),
        AMOUNT=(numbers, "FIXED", 2),
        AT=(moments, "TIMESTAMP_NTZ", 9),
        NOTE=(notes, "TEXT", 0),
    )


def serve(pipe: Connection, parts: int, rows: int, delay: float) -> None:
    """Serve the parts until a message comes; then send the highest number of parallel requests."""
    content = part(rows)
    storage = SlowStorage([content] * parts, delay)
    with storage.serving() as url:
        pipe.send((url, len(content)))
        pipe.recv()
    pipe.send(storage.most)


class SlowStorage(Storage):
    """A storage whose every request takes `delay` seconds, also in parallel."""

    def __init__(self, parts: list[bytes], delay: float) -> None:
        super().__init__(parts)
        self.delay = delay

    def content(self, number: int) -> bytes:
        with self._turn:
            self._waiting += 1
            self.most = max(self.most, self._waiting)
        time.sleep(self.delay)
        with self._turn:
            self._waiting -= 1
        return self.parts[number]


def run(url: str, parts: int, rows: int, threads: int) -> tuple[float, float, float, int]:
    """Sync the table; return seconds, the second of the first file, peak RSS in MB, and rows."""
    import snowflake.connector

    from cdpsync import query, sync

    folder = Path(tempfile.mkdtemp(prefix="cdpsync-bench-"))
    try:
        source: dict[str, Any] = {"type": "snowflake", **OPTIONS}
        config = {"warehouse": {"path": "./warehouse"}, "sources": {"sf": source}}
        file = folder / "cdpsync.yml"
        file.write_text(json.dumps(config))
        batches = [remote_batch(f"{url}{number}", rows) for number in range(parts)]
        snowflake.connector.connect = StandIn(COLUMNS, batches).connect  # type: ignore[assignment]
        started, first = time.monotonic(), []

        def on_progress(progress: Any) -> None:
            if progress.chunks_done and not first:
                first.append(time.monotonic() - started)

        (result,) = sync.run(file, threads=threads, on_progress=on_progress).tables
        seconds = time.monotonic() - started
        if result.error:
            raise SystemExit(result.error.message)
        ((counted,),) = query("select count(*) from sf.t", file)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return seconds, first[0], peak, counted
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Print one line of figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=64)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--delay", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=4)
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    server = spawn.Process(
        daemon=True, target=serve, args=(theirs, options.parts, options.rows, options.delay)
    )
    server.start()
    url, size = ours.recv()
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        seconds, first, peak, rows = pool.submit(
            run, url, options.parts, options.rows, options.threads
        ).result()
    ours.send("stop")
    highest = ours.recv()
    server.join()
    print(
        f"{options.parts} parts of {size / 2**20:.0f} MB ({rows:,} rows), each delayed by "
        f"{options.delay:g} s, {options.threads} threads: {seconds:.1f} s (one after another: "
        f"at least {options.parts * options.delay:.0f} s), {highest} at once, "
        f"first file after {first:.1f} s, peak RSS {peak:.0f} MB"
    )


if __name__ == "__main__":
    main()
