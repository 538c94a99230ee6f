"""A source that hangs up every few seconds, for a table that takes minutes: `make soak-source`."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg
from support.faults import FaultProxy
from support.servers import Database, postgres

from cdpsync import query

TABLE = """
    create table orders (id int primary key, balance bigint not null, v text);
    insert into orders select i, 1000, repeat(md5(i::text), 12) from generate_series(1, {rows}) i;
    vacuum analyze orders;
"""
# One transaction, so that every view has the same sum; over a twentieth of the rows, at the end.
TRANSFER = """
    with chosen as (
        select {rows} - (random() * {rows} / 20)::int as a,
            {rows} - (random() * {rows} / 20)::int as b
    )
    update orders set balance = balance + case when id = a then -1 else 1 end
    from chosen where id in (a, b) and a <> b
"""


def transfer(source: Database, rows: int, done: threading.Event) -> None:
    """Move amounts between rows, some ten times a second, until it is over."""
    with psycopg.connect(source.url, autocommit=True) as con:
        while not done.wait(0.1):
            con.execute(TRANSFER.format(rows=rows).encode())


def hang_up(proxy: FaultProxy, every: float, done: threading.Event) -> None:
    """Cut every connection, again and again, until it is over."""
    while not done.wait(every):
        proxy.kill_all()


def soak(source: Database, rows: int, every: float, rate: int) -> int:
    """Load the table once, through all that; return 0 when it is there, of one moment."""
    source.execute(TABLE.format(rows=rows))
    size = source.psql("select pg_size_pretty(pg_table_size('orders'))")
    print(
        f"{rows:,} rows, {size}; cut every {every:g} s; {rate:,} bytes/s a connection", flush=True
    )
    folder = Path(tempfile.mkdtemp(prefix="cdpsync-soak-"))
    done = threading.Event()
    with FaultProxy(source.port) as proxy:
        shop = {
            "type": "postgres",
            "url": source.url.replace(f":{source.port}/", f":{proxy.port}/"),
            "tables": {"public.orders": {"mode": "full_table"}},
        }
        said = {"warehouse": {"path": "./warehouse"}, "sources": {"shop": shop}}
        file = folder / "cdpsync.yml"
        file.write_text(json.dumps(said))
        proxy.rate = rate
        threads = [
            threading.Thread(target=hang_up, args=(proxy, every, done)),
            threading.Thread(target=transfer, args=(source, rows, done)),
        ]
        for thread in threads:
            thread.start()
        start = time.monotonic()
        try:
            ended = subprocess.run(
                [Path(sys.executable).with_name("cdpsync"), "-c", file, "run"], check=False
            )
        finally:
            done.set()
            for thread in threads:
                thread.join()
        seconds, passed, cuts = time.monotonic() - start, proxy.passed, proxy.cuts
    print(f"exit {ended.returncode} after {seconds:.0f} s, {cuts} cuts, {passed / 1e6:.0f} MB sent")
    if ended.returncode != 0:
        return 1
    ask = "select count(*), count(distinct id), sum(balance), sum(hash(v)) from"
    here = query(f"{ask} shop.orders", file)[0]
    rows_there = query(
        f"{ask} (select i as id, 1000 as balance, repeat(md5(i::varchar), 12) as v "
        f"from range(1, {rows + 1}) as t(i))",
        file,
    )[0]
    shutil.rmtree(folder)
    print(f"in the lake {here}, of one moment: {here == rows_there}")
    return 0 if here == rows_there else 1


def main() -> int:
    """Say how many rows, how often it hangs up, and how fast it sends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=700_000)
    parser.add_argument("--every", type=float, default=20)
    parser.add_argument("--rate", type=int, default=500_000)
    asked = parser.parse_args()
    with postgres(synchronous_commit="off") as server:
        return soak(server, asked.rows, asked.every, asked.rate)


if __name__ == "__main__":
    sys.exit(main())
