"""The tables of the lake that a query reads, as far as its text says so."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cdpsync.engine import first_line
from cdpsync.errors import ConfigError
from cdpsync.model import TableName
from cdpsync.sql import fold_name

if TYPE_CHECKING:
    import duckdb

# Their result is another one at each moment, though no table changes.
_CHANGING = re.compile(
    r"\b(now|today|current_date|current_time|current_timestamp|localtime|localtimestamp|"
    r"get_current_time|get_current_timestamp|transaction_timestamp|random|uuid|uuidv4|uuidv7|"
    r"gen_random_uuid|age|read_\w+|glob)\b",
    re.IGNORECASE,
)

_LAKE_TABLES = """
    select schema_name, table_name from duckdb_tables()
    where database_name = 'lake' and schema_name <> 'cdpsync'
"""


def source_tables(
    con: duckdb.DuckDBPyConnection, destination: str, sql: str
) -> list[TableName] | None:
    """Return the tables that a query reads; None: its result may change without them.

    It may read a view or a file, or ask for the time. Raises ConfigError unless it is one SELECT.
    """
    import duckdb

    try:
        statements = con.extract_statements(sql)
        is_select = [statement.type.name for statement in statements] == ["SELECT"]
        names = con.get_table_names(sql, qualified=True) if is_select else set()
    except duckdb.Error as error:
        raise ConfigError(f'destination "{destination}": sql: {first_line(error)}.') from error
    if not is_select:
        raise ConfigError(f'destination "{destination}": sql: give exactly one SELECT.')
    if _CHANGING.search(sql):
        return None
    tables = {
        fold_name(f"{schema}.{name}"): TableName(schema, name)
        for schema, name in con.execute(_LAKE_TABLES).fetchall()
    }
    found = [tables.get(fold_name(_without_quotes(name))) for name in names]
    if None in found:
        return None
    return [table for table in found if table is not None]


def _without_quotes(name: str) -> str:
    """Return a qualified name as `schema.table`, without the catalog's name and quotes."""
    return name.replace('"', "").removeprefix("lake.")
