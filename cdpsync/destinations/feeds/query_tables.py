"""The tables of the lake that a query reads, as far as its text says so."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from cdpsync.engine import first_line
from cdpsync.errors import ConfigError
from cdpsync.model import TableName
from cdpsync.sql import fold_name, quote_text

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        kinds = [statement.type.name for statement in con.extract_statements(sql)]
    except duckdb.Error as error:
        raise ConfigError(f'destination "{destination}": sql: {first_line(error)}.') from error
    if kinds != ["SELECT"]:
        raise ConfigError(f'destination "{destination}": sql: give exactly one SELECT.')
    if _CHANGING.search(sql):
        return None
    (tree,) = con.execute(f"select json_serialize_sql({quote_text(sql)})").fetchone() or ("{}",)
    nodes = list(_nodes(json.loads(tree)))
    names = {_lake_name(node) for node in nodes if node.get("type") == "BASE_TABLE"}
    names -= {f"main.{fold_name(node['key'])}" for node in nodes if _names_subquery(node)}
    is_known = any(node.get("type") == "SELECT_NODE" for node in nodes)  # no PIVOT, for example
    tables = {
        fold_name(f"{schema}.{name}"): TableName(schema, name)
        for schema, name in con.execute(_LAKE_TABLES).fetchall()
    }
    if not is_known or not names <= tables.keys():
        return None
    return [tables[name] for name in sorted(names)]


def _nodes(tree: object) -> Iterator[dict[str, Any]]:  # Any: JSON
    """Return all objects of a parsed query, whatever their depth."""
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from _nodes(part)


def _lake_name(table: dict[str, Any]) -> str:  # Any: JSON
    schema = table.get("schema_name") or "main"
    return fold_name(f"{schema}.{table.get('table_name')}")


def _names_subquery(node: dict[str, Any]) -> bool:  # Any: JSON
    """Whether a node is a subquery that WITH gives a name."""
    return isinstance(node.get("key"), str) and isinstance(node.get("value"), dict)
