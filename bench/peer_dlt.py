"""A table of Postgres with dlt, run in the peers' environment."""

import argparse
from pathlib import Path

import dlt
from dlt.destinations import duckdb, filesystem
from dlt.sources.sql_database import sql_table

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("url")
parser.add_argument("table")
parser.add_argument("backend", choices=("connectorx", "pyarrow"))
parser.add_argument("folder", type=Path, help="where it works, and what it loads into")
parser.add_argument("--key")
parser.add_argument("--cursor")
parser.add_argument("--replace", action="store_true", help="a folder of Parquet files, anew")
said = parser.parse_args()

rows = sql_table(
    said.url,
    said.table,
    "public",
    chunk_size=100_000,
    backend=said.backend,
    reflection_level="full_with_precision",
    incremental=dlt.sources.incremental(said.cursor) if said.cursor else None,
    primary_key=said.key,
)
file = said.folder / "out.duckdb"
if said.replace:
    disposition, destination = "replace", filesystem(str(said.folder / "out"))
else:  # the first time there is nothing to merge with, and to append is quicker
    disposition, destination = "merge" if file.exists() else "append", duckdb(str(file))
pipeline = dlt.pipeline(
    pipeline_name="bench",
    pipelines_dir=str(said.folder / "pipeline"),
    destination=destination,
    dataset_name="shop",
)
pipeline.run(
    rows,
    write_disposition=disposition,
    loader_file_format="parquet",
).raise_on_failed_jobs()
