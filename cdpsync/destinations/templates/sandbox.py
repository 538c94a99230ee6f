"""A DuckDB without data, files, network or settings, which parses and binds users' expressions."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from cdpsync.engine import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

_SETTINGS = "set enable_external_access = false; set lock_configuration = true"


@contextmanager
def sandbox() -> Iterator[duckdb.DuckDBPyConnection]:
    """Lend a connection of its own to the sandbox; its temporary tables go with it."""
    con = _database().cursor()
    try:
        yield con
    finally:
        con.close()


@cache
def _database() -> duckdb.DuckDBPyConnection:
    con = connect(threads=1)
    con.execute(_SETTINGS)
    return con


_FUNCTIONS = """
    select distinct function_name
    from duckdb_functions()
    where
        database_name = 'system'
        and (function_type = 'scalar' or function_type = 'macro')
        and not regexp_matches(
            function_name, '^(__|pg_|has_|inet_|current_|icu_|txid_|json_(de)?serialize)'
        )
"""

_REFUSED = frozenset({
    # of the session, not of the row
    "col_description", "currval", "getvariable", "in_search_path", "nextval", "obj_description",
    "session_user", "setseed", "shobj_description", "sleep_ms", "stats", "user", "version",
    "write_log", "parse_duckdb_log_message", "get_block_size", "format_pg_type", "format_type",
    "map_to_pg_oid",
    # another value each time, so that a row sent again would be another one; TRY takes none of them
    "error", "gen_random_uuid", "random", "uuid", "uuidv4", "uuidv7",
    # about more than one row
    "combine", "finalize", "generate_subscripts", "geomean", "geometric_mean", "json_group_array",
    "json_group_object", "json_group_structure", "regexp_split_to_table", "wavg", "weighted_avg",
    # of DuckDB's insides
    "alias", "can_cast_implicitly", "cast_to_type", "constant_or_null", "create_sort_key",
    "get_type", "make_type", "remap_struct", "replace_type", "row", "timetz_byte_comparable",
    "variant_bytes_to_variant", "variant_to_parquet_variant", "vector_type",
})  # fmt: skip


@cache
def row_functions() -> frozenset[str]:
    """Return the functions that give one value of one row, and reach nothing but the row."""
    with sandbox() as con:
        names = {name for (name,) in con.execute(_FUNCTIONS).fetchall()}
    return frozenset(names - _REFUSED | {"current_date", "current_localtimestamp"})
