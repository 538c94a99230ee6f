"""A MySQL table into a lake, compared with the server's own client: `python bench/mysql.py`."""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
from typing import TYPE_CHECKING

import duckdb
from measure import CDPSYNC, ROOT, WORK, measure, ratio
from report import Limit, Line, table

from cdpsync import engine
from cdpsync.sql import quote_text

sys.path.insert(0, str(ROOT / "tests"))

from support.mysql_server import MariaServer, mariadb

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 5_000_000
_LINEITEM = """
    create table lineitem (
        l_orderkey bigint not null, l_partkey bigint not null, l_suppkey bigint not null,
        l_linenumber int not null, l_quantity decimal(15,2) not null,
        l_extendedprice decimal(15,2) not null, l_discount decimal(15,2) not null,
        l_tax decimal(15,2) not null, l_returnflag char(1) not null, l_linestatus char(1) not null,
        l_shipdate date not null, l_commitdate date not null, l_receiptdate date not null,
        l_shipinstruct varchar(25) not null, l_shipmode varchar(10) not null,
        l_comment varchar(44) not null
    ) charset utf8mb4
"""


def lineitem(runs: int) -> list[Line]:
    """5 M rows, MariaDB to a committed lake, in turns with its client's output to /dev/null."""
    with mariadb(innodb_buffer_pool_size="2G") as server:
        _load(server)
        client = server.client("--quick", "-N", "-e", "select * from lineitem")
        client_figures, ours = [], []
        for _ in range(runs + 1):
            client_figures.append(measure(client, server.client_environment))
            folder = _project(server)
            ours.append(measure([CDPSYNC, "-q", "-c", folder / "cdpsync.yml", "run"]))
    client_figures, ours = client_figures[1:], ours[1:]  # the first of each warms the caches
    longer = ratio(ours, client_figures)
    limit = Limit("{} x mariadb", longer, 1.6)
    return [
        Line(
            "mariadb --quick -N, lineitem > /dev/null (5.0 M rows)",
            tuple(client_figures),
            ratio=1 / longer,
        ),
        Line("cdpsync run, MySQL lineitem to folder lake", tuple(ours), (limit,)),
    ]


def _load(server: MariaServer) -> None:
    """Put TPC-H's lineitem into the server, from a process of its own: see `bench.load_tpch`."""
    WORK.mkdir(parents=True, exist_ok=True)
    file = WORK / "lineitem.tsv"
    writer = multiprocessing.get_context("spawn").Process(target=_write, args=(file,))
    writer.start()
    writer.join()
    if writer.exitcode:
        sys.exit("the data could not be generated")
    server.execute(_LINEITEM)
    server.execute(f"load data infile '{file}' into table lineitem character set utf8mb4")
    file.unlink()


def _write(file: Path) -> None:
    con = duckdb.connect()
    con.execute("set enable_progress_bar = false")
    engine.load_extension(con, "tpch")
    con.execute("call dbgen(sf = 1)")
    con.execute(
        f"copy (from lineitem limit {ROWS}) to {quote_text(str(file))} "
        "(delimiter '\t', header false, quote '')"
    )


def _project(server: MariaServer) -> Path:
    folder = WORK / "mysql"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "cdpsync.yml").write_text(
        "warehouse: {path: ./warehouse}\n"
        f"sources:\n  shop:\n    type: mysql\n    url: {server.url}\n"
    )
    return folder


def main() -> None:
    """Start a MariaDB, fill it, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="counted runs of each command")
    lines = lineitem(parser.parse_args().runs)
    shutil.rmtree(WORK, ignore_errors=True)
    print(table(lines))


if __name__ == "__main__":
    main()
