"""The first load of 100,000 Stripe objects, compared with one sequential pager.

The server answers each request after 150 ms, in a process of its own, and measures the rate. The
reader is another process, so that its peak memory can be measured; it writes Parquet. This file is
not called stripe.py, because that would hide the library of this name.
"""

from __future__ import annotations

import argparse
import bisect
import http.client
import json
import multiprocessing
import os
import platform
import random
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from support.stripe_server import KEY, NOW, VERSIONS, FakeStripe, Reply, fake_stripe  # noqa: E402

ANSWER_AFTER = 0.15  # seconds
YEARS = 6
_OFTEN_NULL = """
    application application_fee application_fee_amount description failure_code failure_message
    on_behalf_of receipt_email receipt_number review shipping source_transfer statement_descriptor
    statement_descriptor_suffix transfer_data transfer_group
"""


_REPORT = """# Measured: Stripe

{day}, {cores} cores, Python {python}. {count:,} charges, {after} ms an answer, `max_rate` at its
live default of 75; the server and the reader in a process each. From the first request for
charges to the last Parquet file; of the pager, to the last page. Written by `make bench`.

| what | seconds | requests | in any second | at once | peak RSS MB | limit |
| --- | --- | --- | --- | --- | --- | --- |
| cdpsync, to Parquet | {done:.1f} | {requests} | {rate} | {at_once} | {peak} | 75/s, 300 MB |
| of it, fetching | {fetched:.1f} | | | | | |
| one page after the other | {seconds:.1f} | | | 1 | | |

{ratio:.1f} x as fast; limit: at least 8 x.
"""


class LargeAccount(FakeStripe):
    """An account with many charges, rendered beforehand; newer times have more of them."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.seconds = ANSWER_AFTER
        dice = random.Random(4)  # noqa: S311 - the same objects in each run
        span = YEARS * 365 * 86400
        # A growing account, with half a year without charges, and a tenth of them in one night.
        times = [NOW - int(span * dice.random() ** 2.5) for _ in range(count * 9 // 10)]
        times = [t - span // 12 if NOW - span // 4 < t < NOW - span // 6 else t for t in times]
        times += [NOW - span // 2 + int(dice.random() * 7200) for _ in range(count - len(times))]
        times.sort(reverse=True)
        self.ids = [f"ch_{number:024d}" for number in range(count)]
        self.ages = [-moment for moment in times]
        self.bodies = [_charge(*pair) for pair in zip(self.ids, times, strict=True)]
        self.positions = {id_: position for position, id_ in enumerate(self.ids)}

    def _find(self, path: str, params: dict[str, str]) -> Reply:
        if path != "/v1/charges":
            return super()._find(path, params)
        first, last = 0, len(self.ids)
        if "created[lt]" in params:
            first = bisect.bisect_right(self.ages, -int(params["created[lt]"]))
        if "created[gte]" in params:
            last = bisect.bisect_right(self.ages, -int(params["created[gte]"]))
        if "starting_after" in params:
            first = max(first, self.positions[params["starting_after"]] + 1)
        end = min(first + int(params["limit"]), last)
        has_more = b"true" if end < last else b"false"
        data = b",".join(self.bodies[first:end])
        return Reply(body=b'{"object": "list", "data": [%s], "has_more": %s}' % (data, has_more))


def _charge(id_: str, created: int) -> bytes:
    card = {"brand": "visa", "country": "US", "exp_month": 3, "exp_year": 2027, "last4": "4242"}
    checks = {"address_line1_check": None, "cvc_check": "pass", "address_postal_code_check": None}
    nulls = dict.fromkeys(_OFTEN_NULL.split())
    charge: dict[str, Any] = {
        "id": id_,
        "object": "charge",
        "amount": int(id_[3:]) % 9973,
        "amount_captured": int(id_[3:]) % 9973,
        "amount_refunded": 0,
        "balance_transaction": f"txn_{id_[3:]}",
        "billing_details": {"address": dict.fromkeys(["city", "country", "line1"]), "email": None},
        "captured": True,
        "created": created,
        "currency": "usd",
        "customer": f"cus_{int(id_[3:]) % 5000}",
        "disputed": False,
        "fraud_details": {},
        "livemode": True,
        "metadata": {"order": str(int(id_[3:])), "tax_rate": "8.875"},
        "outcome": {"network_status": "approved_by_network", "risk_score": 32, "type": "ok"},
        "paid": True,
        "payment_intent": f"pi_{id_[3:]}",
        "payment_method_details": {"card": card | {"checks": checks}, "type": "card"},
        "receipt_url": f"https://pay.stripe.com/receipts/payment/{id_}{'x' * 80}",
        "refunded": False,
        "status": "succeeded",
        **nulls,
    }
    return json.dumps(charge, indent=2).encode()


def _serve(count: int, pipe: Any) -> None:
    with fake_stripe(LargeAccount(count)) as server:
        pipe.send(server.url)
        while (message := pipe.recv()) != "stop":
            if message == "begin":
                server.arrivals.clear()
            pipe.send((len(server.arrivals), server.highest_rate(), server.most_at_once))


def _write(folder: str, chunk: Any) -> None:
    from cdpsync import engine

    with engine.connect(threads=1) as con:
        target = f"{folder}/{chunk.label.split()[-1]}.parquet"
        options = "format parquet, compression zstd, compression_level 1"
        con.execute(f"copy ({chunk.sql}) to '{target}' ({options})")


def _read(url: str, pipe: Any) -> None:
    from cdpsync import engine
    from cdpsync.connector import ReadRequest
    from cdpsync_connectors.stripe.connector import StripeConnector

    connector = StripeConnector(StripeConnector.Options(api_key=KEY, api_base=url))
    stream = next(stream for stream in connector.discover() if stream.name == "charges")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, engine.connect(threads=1) as con:
        request = ReadRequest(stream, stream.columns, folder=Path(folder), cursor_field="created")
        with connector.read(request) as chunks:
            fetched = time.perf_counter()
            with ThreadPoolExecutor(2) as workers:  # as in a run, each with its own connection
                list(workers.map(partial(_write, folder), chunks))
        done = time.perf_counter()
        rows = con.execute(
            f"select count(*), count(distinct id), sum(amount) from '{folder}/*.parquet'"
        ).fetchall()[0]
    connector.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    pipe.send((rows, fetched - began, done - began, peak))


def _page_through(url: str) -> tuple[int, float]:
    """Read every page, one after the other, and use only its length and its last id."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    headers = {"Authorization": f"Bearer {KEY}", "Stripe-Version": max(VERSIONS)}
    cursor, rows, has_more = "", 0, True
    while has_more:
        connection.request("GET", f"/v1/charges?limit=100{cursor}", headers=headers)
        page = json.loads(connection.getresponse().read())
        rows, has_more = rows + len(page["data"]), page["has_more"]
        cursor = f"&starting_after={page['data'][-1]['id']}" if has_more else ""
    connection.close()
    return rows, time.perf_counter() - began


def main() -> None:
    """Measure, print the report, and write it to RESULTS_STRIPE.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=100_000)
    count = parser.parse_args().objects
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_serve, args=(count, theirs), daemon=True)
    server.start()
    url = ours.recv()
    ours.send("begin")
    ours.recv()
    result, result_end = context.Pipe()
    reader = context.Process(target=_read, args=(url, result_end))
    reader.start()
    while not result.poll(0.2):
        if not reader.is_alive():
            sys.exit("the reader died")
    rows, fetched, done, peak = result.recv()
    reader.join()
    ours.send("report")
    requests, rate, at_once = ours.recv()
    paged, seconds = _page_through(url)
    text = _REPORT.format(
        day=datetime.now(UTC).date(),
        cores=os.cpu_count(),
        python=platform.python_version(),
        count=count,
        after=int(ANSWER_AFTER * 1000),
        done=done,
        fetched=fetched,
        requests=requests,
        rate=rate,
        at_once=at_once,
        peak=peak,
        seconds=seconds,
        ratio=seconds / done,
    )
    print(text)
    (ROOT / "bench/RESULTS_STRIPE.md").write_text(text)
    ours.send("stop")
    server.join()
    if rows[:2] != (count, count) or paged != count:
        sys.exit("rows are missing")
    if rate > 75 or peak >= 300 or seconds / done < 8:
        sys.exit("a limit is missed")


if __name__ == "__main__":
    main()
