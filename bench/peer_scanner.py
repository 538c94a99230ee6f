"""Copies a table of Postgres to a file with DuckDB's scanner: `peer_scanner.py DSN TABLE FILE`.

The file has our compression; every other setting is DuckDB's default.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import duckdb

dsn, table, file = sys.argv[1:]
package = find_spec("duckdb_extension_postgres_scanner")
home = Path(next(iter(package.submodule_search_locations)))
con = duckdb.connect()
con.execute("set enable_progress_bar = false")
con.load_extension(
    str(home / f"extensions/v{duckdb.__version__}/postgres_scanner.duckdb_extension")
)
con.execute(f"attach '{dsn}' as pg (type postgres, read_only)")
con.execute(
    f"copy (from pg.public.{table}) to '{file}' "
    "(format parquet, compression zstd, compression_level 1)"
)
