"""Loads a table of Postgres with dlt, in the peers' environment."""

import argparse
from pathlib import Path

import dlt
from dlt.destinations import duckdb, filesystem
from dlt.sources.sql_database import sql_table

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("url")
parser.add_argument("table")
parser.add_argument("backend", choices=("connectorx", "pyarrow"))
parser.add_argument("folder", type=Path, help="its working folder, with the result")
parser.add_argument("--key")
parser.add_argument("--cursor")
parser.add_argument(
    "--replace", action="store_true", help="load a folder of Parquet files from the start"
)
options = parser.parse_args()

rows = sql_table(
    options.url,
    options.table,
    "public",
    chunk_size=100_000,
    backend=options.backend,
    reflection_level="full_with_precision",
    incremental=dlt.sources.incremental(options.cursor) if options.cursor else None,
    primary_key=options.key,
)
file = options.folder / "out.duckdb"
if options.replace:
    disposition, destination = "replace", filesystem(str(options.folder / "out"))
else:  # the first load appends, because that is faster than a merge into an empty table
    disposition, destination = "merge" if file.exists() else "append", duckdb(str(file))
pipeline = dlt.pipeline(
    pipeline_name="bench",
    pipelines_dir=str(options.folder / "pipeline"),
    destination=destination,
    dataset_name="shop",
)
pipeline.run(
    rows,
    write_disposition=disposition,
    loader_file_format="parquet",
).raise_on_failed_jobs()
