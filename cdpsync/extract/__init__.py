"""Extraction: a table of a source into Parquet files in the spool."""
