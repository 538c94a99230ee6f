"""Formats of the data on stdout: the values of `--output`."""

from enum import StrEnum


class Format(StrEnum):
    """How `query` writes its answer."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    JSONL = "jsonl"
    MARKDOWN = "markdown"
    PARQUET = "parquet"


class ReportFormat(StrEnum):
    """How every other command writes its report."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
