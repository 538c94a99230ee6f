"""A project between runs: its file, folders, tables and state, and the commands that read them."""

from cdpsync.project.check import check, discover, discover_and_suggest, list_sources
from cdpsync.project.install import install
from cdpsync.project.query import open_query
from cdpsync.project.source_types import manifest_of, manifest_text, source_types
from cdpsync.project.status import history, status
from cdpsync.project.tables import (
    KnownTable,
    known_tables,
    load_state,
    records_by_table,
)
from cdpsync.project.workspace import (
    CATALOG_PATIENCE,
    catalog_of,
    journal_folder,
    load,
    locks_folder,
    open_connector,
    source_of,
    verified_folder,
)

__all__ = [
    "CATALOG_PATIENCE",
    "KnownTable",
    "catalog_of",
    "check",
    "discover",
    "discover_and_suggest",
    "history",
    "install",
    "journal_folder",
    "known_tables",
    "list_sources",
    "load",
    "load_state",
    "locks_folder",
    "manifest_of",
    "manifest_text",
    "open_connector",
    "open_query",
    "records_by_table",
    "source_of",
    "source_types",
    "status",
    "verified_folder",
]
