"""The lake: its DuckLake catalog, the commits into it, its cursors and its history."""

from cdpsync.catalog.commit import Commit
from cdpsync.catalog.commit_checks import require_no_shrink
from cdpsync.catalog.file import CatalogFile
from cdpsync.catalog.lake import Lake, sql_name
from cdpsync.catalog.prefetch import CatalogPrefetch
from cdpsync.catalog.query import QueryResult, run_query
from cdpsync.catalog.transaction import transaction
from cdpsync.system.temp_dirs import remove_stale_dirs, temp_dir

__all__ = [
    "CatalogFile",
    "CatalogPrefetch",
    "Commit",
    "Lake",
    "QueryResult",
    "remove_stale_dirs",
    "require_no_shrink",
    "run_query",
    "sql_name",
    "temp_dir",
    "transaction",
]
