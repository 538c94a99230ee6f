"""The lake: its DuckLake catalog, the commits into it, its cursors and its history."""

from cdpsync.catalog.file import CatalogFile
from cdpsync.catalog.lake import Commit, Lake, Recorded, refuse_shrink, sql_name
from cdpsync.catalog.prefetch import Ahead
from cdpsync.catalog.query import Answer, ask
from cdpsync.catalog.transaction import transaction
from cdpsync.system.temp_dirs import private_folder, sweep

__all__ = [
    "Ahead",
    "Answer",
    "CatalogFile",
    "Commit",
    "Lake",
    "Recorded",
    "ask",
    "private_folder",
    "refuse_shrink",
    "sql_name",
    "sweep",
    "transaction",
]
