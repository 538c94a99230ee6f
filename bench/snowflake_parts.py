"""Many slow parts of one answer: fetched at once, landed as they come, in bounded memory.

A local Snowflake answers in a single part, so the connection is a stand-in; the parts are the
driver's own batches, downloaded over HTTP from a process that takes its time with each.

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
    """Return rows as Snowflake encodes them."""
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
    """Serve the parts until told to stop; then tell how many requests were there at once."""
    content = part(rows)
    storage = Slow([content] * parts, delay)
    with storage.serving() as url:
        pipe.send((url, len(content)))
        pipe.recv()
    pipe.send(storage.most)


class Slow(Storage):
    """Each request takes `delay` seconds, however many there are."""

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
        said = {"warehouse": {"path": "./warehouse"}, "sources": {"sf": source}}
        file = folder / "cdpsync.yml"
        file.write_text(json.dumps(said))
        batches = [remote_batch(f"{url}{number}", rows) for number in range(parts)]
        snowflake.connector.connect = StandIn(COLUMNS, batches).connect  # type: ignore[assignment]
        started, first = time.monotonic(), []

        def hear(progress: Any) -> None:
            if progress.chunks_done and not first:
                first.append(time.monotonic() - started)

        (result,) = sync.run(file, threads=threads, on_progress=hear).tables
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
    said = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    server = spawn.Process(
        daemon=True, target=serve, args=(theirs, said.parts, said.rows, said.delay)
    )
    server.start()
    url, size = ours.recv()
    with ProcessPoolExecutor(1, mp_context=spawn) as alone:
        seconds, first, peak, rows = alone.submit(
            run, url, said.parts, said.rows, said.threads
        ).result()
    ours.send("stop")
    most = ours.recv()
    server.join()
    print(
        f"{said.parts} parts of {size / 2**20:.0f} MB ({rows:,} rows), each {said.delay:g} s on "
        f"its way, {said.threads} threads: {seconds:.1f} s (one after another: at least "
        f"{said.parts * said.delay:.0f} s), {most} at once, first file after {first:.1f} s, "
        f"peak RSS {peak:.0f} MB"
    )


if __name__ == "__main__":
    main()
