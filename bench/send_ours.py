"""Sends the rows of a DuckDB table as requests: outbox, journal and dispatch, without the feed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from cdpsync.destinations.delivery.dispatch import Dispatcher
from cdpsync.destinations.delivery.outbox import Outbox
from cdpsync.destinations.delivery.requests import RequestShape
from cdpsync.engine import connect
from cdpsync.model.deliveries import Health
from cdpsync.model.destinations import Batch, Destination
from cdpsync.sql import quote_text

_SELECT = """
    select
        md5(id::varchar)::uuid::varchar as event_id,
        to_json([id])::varchar as key,
        'insert' as change,
        1 as snapshot_id,
        now() as changed_at,
        id as ord,
        to_json(people)::varchar as body
    from shop.people
"""


def main(file: str, url: str, folder: str, batch: int, connections: int) -> None:
    con = connect()
    con.execute(f"attach {quote_text(file)} as shop (read_only)")
    outbox = Outbox.create(con, _SELECT, Path(folder) / "outbox", nonce="bench")
    con.close()
    destination = Destination(
        name="bench",
        type="webhook",
        location="bench",
        batch=Batch(batch) if batch else None,
        connections=connections,
        idempotency="Idempotency-Key",
    )
    shape = RequestShape("POST", url, "bench", around=('{"items":[', "]}") if batch else None)
    start = time.monotonic()
    result = Dispatcher(destination, outbox, {"request": shape}, marks={}, health=Health()).send()
    if result.held or result.dead:
        sys.exit(f"not all were delivered: {result}")
    print(f"{outbox.rows / (time.monotonic() - start):.0f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
